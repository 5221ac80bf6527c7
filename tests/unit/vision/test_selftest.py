"""Whatever a model folder holds, the self-test gives a report, in bounded time, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeapp.errors import ManifestError
from edgeapp.types import Box, Detection
from edgeapp.vision import golden
from edgeapp.vision.model import Model
from edgeapp.vision.selftest import SelfTestLimits, SelfTestReport, judge, self_test
from edgeapp.workshop.golden_writer import GOLDEN_NAME, write_golden
from tests.fakes.mutants import Judge, make_good_folder, mutants, pictures, replace_model, write_mutant
from tests.fakes.tiny_models import bright_spot, make_model_folder

MUTANTS = 40
_SLEEP = "617.25"  # seconds, which nobody else sleeps
# What a child needs in order to misbehave, before the arguments of the self-test.
_PREAMBLE = """
import json, os, resource, signal, subprocess, sys, time
report = int(sys.argv[sys.argv.index("--out-fd") + 1])
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_good_folder(tmp_path_factory.mktemp("good"))


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, temporary file, core dump or open descriptor, whatever the test did."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = _traces()
    yield
    assert _traces() == before
    assert list(temporary.iterdir()) == []


def _traces() -> tuple[set[int], set[Path], int]:
    children: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        children |= {int(word) for word in (task / "children").read_text().split()}
    return children, set(Path.cwd().glob("core*")), len(list(Path("/proc/self/fd").iterdir()))


def _misbehaving(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", _PREAMBLE + textwrap.dedent(script))


def test_a_good_model_passes_and_its_report_says_what_it_takes(good: Path) -> None:
    report = self_test(good, SelfTestLimits(invokes=12), threads=2, delegate="none")
    assert (report.code, report.text, report.passed) == ("", "", True)
    assert report.model is not None
    assert (report.model.name, report.model.threads, report.model.delegate.name) == ("bright-spot", 2, "none")
    assert report.golden is not None
    assert (report.golden.cases, report.golden.agreement) == (len(pictures(seed=1)), 1.0)
    assert report.invokes == 12
    assert report.load_ms is not None
    assert report.median_ms is not None
    assert report.p95_ms is not None
    assert report.worst_ms is not None
    assert report.peak_mb is not None
    assert report.load_ms > 0
    assert 0 < report.median_ms <= report.p95_ms <= report.worst_ms
    assert 20 < report.peak_mb < 400


def test_a_model_without_golden_cases_is_measured_all_the_same(tmp_path: Path) -> None:
    report = self_test(make_model_folder(tmp_path))
    assert report.passed
    assert report.golden is None
    assert report.invokes > 0


@pytest.mark.parametrize("decoder", ["ssd_raw", "ssd_postprocess", "classifier", "yolo"])
def test_golden_cases_go_with_every_decoder(tmp_path: Path, decoder: Any) -> None:
    make_model_folder(tmp_path, decoder=decoder, dtype="float32")
    write_golden(tmp_path, pictures(seed=1), max_steps=1)
    report = self_test(tmp_path)
    assert report.passed, report.text
    assert report.golden is not None
    assert report.golden.worst_steps < 0.1


def test_a_torn_file_and_a_flipped_bit_are_told_by_size_and_hash(copy: Path) -> None:
    path = copy / "model.tflite"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    torn = self_test(copy)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    flipped = self_test(copy)
    assert (torn.code, flipped.code) == ("E_MANIFEST", "E_MANIFEST")
    assert f"expected {len(whole)} bytes" in torn.text
    assert "expected sha256" in flipped.text


@pytest.mark.parametrize("content", [b"<html><title>404 Not Found</title></html>", b"TFL3" * 64, b"\0" * 5000])
def test_what_is_no_model_is_refused_even_where_its_hash_fits(copy: Path, content: bytes) -> None:
    replace_model(copy, content, is_rehashed=True)
    assert self_test(copy).code in ("E_LOAD", "E_LOAD_CRASH")


def test_an_empty_file_is_refused(copy: Path) -> None:
    replace_model(copy, b"", is_rehashed=False)
    report = self_test(copy)
    assert report.code == "E_MANIFEST"
    assert "found 0" in report.text


def test_a_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    report = self_test(make_model_folder(tmp_path, changes={"input": {"width": 64, "height": 32}}))
    assert report.code == "E_LOAD"
    assert "expected shape [1, 32, 64, 3]" in report.text


def test_a_model_that_says_what_is_no_number_is_refused(tmp_path: Path) -> None:
    report = self_test(make_model_folder(tmp_path, dtype="float32", nan_above=-1.0))
    assert report.code == "E_LOAD"
    assert "not finite" in report.text


def test_another_model_of_the_same_form_fails_the_golden_cases(copy: Path, tmp_path: Path) -> None:
    other = make_model_folder(tmp_path / "other", classes=("red",))
    quiet = (other / "model.tflite").read_bytes()
    changed = quiet.replace(_bias_bytes(other), bytes(len(_bias_bytes(other))), 1)
    assert changed != quiet
    replace_model(copy, changed, is_rehashed=True)
    report = self_test(copy)
    assert report.code == "E_GOLDEN"
    assert "within 2 quantization steps" in report.text
    assert report.golden is not None
    assert report.golden.worst_steps > 2


def _bias_bytes(folder: Path) -> bytes:
    """The bias of the score columns as it stands in the file: without it the model sees things in the dark."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "model.tflite"))
    interpreter.allocate_tensors()
    index = next(one["index"] for one in interpreter.get_tensor_details() if one["name"] == "logits/b")
    return bytes(interpreter.get_tensor(index).tobytes())


def test_a_model_too_slow_or_too_large_for_its_budget_is_refused(good: Path) -> None:
    report = self_test(good, SelfTestLimits(median_ms=1e-7, p95_ms=1e-7, peak_mb=1.0))
    assert report.code == "E_BUDGET"
    assert report.text.count("expected at most") == 3
    assert report.median_ms is not None
    assert report.median_ms > 1e-7


def test_a_failed_report_is_not_judged_by_its_budget() -> None:
    failed = SelfTestReport(code="E_GOLDEN", text="strays", median_ms=5.0)
    assert judge(failed, SelfTestLimits(median_ms=1.0)) is failed


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "E_LOAD_CRASH", "SIGSEGV"),
        ("os.abort()", "E_LOAD_CRASH", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "E_LOAD_CRASH", "SIGSEGV"),
        ("sys.exit('no such operator')", "E_LOAD_CRASH", "its last words: no such operator"),
        ("x = bytearray(900 << 20); os.write(report, b'{}')", "E_LOAD_CRASH", "MemoryError"),
        ("os.write(report, bytes(range(256)))", "E_LOAD_CRASH", "status 0 without a report"),
        ("os.write(report, b'{\"code\": 5}')", "E_LOAD_CRASH", "expected text"),
        ("print('x' * 300_000); os.write(report, b'{')", "E_LOAD_CRASH", "without a report"),
        ("os.write(report, b'{}'); sys.exit(3)", "E_LOAD_CRASH", "ended with status 3"),
    ],
)
def test_a_child_that_dies_or_babbles_is_a_report(tmp_path: Path, script: str, code: str, text: str) -> None:
    report = self_test(tmp_path, SelfTestLimits(address_mb=512), command=_misbehaving(script))
    assert report.code == code
    assert text in report.text
    assert not report.passed


@pytest.mark.parametrize(
    "script",
    [
        "time.sleep(600)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: print('x' * 10_000, flush=True)",
        "os.close(report); os.close(1); os.close(2); time.sleep(600)",
        "while True: os.write(report, b' ' * 10_000)",
    ],
)
def test_a_child_that_hangs_is_killed_in_time(tmp_path: Path, script: str) -> None:
    began = time.monotonic()
    report = self_test(tmp_path, SelfTestLimits(wall_s=0.5), command=_misbehaving(script))
    assert report.code == "E_SELFTEST_TIMEOUT"
    assert time.monotonic() - began < 10


def test_a_child_that_burns_processor_time_is_ended_by_the_kernel(tmp_path: Path) -> None:
    report = self_test(tmp_path, SelfTestLimits(cpu_s=1, wall_s=60), command=_misbehaving("while True: pass"))
    assert report.code == "E_SELFTEST_TIMEOUT"
    assert "1 s of processor time" in report.text


def test_a_child_of_the_child_does_not_outlive_it(tmp_path: Path) -> None:
    """It holds the pipes open, too, and is not waited for."""
    script = f"""
        subprocess.Popen(["sleep", "{_SLEEP}"], close_fds=False)
        os.write(report, b'{{}}')
    """
    began = time.monotonic()
    report = self_test(tmp_path, command=_misbehaving(script))
    assert report.passed
    assert time.monotonic() - began < 30
    deadline = time.monotonic() + 5
    while _sleepers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _sleepers()


def _sleepers() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                is_sleeper = (entry / "cmdline").read_bytes() == f"sleep\0{_SLEEP}\0".encode()
            except OSError:
                continue
            if is_sleeper and state != "Z":
                found.append(entry.name)
    return found


def test_the_child_has_limits_no_input_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
        names = ("AS", "CPU", "CORE", "FSIZE")
        limits = [resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names]
        try:
            open({str(tmp_path / "written")!r}, "wb", buffering=0).write(b"x")
            wrote = True
        except OSError:
            wrote = False
        facts = [limits, sys.stdin.read(), wrote, os.getpgid(0) == os.getpid(), "NOTIFY_SOCKET" in os.environ]
        os.write(report, json.dumps(dict(text=json.dumps(facts))).encode())
    """
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    report = self_test(tmp_path, SelfTestLimits(address_mb=300, cpu_s=7), command=_misbehaving(script))
    limits, typed, wrote, is_leader, has_socket = json.loads(report.text)
    assert limits == [[300 << 20, 300 << 20], [7, 8], [0, 0], [0, 0]]
    assert (typed, wrote, is_leader, has_socket) == ("", False, True, False)


def test_a_command_that_cannot_be_started_is_a_report(tmp_path: Path) -> None:
    report = self_test(tmp_path, command=("/nowhere/python",))
    assert report.code == "E_SELFTEST"
    assert "/nowhere/python" in report.text


def test_too_little_address_space_is_a_report(good: Path) -> None:
    assert self_test(good, SelfTestLimits(address_mb=200)).code in ("E_SELFTEST", "E_LOAD", "E_BUDGET")


def test_every_mutant_is_refused_or_says_the_same_as_the_good_model(good: Path, tmp_path: Path) -> None:
    jury = Judge(good, pictures(seed=2))
    tried = mutants((good / "model.tflite").read_bytes(), MUTANTS, seed=3)
    verdicts = []
    for mutant in tried:
        verdict, report = jury.try_out(write_mutant(good, tmp_path / "mutant", mutant))
        assert verdict != "accepted_wrong", (mutant.kind, report)
        assert mutant.is_rehashed or report.code == "E_MANIFEST"
        verdicts.append(verdict)
    assert verdicts.count("refused") > MUTANTS // 4
    assert verdicts.count("equal") > 0, "some damage does no harm, or nothing was really tried"


# Golden cases.


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"input": np.zeros((2, 1, 32, 32, 3), np.uint8)}, r"input: expected int8\[2, 1, 32, 32, 3\], found uint8"),
        ({"input": np.zeros((0, 1, 32, 32, 3), np.int8)}, "expected 1 to 256 cases, found 0"),
        ({"input": np.int8(1)}, "expected 1 to 256 cases, found 0"),
        ({"output.scores": np.zeros((3, 1, 512, 2), np.int8)}, r"output.scores: expected int8\[2, 1, 512, 2\]"),
        ({"output.more": np.zeros(2)}, "found .*output.more"),
        ({"input": np.array([{}, {}], object)}, "Object arrays cannot be loaded"),
    ],
)
def test_golden_cases_that_do_not_fit_are_refused(
    copy: Path, tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    arrays = {
        "input": np.zeros((2, 1, 32, 32, 3), np.int8),
        "output.boxes": np.zeros((2, 1, 512, 4), np.int8),
        "output.scores": np.zeros((2, 1, 512, 2), np.int8),
    }
    path = tmp_path / "cases.npz"
    np.savez(path, **(arrays | changes))
    with pytest.raises(ManifestError, match=match):
        golden.read_golden(path, Model.load(copy))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00", b"<html>"])
def test_what_is_no_npz_is_refused(copy: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cases.npz"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"expected golden cases in an \.npz file"):
        golden.read_golden(path, Model.load(copy))


def test_cases_that_unpack_to_too_much_are_refused_unread(copy: Path, tmp_path: Path) -> None:
    path = tmp_path / "cases.npz"
    np.savez_compressed(path, input=np.zeros(golden.MAX_BYTES + 1, np.int8))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ManifestError, match="bytes unpacked"):
        golden.read_golden(path, Model.load(copy))


def test_changed_golden_cases_are_told_by_their_hash(copy: Path) -> None:
    path = copy / GOLDEN_NAME
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    report = self_test(copy)
    assert report.code == "E_MANIFEST"
    assert GOLDEN_NAME in report.text


def test_steps_of_quantized_and_of_float_outputs() -> None:
    int8 = np.array([-128, 0, 127], np.int8)
    assert golden.steps_apart(int8, np.array([127, 0, 127], np.int8), 1.0) == 255
    reals = np.array([0.0, 1.0], np.float32)
    assert golden.steps_apart(reals, reals + np.float32(0.5), 1 / 255) == pytest.approx(127.5)
    assert golden.steps_apart(reals, np.array([np.nan, 1.0], np.float32), 1 / 255) > 255


def test_a_clear_detection_must_have_its_like_and_a_faint_one_need_not() -> None:
    one, moved = Box(0.1, 0.1, 0.5, 0.5), Box(0.15, 0.1, 0.55, 0.5)
    clear, faint = Detection(one, 0.9, 0), Detection(one, 0.55, 0)
    assert golden.say_the_same([clear], [Detection(moved, 0.55, 0)], 0.6)
    assert golden.say_the_same([faint], [], 0.6)
    assert not golden.say_the_same([clear], [], 0.6)
    assert not golden.say_the_same([], [clear], 0.6)
    assert not golden.say_the_same([clear], [Detection(one, 0.9, 1)], 0.6)
    assert not golden.say_the_same([clear], [Detection(Box(0.6, 0.6, 1.0, 1.0), 0.9, 0)], 0.6)


def test_golden_writer_wants_cases(good: Path) -> None:
    with pytest.raises(ValueError, match="expected 1 to 256 pictures, found 0"):
        write_golden(good, [])


def test_cases_made_with_letterboxed_pictures_hold_what_the_model_was_given(tmp_path: Path) -> None:
    make_model_folder(tmp_path, resize="letterbox")
    write_golden(tmp_path, [bright_spot(240, 120)])
    with np.load(tmp_path / GOLDEN_NAME) as arrays:
        tensor = arrays["input"][0, 0].view(np.uint8) ^ 0x80
    assert (tensor[:8] == 114).all(), "the bars above the picture"
    assert self_test(tmp_path).passed

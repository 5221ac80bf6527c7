"""Each judgement: what makes it warn or fail, and that it then says what to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgeapp import RELEASE_YEAR
from edgeapp.config import CameraConfig, InferenceConfig
from edgeapp.doctor import judge
from edgeapp.doctor.judge import Access, FolderLook, Person
from edgeapp.doctor.looks import CameraLook, ModelLook, RuntimeLook, Trouble
from edgeapp.doctor.report import Finding
from edgeapp.errors import ConfigError
from edgeapp.messaging import tls
from edgeapp.status import Line
from edgeapp.system.board import Board
from edgeapp.types import Advice, DelegateReport, ModelReport
from edgeapp.vision.tuning import Measured

_BOARD = Board(
    name="Raspberry Pi 4 Model B Rev 1.4", os_name="Debian GNU/Linux 12 (bookworm)", kernel="6.6.31", machine="aarch64",
    kernel_bits=64, userland_bits=64, cores=4, total_mb=1849.0, available_mb=1500.0,
)  # fmt: skip
_DELEGATE = DelegateReport("xnnpack", 125, 123, 2, {"CONCATENATION": 2})
_RUNTIME = RuntimeLook(
    numpy="2.4.6", opencv="5.0.0", runtime="ai-edge-litert 2.3.0", delegate=DelegateReport("xnnpack", 1, 1, 1), error=""
)
_REPORT = ModelReport("person", 4, "ab" * 32, "int8", ("person", "bicycle"), "ai-edge-litert 2.3.0", 1, _DELEGATE)
_MODEL = ModelLook(model=_REPORT, invoke_ms=50.0, peak_mb=80.0)
_INFERENCE = InferenceConfig(model_dir="/models/person", max_fps=10.0)
_V4L2 = CameraConfig(kind="v4l2", source="/dev/video0")
_CAMERA = CameraLook(width=640, height=480, pixel_format="YUYV", fps=14.9, frames=45, picture="ok")
_NEXT_YEAR_S = (RELEASE_YEAR + 1.5 - 1970) * 365.2425 * 86400
_ROOT = Person(name="root", uid=0, groups={0: "root"})
_PI = Person(name="pi", uid=1000, groups={1000: "pi", 44: "video"})
_FOLDER = FolderLook(
    path="/var/lib/edgeapp",
    access=Access(path="/var/lib/edgeapp", owner="pi", uid=1000, gid=1000, mode=0o755),
    error="",
    is_read_only=False,
    free_bytes=1 << 30,
)


def access(owner: str = "root", uid: int = 0, gid: int = 0, mode: int = 0o644) -> Access:
    return Access(path="/etc/secret", owner=owner, uid=uid, gid=gid, mode=mode)


def warned(finding: Finding) -> Finding:
    """A finding that is not ok says what to do."""
    assert finding.level != "ok"
    assert finding.do
    return finding


def test_a_wrong_configuration_says_what_comes_later() -> None:
    error = ConfigError("c.yaml:3: mqtt.port: expected 1 to 65535 TCP port, found 0")
    found = warned(judge.configuration("c.yaml", error, access(), has_secret=False))
    assert (found.level, found.found) == ("fail", str(error))
    assert "edgeapp check-config c.yaml" in found.do


@pytest.mark.parametrize(
    ("mode", "has_secret", "level"), [(0o644, True, "warn"), (0o640, True, "ok"), (0o644, False, "ok")]
)
def test_a_camera_password_that_everybody_can_read_is_noticed(mode: int, has_secret: bool, level: str) -> None:
    assert judge.configuration("c.yaml", None, access(mode=mode), has_secret=has_secret).level == level


def runtime(look: RuntimeLook = _RUNTIME, board: Board = _BOARD, python: tuple[int, int, int] = (3, 11, 2)) -> Finding:
    return judge.runtime(look, python=python, executable="/opt/edgeapp/bin/python", board=board)


def test_a_runtime_that_works_names_its_libraries() -> None:
    found = runtime()
    assert found.level == "ok"
    assert found.found.startswith("Python 3.11.2, NumPy 2.4.6, OpenCV 5.0.0, ai-edge-litert 2.3.0: ")


def test_the_old_runtime_under_a_new_numpy_names_the_pins_that_belong_together() -> None:
    text = "m.tflite: expected a model that tflite-runtime 2.14.0 can run, found: _ARRAY_API not found"
    look = dataclasses.replace(_RUNTIME, runtime="", numpy="2.1.0", delegate=None, error=text)
    found = warned(runtime(look))
    assert found.level == "fail"
    assert "/opt/edgeapp/bin/python -m pip install 'numpy<2' 'opencv-python-headless<=4.11.0.86'" in found.do


def test_no_runtime_at_all_says_which_to_install() -> None:
    text = "expected ai-edge-litert or tflite-runtime to be installed, found neither: …"
    found = warned(runtime(dataclasses.replace(_RUNTIME, runtime="", delegate=None, error=text)))
    assert "ai-edge-litert>=2.3" in found.do


def test_no_runtime_on_32_bit_is_no_matter_of_pip() -> None:
    look = dataclasses.replace(_RUNTIME, runtime="", numpy="1.26.4", delegate=None, error="found neither")
    assert "64-bit system" in warned(runtime(look, dataclasses.replace(_BOARD, userland_bits=32))).do


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"opencv": ""}, "fail"),
        ({"runtime": "tflite-runtime 2.14.0"}, "warn"),
        ({"delegate": DelegateReport("none", 1, 0, 0, {"CONV_2D": 1})}, "warn"),
    ],
)
def test_a_runtime_that_lacks_something(changes: dict[str, Any], level: str) -> None:
    assert warned(runtime(dataclasses.replace(_RUNTIME, **changes))).level == level


@pytest.mark.parametrize(("python", "level"), [((3, 11, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "warn")])
def test_a_python_that_nobody_tried_is_said(python: tuple[int, int, int], level: str) -> None:
    assert runtime(python=python).level == level


def model(look: ModelLook | Trouble = _MODEL, *, cores: int = 4, classes: tuple[str, ...] = ("person",)) -> Finding:
    return judge.model(look, _INFERENCE, cores=cores, classes=classes)


def test_a_good_model_tells_what_the_delegate_took_and_left() -> None:
    found = model()
    assert (found.level, found.do) == ("ok", "")
    assert "xnnpack took 123 of 125 nodes in 2 partitions, left: 2 CONCATENATION" in found.found
    assert "about 50 ms an inference with 1 thread, 80 MiB" in found.found


def test_what_is_to_be_known_of_a_model_is_passed_on_with_its_cure() -> None:
    advice = (Advice("it is dynamic", "quantize it"), Advice("it is slow", "wait"), Advice("it is old", "quantize it"))
    found = warned(model(dataclasses.replace(_MODEL, model=dataclasses.replace(_REPORT, advice=advice))))
    assert found.level == "warn"
    assert found.found.splitlines()[1:] == ["it is dynamic", "it is slow", "it is old"]
    assert found.do.splitlines() == ["quantize it", "wait"]


def test_a_library_and_xnnpack_are_told_with_what_each_took() -> None:
    both = DelegateReport("libarmnn.so", 125, 123, 4, {"CUSTOM": 2}, by_library=100)
    assert "libarmnn.so took 100 and xnnpack 23 of 125 nodes in 4 partitions, left: 2 CUSTOM" in (
        model(dataclasses.replace(_MODEL, model=dataclasses.replace(_REPORT, delegate=both))).found
    )


def test_auto_without_a_measurement_is_said_with_what_runs_meanwhile() -> None:
    found = warned(judge.tuning(None, _INFERENCE))
    assert (found.level, "delegate xnnpack, 1 thread" in found.found) == ("warn", True)
    assert "edgeapp tune" in found.do


def test_auto_with_a_measurement_tells_its_choice() -> None:
    found = judge.tuning(Measured(delegate="none", threads=2, median_ms=5.03, p99_ms=7.0), _INFERENCE)
    assert found.level == "ok"
    assert found.found == "delegate none, 2 threads: measured best on this board, 5.0 ms an inference"


@pytest.mark.parametrize(
    ("threads", "cores", "level"), [(3, 4, "ok"), (4, 4, "warn"), (2, 2, "warn"), (1, 2, "ok"), (1, 1, "ok")]
)
def test_one_core_is_to_be_left_to_the_camera(threads: int, cores: int, level: str) -> None:
    look = dataclasses.replace(_MODEL, model=dataclasses.replace(_REPORT, threads=threads))
    found = model(look, cores=cores)
    assert found.level == level
    assert (f"inference.threads to {cores - 1}" in found.do) == (level == "warn")


@pytest.mark.parametrize(("invoke_ms", "level"), [(99.0, "ok"), (150.0, "warn")])
def test_a_rate_that_cannot_be_reached_is_said(invoke_ms: float, level: str) -> None:
    found = model(dataclasses.replace(_MODEL, invoke_ms=invoke_ms))
    assert found.level == level
    assert ("at most 6.7" in found.found) == (level == "warn")


def test_classes_that_the_model_does_not_know_fail() -> None:
    found = warned(model(classes=("person", "lorry")))
    assert found.level == "fail"
    assert "lorry" in found.found
    assert "person, bicycle" in found.do


def test_an_unknown_delegate_is_not_called_none() -> None:
    report = dataclasses.replace(_REPORT, delegate=DelegateReport("unknown", 0, 0, 0))
    assert "cannot be read" in model(dataclasses.replace(_MODEL, model=report)).found


def test_a_torn_model_is_to_be_copied_again() -> None:
    found = warned(model(Trouble(code="E_MANIFEST", text="expected sha256 ab, found cd")))
    assert found.level == "fail"
    assert "ls -l /models/person" in found.do


def test_a_camera_that_gives_what_was_asked_is_ok() -> None:
    found = judge.camera(_CAMERA, _V4L2)
    assert found == Finding("camera", "ok", "v4l2, 640 x 480 YUYV, 14.9 fps")


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"picture": "black"}, "fail"),
        ({"picture": "frozen"}, "fail"),
        ({"width": 320, "height": 240}, "warn"),
        ({"fps": 7.5}, "warn"),
        ({"fps": 0.0}, "warn"),
    ],
)
def test_a_camera_that_gives_something_else(changes: dict[str, Any], level: str) -> None:
    assert warned(judge.camera(dataclasses.replace(_CAMERA, **changes), _V4L2)).level == level


@pytest.mark.parametrize("kind", ["v4l2", "picamera2", "rtsp", "video", "images"])
def test_every_kind_of_source_has_advice_when_it_does_not_open(kind: Any) -> None:
    found = warned(judge.camera(Trouble(code="E_CAMERA", text="no such thing"), CameraConfig(kind=kind, source="x")))
    assert (found.level, found.found) == ("fail", "no such thing")


def test_a_camera_in_use_keeps_the_level_of_the_status() -> None:
    assert judge.camera_in_use(Line("camera", "ok", "v4l2, 15.0 fps")).level == "ok"
    assert warned(judge.camera_in_use(Line("camera", "fail", "v4l2: retrying"))).level == "fail"
    assert warned(judge.camera_in_use(None)).level == "warn"


@pytest.mark.parametrize(("kernel_bits", "words"), [(64, "on a 64-bit kernel"), (32, "and a 32-bit kernel")])
def test_32_bit_programs_are_warned_of(kernel_bits: int, words: str) -> None:
    assert judge.board(_BOARD).level == "ok"
    found = warned(judge.board(dataclasses.replace(_BOARD, userland_bits=32, kernel_bits=kernel_bits)))
    assert words in found.found


@pytest.mark.parametrize(
    ("total_mb", "available_mb", "is_running", "level"),
    [
        (426.0, 300.0, False, "ok"),
        (426.0, 100.0, False, "warn"),
        (128.0, 100.0, False, "fail"),
        (426.0, 100.0, True, "ok"),
        (None, None, False, "warn"),
    ],
)
def test_memory(total_mb: float | None, available_mb: float | None, is_running: bool, level: str) -> None:
    board = dataclasses.replace(_BOARD, total_mb=total_mb, available_mb=available_mb)
    assert judge.memory(board, is_running=is_running).level == level


def folder(person: Person = _PI, needed_bytes: int = 20 << 20, **changes: Any) -> Finding:
    return judge.folder("state_dir", dataclasses.replace(_FOLDER, **changes), person, needed_bytes=needed_bytes)


def test_a_good_folder_tells_owner_mode_and_room() -> None:
    assert folder().found == "/var/lib/edgeapp: owner pi, mode 0755, 1.0 GiB free; pi may write"
    assert folder(access=None).level == "ok"


@pytest.mark.parametrize(
    ("changes", "level", "do"),
    [
        ({"is_read_only": True, "error": "Read-only file system"}, "fail", "dmesg"),
        ({"free_bytes": 1 << 20}, "fail", "df -h"),
        ({"free_bytes": 19 << 20}, "warn", "telemetry.spool_max_reports"),
        ({"error": "Permission denied", "access": access("root", 0, 0, 0o755)}, "fail", "chown pi"),
        ({"error": "Permission denied", "access": access("edgeapp", 990, 990, 0o750)}, "warn", "sudo -u edgeapp"),
        ({"error": "Permission denied", "access": None}, "warn", "install -d"),
    ],
)
def test_a_folder_that_cannot_serve(changes: dict[str, Any], level: str, do: str) -> None:
    found = warned(folder(**changes))
    assert found.level == level
    assert do in found.do


@pytest.mark.parametrize(
    ("temp_c", "is_expected", "level"),
    [(54.0, True, "ok"), (81.0, True, "warn"), (None, True, "warn"), (None, False, "ok")],
)
def test_heat(temp_c: float | None, is_expected: bool, level: str) -> None:
    assert judge.heat(temp_c, is_expected=is_expected, zones={}).level == level


@pytest.mark.parametrize(
    ("bits", "level", "words", "do"),
    [
        (0x0, "ok", "neither", ""),
        (0x1, "fail", "under-voltage now", "power supply"),
        (0x10000, "warn", "under-voltage: has occurred", "power supply"),
        (0x50005, "fail", "under-voltage now; throttled now", "power supply"),
        (0x4, "warn", "throttled now", "heat sink"),
        (0x20000, "warn", "the clock is capped: has occurred", "heat sink"),
        (0x8, "ok", "at the soft temperature limit now", ""),  # on a 3B+ from 60 °C on, and costs little
    ],
)
def test_the_bits_of_the_firmware_in_words(bits: int, level: str, words: str, do: str) -> None:
    found = judge.power(bits, is_expected=True)
    assert found.level == level
    assert words in found.found
    assert do in found.do


def test_bits_that_a_raspberry_pi_does_not_give_are_warned_of_elsewhere_not() -> None:
    assert warned(judge.power(None, is_expected=True)).level == "warn"
    assert judge.power(None, is_expected=False).level == "ok"


@pytest.mark.parametrize(
    ("now_s", "is_synchronised", "level"),
    [
        (0.0, True, "fail"),
        (1_700_000_000.0, True, "fail"),  # 2023: a board without a battery after a power cut
        (_NEXT_YEAR_S, True, "ok"),
        (_NEXT_YEAR_S, False, "warn"),
        (_NEXT_YEAR_S, None, "warn"),
    ],
)
def test_clock(now_s: float, is_synchronised: bool | None, level: str) -> None:
    assert judge.clock(now_s, is_synchronised=is_synchronised).level == level


def test_a_broker_that_welcomes_us_tells_how_soon() -> None:
    found = judge.broker("b.lan:1883", "", 12.4, way="MQTT 5")
    assert found.found == "b.lan:1883: welcomes us after 12 ms, MQTT 5"


@pytest.mark.parametrize(
    ("error", "do"),
    [
        ("name not found", "getent hosts b.lan"),
        ("connection refused", "mqtt.port (1883)"),
        ("no route", "ip route"),
        ("no answer within 5 s", "ping b.lan"),
        ("not authorised: user name or password is wrong", "mqtt.username"),
        ("password file /x cannot be read: No such file or directory", "mqtt.password_file"),
        ("what answers does not speak MQTT", "mqtt.tls"),
        ("closed before the broker's welcome: is that port one for TLS? See mqtt.tls", "mqtt.port"),
        (tls.NO_TLS, "8883"),
        (tls.WANTS_CERTIFICATE, "set both"),
        ("the broker's certificate has expired: renew it", "openssl s_client -connect b.lan:1883"),
        ("the broker refuses our certificate (mqtt.tls.cert_file): unknown ca", "which authority"),
        ("the broker speaks no TLS that is new enough", "update the broker"),
        ("mqtt.tls.ca_file /x cannot be read: No such file or directory", "read it"),
        ("something nobody has seen", "log"),
    ],
)
def test_each_refusal_of_a_broker_has_its_own_advice(error: str, do: str) -> None:
    found = warned(judge.broker("b.lan:1883", error, 1.0, way="MQTT 5"))
    assert (found.level, found.found) == ("fail", f"b.lan:1883: {error}")
    assert do in found.do


@pytest.mark.parametrize(
    ("found", "is_readable", "level"),
    [
        (access("pi", 1000, 1000, 0o600), True, "ok"),
        (access("pi", 1000, 1000, 0o644), True, "fail"),
        (access("root", 0, 0, 0o600), False, "warn"),
        (None, False, "fail"),
    ],
)
def test_a_secret_is_for_the_service_alone(found: Access | None, is_readable: bool, level: str) -> None:
    finding = judge.secret_file("tls_key", "mqtt.tls.key_file", found, "/etc/secret", _PI, is_readable=is_readable)
    assert (finding.name, finding.level) == ("tls_key", level)


@pytest.mark.parametrize(
    ("found", "is_root", "level", "do"),
    [
        (access("root", 0, 0, 0o600), True, "ok", ""),
        (access("root", 0, 0, 0o640), True, "fail", "chmod 600"),
        (access("pi", 1000, 1000, 0o600), True, "fail", "chown root:root"),
        (None, True, "fail", "mqtt.tls.key_file"),
        (None, False, "warn", "sudo edgeapp doctor"),
    ],
)
def test_a_credential_is_for_root_alone(found: Access | None, is_root: bool, level: str, do: str) -> None:
    finding = judge.credential("tls_key", "mqtt.tls.key_file", found, "/etc/edgeapp/credentials/key", is_root=is_root)
    assert (finding.name, finding.level) == ("tls_key", level)
    assert do in finding.do


def test_a_root_of_trust_says_who_signs_it_and_a_wrong_one_where_to_get_it() -> None:
    finding = judge.trust("/etc/edgeapp/1.root.json", "", version=1, keys=3, threshold=2)
    assert (finding.level, "2 of 3 keys" in finding.found) == ("ok", True)
    finding = judge.trust("/etc/edgeapp/1.root.json", "no such file")
    assert (finding.level, "no such file" in finding.found, "1.root.json" in finding.do) == ("fail", True, True)


@pytest.mark.parametrize(
    ("found", "person", "is_readable", "level"),
    [
        (access("root", 0, 0, 0o755), _PI, True, "ok"),
        (access("pi", 1000, 1000, 0o755), _PI, True, "warn"),
        (access("root", 0, 1000, 0o775), _PI, True, "warn"),
        (access("root", 0, 7, 0o775), _PI, True, "ok"),
        (access("root", 0, 0, 0o777), _PI, True, "warn"),
        (access("root", 0, 0, 0o755), _ROOT, True, "ok"),
        (access("root", 0, 0, 0o777), _ROOT, True, "warn"),
        (access("root", 0, 0, 0o700), _PI, False, "fail"),
        (None, _PI, False, "fail"),
    ],
)
def test_the_model_is_to_be_read_and_not_written(
    found: Access | None, person: Person, is_readable: bool, level: str
) -> None:
    assert judge.model_folder(found, "/models", person, is_readable=is_readable).level == level


def test_the_permission_bits_are_those_of_owner_or_group_or_others() -> None:
    theirs = access("pi", 1000, 44, 0o640)
    others = Person(name="guest", uid=2000, groups={2000: "guest"})
    grouped = Person(name="edgeapp", uid=990, groups={44: "video"})
    assert [judge.allows(theirs, one, judge.READ) for one in (_ROOT, _PI, grouped, others)] == [True, True, True, False]
    assert [judge.allows(theirs, one, judge.WRITE) for one in (_ROOT, _PI, grouped, others)] == [
        True, True, False, False,
    ]  # fmt: skip
    # As the kernel does it: who owns a file has the owner's bits, even where the group has more.
    assert not judge.allows(access("pi", 1000, 44, 0o070), _PI, judge.READ)


def test_the_group_video_is_asked_for() -> None:
    guest = Person(name="guest", uid=2000, groups={2000: "guest"})
    assert judge.video_group(_PI, kind="v4l2").level == "ok"
    assert judge.video_group(_ROOT, kind="v4l2").level == "ok"
    assert "usermod -aG video guest" in warned(judge.video_group(guest, kind="v4l2")).do


def test_root_is_told_to_ask_as_the_service() -> None:
    assert "sudo -u edgeapp edgeapp doctor" in warned(judge.user(_ROOT, Person(name="edgeapp", uid=990, groups={}))).do
    assert judge.user(_PI, None) == Finding("user", "ok", "pi, in the groups pi, video")

"""Attacks by the model itself: genuine releases whose model is damaged, hostile or too dear."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from edgeapp.updates.codes import UpdateError, hold
from edgeapp.updates.release import TensorFacts, check_tensors, read_release
from edgeapp.vision.selftest import SelfTestLimits, self_test
from edgeapp.workshop.golden_writer import write_golden
from tests.fakes.attacks import Target, attack
from tests.fakes.releases import manifest
from tests.fakes.tiny_models import bright_spot, endless_model, make_model_folder


def _folder(target: Target) -> Path:
    folder = make_model_folder(target.folder / "model")
    write_golden(folder, [bright_spot(64, 64)])
    return folder


def _replace_model(folder: Path, content: bytes) -> None:
    """Another model file, with the hash that it has: the signers were deceived."""
    (folder / "model.tflite").write_bytes(content)
    described = json.loads((folder / "model.json").read_text())
    described["model"].update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    (folder / "model.json").write_text(json.dumps(described))


@attack("model: torn file, signed as it is", "E_LOAD")
def _(target: Target) -> str:
    folder = _folder(target)
    _replace_model(folder, (folder / "model.tflite").read_bytes()[:3000])
    return self_test(folder).code


@attack("model: answers otherwise than its golden cases say", "E_GOLDEN")
def _(target: Target) -> str:
    folder = _folder(target)
    content = bytearray((folder / "model.tflite").read_bytes())
    weights = content.index(bytes([127]) * 64)
    content[weights : weights + 64] = bytes([129]) * 64
    _replace_model(folder, bytes(content))
    return self_test(folder).code


@attack("model: gives no numbers", "E_LOAD")
def _(target: Target) -> str:
    return self_test(make_model_folder(target.folder / "model", dtype="float32", nan_above=-1.0)).code


@attack("model: slower than its budget", "E_BUDGET")
def _(target: Target) -> str:
    return self_test(_folder(target), SelfTestLimits(p95_ms=1e-6)).code


@attack("model: eats more memory than its budget", "E_BUDGET")
def _(target: Target) -> str:
    return self_test(_folder(target), SelfTestLimits(peak_mb=1.0)).code


@attack("model: hangs", "E_SELFTEST_TIMEOUT")
def _(target: Target) -> str:
    command = ("python3", "-c", "import time; time.sleep(60)")
    return self_test(_folder(target), SelfTestLimits(wall_s=0.5), command=command).code


@attack("model: crashes the runtime", "E_LOAD_CRASH")
def _(target: Target) -> str:
    folder = _folder(target)
    _replace_model(folder, endless_model())
    return self_test(folder).code


@attack("model: tensors of another shape than its manifest's", "E_COMPAT_IO")
def _(target: Target) -> str:
    content = json.dumps(manifest(7)).encode()
    release = read_release(content, "releases/person/7.json")
    found = {"image": TensorFacts(shape=(1, 300, 300, 3), dtype="int8", scale=0.0078, zero_point=-1)}
    try:
        hold(check_tensors(release, found))
    except UpdateError as error:
        return error.code
    return "accepted"

"""Level 1 of the device test: emulation of a processor, and of a whole machine.

The product's aarch64 wheels run on the processors of Raspberry Pi 3, 4 and 5; the steps of the deployment scripts there
are in `arm_deployment.py`, the machine's in `emulated.py`.
A model with golden cases that were written here is put to the product's own self-test there: it loads, its outputs lie
within the steps that its manifest allows, and the same things are detected. Emulation says nothing about speed.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeapp.errors import FetchError
from edgeapp.vision.golden import INPUT
from edgeapp.vision.model_folder import read_manifest
from edgeapp.vision.selftest import SelfTestLimits, self_test
from edgeapp.workshop.demo_assets import default_cache
from edgeapp.workshop.golden_writer import write_golden
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.progress import silent
from tests.fakes.bench import arm_board, arm_root, mobilenet
from tests.fakes.field import arm_deployment, emulated, emulated_device
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.tiny_models import DecoderName, DtypeName, bright_spot, make_model_folder

PACKAGES = ("qemu-user", *arm_deployment.PACKAGES, *emulated_device.PACKAGES)
_MAX_STEPS = 1
_LIMITS = SelfTestLimits(wall_s=600.0, cpu_s=600, address_mb=64 * 1024, invokes=3, measure_s=60.0)
_NET_PX = 128
_NET_GAIN = 300.0  # so that its scores differ by much from picture to picture
_SMALL: dict[str, tuple[DecoderName, DtypeName]] = {
    "int8 SSD": ("ssd_raw", "int8"),
    "int8 YOLO": ("yolo", "int8"),
    "uint8 classifier": ("classifier", "uint8"),
}


def run(account: Account, work: Path, accelerator: emulated.Choice) -> None:
    """All steps of level 1 beyond level 0; `accelerator` is the emulated machine's, where one is chosen.

    That machine takes one processor of this one, so the rest is beside it.
    """

    def work_on_arm() -> None:
        _run_on_processors(account)
        arm_deployment.run(account, work / "arm")

    account.side_by_side(work_on_arm, partial(emulated.run, account, work, accelerator))


def _run_on_processors(account: Account) -> None:
    prepare, prepared = "arm: Debian's arm64 packages and aarch64 wheels", list[Path]()
    names = {cpu: f"arm: {cpu} answers as this machine does" for cpu in arm_board.CPUS}
    if not account.wants(prepare, *names.values()):
        return
    has_root = account.step(prepare, partial(_prepare, prepared), is_base=True)
    for cpu, name in names.items():
        account.step(
            name,
            lambda cpu=cpu: _answers(cpu, prepared[0]),  # type: ignore[misc]
            needs=has_root,
            otherwise="there are no aarch64 packages",
        )


def _prepare(prepared: list[Path]) -> str:
    if shutil.which("qemu-aarch64") is None:
        raise DidNotRunError("needs qemu-aarch64: install the Debian package qemu-user")
    try:
        prepared.append(arm_root.prepare(default_cache(), silent))
    except FetchError as error:
        raise DidNotRunError(str(error)) from error
    return f"{len((prepared[0] / 'packages.txt').read_text().splitlines())} packages, verified"


def _answers(cpu: str, prepared: Path) -> str:
    """Each model's self-test there, against golden cases from here; then cases that it must fail."""
    found = []
    with tempfile.TemporaryDirectory(prefix="device-test-arm-") as scratch:
        folder = Path(scratch)
        command = [*arm_board.python_command(cpu, prepared, folder), "-m", "edgeapp.vision.selftest_child"]
        for name, model in _make_models(folder).items():
            write_golden(model, _pictures(), max_steps=_MAX_STEPS)
            report = self_test(model, _LIMITS, command=command)
            assert report.passed, f"{name}: {report.code}: {report.text}"
            assert report.golden is not None
            assert report.golden.agreement == 1.0, f"{name}: {report.golden}"
            found.append(f"{name} {report.golden.worst_steps:.2g}")
            _falsify(model)
            wrong = self_test(model, _LIMITS, command=command)
            assert wrong.code == "E_GOLDEN", f"{name}: falsified cases pass: {wrong.code}"
    return f"steps apart: {', '.join(found)}; falsified cases are refused"


def _make_models(folder: Path) -> dict[str, Path]:
    """A real network of random weights, and small ones with each kind of output."""
    made = {"MobileNetV1 0.25": folder / "mobilenet"}
    net = mobilenet.mobilenet_v1(0.25, _NET_PX, gain=_NET_GAIN, lead=0.0)
    mobilenet.write_int8_folder(made["MobileNetV1 0.25"], net, _NET_PX, _pictures(size_px=_NET_PX))
    for name, (decoder, dtype) in _SMALL.items():
        made[name] = make_model_folder(folder / name.replace(" ", "-"), decoder=decoder, dtype=dtype)
    return made


def _pictures(size_px: int = 64) -> list[npt.NDArray[np.uint8]]:
    """A bright spot in three places, a dark picture, and noise."""
    noise = np.random.default_rng(5).integers(0, 256, (size_px, size_px, 3), np.uint8)
    spots = [bright_spot(size_px, size_px, centre=(x, x)) for x in (0.3, 0.5, 0.7)]
    return [*spots, bright_spot(size_px, size_px, colour_bgr=(16, 16, 16)), noise]


def _falsify(folder: Path) -> None:
    """Have the golden cases expect something else: each output of a case is another case's."""
    manifest = read_manifest(folder)
    assert manifest.golden is not None
    path = folder / manifest.golden.cases.file
    with np.load(path) as saved:
        arrays = {name: saved[name] if name == INPUT else np.roll(saved[name], 1, axis=0) for name in saved.files}
    np.savez_compressed(path, **arrays)
    write_manifest(folder, replace(manifest, golden=replace(manifest.golden, cases=describe_file(path))))

"""Judges what infers: the libraries, the configured model, and whether its speed was measured. Pure."""

from __future__ import annotations

from edgeapp.config import InferenceConfig
from edgeapp.doctor.looks import ModelLook, RuntimeLook, Trouble
from edgeapp.doctor.report import Judgement
from edgeapp.status import Level
from edgeapp.system.board import Board
from edgeapp.types import DelegateReport
from edgeapp.vision.tuning import Measured, settle
from edgeapp.words import counted

_TRIED_PYTHONS = ((3, 11), (3, 13))
_OLD_RUNTIME = "tflite-runtime"
_NEW_RUNTIME_PIN = "'ai-edge-litert>=2.3,<3'"
_OLD_RUNTIME_PINS = "'numpy<2' 'opencv-python-headless<=4.11.0.86'"


def runtime(look: RuntimeLook, *, python: tuple[int, int, int], executable: str, board: Board) -> Judgement:
    """The libraries, and whether an interpreter could be built."""
    version = ".".join(str(number) for number in python)
    found = [f"Python {version}", f"NumPy {look.numpy or 'MISSING'}", f"OpenCV {look.opencv or 'MISSING'}"]
    found += [look.runtime] if look.runtime else []
    pip = f"{executable} -m pip install"

    def told(level: Level, text: str, advice: str = "") -> Judgement:
        return Judgement(level, f"{', '.join(found)}: {text}", advice)

    if look.error:
        return told("fail", look.error, _runtime_advice(look, pip, board))
    if not look.opencv:
        return told("fail", "OpenCV cannot be imported, so there is no camera", f"{pip} 'opencv-python-headless>=4.10'")
    if look.runtime.startswith(_OLD_RUNTIME):
        advice = _64_bit_advice(board) or f"{pip} {_NEW_RUNTIME_PIN}"
        return told("warn", "works, but this older runtime delegates no int8 convolution to XNNPACK", advice)
    if look.delegate is not None and look.delegate.nodes and not look.delegate.delegated:
        text = "works, but XNNPACK does not take an int8 convolution: int8 models will be slow"
        return told("warn", text, f"{pip} --force-reinstall {_NEW_RUNTIME_PIN}")
    if not _TRIED_PYTHONS[0] <= python[:2] <= _TRIED_PYTHONS[1]:
        return told("warn", "works, but edgeapp is tried with Python 3.11 to 3.13 only")
    return told("ok", "runs an int8 convolution through XNNPACK")


def _runtime_advice(look: RuntimeLook, pip: str, board: Board) -> str:
    is_numpy_2 = look.numpy.partition(".")[0].isdecimal() and int(look.numpy.partition(".")[0]) >= 2
    if _OLD_RUNTIME in f"{look.runtime} {look.error}" and is_numpy_2 and "ai-edge-litert" not in look.error:
        return f"tflite-runtime 2.14 needs NumPy 1:  {pip} {_OLD_RUNTIME_PINS}"
    return _64_bit_advice(board) or f"{pip} --force-reinstall {_NEW_RUNTIME_PIN}"


def _64_bit_advice(board: Board) -> str:
    if board.userland_bits == 64:
        return ""
    return "ai-edge-litert exists for 64 bit only: install the 64-bit system"


def model(look: ModelLook | Trouble, config: InferenceConfig, *, cores: int, classes: tuple[str, ...]) -> Judgement:
    """The configured model on this machine. `classes` are those that tracking asks for."""
    if isinstance(look, Trouble):
        return Judgement("fail", look.text, _model_advice(look, config))
    report, delegate = look.model, look.model.delegate
    found = (
        f"{report.name} {report.version} ({report.quantization}) on {report.runtime}: {_coverage(delegate)}; "
        f"about {look.invoke_ms:.0f} ms an inference with {counted(report.threads, 'thread')}, {look.peak_mb:.0f} MiB"
    )
    unknown = sorted(set(classes) - set(report.classes))
    if unknown:
        cure = f"correct tracking.classes: this model knows {', '.join(report.classes)}"
        return Judgement("fail", f"{found}\nit has no class {', '.join(unknown)}", cure)
    doubts = [one.text for one in report.advice]
    advice = list(dict.fromkeys(one.do for one in report.advice))
    if 1 < cores < report.threads + 1:
        doubts.append(f"{counted(report.threads, 'thread')} on {counted(cores, 'core')} leave none for the camera")
        advice.append(f"set inference.threads to {cores - 1} at most")
    reachable_fps = 1000 / look.invoke_ms if look.invoke_ms > 0 else config.max_fps
    if reachable_fps < config.max_fps:
        doubts.append(f"{config.max_fps:g} fps are asked for, at most {reachable_fps:.1f} can be reached")
        advice.append("lower inference.max_fps, or take a smaller model")
    return Judgement("warn" if doubts else "ok", "\n".join([found, *doubts]), "\n".join(advice))


def _model_advice(trouble: Trouble, config: InferenceConfig) -> str:
    if trouble.code == "E_MANIFEST":
        return f"copy the model's folder again, whole:  ls -l {config.model_dir}"
    return "where `runtime` above is ok, the model is to blame: take another one, or copy it again"


def _coverage(delegate: DelegateReport) -> str:
    if delegate.name == "unknown":
        return "what its delegate took cannot be read from this runtime"
    left = ", ".join(f"{count} {name}" for name, count in delegate.remaining.items()) or "nothing"
    if delegate.name == "none":
        return f"no delegate took any of {counted(delegate.nodes, 'node')}, left: {left}"
    parts = counted(delegate.partitions, "partition")
    return f"{delegate} in {parts}, left: {left}"


def tuning(best: Measured | None, config: InferenceConfig) -> Judgement:
    """Whether what `auto` leaves open was measured. Only for a configuration that leaves something open."""
    settled = settle(config, best)
    way = f"delegate {settled.delegate}, {counted(settled.threads or 1, 'thread')}"
    if best is None:
        text = f"nothing is measured for this model with this runtime on this board: {way}"
        return Judgement("warn", text, "edgeapp tune, while the service is stopped")
    return Judgement("ok", f"{way}: measured best on this board, {best.median_ms:.1f} ms an inference")

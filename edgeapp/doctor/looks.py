"""What the doctor's child process tells: plain values in one JSON object, and no field for a pixel. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgeapp.types import DelegateReport, ModelReport


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeLook:
    """The libraries, and whether the runtime builds and runs an interpreter.

    A version is empty where the library cannot be imported. `error` is empty where the smallest model ran and computed
    what it should; `delegate` is what the delegate took of it.
    """

    numpy: str
    opencv: str
    runtime: str
    delegate: DelegateReport | None
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLook:
    """The configured model, loaded and run. `peak_mb` is the most memory that the child ever had, in MiB."""

    model: ModelReport
    invoke_ms: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraLook:
    """The configured source, opened and watched. `picture` is ok, frozen or black, with the masks painted."""

    width: int
    height: int
    pixel_format: str
    fps: float
    frames: int
    picture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Why the child cannot tell. `code` is that of an EdgeAppError; empty where the child crashed or hung."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """All that the child can say; what it was not asked for is None."""

    runtime: RuntimeLook | None = None
    model: ModelLook | None = None
    camera: CameraLook | None = None
    trouble: Trouble | None = None

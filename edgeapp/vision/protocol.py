"""What crosses the socket between `vision` and `control`, pure: values to bytes and back.

One SEQPACKET datagram is one message: a byte that names its kind, then the body. Predictions are packed, since they
come with every frame; the rest is JSON and checked field by field. Whatever does not decode is a ProtocolError: control
takes a vision process that talks nonsense for lost and starts a fresh one.

THE ONE WAY OF PIXELS: `Crop` is the only message that carries any, and it carries those of one detection's box, as the
answer to `AskCrop`. Vision gives none unless `Configure.crops` said so in the beginning and `KeepCrops` since, which
control says while a signed consent of the site is in force. No other message has a field for a pixel.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from dataclasses import dataclass

from edgeapp.config import CameraConfig, CropConfig, InferenceConfig, MotionConfig
from edgeapp.document import compact_json
from edgeapp.errors import EdgeAppError, ProtocolError
from edgeapp.reader import read_json
from edgeapp.types import Box, CaptureHealth, Detection, ModelReport, Prediction

MAX_MESSAGE_BYTES = 64 * 1024
MAX_DETECTIONS = 1000
MAX_CROP_BYTES = 48 * 1000  # what CropConfig allows; fits a datagram
_HEAD = struct.Struct(
    "<QQQdIH"
)  # frame id, captured ns, predicted ns, invoke ms (below 0: none), model number, detections
_DETECTION = struct.Struct("<fffffH")  # x_min, y_min, x_max, y_max, score, class index
_CROP = struct.Struct("<QH")  # frame id, detection; then the JPEG
_JPEG_BEGINS, _JPEG_ENDS = b"\xff\xd8\xff", b"\xff\xd9"
_NOT_INVOKED = -1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Configure:
    """control → vision, first and once: what to capture and what to run on it.

    `delegate_fault` is why the configured delegate library is not to be touched: with it vision was lost. Without
    `crops` this vision never gives a pixel to anybody.
    """

    camera: CameraConfig
    inference: InferenceConfig
    motion: MotionConfig
    log_level: str = "info"
    delegate_fault: str = ""
    crops: CropConfig | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRate:
    """control → vision: how many frames a second to infer from now on."""

    fps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """control → vision: end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """vision → control: the model is loaded and warm. Its predictions carry `model_number`."""

    model: ModelReport
    model_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """vision → control, twice a second whatever happens: how capture and inference do.

    `inferred` counts frames that went through the model, `failures` those on which that failed, both since vision
    started, like the counters of `capture`; `inferring_s` is the wall time spent on all of them, preparation included.
    `busy_s` is how long the inference now under way has lasted, `rss_mb` the process's resident memory in MiB.
    `compared` counts the detections of both models in the frames that two of them saw, `matched` those of them that
    both had.
    """

    capture: CaptureHealth
    inferred: int
    inferring_s: float
    failures: int
    busy_s: float
    rss_mb: float | None
    compared: int = 0
    matched: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """vision → control, last: why it cannot go on."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadCandidate:
    """control → vision: load the model of this folder beside the running one, and warm it up."""

    model_dir: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchTo:
    """control → vision: run the candidate with this number from the next frame on; keep the other warm."""

    model_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Back:
    """control → vision: run the model of before the switch again; the candidate stands by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """control → vision: the switch stays; free the model of before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DropCandidate:
    """control → vision: free the candidate that stands by or is being loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateReady:
    """vision → control: the candidate is loaded and warm, and stands by."""

    model: ModelReport
    model_number: int
    load_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateFailed:
    """vision → control: a command about models was refused, or the candidate could not be loaded.

    The running model runs on. `code` is E_STATE where the command does not fit what is loaded.
    """

    code: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """vision → control: from `frame_id` on every prediction is of this model; none before it is."""

    model: ModelReport
    model_number: int
    frame_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """vision → control: the model with this number is freed."""

    model_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepCrops:
    """control → vision: keep what shows the last seconds' detections, or forget all of it and keep no more."""

    is_on: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AskCrop:
    """control → vision: the crop of one detection of a prediction, by its place in it. A consent is in force."""

    frame_id: int
    index: int


@dataclass(frozen=True, slots=True)
class Crop:
    """vision → control: the one message with pixels, a JPEG of at most MAX_CROP_BYTES. Control never looks into it."""

    frame_id: int
    index: int
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class NoCrop:
    """vision → control: there is no such crop: forgotten by now, never kept, or too large."""

    frame_id: int
    index: int


CropCommand = KeepCrops | AskCrop
ModelCommand = LoadCandidate | SwitchTo | Back | Keep | DropCandidate
_JsonMessage = (
    Configure
    | SetRate
    | Stop
    | Ready
    | Health
    | Failure
    | ModelCommand
    | CandidateReady
    | CandidateFailed
    | Switched
    | Dropped
    | CropCommand
    | NoCrop
)
Message = _JsonMessage | Prediction | Crop
_JSON_KINDS: dict[bytes, type[_JsonMessage]] = {
    b"C": Configure,
    b"R": SetRate,
    b"S": Stop,
    b"Y": Ready,
    b"H": Health,
    b"F": Failure,
    b"L": LoadCandidate,
    b"W": SwitchTo,
    b"B": Back,
    b"K": Keep,
    b"D": DropCandidate,
    b"A": CandidateReady,
    b"X": CandidateFailed,
    b"T": Switched,
    b"G": Dropped,
    b"O": KeepCrops,
    b"Q": AskCrop,
    b"N": NoCrop,
}
_LETTERS = {kind: letter for letter, kind in _JSON_KINDS.items()}


def encode(message: Message) -> bytes:
    """The datagram of a message."""
    if isinstance(message, Prediction):
        return _encode_prediction(message)
    if isinstance(message, Crop):
        return b"I" + _CROP.pack(message.frame_id, message.index) + message.jpeg
    return _LETTERS[type(message)] + compact_json(dataclasses.asdict(message))


def decode(datagram: bytes) -> Message:
    """The message of a datagram.

    Raises:
        ProtocolError: it is none.
    """
    letter, body = datagram[:1], datagram[1:]
    if letter == b"P":
        return _decode_prediction(body)
    if letter == b"I":
        return _decode_crop(body)
    kind = _JSON_KINDS.get(letter)
    if kind is None:
        raise ProtocolError(f"message kind: expected one of PI{b''.join(_JSON_KINDS).decode()}, found {letter!r}")
    try:
        return read_json(kind, body, kind.__name__)
    except EdgeAppError as error:
        raise ProtocolError(str(error)) from error


def _encode_prediction(prediction: Prediction) -> bytes:
    kept = prediction.detections[:MAX_DETECTIONS]
    invoke_ms = _NOT_INVOKED if prediction.invoke_ms is None else prediction.invoke_ms
    head = _HEAD.pack(
        prediction.frame_id,
        prediction.captured_ns,
        prediction.predicted_ns,
        invoke_ms,
        prediction.model_number,
        len(kept),
    )
    rows = [
        _DETECTION.pack(one.box.x_min, one.box.y_min, one.box.x_max, one.box.y_max, one.score, one.class_index)
        for one in kept
    ]
    return b"P" + head + b"".join(rows)


def _decode_prediction(body: bytes) -> Prediction:
    if len(body) < _HEAD.size:
        raise ProtocolError(f"prediction: expected at least {_HEAD.size} bytes, found {len(body)}")
    frame_id, captured_ns, predicted_ns, invoke_ms, model_number, count = _HEAD.unpack_from(body)
    expected = _HEAD.size + count * _DETECTION.size
    if count > MAX_DETECTIONS or len(body) != expected:
        raise ProtocolError(f"prediction: expected {expected} bytes for {count} detections, found {len(body)}")
    if not math.isfinite(invoke_ms) or predicted_ns < captured_ns:
        raise ProtocolError(f"prediction {frame_id}: invoke {invoke_ms} ms, {captured_ns} to {predicted_ns} ns")
    return Prediction(
        frame_id=frame_id,
        captured_ns=captured_ns,
        predicted_ns=predicted_ns,
        invoke_ms=None if invoke_ms < 0 else invoke_ms,
        detections=tuple(_detection(*row) for row in _DETECTION.iter_unpack(body[_HEAD.size :])),
        model_number=model_number,
    )


def _decode_crop(body: bytes) -> Crop:
    jpeg = body[_CROP.size :]
    if len(body) < _CROP.size or len(jpeg) > MAX_CROP_BYTES:
        raise ProtocolError(f"crop: expected {_CROP.size} to {_CROP.size + MAX_CROP_BYTES} bytes, found {len(body)}")
    if not (jpeg.startswith(_JPEG_BEGINS) and jpeg.endswith(_JPEG_ENDS)):
        raise ProtocolError(f"crop: expected a JPEG, found {len(jpeg)} bytes of something else")
    frame_id, index = _CROP.unpack_from(body)
    return Crop(frame_id, index, jpeg)


def _detection(x_min: float, y_min: float, x_max: float, y_max: float, score: float, class_index: int) -> Detection:
    # A comparison with NaN is false, so this one test also refuses what is not a number.
    if not (0 <= x_min <= x_max <= 1 and 0 <= y_min <= y_max <= 1 and 0 <= score <= 1):
        raise ProtocolError(f"detection: expected shares from 0 to 1, found {(x_min, y_min, x_max, y_max, score)}")
    return Detection(Box(x_min, y_min, x_max, y_max), score, class_index)

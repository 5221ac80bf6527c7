"""The values that pass between parts: frozen, plain, and without a field in which a pixel could travel.

The way of the data: frame → prediction → observation → window → aggregate → message. A frame has pixels and so
lives in `vision` alone; everything from the prediction on is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The two ways over a line. Seen from its start to its end, left to right is forward.
FORWARD = "forward"
BACKWARD = "backward"
# The inner edges of two histograms, one bin more than edges; a value on an edge belongs to the bin above it.
DWELL_EDGES_S = (2, 5, 10, 30, 60, 120, 300, 600, 1800)
CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9)
# The families of numbers told of people. A family's cells are disjoint.
ENTERED = "entered"
CROSSINGS = "crossings"
PRESENCE = "presence"
DWELL = "dwell"
CONFIDENCE = "confidence"
ESCALATED = "escalated"
# No family: the last event of each track.
LEFT = "left"
# What became of a track that was escalated: the larger model says the same, or not; or nothing sure in time.
AGREED = "agreed"
DIFFERED = "differed"
UNANSWERED = "unanswered"
OUTCOMES = (AGREED, DIFFERED, UNANSWERED)
Cell = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle as shares of the picture (0 to 1), origin top left, x to the right, y down."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def width(self) -> float:
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        return self.y_max - self.y_min

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, 0 to 1; 0 where they share no area."""
        width = min(self.x_max, other.x_max) - max(self.x_min, other.x_min)
        height = min(self.y_max, other.y_max) - max(self.y_min, other.y_min)
        if width <= 0 or height <= 0:
            return 0.0
        common = width * height
        return common / (self.width * self.height + other.width * other.height - common)

    @property
    def foot(self) -> tuple[float, float]:
        """The middle of the lower edge: where a person stands."""
        return (self.x_min + self.x_max) / 2, self.y_max

    def widened(self, margin: float) -> Box:
        """With `margin` times its width and height added on each side, as far as the picture goes."""
        across, down = margin * self.width, margin * self.height
        return Box(
            max(0.0, self.x_min - across),
            max(0.0, self.y_min - down),
            min(1.0, self.x_max + across),
            min(1.0, self.y_max + down),
        )

    def within(self, region: Box) -> Box:
        """The same box as shares of `region`, which has an area."""
        return Box(
            (self.x_min - region.x_min) / region.width,
            (self.y_min - region.y_min) / region.height,
            (self.x_max - region.x_min) / region.width,
            (self.y_max - region.y_min) / region.height,
        )


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing the model found in one frame. `class_index` counts the manifest's classes from 0."""

    box: Box
    score: float
    class_index: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one frame.

    Times are CLOCK_MONOTONIC in ns, the same clock in both processes. `invoke_ms` is None where the motion gate
    found the picture unchanged: then the detections are those of the last frame that was inferred. `model_number` is
    what vision gave the one model which made them; 0 where no vision process did.
    """

    frame_id: int
    captured_ns: int
    predicted_ns: int
    invoke_ms: float | None
    detections: tuple[Detection, ...]
    model_number: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """One confirmed track as seen in one frame."""

    track_id: int
    class_name: str
    box: Box
    score: float
    age_s: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a track did, as a cell of a family. As sensitive as the counts that are made of it.

    entered: (class,). crossings: (line, class, FORWARD | BACKWARD). presence, once in each frame: (class,).
    dwell: (zone, bin of DWELL_EDGES_S). confidence: (bin of CONFIDENCE_EDGES,). escalated: (one of OUTCOMES,).
    left: ().
    """

    family: str
    cell: Cell
    track_id: int


@dataclass(frozen=True, slots=True)
class DelegateReport:
    """What delegates took of the model's graph, counted on the built interpreter.

    `name` is xnnpack, the file name of the configured library, none, or unknown. `remaining` counts the operators, by
    name, that still run on the builtin kernels. Of those `delegated`, `by_library` went to the library and the rest to
    XNNPACK. `fell_back` is why the configured library does not run; empty where it does, or none is configured.
    """

    name: str
    nodes: int
    delegated: int
    partitions: int
    remaining: dict[str, int] = field(default_factory=dict)
    by_library: int = 0
    fell_back: str = ""

    def __str__(self) -> str:
        if self.by_library and self.delegated > self.by_library:
            by_xnnpack = self.delegated - self.by_library
            return f"{self.name} took {self.by_library} and xnnpack {by_xnnpack} of {self.nodes} nodes"
        return f"{self.name} took {self.delegated} of {self.nodes} nodes"


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person should know of a running model, and what to do about it."""

    text: str
    do: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """Which model runs, on what. `advice` is mostly empty; the last two fields are the manifest's."""

    name: str
    version: int
    sha256: str
    quantization: str
    classes: tuple[str, ...]
    runtime: str
    threads: int
    delegate: DelegateReport
    advice: tuple[Advice, ...] = ()
    expected_confidence: tuple[int, ...] | None = None
    escalate_below: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How far a model strays from its golden cases on this device.

    `worst_steps` is the largest difference of any output, in quantization steps; `agreement` the share of cases in
    which the same things were detected.
    """

    cases: int
    worst_steps: float
    agreement: float


@dataclass(frozen=True, slots=True)
class TensorReport:
    """A tensor of a model as the interpreter tells it. `scale` and `zero_point` mean nothing for float32."""

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class ThrottleFlags:
    """What the firmware does, bits 0 to 3 of get_throttled. None: this board tells of under-voltage only."""

    under_voltage: bool = False
    freq_capped: bool | None = False
    throttled: bool | None = False
    soft_limit: bool | None = False

    def merged(self, other: ThrottleFlags) -> ThrottleFlags:
        """What holds in either."""
        return ThrottleFlags(
            under_voltage=self.under_voltage or other.under_voltage,
            freq_capped=self.freq_capped or other.freq_capped,
            throttled=self.throttled or other.throttled,
            soft_limit=self.soft_limit or other.soft_limit,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """The board at one moment. None: no sensor, no answer in time, or an impossible one.

    `flags` hold now, as far as now is known: the kernel's driver asks every 2 s, and its under-voltage alarm means
    "since the ask before". `recent` is what occurred between the last two asks, even for a moment; None where that
    driver does not run, because the same bits then mean "since boot".
    """

    temp_c: float | None
    flags: ThrottleFlags | None
    recent: ThrottleFlags | None = None


@dataclass(frozen=True, slots=True)
class CaptureHealth:
    """How the camera does. Counters run since the vision process started.

    `state` is opening, running, retrying (the source failed; it is being reopened), stalled (a read hangs) or ended (a
    recording that is not repeated is over).
    `picture` is ok, frozen or black. Nothing here depends on who passes the camera.
    """

    state: str
    picture: str
    frames_captured: int
    frames_dropped: int
    reopened: int
    source_fps: float
    width: int
    height: int
    pixel_format: str
    error: str


@dataclass(frozen=True, slots=True)
class Lineup:
    """A wish: the first model folder of `order` that vision accepts runs, and `beside` is loaded and warm beside it.

    Folders are paths, as vision's protocol has them. An empty `order` means that no model may run.
    """

    order: tuple[str, ...]
    beside: str | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What vision has. `rejected` says, by folder, with which code and text vision refused a model of the wish."""

    running: str | None = None
    beside: str | None = None
    rejected: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationHealth:
    """Whether escalation may send anything, and why not. Nothing here depends on who passes.

    `consent` and `endpoint` say in words which consent is in force and how the last probe of the endpoint went.
    """

    has_consent: bool
    consent: str
    is_endpoint_up: bool
    endpoint: str
    is_metered: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateHealth:
    """How updates of the model stand.

    `active` and `candidate` are name and version; an empty `active` is the factory model. `fetched_pct` and `trial_s`
    say how far the phase is. `is_safe_mode`: none of its models runs. `code` and `text` are of the last refusal or
    failure, empty where the last went well.
    """

    phase: str
    active: str
    candidate: str
    fetched_pct: float
    trial_s: float
    is_pinned: bool
    is_safe_mode: bool
    code: str
    text: str

"""The configuration: one frozen dataclass per section of config.yaml, with units in the names.

Owns what may be set and within which limits. Reading files and telling mistakes is `reader.py`'s. A setting is
never replaced by a default silently: a value out of its limits is an error that stops the start with status 78.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from edgeapp.reader import Length, Pattern, Range

Share = Annotated[float, Range(0.0, 1.0, "share of the picture")]
Point = tuple[Share, Share]
Polygon = Annotated[tuple[Point, ...], Length(3, 64, "corners")]
Name = Annotated[str, Pattern(r"[a-z0-9][a-z0-9-]{0,62}", "1 to 63 of a-z, 0-9 and -, not starting with -")]
TimeOfDay = Annotated[str, Pattern(r"([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day in UTC, HH:MM")]
HttpsUrl = Annotated[str, Pattern(r"https://[!-~]{1,500}", "an https address")]
Url = Annotated[str, Pattern(r"https?://[!-~]{1,500}", "an http or https address")]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceConfig:
    """Who this device is. The id must be unique on its broker."""

    id: Name
    tenant: Name = "default"
    groups: Annotated[tuple[Name, ...], Length(0, 32, "groups")] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PathsConfig:
    """Where the daemon writes: `state_dir` survives a reboot, `runtime_dir` need not."""

    state_dir: str = "/var/lib/edgeapp"
    runtime_dir: str = "/run/edgeapp"


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraConfig:
    """Where frames come from and what is done to each before anything else sees it.

    `crop` is x, y, width, height in the picture after rotation and mirroring; masks, lines and zones are in the picture
    that the crop leaves.
    """

    kind: Literal["v4l2", "picamera2", "rtsp", "video", "images"]
    source: str
    width: Annotated[int, Range(32, 8192, "pixels")] = 640
    height: Annotated[int, Range(32, 8192, "pixels")] = 480
    fps: Annotated[float, Range(0.1, 240, "frames per second")] = 15.0
    pixel_format: Literal["auto", "yuyv", "mjpeg"] = "auto"
    rotate_deg: Literal[0, 90, 180, 270] = 0
    mirror: Literal["none", "horizontal", "vertical"] = "none"
    crop: tuple[Share, Share, Share, Share] | None = None
    masks: tuple[Polygon, ...] = ()
    replay: Literal["realtime", "fast"] = "realtime"
    loop: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class DelegateLibrary:
    """An external delegate, as of Arm NN or the Edge TPU: the path of its shared library, and what it is told."""

    library: str
    options: dict[str, str] = field(default_factory=dict)


Delegate = Literal["auto", "xnnpack", "none"] | DelegateLibrary


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceConfig:
    """Which model runs, on what, and how often. Without `threads` their number is what was measured best."""

    model_dir: str
    delegate: Delegate = "auto"
    threads: Annotated[int, Range(1, 16, "threads")] | None = None
    max_fps: Annotated[float, Range(0.05, 240, "frames per second")] = 10.0
    min_score: Annotated[float, Range(0.01, 0.99, "score")] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionConfig:
    """The gate that spares a still picture the inference."""

    enabled: bool = False
    min_change: Annotated[int, Range(1, 255, "luma levels")] = 12
    min_area_pct: Annotated[float, Range(0.01, 100, "% of the picture")] = 0.3
    key_frame_s: Annotated[float, Range(0.1, 60, "seconds")] = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """What becomes a track."""

    classes: tuple[str, ...] = ()
    min_height_pct: Annotated[float, Range(0, 100, "% of the picture's height")] = 0.0
    max_height_pct: Annotated[float, Range(0, 100, "% of the picture's height")] = 100.0
    min_iou: Annotated[float, Range(0.01, 0.95, "intersection over union")] = 0.25
    confirm_frames: Annotated[int, Range(1, 30, "frames")] = 3
    forget_s: Annotated[float, Range(0.1, 30, "seconds")] = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class LineConfig:
    """A line to count crossings of. Seen from `start` to `end`, left to right is `forward`."""

    name: Name
    start: Point
    end: Point


@dataclass(frozen=True, kw_only=True, slots=True)
class ZoneConfig:
    """An area to measure dwell in."""

    name: Name
    polygon: Polygon


@dataclass(frozen=True, kw_only=True, slots=True)
class CountingConfig:
    """What is counted of the tracks."""

    lines: tuple[LineConfig, ...] = ()
    zones: tuple[ZoneConfig, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryConfig:
    """When reports are made and how many may wait for the broker."""

    window_s: Annotated[int, Range(5, 86400, "seconds, a divisor of a day")] = 900
    spool_max_reports: Annotated[int, Range(10, 1_000_000, "reports")] = 10_000


Weight = Annotated[float, Range(0, 1000, "parts")]


@dataclass(frozen=True, kw_only=True, slots=True)
class SharesConfig:
    """How the families share the privacy budget, in parts of their sum. A family with 0 parts is never released."""

    entered: Weight = 3.0
    crossings: Weight = 3.0
    presence: Weight = 0.0
    dwell: Weight = 1.0
    confidence: Weight = 1.0
    escalated: Weight = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyConfig:
    """Which guarantee holds for what is told of people, and how strong it is (docs/privacy.md).

    `epsilon_per_day` is the budget of all families and levels together. `event_s`, `segments`, `chunk_s` and `max_rows`
    are of the guarantee `duration` alone: an event is at most `segments` appearances of at most `event_s` each.
    """

    guarantee: Literal["none", "track", "duration"] = "track"
    epsilon_per_day: Annotated[float, Range(0.01, 20, "per day")] = 1.0
    shares: SharesConfig = field(default_factory=SharesConfig)
    suppress_below: Annotated[int, Range(0, 1000, "noised counts")] = 0
    event_s: Annotated[int, Range(1, 3600, "seconds")] = 30
    segments: Annotated[int, Range(1, 100, "appearances")] = 1
    chunk_s: Annotated[int, Range(1, 900, "seconds")] = 30
    max_rows: Annotated[int, Range(1, 1000, "rows")] = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsConfig:
    """TLS to the broker. Without `ca_file` the system's authorities are trusted; the host's name is always checked."""

    enabled: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HomeAssistantConfig:
    """Whether the device introduces itself to a Home Assistant on the same broker, and below which topic."""

    enabled: bool = False
    prefix: Annotated[str, Pattern(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*", "a topic of letters, digits, _, - and /")] = (
        "homeassistant"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MqttConfig:
    """Where reports go."""

    host: str
    port: Annotated[int, Range(1, 65535, "TCP port")] = 1883
    keepalive_s: Annotated[int, Range(5, 3600, "seconds")] = 60
    username: str | None = None
    password_file: str | None = None
    tls: TlsConfig = field(default_factory=TlsConfig)
    reconnect_max_s: Annotated[float, Range(1, 3600, "seconds")] = 300.0
    home_assistant: HomeAssistantConfig = field(default_factory=HomeAssistantConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class ThermalConfig:
    """Which temperature is held, and by which sensor. The limits of the board itself are not ours to set."""

    target_c: Annotated[float, Range(50, 79, "°C")] = 76.0
    throttle_c: Annotated[float, Range(55, 100, "°C")] = 80.0
    rise_c: Annotated[float, Range(5, 40, "°C")] = 14.0
    period_s: Annotated[float, Range(1, 5, "seconds")] = 2.0
    sample_hz: Annotated[float, Range(1, 20, "reads per second")] = 4.0
    min_fps: Annotated[float, Range(0.01, 30, "frames per second")] = 0.2
    deadband_pct: Annotated[float, Range(0, 50, "% of the rate")] = 10.0
    sensor_path: str = "auto"
    bits: Literal["auto", "sysfs", "vcgencmd", "off"] = "auto"
    blind_start_duty_pct: Annotated[float, Range(1, 100, "% of the time")] = 50.0
    inflation_limit: Annotated[float, Range(1.01, 3, "times as long")] = 1.03
    stuck_s: Annotated[float, Range(30, 3600, "seconds")] = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """How control keeps the vision process alive.

    Without `socket` control starts vision as its child; with it, control connects to a vision that systemd runs.
    """

    socket: str | None = None
    silence_s: Annotated[float, Range(0.5, 60, "seconds")] = 1.5
    start_limit_s: Annotated[float, Range(2, 600, "seconds")] = 30.0
    invoke_limit_s: Annotated[float, Range(1, 600, "seconds")] = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdatesConfig:
    """Whether signed commands may install models here, whom to trust, and where files come from besides the broker."""

    enabled: bool = False
    root_file: str | None = None
    urls: Annotated[tuple[Url, ...], Length(0, 8, "addresses")] = ()
    folder: str | None = None
    blocks: bool = True
    jitter_s: Annotated[float, Range(0, 86400, "seconds")] = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class QuietHours:
    """The hours of each day, in UTC, in which nothing is escalated; one that ends before it starts spans midnight."""

    start: TimeOfDay
    end: TimeOfDay


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """What a crop shows and how large it may be. `blur_heads` names the classes whose upper third is blurred."""

    margin_pct: Annotated[float, Range(0, 200, "% of the box")] = 50.0
    max_side_px: Annotated[int, Range(32, 640, "pixels")] = 256
    max_kb: Annotated[int, Range(4, 48, "kB")] = 32
    blur_heads: Annotated[tuple[str, ...], Length(0, 64, "classes")] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationConfig:
    """Whether uncertain tracks are shown to a larger model elsewhere: which, how often, and on what terms.

    Without a signed consent of the site nothing is sent, whatever stands here.
    """

    enabled: bool = False
    endpoint: HttpsUrl | None = None
    token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    below: Annotated[float, Range(0, 1, "score")] | None = None
    min_margin: Annotated[float, Range(0, 1, "difference of scores")] = 0.15
    max_spread: Annotated[float, Range(0, 1, "difference of scores")] = 0.4
    judge_after_s: Annotated[float, Range(0.1, 4, "seconds")] = 2.0
    answer_s: Annotated[float, Range(1, 60, "seconds")] = 10.0
    corrects_counts: bool = True
    max_per_hour: Annotated[int, Range(1, 3600, "crops")] = 20
    max_per_day: Annotated[int, Range(1, 86_400, "crops")] = 200
    max_mb_per_hour: Annotated[float, Range(0.01, 10_000, "MB")] = 1.0
    max_mb_per_day: Annotated[float, Range(0.01, 100_000, "MB")] = 10.0
    max_mb_per_month: Annotated[float, Range(0.01, 1_000_000, "MB")] = 100.0
    quiet_hours: QuietHours | None = None
    metered_interfaces: Annotated[tuple[str, ...], Length(0, 16, "beginnings of names")] = ("wwan", "ppp")
    crop: CropConfig = field(default_factory=CropConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggingConfig:
    """How much is said."""

    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All of config.yaml."""

    device: DeviceConfig
    camera: CameraConfig
    inference: InferenceConfig
    mqtt: MqttConfig
    paths: PathsConfig = field(default_factory=PathsConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    counting: CountingConfig = field(default_factory=CountingConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    thermal: ThermalConfig = field(default_factory=ThermalConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    updates: UpdatesConfig = field(default_factory=UpdatesConfig)
    escalation: EscalationConfig = field(default_factory=EscalationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)

"""What must hold between the keys of a configuration, beyond the limits of each single one; pure.

Owns those rules, one function for each section, so that a section can be checked although another is unreadable. No
message repeats a URL: it may carry a password.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from edgeapp.config import (
    CameraConfig,
    Config,
    CountingConfig,
    DelegateLibrary,
    EscalationConfig,
    InferenceConfig,
    LineConfig,
    MotionConfig,
    MqttConfig,
    PathsConfig,
    Polygon,
    PrivacyConfig,
    TelemetryConfig,
    ThermalConfig,
    TlsConfig,
    TrackingConfig,
    UpdatesConfig,
    VisionConfig,
    ZoneConfig,
)
from edgeapp.mistakes import Findings, Mistake, shown_text

_DAY_S = 86_400
_QUARTER_S = 900
_STREAMS = ("rtsp://", "rtsps://")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?", re.ASCII)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Differences and products of decimal fractions carry rounding errors of about 1e-16.
_ROUNDING = 1e-12
_TARGET_BELOW_C = 1.0  # sensors tell half degrees, and the firmware lowers the clock from throttle_c on
_MIN_AREA = 1e-6  # of the picture: a third of a pixel at 640 x 480


class Tell(Protocol):
    """Notes one mistake of a key; `expected` may be empty where `found` says it all."""

    def __call__(self, key: str, expected: str, found: str, suggestion: str = "") -> None: ...


def check(config: Config, origin: str = "configuration") -> tuple[Mistake, ...]:
    """The mistakes of a configuration whose every single value is within its limits."""
    findings = Findings(origin)

    def tell(key: str, expected: str, found: str, suggestion: str = "") -> None:
        findings.add(0, key, expected, found, suggestion)

    check_parts({name: getattr(config, name) for name in Config.__dataclass_fields__}, tell)
    return findings.mistakes


def check_parts(parts: Mapping[str, object], tell: Tell) -> None:
    """Check those sections that there are, each on its own, and what must hold between two of them."""
    motion, telemetry = parts.get("motion"), parts.get("telemetry")
    if isinstance(motion, MotionConfig) and isinstance(telemetry, TelemetryConfig):
        _check_key_frames(motion, telemetry, tell)
    privacy, counting = parts.get("privacy"), parts.get("counting")
    if isinstance(privacy, PrivacyConfig) and isinstance(counting, CountingConfig):
        _check_shares(privacy, counting, tell)
    escalation = parts.get("escalation")
    if isinstance(escalation, EscalationConfig) and escalation.enabled:
        _check_escalation(escalation, tell)
        _check_what_escalation_needs(parts, tell)
    if isinstance(privacy, PrivacyConfig) and privacy.guarantee == "duration":
        _check_chunks(privacy, parts, tell)
    for part in parts.values():
        match part:
            case PathsConfig():
                _tell_empty({"paths.state_dir": part.state_dir, "paths.runtime_dir": part.runtime_dir}, tell)
            case CameraConfig():
                _check_camera(part, tell)
            case InferenceConfig():
                _check_inference(part, tell)
            case TrackingConfig():
                _check_tracking(part, tell)
            case CountingConfig():
                _check_counting(part, tell)
            case TelemetryConfig():
                _check_telemetry(part, tell)
            case MqttConfig():
                _check_mqtt(part, tell)
            case ThermalConfig():
                _check_thermal(part, tell)
            case UpdatesConfig():
                _check_updates(part, tell)
            case VisionConfig() if part.socket is not None:
                _tell_empty({"vision.socket": part.socket}, tell)


def _tell_empty(texts: Mapping[str, str], tell: Tell) -> None:
    for key, text in texts.items():
        if not text.strip():
            tell(key, "a path", "an empty text")


def _check_camera(camera: CameraConfig, tell: Tell) -> None:
    source = camera.source
    is_stream = source.lower().startswith(_STREAMS)
    if camera.kind == "rtsp" and not is_stream:
        tell("camera.source", "rtsp://… or rtsps://… for kind rtsp", _shown_source(source))
    elif camera.kind != "rtsp" and is_stream:
        tell("camera.source", f"no stream for kind {camera.kind}", "an RTSP address", "did you mean kind: rtsp?")
    elif camera.kind == "v4l2" and not re.fullmatch(r"/dev/.*[^/]|[0-9]{1,3}", source):
        tell("camera.source", "/dev/… or the number of a camera for kind v4l2", _shown_source(source))
    elif not source.strip():
        tell("camera.source", "a source", "an empty text")
    if camera.crop is not None:
        _check_crop(camera.crop, tell)
    for index, mask in enumerate(camera.masks):
        _check_polygon(f"camera.masks[{index}]", mask, tell)


def _shown_source(source: str) -> str:
    return "another address" if _URL.match(source) else f"the text {shown_text(source)}"


def _check_crop(crop: tuple[float, float, float, float], tell: Tell) -> None:
    x, y, width, height = crop
    if width <= 0 or height <= 0:
        tell("camera.crop", "x, y, width, height with a width and a height above 0", f"{width} x {height}")
    if x + width > 1:  # two decimal fractions that make 1 add up to 1 exactly in binary too
        tell("camera.crop", "x + width of at most 1", f"{x + width:.6g}")
    if y + height > 1:
        tell("camera.crop", "y + height of at most 1", f"{y + height:.6g}")


def _check_inference(inference: InferenceConfig, tell: Tell) -> None:
    _tell_empty({"inference.model_dir": inference.model_dir}, tell)
    delegate = inference.delegate
    if isinstance(delegate, DelegateLibrary) and not re.fullmatch(r"/.*[^/]", delegate.library, re.DOTALL):
        # A bare name would be looked for wherever the dynamic linker is told to.
        tell(
            "inference.delegate.library", "the path of a library, from / on", f"the text {shown_text(delegate.library)}"
        )


def _check_tracking(tracking: TrackingConfig, tell: Tell) -> None:
    if tracking.min_height_pct >= tracking.max_height_pct:
        found = f"{tracking.min_height_pct:g}"
        tell("tracking.min_height_pct", f"less than max_height_pct ({tracking.max_height_pct:g})", found)


def _check_counting(counting: CountingConfig, tell: Tell) -> None:
    _tell_twins("counting.lines", counting.lines, tell)
    _tell_twins("counting.zones", counting.zones, tell)
    for index, line in enumerate(counting.lines):
        if math.dist(line.start, line.end) <= _ROUNDING:
            tell(f"counting.lines[{index}].end", "another point than start", "the same")
    for index, zone in enumerate(counting.zones):
        _check_polygon(f"counting.zones[{index}].polygon", zone.polygon, tell)


def _tell_twins(key: str, named: tuple[LineConfig | ZoneConfig, ...], tell: Tell) -> None:
    counts = Counter(each.name for each in named)
    seen: set[str] = set()
    for index, each in enumerate(named):
        if counts[each.name] > 1 and each.name in seen:
            tell(f"{key}[{index}].name", "a name of its own", f"{each.name} a second time")
        seen.add(each.name)


def _check_telemetry(telemetry: TelemetryConfig, tell: Tell) -> None:
    window_s = telemetry.window_s
    if _DAY_S % window_s:
        advice = f"{_nearest_divisor(_DAY_S, window_s, lowest=5)} is one"
        tell("telemetry.window_s", f"a divisor of a day ({_DAY_S} seconds)", str(window_s), advice)


def _nearest_divisor(whole: int, wanted: int, *, lowest: int) -> int:
    return min((each for each in range(lowest, whole + 1) if whole % each == 0), key=lambda each: abs(each - wanted))


def _check_shares(privacy: PrivacyConfig, counting: CountingConfig, tell: Tell) -> None:
    shares = privacy.shares
    of_lines, of_zones = bool(counting.lines) * shares.crossings, bool(counting.zones) * shares.dwell
    if privacy.guarantee != "none" and not any(
        (shares.entered, shares.presence, shares.confidence, of_lines, of_zones)
    ):
        advice = "crossings need a line, dwell a zone; to tell nothing, write privacy.guarantee: none"
        tell("privacy.shares", "a share above 0 of what this site can count", "none", advice)


def _check_chunks(privacy: PrivacyConfig, parts: Mapping[str, object], tell: Tell) -> None:
    """Each chunk is counted alone, so nothing may be carried into it, and a track must have time to be confirmed."""
    chunk_s = privacy.chunk_s
    if _QUARTER_S % chunk_s:
        advice = f"{_nearest_divisor(_QUARTER_S, chunk_s, lowest=1)} is one"
        tell("privacy.chunk_s", f"a divisor of a quarter of an hour ({_QUARTER_S} seconds)", str(chunk_s), advice)
    motion, inference, tracking = parts.get("motion"), parts.get("inference"), parts.get("tracking")
    if isinstance(motion, MotionConfig) and motion.enabled:
        advice = "the gate carries detections from chunk to chunk"
        tell("motion.enabled", "false with privacy.guarantee: duration", "true", advice)
    if isinstance(inference, InferenceConfig) and isinstance(tracking, TrackingConfig):
        frames = chunk_s * inference.max_fps
        if frames < tracking.confirm_frames:
            expected = f"time for tracking.confirm_frames ({tracking.confirm_frames}) at inference.max_fps"
            tell("privacy.chunk_s", expected, f"time for {frames:g}")


def _check_key_frames(motion: MotionConfig, telemetry: TelemetryConfig, tell: Tell) -> None:
    """A window without one inference would report no latency, and so that nothing has moved in it."""
    if motion.enabled and motion.key_frame_s >= telemetry.window_s:
        tell("motion.key_frame_s", f"less than telemetry.window_s ({telemetry.window_s})", f"{motion.key_frame_s:g}")


def _check_thermal(thermal: ThermalConfig, tell: Tell) -> None:
    _tell_empty({"thermal.sensor_path": thermal.sensor_path}, tell)
    highest_c = thermal.throttle_c - _TARGET_BELOW_C
    if thermal.target_c > highest_c:
        tell("thermal.target_c", f"at most throttle_c - 1 ({highest_c:g} °C)", f"{thermal.target_c:g} °C")


def _check_mqtt(mqtt: MqttConfig, tell: Tell) -> None:
    if _URL.match(mqtt.host):
        tell("mqtt.host", "a host name or address", "a URL", "write the host alone, the port in mqtt.port")
    elif not mqtt.host.strip():
        tell("mqtt.host", "a host name or address", "an empty text")
    elif not _HOST.fullmatch(mqtt.host):
        # Not repeated: what is no host may be user:password@host.
        tell("mqtt.host", "a host name or address", "another text", "write the host alone, the port in mqtt.port")
    if mqtt.password_file is not None and mqtt.username is None:
        tell("mqtt.password_file", "a username with it", "none")
    if mqtt.password_file is not None:
        _tell_empty({"mqtt.password_file": mqtt.password_file}, tell)
    if mqtt.username == "":
        tell("mqtt.username", "a name or null", "an empty text")
    _check_tls(mqtt.tls, tell)


def _check_tls(tls: TlsConfig, tell: Tell) -> None:
    named = _check_certificates("mqtt.tls", tls, tell)
    if named and not tls.enabled:
        tell(next(iter(named)), "enabled: true with it", "enabled: false")  # else the link would be open unawares


def _check_certificates(section: str, settings: TlsConfig | EscalationConfig, tell: Tell) -> Mapping[str, str]:
    """The files of a TLS connection that are named, by key."""
    files = {"ca_file": settings.ca_file, "cert_file": settings.cert_file, "key_file": settings.key_file}
    named = {f"{section}.{name}": path for name, path in files.items() if path is not None}
    _tell_empty(named, tell)
    for name, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if files[name] is not None and files[other] is None:
            tell(f"{section}.{name}", f"a {other} with it", "none")
    return named


def _check_updates(updates: UpdatesConfig, tell: Tell) -> None:
    paths = {"updates.root_file": updates.root_file, "updates.folder": updates.folder}
    _tell_empty({key: path for key, path in paths.items() if path is not None}, tell)
    if updates.enabled and updates.root_file is None:
        tell("updates.root_file", "the file of the first root with enabled: true", "null")


def _check_escalation(escalation: EscalationConfig, tell: Tell) -> None:
    endpoint = escalation.endpoint
    if endpoint is None:
        tell("escalation.endpoint", "an https address with enabled: true", "null")
    elif not urlsplit(endpoint).hostname or "@" in endpoint:
        tell("escalation.endpoint", "https://HOST/… without a user", "another text", "the token goes in token_file")
    _check_certificates("escalation", escalation, tell)
    if escalation.token_file is not None:
        _tell_empty({"escalation.token_file": escalation.token_file}, tell)
    each_mb = (escalation.crop.max_kb + 8) / 1000
    for span in ("hour", "day", "month"):
        found = getattr(escalation, f"max_mb_per_{span}")
        if found < each_mb:
            tell(f"escalation.max_mb_per_{span}", f"room for one crop ({each_mb:g} MB)", f"{found:g} MB")
    for name in escalation.metered_interfaces:
        if not name.strip():
            tell("escalation.metered_interfaces", "beginnings of names", "an empty text, which every name begins with")


def _check_what_escalation_needs(parts: Mapping[str, object], tell: Tell) -> None:
    """The consent comes as updates do; and what escalation costs is told in the reports on people."""
    updates, privacy = parts.get("updates"), parts.get("privacy")
    if isinstance(updates, UpdatesConfig):
        if not updates.enabled:
            advice = "the consent of the site comes signed, as models do"
            tell("escalation.enabled", "updates.enabled: true with it", "updates.enabled: false", advice)
        elif not updates.urls and updates.folder is None and not updates.blocks:
            expected = "updates.urls, updates.folder or updates.blocks: true, where the consent is fetched"
            tell("escalation.enabled", expected, "none of them")
    if isinstance(privacy, PrivacyConfig):
        if privacy.guarantee == "none":
            advice = "what is escalated is told with noise"
            tell("escalation.enabled", "a privacy.guarantee of track or duration", "none", advice)
        elif not privacy.shares.escalated:
            tell("privacy.shares.escalated", "a share above 0 with escalation.enabled", "0")


_Point = tuple[float, float]


def _check_polygon(key: str, polygon: Polygon, tell: Tell) -> None:
    crossing = _first_crossing(polygon)
    corners = zip(polygon, polygon[1:] + polygon[:1], polygon[2:] + polygon[:2], strict=True)
    if not any(_turn(*three) for three in corners):
        tell(key, "corners around an area", "corners on one line")
    elif crossing is not None:
        first, second = crossing
        tell(key, "sides that do not meet", f"sides {first + 1} and {second + 1} meeting")
    elif abs(_area(polygon)) < _MIN_AREA:
        tell(key, "corners around an area", "less than a pixel")


def _area(polygon: Polygon) -> float:
    """The signed area by the shoelace formula, in shares of the picture."""
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def _first_crossing(polygon: Polygon) -> tuple[int, int] | None:
    """The first two sides that share more than the corner between neighbours, or None. Side i begins at corner i."""
    sides = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    for (i, first), (j, second) in itertools.combinations(enumerate(sides), 2):
        if j == i + 1:
            meets = _folds_back(first[0], first[1], second[1])
        elif i == 0 and j == len(sides) - 1:
            meets = _folds_back(second[0], second[1], first[1])
        else:
            meets = _segments_meet(first, second)
        if meets:
            return i, j
    return None


def _turn(a: _Point, b: _Point, c: _Point) -> int:
    """Which way a → b → c turns: 1, -1, or 0 for straight on (or back)."""
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 0 if abs(cross) <= _ROUNDING else (1 if cross > 0 else -1)


def _folds_back(a: _Point, b: _Point, c: _Point) -> bool:
    """Whether the side b → c runs back over the side a → b, or one of them has no length."""
    onward = (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1])
    return _turn(a, b, c) == 0 and onward <= 0


def _segments_meet(first: tuple[_Point, _Point], second: tuple[_Point, _Point]) -> bool:
    (a, b), (c, d) = first, second
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    touching: list[tuple[int, Callable[[], bool]]] = [
        (turns[0], lambda: _is_between(a, c, b)),
        (turns[1], lambda: _is_between(a, d, b)),
        (turns[2], lambda: _is_between(c, a, d)),
        (turns[3], lambda: _is_between(c, b, d)),
    ]
    return any(turn == 0 and lies_on() for turn, lies_on in touching)


def _is_between(a: _Point, middle: _Point, b: _Point) -> bool:
    """Whether a point of the line through a and b lies between them."""
    return all(
        min(low, high) - _ROUNDING <= value <= max(low, high) + _ROUNDING
        for low, value, high in zip(a, middle, b, strict=True)
    )

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from math import cos, sin, tau
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import (
    CameraConfig,
    Config,
    CountingConfig,
    DelegateLibrary,
    DeviceConfig,
    InferenceConfig,
    LineConfig,
    LoggingConfig,
    MotionConfig,
    MqttConfig,
    PathsConfig,
    TelemetryConfig,
    ThermalConfig,
    TrackingConfig,
    VisionConfig,
    ZoneConfig,
)
from edgeapp.config_file import check, load, read
from edgeapp.document import Leaf, Listing, Node, Section
from edgeapp.errors import ConfigError
from edgeapp.mistakes import ConfigMistakesError, Findings, Mistake
from edgeapp.reader import Range, read_yaml
from edgeapp.yaml_document import parse_yaml

SHIPPED = Path(__file__).parents[2] / "config.yaml"
EXAMPLES = {"counting.lines", "counting.zones"}  # shown filled, although the default is none
LEAST = """\
device: {id: door}
camera: {kind: v4l2, source: /dev/video0}
inference: {model_dir: /models/person}
mqtt: {host: broker}
"""


def told(text: str) -> list[str]:
    with pytest.raises(ConfigMistakesError) as caught:
        read(text.encode(), "c.yaml")
    return str(caught.value).splitlines()


# --- the shipped example


def tree_of(path: Path) -> Section:
    root = parse_yaml(path.read_bytes(), Findings("config.yaml"))
    assert isinstance(root, Section)
    return root


def keys_of(node: Node, parent: str = "") -> Iterator[tuple[str, Node]]:
    """Every key of a tree; the items of a list of sections share the keys of the list."""
    if isinstance(node, Section):
        for name, value in node.entries.items():
            key = f"{parent}.{name}" if parent else name
            yield key, value
            yield from keys_of(value, key)
    elif isinstance(node, Listing):
        for item in node.items:
            yield from keys_of(item, parent)


def fields_of(cls: Any, parent: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every key that the dataclasses know, its type and its field."""
    for field in dataclasses.fields(cls):
        hint = get_type_hints(cls, include_extras=True)[field.name]
        key = f"{parent}.{field.name}" if parent else field.name
        yield key, hint, field
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if dataclasses.is_dataclass(inner):
            yield from fields_of(inner, key)


def comment_above(key_line: int) -> str:
    lines = SHIPPED.read_text().splitlines()
    first = key_line - 1
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("# ") for line in lines[first : key_line - 1])


def test_the_shipped_configuration_is_accepted() -> None:
    assert load(SHIPPED).camera.kind == "v4l2"


def test_the_shipped_configuration_shows_every_key_and_no_other() -> None:
    shown = [key for key, _ in keys_of(tree_of(SHIPPED))]
    assert shown == list(dict.fromkeys(shown)), "one example of each is enough"
    assert set(shown) == {key for key, _, _ in fields_of(Config)}


@pytest.mark.parametrize("key", [key for key, _, _ in fields_of(Config)])
def test_the_shipped_configuration_explains_each_key(key: str) -> None:
    line = dict(keys_of(tree_of(SHIPPED)))[key].line
    assert len(comment_above(line)) >= len("What is counted.")


def range_of(hint: Any) -> Range | None:
    """The range of a number, `| None` or not."""
    for each in (hint, *get_args(hint)) if get_origin(hint) is not tuple else ():
        for limit in get_args(each)[1:] if get_origin(each) is Annotated else ():
            if isinstance(limit, Range):
                return limit
    return None


RANGED = [(key, limits) for key, hint, _ in fields_of(Config) if (limits := range_of(hint))]


@pytest.mark.parametrize(("key", "limits"), RANGED)
def test_the_shipped_configuration_tells_the_range_of_each_number(key: str, limits: Range) -> None:
    comment = comment_above(dict(keys_of(tree_of(SHIPPED)))[key].line)
    found = re.search(r"([0-9.]+) to ([0-9.]*[0-9])", comment)
    assert found, comment
    assert (float(found[1]), float(found[2])) == (limits.low, limits.high)


def test_the_shipped_configuration_shows_the_defaults() -> None:
    shipped = load(SHIPPED)
    for section in dataclasses.fields(Config):
        part = getattr(shipped, section.name)
        for field in dataclasses.fields(part):
            key = f"{section.name}.{field.name}"
            if field.default is not dataclasses.MISSING and key not in EXAMPLES:
                assert getattr(part, field.name) == field.default, key


# --- the file


def test_a_configuration_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(LEAST)
    assert load(path) == Config(
        device=DeviceConfig(id="door"),
        camera=CameraConfig(kind="v4l2", source="/dev/video0"),
        inference=InferenceConfig(model_dir="/models/person"),
        mqtt=MqttConfig(host="broker"),
    )


def message_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert isinstance(caught.value, ConfigMistakesError)
    assert len(caught.value.mistakes) == 1
    return str(caught.value)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert message_of(path) == f"{path}: expected a readable file, found no such file"


def test_a_directory_is_a_configuration_error(tmp_path: Path) -> None:
    assert message_of(tmp_path) == f"{tmp_path}: expected a readable file, found a directory"


def test_a_path_through_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "config.yaml"
    assert message_of(path) == f"{path}: expected a readable file, found Not a directory"


def test_a_file_that_refuses_to_be_read_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By hand, because the tests may run as root, whom no mode of a file keeps out.
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "config.yaml"
    path.write_text(LEAST)
    monkeypatch.setattr(Path, "open", refuse)
    assert message_of(path) == f"{path}: expected a readable file, found Permission denied"


def test_a_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    os.mkfifo(path)
    assert message_of(path) == f"{path}: expected a readable file, found something that is no regular file"


def test_a_path_that_no_file_can_have_is_a_configuration_error() -> None:
    assert "expected a readable file, found" in message_of(Path("a\0b"))


def test_a_file_beyond_the_size_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert message_of(path) == f"{path}: expected at most 262144 bytes, found 262145"


# --- the rules between keys: (section, its keys in line 2, what is said of it)

RULES = [
    ("telemetry", "window_s: 7", "telemetry.window_s: expected a divisor of a day (86400 seconds), found 7; 6 is one"),
    (
        "telemetry",
        "window_s: 901",
        "telemetry.window_s: expected a divisor of a day (86400 seconds), found 901; 900 is one",
    ),
    (
        "tracking",
        "{min_height_pct: 50, max_height_pct: 50}",
        "tracking.min_height_pct: expected less than max_height_pct (50), found 50",
    ),
    ("tracking", "max_height_pct: 0", "tracking.min_height_pct: expected less than max_height_pct (0), found 0"),
    (
        "camera",
        "{kind: rtsp, source: /dev/video0}",
        "camera.source: expected rtsp://… or rtsps://… for kind rtsp, found the text '/dev/video0'",
    ),
    (
        "camera",
        "{kind: rtsp, source: 'http://me:secret@cam'}",
        "camera.source: expected rtsp://… or rtsps://… for kind rtsp, found another address",
    ),
    (
        "camera",
        "{kind: video, source: 'rtsp://me:secret@cam'}",
        "camera.source: expected no stream for kind video, found an RTSP address; did you mean kind: rtsp?",
    ),
    (
        "camera",
        "{kind: v4l2, source: video0}",
        "camera.source: expected /dev/… or the number of a camera for kind v4l2, found the text 'video0'",
    ),
    (
        "camera",
        "{kind: v4l2, source: ''}",
        "camera.source: expected /dev/… or the number of a camera for kind v4l2, found the text ''",
    ),
    ("camera", "{kind: images, source: ' '}", "camera.source: expected a source, found an empty text"),
    (
        "camera",
        "{kind: v4l2, source: '0', crop: [0.5, 0, 0.6, 1]}",
        "camera.crop: expected x + width of at most 1, found 1.1",
    ),
    (
        "camera",
        "{kind: v4l2, source: '0', crop: [0, 0.5, 1, 1]}",
        "camera.crop: expected y + height of at most 1, found 1.5",
    ),
    (
        "camera",
        "{kind: v4l2, source: '0', crop: [0, 0, 0, 1]}",
        "camera.crop: expected x, y, width, height with a width and a height above 0, found 0.0 x 1.0",
    ),
    (
        "camera",
        "{kind: v4l2, source: '0', masks: [[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [1, 0], [0, 1]]]}",
        "camera.masks[1]: expected sides that do not meet, found sides 1 and 3 meeting",
    ),
    ("inference", "model_dir: ''", "inference.model_dir: expected a path, found an empty text"),
    (
        "inference",
        "{model_dir: /m, delegate: {library: libarmnn.so}}",
        "inference.delegate.library: expected the path of a library, from / on, found the text 'libarmnn.so'",
    ),
    ("paths", "state_dir: ' '", "paths.state_dir: expected a path, found an empty text"),
    ("vision", "socket: ''", "vision.socket: expected a path, found an empty text"),
    (
        "thermal",
        "target_c: 79\n  throttle_c: 79.5",
        "thermal.target_c: expected at most throttle_c - 1 (78.5 °C), found 79 °C",
    ),
    ("thermal", "sensor_path: ' '", "thermal.sensor_path: expected a path, found an empty text"),
    ("mqtt", "host: ''", "mqtt.host: expected a host name or address, found an empty text"),
    (
        "mqtt",
        "host: mqtts://me:secret@broker",
        "mqtt.host: expected a host name or address, found a URL; write the host alone, the port in mqtt.port",
    ),
    (
        "mqtt",
        "host: 'me:secret@broker'",
        "mqtt.host: expected a host name or address, found another text; write the host alone, the port in mqtt.port",
    ),
    (
        "mqtt",
        "host: broker:1883",
        "mqtt.host: expected a host name or address, found another text; write the host alone, the port in mqtt.port",
    ),
    ("mqtt", "{host: b, password_file: /p}", "mqtt.password_file: expected a username with it, found none"),
    ("mqtt", "{host: b, tls: {ca_file: /c}}", "mqtt.tls.ca_file: expected enabled: true with it, found enabled: false"),
    (
        "mqtt",
        "{host: b, tls: {enabled: true, cert_file: /c}}",
        "mqtt.tls.cert_file: expected a key_file with it, found none",
    ),
    (
        "mqtt",
        "{host: b, tls: {enabled: true, key_file: /k}}",
        "mqtt.tls.key_file: expected a cert_file with it, found none",
    ),
    ("mqtt", "{host: b, tls: {enabled: true, ca_file: ''}}", "mqtt.tls.ca_file: expected a path, found an empty text"),
    ("mqtt", "{host: b, username: u, password_file: ''}", "mqtt.password_file: expected a path, found an empty text"),
    ("mqtt", "{host: b, username: ''}", "mqtt.username: expected a name or null, found an empty text"),
    (
        "counting",
        "lines: [{name: a, start: [0.5, 0.5], end: [0.5, 0.5]}]",
        "counting.lines[0].end: expected another point than start, found the same",
    ),
    (
        "counting",
        "lines: [{name: a, start: [0, 0], end: [0, 1]}, {name: a, start: [1, 0], end: [0, 1]}]",
        "counting.lines[1].name: expected a name of its own, found a a second time",
    ),
    (
        "counting",
        "zones: [{name: z, polygon: [[0, 0], [0, 1], [1, 1]]}, {name: z, polygon: [[0, 0], [0, 1], [1, 1]]}]",
        "counting.zones[1].name: expected a name of its own, found z a second time",
    ),
    (
        "counting",
        "zones: [{name: z, polygon: [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]}]",
        "counting.zones[0].polygon: expected corners around an area, found corners on one line",
    ),
    (
        "privacy",
        "{shares: {entered: 0, confidence: 0}}",
        "privacy.shares: expected a share above 0 of what this site can count, found none; crossings need a line, dwell"
        " a zone; to tell nothing, write privacy.guarantee: none",
    ),
    (
        "privacy",
        "{guarantee: duration, chunk_s: 40}",
        "privacy.chunk_s: expected a divisor of a quarter of an hour (900 seconds), found 40; 36 is one",
    ),
    (
        "inference",
        "{model_dir: /m, max_fps: 0.05}\nprivacy: {guarantee: duration}",
        "privacy.chunk_s: expected time for tracking.confirm_frames (3) at inference.max_fps, found time for 1.5",
    ),
    (
        "motion",
        "{enabled: true}\nprivacy: {guarantee: duration}",
        "motion.enabled: expected false with privacy.guarantee: duration, found true; the gate carries detections from"
        " chunk to chunk",
    ),
]


def with_section(section: str, keys: str) -> str:
    rest = [line for line in LEAST.splitlines() if not line.startswith(f"{section}:")]
    return "\n".join([f"{section}:", f"  {keys}", *rest])


@pytest.mark.parametrize(("section", "keys", "message"), RULES)
def test_a_broken_rule_between_keys_is_told_with_its_line(section: str, keys: str, message: str) -> None:
    line = 1 if "min_height_pct" in message and "min_height_pct" not in keys else 2
    line += "privacy" in keys and message.startswith("privacy")
    assert told(with_section(section, keys)) == [f"c.yaml:{line}: {message}"]


ALLOWED = [
    ("telemetry", "window_s: 86400"),
    ("privacy", "{guarantee: none, shares: {entered: 0, confidence: 0}, chunk_s: 7}"),
    ("privacy", "{guarantee: track, chunk_s: 7}"),
    ("motion", "{enabled: true}\nprivacy: {guarantee: track}"),
    ("camera", "{kind: v4l2, source: '2'}"),
    ("inference", "{model_dir: /m, delegate: {library: /usr/lib/libarmnn.so, options: {backends: CpuAcc}}}"),
    ("camera", "{kind: v4l2, source: /dev/v4l/by-id/usb-cam_1-index0}"),
    ("camera", "{kind: rtsp, source: 'RTSPS://cam/1'}"),
    ("camera", "{kind: picamera2, source: '0'}"),
    ("camera", "{kind: video, source: film.mp4, crop: [0.1, 0.3, 0.9, 0.7]}"),
    ("camera", "{kind: video, source: film.mp4, crop: [0.35, 0.15, 0.65, 0.85]}"),
    ("thermal", "{target_c: 79, throttle_c: 80}"),
    ("mqtt", "host: 192.168.0.7"),
    ("mqtt", "host: 'fe80::1%eth0'"),
    ("mqtt", "host: '::1'"),
    ("mqtt", "host: my_broker.local"),
    ("mqtt", "{host: b, username: u}"),
    ("mqtt", "{host: b, username: u, password_file: /p}"),
    ("mqtt", "{host: b, tls: {enabled: true}}"),
    ("mqtt", "{host: b, tls: {enabled: true, ca_file: /a, cert_file: /c, key_file: /k}}"),
    ("counting", "zones: [{name: z, polygon: [[0, 0], [0.5, 0.5], [1, 0], [1, 1], [0, 1]]}]"),
    ("counting", "zones: [{name: z, polygon: [[0, 0], [0.5, 0], [1, 0], [1, 1], [0, 1]]}]"),
    (
        "counting",
        "{lines: [{name: a, start: [0, 0], end: [0, 1]}], zones: [{name: a, polygon: [[0, 0], [0, 1], [1, 1]]}]}",
    ),
]


@pytest.mark.parametrize(("section", "keys"), ALLOWED)
def test_what_keeps_the_rules_is_accepted(section: str, keys: str) -> None:
    assert read(with_section(section, keys).encode(), "c.yaml")


TWISTED = [
    ("a bow tie", [(0, 0), (1, 1), (1, 0), (0, 1)]),
    ("a corner twice", [(0, 0), (0, 0), (1, 0), (1, 1)]),
    ("the first corner as last", [(0, 0), (1, 0), (1, 1), (0, 0)]),
    ("a spike", [(0, 0), (0.5, 0), (0.5, 0.5), (0.5, 0), (1, 1)]),
    ("a corner on another side", [(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)]),
    ("a side along another", [(0, 0), (1, 0), (1, 1), (0.8, 1), (0.8, 0), (0.2, 0), (0.2, 1), (0, 1)]),
    ("a star", [(0.5, 0), (0.8, 1), (0, 0.4), (1, 0.4), (0.2, 1)]),
    ("less than a pixel", [(0.5, 0.5), (0.5001, 0.5), (0.5, 0.5001)]),
]


@pytest.mark.parametrize(("_", "corners"), TWISTED)
def test_a_polygon_that_encloses_no_plain_area_is_refused_from_every_corner_on(
    _: str, corners: list[tuple[float, float]]
) -> None:
    for start in range(len(corners)):
        turned = tuple(corners[start:] + corners[:start])
        for polygon in (turned, turned[::-1]):
            counting = CountingConfig(zones=(ZoneConfig(name="z", polygon=polygon),))
            assert [each.key for each in check(dataclasses.replace(least(), counting=counting))] == [
                "counting.zones[0].polygon"
            ]


def least() -> Config:
    return read(LEAST.encode(), "c.yaml")


@given(st.integers(3, 64), st.data())
def test_a_star_shaped_polygon_is_accepted(corners: int, data: st.DataObject) -> None:
    radii = data.draw(st.lists(st.floats(0.1, 0.5), min_size=corners, max_size=corners))
    polygon = tuple(
        (0.5 + radius * cos(tau * i / corners), 0.5 + radius * sin(tau * i / corners)) for i, radius in enumerate(radii)
    )
    counting = CountingConfig(zones=(ZoneConfig(name="z", polygon=polygon),))
    assert check(dataclasses.replace(least(), counting=counting)) == ()


@given(st.integers(0, 10**6 - 1))
def test_a_crop_up_to_the_very_edge_is_accepted(millionths: int) -> None:
    near, far = millionths / 10**6, (10**6 - millionths) / 10**6
    camera = dataclasses.replace(least().camera, crop=(near, near, far, far))
    assert check(dataclasses.replace(least(), camera=camera)) == ()


@given(st.integers(5, 86_400))
def test_a_window_is_accepted_exactly_if_it_divides_a_day(window_s: int) -> None:
    config = dataclasses.replace(least(), telemetry=TelemetryConfig(window_s=window_s))
    assert (check(config) == ()) == (86_400 % window_s == 0)


def test_rules_are_checked_in_sections_that_can_be_read_beside_one_that_cannot() -> None:
    text = "device: {id: 3}\ncamera: {kind: v4l2, source: cam}\ninference: {model_dir: m}\nmqtt: {host: ''}\n"
    assert [line.split(": ")[1] for line in told(text)] == ["device.id", "camera.source", "mqtt.host"]


def test_a_check_without_a_file_names_the_configuration() -> None:
    config = dataclasses.replace(least(), mqtt=MqttConfig(host=""))
    assert [str(each) for each in check(config)] == [
        "configuration: mqtt.host: expected a host name or address, found an empty text"
    ]


# --- any configuration, any bytes

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
points = st.tuples(st.floats(0, 1), st.floats(0, 1))
polygons = st.lists(points, min_size=3, max_size=5).map(tuple)
cameras = st.builds(
    CameraConfig,
    kind=st.sampled_from(["v4l2", "picamera2", "rtsp", "video", "images"]),
    source=texts,
    width=st.integers(32, 8192),
    height=st.integers(32, 8192),
    fps=st.floats(0.1, 240),
    pixel_format=st.sampled_from(["auto", "yuyv", "mjpeg"]),
    rotate_deg=st.sampled_from([0, 90, 180, 270]),
    mirror=st.sampled_from(["none", "horizontal", "vertical"]),
    crop=st.none() | st.tuples(*[st.floats(0, 1)] * 4),
    masks=st.lists(polygons, max_size=2).map(tuple),
    replay=st.sampled_from(["realtime", "fast"]),
    loop=st.booleans(),
)
configs = st.builds(
    Config,
    device=st.builds(DeviceConfig, id=names, tenant=names),
    paths=st.builds(PathsConfig, state_dir=texts, runtime_dir=texts),
    camera=cameras,
    inference=st.builds(
        InferenceConfig,
        model_dir=texts,
        delegate=st.sampled_from(["auto", "xnnpack", "none"])
        | st.builds(DelegateLibrary, library=texts, options=st.dictionaries(names, texts, max_size=2)),
        threads=st.none() | st.integers(1, 16),
        max_fps=st.floats(0.05, 240),
        min_score=st.none() | st.floats(0.01, 0.99),
    ),
    motion=st.builds(MotionConfig, enabled=st.booleans(), min_change=st.integers(1, 255)),
    tracking=st.builds(
        TrackingConfig, classes=st.lists(texts, max_size=3).map(tuple), min_height_pct=st.floats(0, 100)
    ),
    counting=st.builds(
        CountingConfig,
        lines=st.lists(st.builds(LineConfig, name=names, start=points, end=points), max_size=2).map(tuple),
        zones=st.lists(st.builds(ZoneConfig, name=names, polygon=polygons), max_size=2).map(tuple),
    ),
    telemetry=st.builds(TelemetryConfig, window_s=st.integers(5, 86_400)),
    mqtt=st.builds(
        MqttConfig, host=texts, port=st.integers(1, 65_535), username=st.none() | texts, password_file=st.none() | texts
    ),
    thermal=st.builds(
        ThermalConfig,
        sensor_path=texts,
        target_c=st.floats(50, 79),
        throttle_c=st.floats(55, 100),
        stuck_s=st.floats(30, 99),
    ),
    vision=st.builds(VisionConfig, socket=st.none() | texts, silence_s=st.floats(0.5, 60)),
    logging=st.builds(LoggingConfig, level=st.sampled_from(["debug", "info", "warning", "error"])),
)


def mistakes_of(text: bytes) -> tuple[Mistake, ...]:
    try:
        read(text, "c.yaml")
    except ConfigMistakesError as error:
        return error.mistakes
    return ()


@given(configs)
def test_a_configuration_dumped_as_yaml_is_read_back_equal_and_judged_the_same(config: Config) -> None:
    dumped = yaml.safe_dump(dataclasses.asdict(config)).encode()
    assert read_yaml(Config, dumped, "c.yaml") == config
    expected = {(each.key, each.found) for each in check(config)}
    assert {(each.key, each.found) for each in mistakes_of(dumped)} == expected


@given(st.data())
def test_a_damaged_configuration_is_read_or_refused_but_never_crashes_the_reader(data: st.DataObject) -> None:
    text = bytearray(SHIPPED.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 20, len(text))))
        text[start:end] = data.draw(st.binary(max_size=6) | st.sampled_from([b"\n", b": ", b"\t", b"- ", b"'", b"{"]))
    told = mistakes_of(bytes(text))
    assert all(str(each).startswith("c.yaml") for each in told)


def test_the_tree_of_the_shipped_configuration_has_only_plain_values() -> None:
    leaves = [node for _, node in keys_of(tree_of(SHIPPED)) if isinstance(node, Leaf)]
    assert all(node.value is None or isinstance(node.value, str | int | float | bool) for node in leaves)


def test_key_frames_must_come_at_least_once_a_window() -> None:
    """A window without one inference would say that nothing has moved."""
    config = dataclasses.replace(
        least(), motion=MotionConfig(enabled=True, key_frame_s=5.0), telemetry=TelemetryConfig(window_s=5)
    )
    (mistake,) = check(config)
    assert "motion.key_frame_s: expected less than telemetry.window_s (5), found 5" in str(mistake)
    assert check(dataclasses.replace(config, motion=MotionConfig(key_frame_s=5.0))) == ()

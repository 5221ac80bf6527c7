from __future__ import annotations

import dataclasses

import pytest

from edgeapp.config import CameraConfig, Config, DelegateLibrary, DeviceConfig, InferenceConfig, LineConfig, MqttConfig
from edgeapp.config_change import Change, differences, effect

CONFIG = Config(
    device=DeviceConfig(id="door"),
    camera=CameraConfig(kind="rtsp", source="rtsp://eye:secret@camera/1"),
    inference=InferenceConfig(model_dir="/models/person"),
    mqtt=MqttConfig(host="broker"),
)
SECTIONS = [field.name for field in dataclasses.fields(Config)]
KEYS = [f"{name}.{field.name}" for name in SECTIONS for field in dataclasses.fields(getattr(CONFIG, name))]
LIVE = {"inference.max_fps", "logging.level", "counting.lines", "counting.zones"}


def changed(key: str, value: object) -> Config:
    section, _, name = key.partition(".")
    part = dataclasses.replace(getattr(CONFIG, section), **{name: value})
    return dataclasses.replace(CONFIG, **{section: part})


def test_equal_configurations_do_not_differ() -> None:
    assert differences(CONFIG, dataclasses.replace(CONFIG)) == ()


@pytest.mark.parametrize("key", KEYS)
def test_a_change_of_any_one_key_is_told_as_that_key_alone(key: str) -> None:
    marker = object()
    section, _, name = key.partition(".")
    old = getattr(getattr(CONFIG, section), name)
    assert differences(CONFIG, changed(key, marker)) == (Change(key, old, marker),)


def test_changes_come_in_the_order_of_the_configuration() -> None:
    new = dataclasses.replace(
        changed("logging.level", "debug"),
        device=DeviceConfig(id="gate"),
        counting=dataclasses.replace(CONFIG.counting, lines=(LineConfig(name="a", start=(0, 0), end=(1, 1)),)),
    )
    assert [change.key for change in differences(CONFIG, new)] == ["device.id", "counting.lines", "logging.level"]


def test_an_option_of_a_delegate_library_is_a_change_for_vision() -> None:
    old, new = (changed("inference.delegate", DelegateLibrary(library="/l.so", options={"a": one})) for one in "12")
    (change,) = differences(old, new)
    assert (change.key, effect(change.key)) == ("inference.delegate.options", "vision")
    assert [one.key for one in differences(CONFIG, new)] == ["inference.delegate"]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_the_effect_of_its_section(key: str) -> None:
    section = key.partition(".")[0]
    if key in LIVE or section == "tracking":
        expected = "live"
    else:
        expected = "vision" if section in ("camera", "inference", "motion") else "restart"
    assert effect(key) == expected


def test_a_key_inside_a_list_has_the_effect_of_its_section() -> None:
    assert effect("counting.lines[0].start") == "live"


@pytest.mark.parametrize("key", ["", "camara.fps", "logging", "logging.colour"])
def test_an_unknown_key_has_no_effect_but_an_error(key: str) -> None:
    with pytest.raises(ValueError, match="expected a key of the configuration"):
        effect(key)


def test_the_text_of_a_change_leaves_out_the_password_of_a_url() -> None:
    change = differences(CONFIG, changed("camera.source", "rtsp://other:w/or@d@camera/2"))[0]
    assert str(change) == "camera.source: 'rtsp://…@camera/1' → 'rtsp://…@camera/2'"

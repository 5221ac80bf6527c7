"""Single settings change; whatever else a person wrote stays, comments first of all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp import cli, commands, config_file, settings_edit
from edgeapp.errors import ConfigError

SHIPPED = (Path(__file__).parents[2] / "config.yaml").read_text()
SHORT = """\
device: {id: a}  # who
camera:
  kind: video
  source: /x  # a film
inference:
  model_dir: /m
# last
mqtt:
  host: h
"""


def _changed(text: str, **settings: str) -> str:
    return settings_edit.edited(text, {key.replace("__", "."): value for key, value in settings.items()})


def test_the_shipped_configuration_loses_no_comment() -> None:
    text = _changed(SHIPPED, device__id="side-door", mqtt__tls__enabled="true", counting__lines="", counting__zones="")
    assert text.count("#") == SHIPPED.count("#")
    config = config_file.read(text.encode(), "changed")
    assert (config.device.id, config.mqtt.tls.enabled, config.counting.lines) == ("side-door", True, ())
    settings_edit.check(None, config, {"device.id": "side-door", "counting.zones": ""})


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("camera.source", "/srv/a film # 2", '  source: "/srv/a film # 2"  # a film'),
        ("device.tenant", "on", None),
        ("mqtt.port", "8883", "  port: 8883"),
        ("mqtt.username", "", "  username: null"),
        ("vision.socket", "/run/v", "  socket: /run/v"),
        ("device.groups", "", None),
    ],
)
def test_a_key_is_changed_where_it_stands_or_put_where_it_belongs(key: str, value: str, line: str | None) -> None:
    if line is None:  # the section stands in braces
        with pytest.raises(ConfigError, match="only a person"):
            settings_edit.edited(SHORT, {key: value})
        return
    text = settings_edit.edited(SHORT, {key: value})
    assert line in text.splitlines()
    assert set(SHORT.splitlines()) - set(text.splitlines()) <= {"  source: /x  # a film"}
    settings_edit.check(
        config_file.read(SHORT.encode(), "before"), config_file.read(text.encode(), "after"), {key: value}
    )


def test_a_nested_section_that_is_missing_is_made() -> None:
    text = _changed(SHORT, mqtt__tls__enabled="true")
    assert text.endswith("mqtt:\n  host: h\n  tls:\n    enabled: true\n")


@pytest.mark.parametrize("value", ["on", "null", "12", "2024-01-31", "1e3", "a: b", "x#y", "ü", '"', "-"])
def test_a_text_stays_a_text_however_yaml_would_take_it(value: str) -> None:
    text = _changed(SHORT, camera__source=value, mqtt__username=value)
    config = config_file.read(text.encode(), "after")
    assert (config.camera.source, config.mqtt.username) == (value, value)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])).filter(str.strip))
def test_any_text_comes_back(value: str) -> None:
    text = _changed(SHORT, mqtt__password_file=value, mqtt__username="u")
    assert config_file.read(text.encode(), "after").mqtt.password_file == value


@pytest.mark.parametrize("key", ["mqtt.potr", "mqtt", "inference.delegate.library", "no", ""])
def test_a_key_that_cannot_be_set_is_refused(key: str) -> None:
    with pytest.raises(ConfigError):
        settings_edit.edited(SHORT, {key: "1"})


def test_a_change_of_anything_else_is_noticed() -> None:
    before = config_file.read(SHORT.encode(), "before")
    after = config_file.read(SHORT.replace("host: h", "host: other").encode(), "after")
    with pytest.raises(ConfigError, match=r"mqtt\.host"):
        settings_edit.check(before, after, {})
    with pytest.raises(ConfigError, match=r"mqtt\.port"):
        settings_edit.check(before, before, {"mqtt.port": "99"})


def test_configure_prints_the_file_and_leaves_it_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SHORT)
    assert cli.main(["configure", str(file), "mqtt.host=10.0.0.5"]) == 0
    assert capsys.readouterr().out == SHORT.replace("host: h", 'host: "10.0.0.5"')
    assert file.read_text() == SHORT
    assert cli.main(["configure", str(file), "mqtt.port=0"]) == commands.EXIT_CONFIG
    assert "mqtt.port: expected 1 to 65535" in capsys.readouterr().err

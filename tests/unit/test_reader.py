from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp import yaml_document
from edgeapp.errors import ConfigError, ManifestError
from edgeapp.manifest import Manifest
from edgeapp.reader import (
    ConfigMistakesError,
    Length,
    ManifestMistakesError,
    Mistake,
    Pattern,
    Range,
    examine_yaml,
    read_json,
    read_yaml,
)

Share = Annotated[float, Range(0.0, 1.0, "share")]
LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimmer:
    """What may stand in place of a word."""

    levels: Annotated[int, Range(2, 99, "levels")]
    wires: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lamp:
    """One of everything that the reader knows."""

    id: Annotated[str, Pattern(r"[a-z]+[0-9]?", "small letters")]
    text: str = "plain"
    watts: Annotated[int, Range(1, 1_000_000, "watts")] = 40
    count: int = 0
    hours: Annotated[float, Range(0.1, 240, "hours")] = 1.5
    ratio: float = 0.0
    is_on: bool = False
    base: Literal["screw", "bayonet", "none"] = "screw"
    turn: Literal[0, 90, 180] = 0
    limit: Annotated[float, Range(0, 9, "limit")] | None = None
    owner: str | None = None
    corner: tuple[Share, Share] = (0.0, 0.0)
    path: Annotated[tuple[tuple[Share, Share], ...], Length(2, 4, "corners")] = ((0.0, 0.0), (1.0, 1.0))
    rooms: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    dimmer: Literal["auto", "none"] | Dimmer = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    name: str = "wall"


@dataclass(frozen=True, kw_only=True, slots=True)
class House:
    lamp: Lamp
    switches: tuple[Switch, ...] = ()
    spare: Lamp | None = None
    switch: Switch = field(default_factory=Switch)


@dataclass(frozen=True)
class Odd:
    value: complex


@dataclass(frozen=True)
class OddUnion:
    value: int | str


@pytest.fixture(params=LOADERS, ids=lambda loader: str(loader.__name__))
def any_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers: the one in C is not installed everywhere."""
    monkeypatch.setattr(yaml_document, "LOADER", request.param)


def mistakes_in(text: bytes | str, cls: type[Any] = House) -> list[str]:
    with pytest.raises(ConfigMistakesError) as caught:
        read_yaml(cls, text, "h.yaml")
    return str(caught.value).splitlines()


def lamp(**values: object) -> Lamp:
    return Lamp(id="a", **values)  # type: ignore[arg-type]


VALUES = [
    ("text: 'on'", lamp(text="on")),
    ('text: "12"', lamp(text="12")),
    ("text: 1e3", lamp(text="1e3")),
    ("text: none", lamp(text="none")),
    ("text: |\n  two\n  lines", lamp(text="two\nlines\n")),
    ("text: <<", lamp(text="<<")),
    ("text: ä→🙂", lamp(text="ä→🙂")),
    ("watts: 1_000", lamp(watts=1000)),
    ("watts: +7", lamp(watts=7)),
    ("count: -3", lamp(count=-3)),
    ("hours: 2", lamp(hours=2.0)),
    ("hours: .5", lamp(hours=0.5)),
    ("hours: 1e1", lamp(hours=10.0)),
    ("hours: 1.0e+1", lamp(hours=10.0)),
    ("hours: 240", lamp(hours=240.0)),
    ("ratio: -0.25", lamp(ratio=-0.25)),
    ("is_on: true", lamp(is_on=True)),
    ("is_on: yes", lamp(is_on=True)),
    ("is_on: Off", lamp(is_on=False)),
    ("base: none", lamp(base="none")),
    ("turn: 90", lamp(turn=90)),
    ("limit: 3", lamp(limit=3.0)),
    ("limit: null", lamp(limit=None)),
    ("owner:", lamp(owner=None)),
    ("owner: ~", lamp(owner=None)),
    ("owner: ''", lamp(owner="")),
    ("corner: [0, 1]", lamp(corner=(0.0, 1.0))),
    ("path: [[0, 0], [0, 1], [1, 1]]", lamp(path=((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)))),
    ("rooms:\n- hall\n- attic", lamp(rooms=("hall", "attic"))),
    ("rooms: []", lamp(rooms=())),
    ("labels: {on: 'yes', b: c}", lamp(labels={"on": "yes", "b": "c"})),
    ("counts: {ADD: 3}", lamp(counts={"ADD": 3})),
    ("dimmer: none", lamp(dimmer="none")),
    ("dimmer: {levels: 3, wires: {a: red}}", lamp(dimmer=Dimmer(levels=3, wires={"a": "red"}))),
]


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_a_value_is_read_as_its_type_asks(text: str, expected: Lamp) -> None:
    read = read_yaml(Lamp, f"id: a\n{text}\n", "h.yaml")
    assert read == expected
    for each in dataclasses.fields(Lamp):
        assert type(getattr(read, each.name)) is type(getattr(expected, each.name)), each.name


def test_sections_lists_of_sections_and_defaults_are_built() -> None:
    text = "lamp: {id: a}\nswitches:\n- {}\n- name: bed\nspare: {id: b, watts: 5}\n"
    expected = House(lamp=lamp(), switches=(Switch(), Switch(name="bed")), spare=Lamp(id="b", watts=5))
    assert read_yaml(House, text, "h.yaml") == expected


# One mistake, in line 2 of a lamp, and what is said of it.
MISTAKES = [
    ("id: Ab", "id: expected small letters, found the text 'Ab'"),
    ("id: ab99", "id: expected small letters, found the text 'ab99'"),
    ("id: 12", "id: expected small letters, found the number 12; put it in quotes"),
    ("text: 12", "text: expected text, found the number 12; put it in quotes"),
    ("text: 1.50", "text: expected text, found the number 1.50; put it in quotes"),
    ("text: true", "text: expected text, found true; put it in quotes"),
    ("text: on", "text: expected text, found on, which YAML reads as true; put it in quotes"),
    ("text: No", "text: expected text, found No, which YAML reads as false; put it in quotes"),
    ("text: 12:30", "text: expected text, found 12:30, which YAML reads as 750; put it in quotes"),
    ("text: 2024-01-31", "text: expected text, found 2024-01-31, which YAML reads as a date; put it in quotes"),
    ("text: 0x1F", "text: expected text, found 0x1F, which YAML reads as 31; put it in quotes"),
    ("text: 0x_", "text: expected text, found 0x_, which YAML reads as a number; put it in quotes"),
    ("text:", "text: expected text, found nothing"),
    ("text: null", "text: expected text, found null"),
    ("text: [a]", "text: expected text, found a list"),
    ("text: {a: b}", "text: expected text, found a section of keys"),
    ("dimmer: nine", "dimmer: expected auto or none, or a section of keys, found the text 'nine'; did you mean none?"),
    ("dimmer: 3", "dimmer: expected auto or none, or a section of keys, found the number 3"),
    ("dimmer:", "dimmer: expected auto or none, or a section of keys, found nothing"),
    ("dimmer: [none]", "dimmer: expected auto or none, or a section of keys, found a list"),
    ("dimmer: {levels: 1}", "dimmer.levels: expected 2 to 99 levels, found 1"),
    ("dimmer: {level: 3}", "dimmer.level: unknown key; did you mean levels?"),
    ("dimmer: {}", "dimmer.levels: expected 2 to 99 levels, found no such key"),
    ("dimmer: {levels: 3, wires: {a: 1}}", "dimmer.wires.a: expected text, found the number 1; put it in quotes"),
    ("watts: 0", "watts: expected 1 to 1000000 watts, found 0"),
    ("watts: 1000001", "watts: expected 1 to 1000000 watts, found 1000001"),
    ("watts: 10.0", "watts: expected a whole number, 1 to 1000000 watts, found 10.0; write 10"),
    ("watts: 10.5", "watts: expected a whole number, 1 to 1000000 watts, found 10.5"),
    ("watts: true", "watts: expected 1 to 1000000 watts, found true"),
    ("watts: yes", "watts: expected 1 to 1000000 watts, found yes, which YAML reads as true"),
    ("watts: '10'", "watts: expected 1 to 1000000 watts, found the text '10'; remove the quotes"),
    (
        "watts: 010",
        "watts: expected 1 to 1000000 watts, found 010, which YAML reads as 8; write it in plain decimal digits",
    ),
    (
        "watts: 1:30",
        "watts: expected 1 to 1000000 watts, found 1:30, which YAML reads as 90; write it in plain decimal digits",
    ),
    ("count: 3.0", "count: expected a whole number, found 3.0; write 3"),
    ("hours: 850", "hours: expected 0.1 to 240 hours, found 850"),
    ("hours: 0.09", "hours: expected 0.1 to 240 hours, found 0.09"),
    ("hours: .nan", "hours: expected 0.1 to 240 hours, found .nan"),
    ("hours: .inf", "hours: expected 0.1 to 240 hours, found .inf"),
    ("ratio: -.inf", "ratio: expected a number, found -.inf"),
    ("ratio: 1.0e+999", "ratio: expected a number, found 1.0e+999"),
    ("ratio: 1e999", "ratio: expected a number, found the text '1e999'"),
    (f"ratio: 1{'0' * 400}", "ratio: expected a number, found 100000000000000000000000…"),
    ("hours: 1,5", "hours: expected 0.1 to 240 hours, found the text '1,5'; write a point for the comma"),
    ("hours: '1e1'", "hours: expected 0.1 to 240 hours, found the text '1e1'; remove the quotes"),
    ("hours: soon", "hours: expected 0.1 to 240 hours, found the text 'soon'"),
    ("hours:", "hours: expected 0.1 to 240 hours, found nothing"),
    ("is_on: 1", "is_on: expected true or false, found the number 1"),
    ("is_on: 'true'", "is_on: expected true or false, found the text 'true'; remove the quotes"),
    ("base: scrw", "base: expected screw, bayonet or none, found the text 'scrw'; did you mean screw?"),
    ("base: glue-xyz", "base: expected screw, bayonet or none, found the text 'glue-xyz'"),
    ("base: off", "base: expected screw, bayonet or none, found off, which YAML reads as false"),
    ("turn: 45", "turn: expected 0, 90 or 180, found 45"),
    ("turn: 90.0", "turn: expected 0, 90 or 180, found 90.0; write 90"),
    ("turn: false", "turn: expected 0, 90 or 180, found false"),
    ("turn: '90'", "turn: expected 0, 90 or 180, found the text '90'; remove the quotes"),
    ("limit: 10", "limit: expected 0 to 9 limit, found 10"),
    ("limit: none", "limit: expected 0 to 9 limit, found the text 'none'"),
    ("corner: [0]", "corner: expected a list of 2 values, found 1"),
    ("corner: 0.5", "corner: expected a list of 2 values, found the number 0.5; put it in brackets: [ ]"),
    ("corner: [0, 1.5]", "corner[1]: expected 0 to 1 share, found 1.5"),
    ("path: [[0, 0]]", "path: expected a list of 2 to 4 corners, found 1"),
    ("path: [[0, 0], [1]]", "path[1]: expected a list of 2 values, found 1"),
    ("rooms: hall", "rooms: expected a list, found the text 'hall'; put it in brackets: [ ]"),
    ("rooms:", "rooms: expected a list, found nothing"),
    ("rooms: [a, 7]", "rooms[1]: expected text, found the number 7; put it in quotes"),
    ("labels: [a]", "labels: expected a section of keys, found a list"),
    ("labels: {a: 1}", "labels.a: expected text, found the number 1; put it in quotes"),
    ("wats: 3", "wats: unknown key; did you mean watts?"),
    ("Watts: 3", "Watts: unknown key; did you mean watts?"),
    ("text: &a [*a]", "text[0]: an alias (*name) is not accepted here; write the value out"),
    ("text: !!str 12", "text: a tag ('!!str') is not accepted here; leave it out"),
    (
        "text: !!python/object:os.system x",
        "text: a tag ('!!python/object:os.system') is not accepted here; leave it out",
    ),
    ("? [a]\n: b", "expected a word as key, found something else"),
    ('"te\\x1bxt": b', "'te\\x1bxt': unknown key; did you mean text?"),
]


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_told_with_line_key_expected_found_and_advice(text: str, message: str) -> None:
    id_line = "\n" if text.startswith("id:") else "id: a\n"
    told = mistakes_in(f"{id_line}{text}\n", Lamp)
    # An alias stands in a list where text was wanted, which is a mistake of its own.
    assert f"h.yaml:2: {message}" in told
    assert len(told) == 1 + text.startswith("text: &a")


# A document, and all that is said of it.
DOCUMENTS = [
    (b"", ["h.yaml: expected keys and values, found an empty file"]),
    (b" \n\n", ["h.yaml: expected keys and values, found an empty file"]),
    (b"# nothing\n", ["h.yaml: expected keys and values, found only comments"]),
    (b"- a\n- b\n", ["h.yaml:1: expected a section of keys, found a list"]),
    (b"hello\n", ["h.yaml:1: expected a section of keys, found the text 'hello'"]),
    (b"lamp:\n", ["h.yaml:1: lamp: expected a section of keys, found nothing; put its keys below it, indented"]),
    (b"spare: {id: a}\n", ["h.yaml: lamp: expected a section of keys, found no such key"]),
    (b"lamp:\n  watts: 3\n", ["h.yaml:1: lamp.id: expected small letters, found no such key"]),
    (b"lamp: {id: a}\nswitches:\n- nam: x\n", ["h.yaml:3: switches[0].nam: unknown key; did you mean name?"]),
    (b"lamp: {id: a}\nwatts: 3\n", ["h.yaml:2: watts: unknown key; did you mean lamp.watts?"]),
    (b"lamp: {id: a}\nzzz: 3\n", ["h.yaml:2: zzz: unknown key; known here: lamp, switches, spare, switch"]),
    (b"lamp: {id: a,\n id: c}\n", ["h.yaml:2: lamp.id: written twice, first on line 1; keep one"]),
    (b"lamp: {ids: a}\n", ["h.yaml:1: lamp.ids: unknown key; did you mean id?"]),
    (
        b"lamp:\n  id: a\n  watts: 3\n\n  watts: 4\nlamp: {id: b}\n",
        [
            "h.yaml:5: lamp.watts: written twice, first on line 3; keep one",
            "h.yaml:6: lamp: written twice, first on line 1; keep one",
        ],
    ),
    (b"lamp: {id: a}\n---\nlamp: {id: b}\n", ["h.yaml:2: expected one document, found a second one"]),
    (b"lamp:\n\tid: a\n", ["h.yaml:2: expected spaces to indent, found a tab; replace it by spaces"]),
    (b"lamp: {id: a}\n# \xfc\n", ["h.yaml:2: expected UTF-8, found the byte 0xfc; save the file as UTF-8"]),
    (b"\xff\xfel\x00", ["h.yaml:1: expected UTF-8, found the byte 0xff; save the file as UTF-8"]),
    (b"lamp: {id: a}\nx: \x07\n", ["h.yaml:2: expected text, found the control character 0x07"]),
    (b"spare:\nlamp: " + b"[" * 40 + b"]" * 40, ["h.yaml:2: expected at most 32 levels, found more"]),
    (b"#" * (256 * 1024 + 1), ["h.yaml: expected at most 262144 bytes, found 262145"]),
]


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(("text", "messages"), DOCUMENTS)
def test_a_document_that_cannot_be_used_says_why(text: bytes, messages: list[str]) -> None:
    assert mistakes_in(text) == messages


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"lamp:\n  id: a: b\n", 2),
        (b"lamp:\n  id: 'a\n", 3),
        (b"lamp: [1, 2\nx: 1\n", 2),
        (b"lamp:\n  id: a\n @: 3\n", 3),
        (b"%YAML 7.0\n---\na: b\n", 1),
    ],
)
def test_a_syntax_error_names_its_line(text: bytes, line: int) -> None:
    (message,) = mistakes_in(text)
    assert message.startswith(f"h.yaml:{line}: not valid YAML: ")


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    "text", [b'a: "\\ud800"', b'a: "\\UFFFFFFFF"', b"%YAML 1." + b"9" * 5000 + b"\n---\na: b", b"&a [*a, *a]", b"!<"]
)
def test_what_makes_the_parser_itself_fail_is_a_mistake_of_the_document(text: bytes) -> None:
    assert mistakes_in(text)


def test_aliases_that_would_unfold_to_gigabytes_are_refused_without_unfolding_them() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 25)]
    told = mistakes_in("\n".join(rows))
    assert sum("an alias (*name) is not accepted here" in line for line in told) == 24 * 9


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines() -> None:
    text = "spare:\n  wats: 1\n  hours: 900\nlamp:\n  id: a\n  corner: [2, 0.5, 1]\n  base: no\nzzz: 1\n"
    told = mistakes_in(text)
    assert [line.split(": ")[:2] for line in told] == [
        ["h.yaml:1", "spare.id"],
        ["h.yaml:2", "spare.wats"],
        ["h.yaml:3", "spare.hours"],
        ["h.yaml:6", "lamp.corner"],
        ["h.yaml:7", "lamp.base"],
        ["h.yaml:8", "zzz"],
    ]


def test_the_error_carries_the_mistakes_as_values() -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(Lamp, "id: a\nhours: 850\n", "h.yaml")
    assert isinstance(caught.value, ConfigMistakesError)
    assert caught.value.code == "E_CONFIG"
    assert caught.value.mistakes == (Mistake("h.yaml:2", "hours", "0.1 to 240 hours", "850"),)


def test_the_error_survives_copying_and_pickling() -> None:
    error = ConfigMistakesError((Mistake("h.yaml:2", "hours", "0.1 to 240 hours", "850"),))
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.mistakes) == (str(error), error.mistakes)


def test_a_long_text_is_shown_shortened() -> None:
    (message,) = mistakes_in(f"id: {'Z' * 5000}\n", Lamp)
    assert message == f"h.yaml:1: id: expected small letters, found the text '{'Z' * 59}…'"


def test_a_reading_keeps_the_good_parts_the_defaults_and_the_lines() -> None:
    reading = examine_yaml(House, "switch:\n  name: bed\nlamp:\n  id: 3\n", "h.yaml")
    assert reading.value is None
    assert reading.parts == {"switch": Switch(name="bed"), "switches": (), "spare": None}
    assert [reading.line_of(key) for key in ("lamp.id", "lamp.path[3][0]", "switch", "spare", "")] == [4, 3, 1, 0, 0]


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert read_yaml(Lamp, b"\xef\xbb\xbfid: a\n", "h.yaml") == lamp()
    assert read_json(Lamp, b'\xef\xbb\xbf{"id": "a"}', "h.json") == lamp()


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Paint:
    colour: Colour


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"colour": "BLUE"}', "the text 'BLUE'"), ('{"colour": 1}', "the number 1"), ("{}", "no such key")],
)
def test_an_enum_is_read_by_its_values_alone(text: str, found: str) -> None:
    assert read_json(Paint, '{"colour": "blue"}', "paint").colour is Colour.BLUE
    with pytest.raises(ManifestMistakesError, match=f"colour: expected red or blue, found {found}"):
        read_json(Paint, text, "paint")


def test_a_type_without_a_rule_is_an_error_of_the_program() -> None:
    for odd in (Odd, OddUnion):
        with pytest.raises(TypeError, match="no rule for the type"):
            read_yaml(odd, "value: 1", "h.yaml")


# One lamp in JSON, beginning in line 2, and what is said of it.
JSON_MISTAKES = [
    ('"watts": 10.0', "l.json:2: watts: expected a whole number, 1 to 1000000 watts, found 10.0; write 10"),
    ('"watts": 1e1', "l.json:2: watts: expected a whole number, 1 to 1000000 watts, found 1e1; write 10"),
    ('"watts": true', "l.json:2: watts: expected 1 to 1000000 watts, found true"),
    ('"hours": NaN', "l.json:2: hours: expected 0.1 to 240 hours, found NaN"),
    ('"ratio": -Infinity', "l.json:2: ratio: expected a number, found -Infinity"),
    ('"ratio": 1e999', "l.json:2: ratio: expected a number, found 1e999"),
    (f'"ratio": {"9" * 5000}', "l.json:2: ratio: expected a number, found 999999999999999999999999…"),
    ('"text": 12', "l.json:2: text: expected text, found the number 12; put it in quotes"),
    (
        '"text": "\\ud800"',
        "l.json:2: text: expected text, found the text '\\ud800'; leave out the character that is no text",
    ),
    (
        '"text": "a\\u0000"',
        "l.json:2: text: expected text, found the text 'a\\x00'; leave out the character that is no text",
    ),
    ('"text": null', "l.json:2: text: expected text, found null"),
    ('"turn": 90.0', "l.json:2: turn: expected 0, 90 or 180, found 90.0; write 90"),
    ('"rooms": [\n"a",\n7]', "l.json:4: rooms[1]: expected text, found the number 7; put it in quotes"),
    ('"wats": {"a": [1, {"b": []}]}', "l.json:2: wats: unknown key; did you mean watts?"),
    ('"watts": 3,\n"watts": 3', "l.json:3: watts: written twice, first on line 2; keep one"),
    ('"labels": {"a": "b",\n"a": "c"}', "l.json:3: labels.a: written twice, first on line 2; keep one"),
    ('"labels": {"\\ud800": "b"}', "l.json:2: labels.'\\ud800': expected a name, found a character that is no text"),
    ('"text": "a\\"{[,]}:"  "x"', "l.json:2: not valid JSON: Expecting ',' delimiter, column 22"),
    ('"rooms": ' + "[" * 40, "l.json:2: expected at most 32 levels, found more"),
]


@pytest.mark.parametrize(("text", "message"), JSON_MISTAKES)
def test_a_mistake_in_json_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ManifestMistakesError) as caught:
        read_json(Lamp, f'{{"id": "a",\n{text}}}', "l.json")
    assert str(caught.value) == message
    assert [str(mistake) for mistake in caught.value.mistakes] == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "l.json: expected keys and values, found an empty file"),
        ("[]", "l.json:1: expected a section of keys, found a list"),
        ("null", "l.json:1: expected a section of keys, found null"),
        ("{}", "l.json: id: expected small letters, found no such key"),
        ('"' + "[" * 40, "l.json:1: not valid JSON: Unterminated string starting at, column 1"),
        ('"' * 50_001, "l.json:1: not valid JSON: Extra data, column 3"),
        ('"' + '\\"' * 30_000, "l.json:1: not valid JSON: Unterminated string starting at, column 1"),
        (
            "{" + " " * 65_535,
            "l.json:1: not valid JSON: Expecting property name enclosed in double quotes, column 65537",
        ),
        ("{" + " " * 65_536, "l.json: expected at most 65536 bytes, found 65537"),
    ],
)
def test_a_json_document_that_cannot_be_used_says_why(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_json(Lamp, text, "l.json")
    assert str(caught.value) == message


names = st.from_regex(r"[a-z]+[0-9]?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
points = st.tuples(shares, shares)
lamps = st.builds(
    Lamp,
    id=names,
    text=texts,
    watts=st.integers(1, 1_000_000),
    count=st.integers(),
    hours=st.floats(0.1, 240),
    ratio=numbers,
    is_on=st.booleans(),
    base=st.sampled_from(["screw", "bayonet", "none"]),
    turn=st.sampled_from([0, 90, 180]),
    limit=st.none() | st.floats(0, 9),
    owner=st.none() | texts,
    corner=points,
    path=st.lists(points, min_size=2, max_size=4).map(tuple),
    rooms=st.lists(texts, max_size=3).map(tuple),
    labels=st.dictionaries(texts, texts, max_size=3),
    counts=st.dictionaries(texts, st.integers(), max_size=3),
)
houses = st.builds(
    House,
    lamp=lamps,
    switches=st.lists(st.builds(Switch, name=texts), max_size=2).map(tuple),
    spare=st.none() | lamps,
    switch=st.builds(Switch, name=texts),
)


@given(houses, st.booleans())
def test_what_is_dumped_as_yaml_is_read_back_equal(house: House, allow_unicode: bool) -> None:
    dumped = yaml.safe_dump(dataclasses.asdict(house), allow_unicode=allow_unicode)
    assert read_yaml(House, dumped, "h.yaml") == house


@given(houses, st.none() | st.integers(0, 3))
def test_what_is_dumped_as_json_is_read_back_equal(house: House, indent: int | None) -> None:
    dumped = json.dumps(dataclasses.asdict(house), indent=indent)
    assert read_json(House, dumped, "h.json") == house


@given(houses)
def test_both_parsers_of_yaml_read_the_same(house: House) -> None:
    dumped = yaml.safe_dump(dataclasses.asdict(house))
    with pytest.MonkeyPatch.context() as patch:
        readings = []
        for loader in LOADERS:
            patch.setattr(yaml_document, "LOADER", loader)
            readings.append(examine_yaml(House, dumped, "h.yaml"))
    assert all(reading.value == house and reading.lines == readings[0].lines for reading in readings)


MARKS = list("-.:,[]{}?#|'\"\\\n\t")
WORDS = ["lamp", "id", "on", "12:30", "2024-01-31", "1e5", "0x", "1_", "NaN", "---", "...", "\\u", "%YAML", "<<"]
FRAGMENTS = st.sampled_from([*MARKS, *WORDS, ": ", "  ", "- ", "? ", "*a", "&a ", "!x "])
documents = st.binary(max_size=80) | st.lists(FRAGMENTS | st.text(max_size=3), max_size=40).map("".join)


def mistakes_of(
    read: Callable[[type[House], bytes | str, str], House], text: bytes | str
) -> tuple[Mistake, ...] | None:
    """What is told of a text; None where it was read."""
    try:
        read(House, text, "h")
    except (ConfigMistakesError, ManifestMistakesError) as error:
        str(error).encode()
        return error.mistakes
    return None


@settings(max_examples=500)
@given(documents)
def test_no_yaml_raises_anything_but_a_configuration_error(text: bytes | str) -> None:
    for loader in LOADERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml_document, "LOADER", loader)
            assert mistakes_of(read_yaml, text) != ()


@settings(max_examples=500)
@given(documents)
def test_no_json_raises_anything_but_a_manifest_error(text: bytes | str) -> None:
    assert mistakes_of(read_json, text) != ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={each.name: json_values for each in dataclasses.fields(Lamp)}))
def test_a_lamp_that_is_returned_keeps_every_limit(value: dict[str, Any]) -> None:
    try:
        read = read_json(Lamp, json.dumps({"id": "a", **value}), "l.json")
    except ManifestMistakesError:
        return
    assert type(read.watts) is int
    assert 1 <= read.watts <= 1_000_000
    assert math.isfinite(read.ratio)
    assert 0.1 <= read.hours <= 240
    assert len(read.corner) == 2
    assert 2 <= len(read.path) <= 4
    assert all(isinstance(room, str) for room in read.rooms)


def test_a_manifest_of_a_real_shape_is_read() -> None:
    text = """{"name": "person", "version": 3, "task": "detection", "classes": ["person"],
      "model": {"file": "model.tflite", "sha256": "%s", "size_bytes": 9},
      "input": {"width": 300, "height": 300, "mean": [127.5], "std": [127.5]},
      "output": {"decoder": "ssd_raw", "tensors": {"boxes": "raw/boxes", "scores": "raw/scores"},
                 "anchors": {"layers": [19, 10, 5, 3, 2, 1]}}}""" % ("0" * 64)
    manifest = read_json(Manifest, text, "model.json")
    assert manifest.output.tensors == {"boxes": "raw/boxes", "scores": "raw/scores"}
    assert manifest.output.anchors is not None
    assert manifest.output.anchors.layers == (19, 10, 5, 3, 2, 1)
    assert manifest.input.mean == (127.5,)


def test_reading_json_does_not_load_the_yaml_library() -> None:
    program = (
        "import sys, edgeapp.config; from edgeapp import manifest, reader;"
        "reader.read_json(manifest.Defaults, '{}', 'x');"
        "sys.exit('yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

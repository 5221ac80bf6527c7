"""Reads plain values (from YAML or JSON) into frozen dataclasses, and tells every mistake at once.

Owns the meaning of the annotations below and the words of a mistake: where, what was expected, what was found, and
the nearest known key for an unknown one. Pure: it gets bytes, never a path to open. Syntax is left to `document.py`
and `yaml_document.py`. Guarantees: a value that is returned keeps every annotation of its class, whatever the bytes;
whatever else the bytes say is an error, never a default in place of what was written.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import math
import operator
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgeapp.document import Broken, Leaf, Listing, Misread, Node, Section, parse_json
from edgeapp.mistakes import (
    ConfigMistakesError,
    Findings,
    ManifestMistakesError,
    Mistake,
    shown_key,
    shown_text,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "ConfigMistakesError",
    "Length",
    "ManifestMistakesError",
    "Mistake",
    "Pattern",
    "Range",
    "Reading",
    "examine_yaml",
    "read_json",
    "read_yaml",
]

T = TypeVar("T", bound="DataclassInstance")
_BAD = object()  # stands for a value whose mistake has been told
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_SHOWN_DIGITS = 24
_UNIONS = (Union, types.UnionType)
_BASIC_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, both allowed, of `unit`."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Length:
    """A list of `low` to `high` items."""

    low: int
    high: int
    unit: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string that the whole of `regex` matches; `meaning` says it in words."""

    regex: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What came of reading a document.

    `value` is None exactly when there are mistakes. `parts` has those fields of it that are known all the same, read or
    by default; `lines` the line of each dotted key in the document.
    """

    value: T | None
    parts: Mapping[str, object]
    lines: Mapping[str, int]
    findings: Findings

    def line_of(self, key: str) -> int:
        """The line of a key, or of the nearest section around it that the document has; 0 where it has none."""
        while key and key not in self.lines:
            key = key.rpartition("[")[0] if key.endswith("]") else key.rpartition(".")[0]
        return self.lines[key] if key else 0


def read_yaml(cls: type[T], text: bytes | str, origin: str) -> T:
    """Read a YAML document, called `origin` in messages, into the dataclass `cls`.

    Raises:
        ConfigMistakesError: a ConfigError that lists every mistake in `mistakes`.
    """
    reading = examine_yaml(cls, text, origin)
    if reading.value is None:
        raise ConfigMistakesError(reading.findings.mistakes)
    return reading.value


def read_json(cls: type[T], text: bytes | str, origin: str) -> T:
    """Read a JSON document, called `origin` in messages, into the dataclass `cls`.

    Raises:
        ManifestMistakesError: a ManifestError that lists every mistake in `mistakes`.
    """
    findings = Findings(origin)
    reading = _examine(cls, parse_json(text, findings), findings)
    if reading.value is None:
        raise ManifestMistakesError(reading.findings.mistakes)
    return reading.value


def examine_yaml(cls: type[T], text: bytes | str, origin: str) -> Reading[T]:
    """Read as `read_yaml` does, but return the mistakes, so that the caller can add its own."""
    # Here and not above: those who read only JSON, as vision does, shall not load PyYAML.
    from edgeapp.yaml_document import parse_yaml

    findings = Findings(origin)
    return _examine(cls, parse_yaml(text, findings), findings)


def _examine(cls: type[T], root: Node | None, findings: Findings) -> Reading[T]:
    if root is None:
        return Reading(None, {}, {}, findings)
    builder = _Builder(cls, findings)
    value = builder.value(cls, root, "")
    usable = None if findings.mistakes else value
    return Reading(usable, builder.parts, builder.lines, findings)


class _Builder:
    """Walks a tree along the type hints; what does not fit goes to the findings."""

    def __init__(self, root: type, findings: Findings) -> None:
        self.parts: dict[str, object] = {}
        self.lines: dict[str, int] = {}
        self._root = root
        self._findings = findings

    def value(self, hint: Any, node: Node, key: str) -> Any:
        """The value of type `hint` that the node says, or _BAD after telling why it does not."""
        self.lines[key] = node.line
        if isinstance(node, Broken):
            return _BAD
        hint, may_be_none = _without_none(hint)
        if may_be_none and isinstance(node, Leaf) and node.value is None:
            return None
        if get_origin(hint) in _UNIONS:
            words, section = get_args(hint)
            if isinstance(node, Section):
                return self._section(section, node, key)
            return self._choice(words, node, key, expected=_words(hint))
        kind, _ = _without_limits(hint)
        if dataclasses.is_dataclass(kind):
            return self._section(kind, node, key)
        if isinstance(kind, enum.EnumType):
            value = self._choice(_literal(kind), node, key)
            return value if value is _BAD else kind(value)
        reader = {tuple: self._listing, dict: self._table, Literal: self._choice}.get(get_origin(kind), self._scalar)
        return reader(hint, node, key)

    def _refuse(self, node: Node, key: str, expected: str, found: str, advice: str = "") -> Any:
        self._findings.add(node.line, key, expected, found, advice)
        return _BAD

    def _section(self, cls: Any, node: Node, key: str) -> Any:
        if not isinstance(node, Section):
            advice = "put its keys below it, indented" if key and isinstance(node, Leaf) and node.value is None else ""
            return self._refuse(node, key, _words(cls), _found(node), advice)
        hints = _hints(cls)
        near = self._tell_unknown(list(hints), node, key)
        values: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            if field.name in node.entries:
                values[field.name] = self.value(hints[field.name], node.entries[field.name], _join(key, field.name))
            elif field.default is field.default_factory is dataclasses.MISSING:
                values[field.name] = _BAD
                # One slip of the pen is one mistake: the unknown key that looks like this one is told already.
                if field.name not in near:
                    line = node.line if key else 0
                    self._findings.add(line, _join(key, field.name), _words(hints[field.name]), "no such key")
            elif field.default_factory is not dataclasses.MISSING:
                values[field.name] = field.default_factory()
            else:
                values[field.name] = field.default
        good = {name: value for name, value in values.items() if value is not _BAD}
        if not key:
            self.parts = good
        return cls(**values) if len(good) == len(values) else _BAD

    def _tell_unknown(self, known: list[str], node: Section, key: str) -> set[str]:
        """Tell the unknown keys of a section; return the known ones that were probably meant."""
        meant: set[str] = set()
        for name in node.entries:
            if name in known:
                continue
            close = difflib.get_close_matches(name.lower(), known, n=1)
            elsewhere = [part for part, hint in _hints(self._root).items() if name in _hints(hint)]
            if close:
                meant.add(close[0])
                advice = f"did you mean {close[0]}?"
            elif elsewhere:
                advice = f"did you mean {elsewhere[0]}.{name}?"
            else:
                advice = f"known here: {', '.join(known)}" if known else "no keys are known here"
            self._refuse(node.entries[name], shown_key(key, name), "", "unknown key", advice)
        return meant

    def _listing(self, hint: Any, node: Node, key: str) -> Any:
        kind, limits = _without_limits(hint)
        if not isinstance(node, Listing):
            advice = "put it in brackets: [ ]" if isinstance(node, Leaf) and node.value is not None else ""
            return self._refuse(node, key, _words(hint), _found(node), advice)
        hints = get_args(kind)
        count = len(node.items)
        if hints[-1] is Ellipsis:
            hints = hints[:1] * count
        if len(hints) != count:
            return self._refuse(node, key, _words(hint), f"{count}")
        if any(not limit.low <= count <= limit.high for limit in limits if isinstance(limit, Length)):
            return self._refuse(node, key, _words(hint), f"{count}")
        pairs = zip(hints, node.items, strict=True)
        values = tuple(self.value(each, item, f"{key}[{i}]") for i, (each, item) in enumerate(pairs))
        return _BAD if any(value is _BAD for value in values) else values

    def _table(self, hint: Any, node: Node, key: str) -> Any:
        if not isinstance(node, Section):
            return self._refuse(node, key, _words(hint), _found(node))
        _, each = get_args(hint)
        values = {name: self.value(each, item, shown_key(key, name)) for name, item in node.entries.items()}
        wrong = [name for name in values if _NOT_TEXT.search(name)]
        for name in wrong:
            self._refuse(node.entries[name], shown_key(key, name), "a name", "a character that is no text")
        return _BAD if wrong or any(value is _BAD for value in values.values()) else values

    def _choice(self, hint: Any, node: Node, key: str, *, expected: str = "") -> Any:
        choices = get_args(hint)
        value = node.value if isinstance(node, Leaf) else None
        for choice in choices:
            # 1 == True and 90 == 90.0, so the type has to be the same too.
            if type(choice) is type(value) and choice == value:
                return choice
        advice = ""
        if isinstance(node, Leaf) and (node.written in choices or isinstance(choices[0], int)):
            advice = _advice(type(choices[0]), node)
        if isinstance(value, str) and not advice:
            close = difflib.get_close_matches(value.lower(), [str(choice) for choice in choices], n=1)
            advice = f"did you mean {close[0]}?" if close else ""
        return self._refuse(node, key, expected or _words(hint), _found(node, type(choices[0])), advice)

    def _scalar(self, hint: Any, node: Node, key: str) -> Any:
        kind, limits = _without_limits(hint)
        value = _converted(kind, node)
        if value is not _BAD and all(_keeps(limit, value) for limit in limits):
            return value
        expected = _words(hint)
        if kind is int and isinstance(node, Leaf) and isinstance(node.value, float) and limits:
            expected = f"a whole number, {expected}"
        return self._refuse(node, key, expected, _found(node, kind), _advice(kind, node))


def _converted(kind: Any, node: Node) -> Any:
    """The node's value as a str, bool, int or finite float; _BAD where it is none."""
    if kind not in _BASIC_WORDS:
        raise TypeError(f"the reader has no rule for the type {kind}")
    value: object = node.value if isinstance(node, Leaf) else _BAD
    if kind is float:
        # YAML 1.1 takes 1e3 for text. Where a number is wanted there is no doubt what it means.
        if isinstance(node, Leaf) and isinstance(value, str) and not node.is_quoted and _DECIMAL.fullmatch(value):
            value = float(value)
        if type(value) is int:
            value = float(value) if abs(value) < 1 << 1023 else math.inf
        return value if isinstance(value, float) and math.isfinite(value) else _BAD
    if kind is str and isinstance(value, str) and _NOT_TEXT.search(value):
        return _BAD
    return value if type(value) is kind else _BAD


def _keeps(limit: object, value: Any) -> bool:
    if isinstance(limit, Range):
        return bool(limit.low <= value <= limit.high)
    if isinstance(limit, Pattern):
        return re.fullmatch(limit.regex, value) is not None
    return True


def _found(node: Node, wanted: object = None) -> str:
    """What a node is, in words for someone who expected a value of the type `wanted`."""
    if not isinstance(node, Leaf):
        return "a list" if isinstance(node, Listing) else "a section of keys"
    value, written = node.value, node.written
    if isinstance(value, str):
        return f"the text {shown_text(value)}"
    if value is None:
        return written or "nothing"
    shown = written if len(written) <= _SHOWN_DIGITS else f"{written[:_SHOWN_DIGITS]}…"
    if isinstance(value, Misread):
        return f"{shown}, which YAML reads as {value.meaning}"
    if isinstance(value, bool):
        word = str(value).lower()
        return shown if shown.lower() == word else f"{shown}, which YAML reads as {word}"
    return f"the number {shown}" if wanted not in (int, float) else shown


def _advice(kind: object, node: Node) -> str:
    """How to write what was probably meant, where that is plain."""
    if not isinstance(node, Leaf) or node.value is None:
        return ""
    value = node.value
    if kind is str:
        if isinstance(value, str):
            return "leave out the character that is no text" if _NOT_TEXT.search(value) else ""
        return "put it in quotes"
    if isinstance(value, str):
        if kind in (int, float) and _DECIMAL_COMMA.fullmatch(value):
            return "write a point for the comma"
        looks_right = _DECIMAL.fullmatch(value) if kind in (int, float) else value.lower() in ("true", "false")
        return "remove the quotes" if node.is_quoted and looks_right else ""
    if kind in (int, float) and isinstance(value, Misread):
        return "write it in plain decimal digits"
    if kind is int and isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return f"write {int(value)}"
    return ""


def _words(hint: Any) -> str:
    """What a type asks for, as it follows the word "expected"."""
    hint, _ = _without_none(hint)
    if get_origin(hint) in _UNIONS:
        return ", or ".join(_words(each) for each in get_args(hint))
    kind, limits = _without_limits(hint)
    for limit in limits:
        if isinstance(limit, Pattern):
            return limit.meaning
        if isinstance(limit, Range):
            return f"{_plain(limit.low)} to {_plain(limit.high)} {limit.unit}"
        if isinstance(limit, Length):
            span = f"{limit.low}" if limit.low == limit.high else f"{limit.low} to {limit.high}"
            return f"a list of {span} {limit.unit}"
    kind = _literal(kind) if isinstance(kind, enum.EnumType) else kind
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]
    if get_origin(kind) is tuple:
        return "a list" if Ellipsis in get_args(kind) else f"a list of {len(get_args(kind))} values"
    return _BASIC_WORDS.get(kind, "a section of keys")


@functools.cache
def _literal(kind: Any) -> Any:
    """The values of an enum's members, as a Literal."""
    return Literal[tuple(member.value for member in kind)]


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The type of each field of a dataclass; nothing for any other type."""
    return get_type_hints(cls, include_extras=True) if dataclasses.is_dataclass(cls) else {}


@functools.cache
def _without_none(hint: Any) -> tuple[Any, bool]:
    """The X of `X | None`, and whether there was a None. X may be words or a section, in this order: A | B."""
    if get_origin(hint) not in _UNIONS:
        return hint, False
    rest = [each for each in get_args(hint) if each is not types.NoneType]
    is_choice = len(rest) == 2 and get_origin(rest[0]) is Literal and dataclasses.is_dataclass(rest[1])
    if len(rest) != 1 and not is_choice:
        raise TypeError(f"the reader has no rule for the type {hint}")
    return functools.reduce(operator.or_, rest), len(rest) < len(get_args(hint))


@functools.cache
def _without_limits(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """The type inside Annotated, and its annotations."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    kind, *limits = get_args(hint)
    return kind, tuple(limits)


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name

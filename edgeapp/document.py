"""Turns the bytes of a JSON document into a tree that knows the line of every value, and values into bytes, pure.

Owns that tree, for YAML too (`yaml_document.py` builds it there), and what holds for both: UTF-8, bounded size and
depth, no key twice. What the keys mean is `reader.py`'s. Guarantees: no input makes it raise; what is wrong goes to
the findings.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeapp.mistakes import Findings, shown_key

JSON_MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
# The closing quote is optional and the repetition possessive: an unclosed string must not cost quadratic time.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_WORDS = {"null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Misread:
    """A bare word that YAML takes for something else than it looks like: 12:30, 010, 2024-01-31."""

    meaning: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value: what it means, as it was written, and whether it stood in quotes."""

    line: int
    value: bool | int | float | str | Misread | None
    written: str
    is_quoted: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Keys with values. A key is its text as written; a value's line is that of its key."""

    line: int
    entries: dict[str, Node]


@dataclass(frozen=True, slots=True)
class Broken:
    """A value whose mistake has been told already."""

    line: int


Node = Leaf | Listing | Section | Broken


def decode(text: bytes | str, max_bytes: int, findings: Findings) -> str | None:
    """The text of a document, or None where it is too long, not UTF-8, or empty."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > max_bytes:
        findings.add(0, "", f"at most {max_bytes} bytes", f"{len(raw)}")
        return None
    try:
        decoded = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        findings.add(line, "", "UTF-8", f"the byte 0x{raw[error.start]:02x}", "save the file as UTF-8")
        return None
    if not decoded.strip():
        findings.add(0, "", "keys and values", "an empty file")
        return None
    return decoded


def compact_json(fields: Mapping[str, Any]) -> bytes:
    """The shortest JSON of plain values, as it goes over a wire.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def add_entry(entries: dict[str, Node], name: str, node: Node, parent: str, findings: Findings) -> None:
    """Put a key into a section; a key that is there already is a mistake."""
    if name in entries:
        first = entries[name].line
        findings.add(node.line, shown_key(parent, name), "", f"written twice, first on line {first}", "keep one")
    else:
        entries[name] = node


def parse_json(text: bytes | str, findings: Findings) -> Node | None:
    """The tree of a JSON document, or None where there is none to be had."""
    decoded = decode(text, JSON_MAX_BYTES, findings)
    if decoded is None:
        return None
    tokens = list(_TOKEN.finditer(decoded))
    tree = _JsonTree(decoded, tokens, findings)
    depth = 0
    for token in tokens:
        depth += (token[0] in ("{", "[")) - (token[0] in ("}", "]"))
        if depth > MAX_DEPTH:
            findings.add(tree.line_of(token), "", f"at most {MAX_DEPTH} levels", "more")
            return None
    try:
        # Numbers stay text here: int() refuses thousands of digits with an error that has no position.
        json.loads(decoded, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        findings.add(error.lineno, "", "", f"not valid JSON: {error.msg}, column {error.colno}")
        return None
    return tree.node("")


class _JsonTree:
    """Builds the tree from the tokens of a text that the json module has found valid."""

    def __init__(self, text: str, tokens: list[re.Match[str]], findings: Findings) -> None:
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._tokens = iter(tokens)
        self._findings = findings

    def line_of(self, token: re.Match[str]) -> int:
        """The line of a token, counted from 1."""
        return bisect.bisect_left(self._breaks, token.start()) + 1

    def node(self, key: str, token: re.Match[str] | None = None, line: int = 0) -> Node:
        """The value that begins with `token`, or with the next one."""
        token = token or next(self._tokens)
        line = line or self.line_of(token)
        if token[0] == "{":
            return self._section(key, line)
        if token[0] == "[":
            return self._listing(key, line)
        return _json_leaf(token[0], line)

    def _section(self, key: str, line: int) -> Section:
        entries: dict[str, Node] = {}
        for token in self._tokens:
            if token[0] == "}":
                break
            if token[0] == ",":
                continue
            name = str(json.loads(token[0]))
            next(self._tokens)  # the colon
            value = self.node(shown_key(key, name), line=self.line_of(token))
            add_entry(entries, name, value, key, self._findings)
        return Section(line, entries)

    def _listing(self, key: str, line: int) -> Listing:
        items: list[Node] = []
        for token in self._tokens:
            if token[0] == "]":
                break
            if token[0] != ",":
                items.append(self.node(f"{key}[{len(items)}]", token))
        return Listing(line, tuple(items))


def _json_leaf(token: str, line: int) -> Leaf:
    if token.startswith('"'):
        return Leaf(line, str(json.loads(token)), token, is_quoted=True)
    if token in _WORDS:
        return Leaf(line, _WORDS[token], token, is_quoted=False)
    return Leaf(line, number(token), token, is_quoted=False)


def number(written: str) -> int | float:
    """A number in decimal digits, or one of the words NaN and Infinity."""
    try:
        return int(written)
    except ValueError:  # not whole, or more digits than int() takes
        return float(written)

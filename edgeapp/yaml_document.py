"""Turns the bytes of a YAML document into the tree of `document.py`, pure.

Owns YAML's syntax and the traps of YAML 1.1: a bare `on` is a truth value, 12:30 is 750, 010 is 8. Only events of
the safe loader are read, so nothing of the document is ever constructed; aliases and tags are refused, size and depth
are bounded. Apart from `document.py`, so that those who read no configuration do not load PyYAML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from edgeapp.document import MAX_DEPTH, Broken, Leaf, Listing, Misread, Node, Section, add_entry, decode, number
from edgeapp.mistakes import Findings, shown_key, shown_text

YAML_MAX_BYTES = 256 * 1024
# libyaml's loader is some ten times faster; both give lines.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_RESOLVER: Any = yaml.resolver.Resolver()
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|[0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TRUE_WORDS = ("true", "yes", "on")


class _TooDeepError(Exception):
    """The nesting passes the limit; what follows is not worth reading."""


def parse_yaml(text: bytes | str, findings: Findings) -> Node | None:
    """The tree of a YAML document, or None where there is none to be had."""
    decoded = decode(text, YAML_MAX_BYTES, findings)
    if decoded is None:
        return None
    control = _CONTROL.search(decoded)
    if control:
        line = decoded.count("\n", 0, control.start()) + 1
        findings.add(line, "", "text", f"the control character 0x{ord(control[0]):02x}")
        return None
    try:
        return _YamlTree(yaml.parse(decoded, Loader=LOADER), findings).document()
    except _TooDeepError:
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # Beside its own errors PyYAML lets those of int() and chr() through: "\UFFFFFFFF", %YAML with many digits.
        _tell_syntax(error, decoded, findings)
        return None


def _tell_syntax(error: Exception, text: str, findings: Findings) -> None:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else 0
    lines = text.split("\n")
    broken = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in broken[: len(broken) - len(broken.lstrip())]:
        findings.add(line, "", "spaces to indent", "a tab", "replace it by spaces")
        return
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    column = f", column {mark.column + 1}" if mark else ""
    findings.add(line, "", "", f"not valid YAML: {problem}{column}")


class _YamlTree:
    """Builds the tree from the parser's events."""

    def __init__(self, events: Iterator[Any], findings: Findings) -> None:
        self._events = events
        self._findings = findings

    def document(self) -> Node | None:
        """The tree of the only document."""
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._findings.add(0, "", "keys and values", "only comments")
            return None
        root = self._node(next(self._events), "", 1)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._findings.add(_line(after), "", "one document", "a second one")
        return root

    def _node(self, event: Any, key: str, depth: int, line: int = 0) -> Node:
        line = line or _line(event)
        if depth > MAX_DEPTH:
            self._findings.add(_line(event), "", f"at most {MAX_DEPTH} levels", "more")
            raise _TooDeepError
        if isinstance(event, yaml.AliasEvent):
            self._findings.add(_line(event), key, "", "an alias (*name) is not accepted here", "write the value out")
            return Broken(line)
        if isinstance(event, yaml.MappingStartEvent):
            node: Node = self._section(key, depth, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._listing(key, depth, line)
        else:
            node = _leaf(event, line)
        if event.tag is not None:
            tag = shown_text(event.tag.replace(_TAG, "!!"))
            self._findings.add(_line(event), key, "", f"a tag ({tag}) is not accepted here", "leave it out")
            return Broken(line)
        return node

    def _section(self, key: str, depth: int, line: int) -> Section:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent):
                name: str = event.value
                value = self._node(next(self._events), shown_key(key, name), depth + 1, _line(event))
                add_entry(entries, name, value, key, self._findings)
            else:
                self._findings.add(_line(event), key, "a word as key", "something else")
                self._node(event, key, depth + 1)
                self._node(next(self._events), key, depth + 1)
        return Section(line, entries)

    def _listing(self, key: str, depth: int, line: int) -> Listing:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{key}[{len(items)}]", depth + 1))
        return Listing(line, tuple(items))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _leaf(event: Any, line: int) -> Leaf:
    written: str = event.value
    if event.style:  # a bare word's is None, or "" with libyaml
        return Leaf(line, written, written, is_quoted=True)
    return Leaf(line, _plain_value(written), written, is_quoted=False)


def _plain_value(written: str) -> bool | int | float | str | Misread | None:
    """What YAML 1.1 makes of a bare word; a Misread where that is not what it looks like."""
    tag = str(_RESOLVER.resolve(yaml.ScalarNode, written, (True, False))).removeprefix(_TAG)
    if tag == "null":
        return None
    if tag == "bool":
        return written.lower() in _TRUE_WORDS
    if tag == "timestamp":
        return Misread("a date")
    if tag not in ("int", "float"):
        return written
    if _DECIMAL.fullmatch(written):
        return number(written.replace("_", ""))
    sign = "-" if written.startswith("-") else ""
    if written.lower().endswith((".inf", ".nan")):
        return math.nan if written.lower().endswith("nan") else float(sign + "inf")
    try:
        return Misread(str(yaml.safe_load(written)))
    except (ValueError, yaml.YAMLError):
        return Misread("a number")

"""Changes the lines, zones and masks in the text of a configuration, and nothing else of it; pure.

Owns where in the text a change goes. An entry that stays is changed value by value, a new one is appended, of one that
goes the full-line comments stay. Leaves to the caller to read the result and to compare: YAML can be written in more
ways than are known here, and what was not understood must not be kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from edgeapp.errors import ConfigError
from edgeapp.yaml_text import after_colon, after_line, comment_lines, end_of, find, is_text

if TYPE_CHECKING:
    from edgeapp.config import Config, LineConfig, Point, Polygon, ZoneConfig

_INDENT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """What a person draws into the picture."""

    lines: tuple[LineConfig, ...] = ()
    zones: tuple[ZoneConfig, ...] = ()
    masks: tuple[Polygon, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line, zone or mask: the index of the old one that it was, its old values, and the new ones, as YAML writes
    them. A mask has one value, without a name."""

    index: int | None
    old: Mapping[str, str]
    new: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Cut:
    """`text[start:end]` becomes `put`."""

    start: int
    end: int
    put: str


def shapes_of(config: Config) -> Shapes:
    """The lines, zones and masks of a configuration."""
    return Shapes(lines=config.counting.lines, zones=config.counting.zones, masks=config.camera.masks)


def arranged(old: Shapes, new: Shapes) -> Shapes:
    """`new` in the order in which `edited` writes it: what stays where it stood, what is new at the end."""
    return Shapes(
        lines=tuple(item for _, item in _arranged(old.lines, new.lines)),
        zones=tuple(item for _, item in _arranged(old.zones, new.zones)),
        masks=tuple(item for _, item in _arranged(old.masks, new.masks)),
    )


def edited(text: str, old: Shapes, new: Shapes) -> str:
    """`text` with the shapes `new` in place of `old`, which are those that it was read to have.

    Raises:
        ConfigError: it is written in a way that is not known here. Read the result all the same, and compare.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    for section, key, before, after in (
        ("camera", "masks", old.masks, new.masks),
        ("counting", "lines", old.lines, new.lines),
        ("counting", "zones", old.zones, new.zones),
    ):
        if before == after:
            continue
        entries = [
            _Entry(index, {} if index is None else _written(before[index]), _written(item))
            for index, item in _arranged(before, after)
        ]
        text = text if text.endswith("\n") else text + newline
        try:
            cuts = list(_list_cuts(text, section, key, entries, newline))
        except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"{section}.{key}: written in a way that only a person can change") from error
        for cut in sorted(cuts, key=lambda each: (each.start, each.end), reverse=True):
            text = text[: cut.start] + cut.put + text[cut.end :]
    return text


def _arranged(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[int | None, Any]]:
    """Each new item with the index of the old one that it is: of the same name, else of the same shape, else, where
    shapes have no names, the next one that is left."""
    left = dict(enumerate(old))
    found: dict[int, int] = {}  # the place in `new`: that in `old`

    def pair(is_same: Any) -> None:
        for place, item in enumerate(new):
            match = next((index for index, each in left.items() if is_same(each, item)), None)
            if place not in found and match is not None:
                found[place] = match
                del left[match]

    pair(lambda each, item: each == item)
    if any(isinstance(item, tuple) for item in (*old, *new)):
        pair(lambda each, item: True)
    else:
        pair(lambda each, item: each.name == item.name)
        pair(lambda each, item: _shape_of(each) == _shape_of(item))
    kept = sorted((index, place) for place, index in found.items())
    added = [place for place in range(len(new)) if place not in found]
    return [*((index, new[place]) for index, place in kept), *((None, new[place]) for place in added)]


def _shape_of(item: Any) -> dict[str, str]:
    return {name: value for name, value in _written(item).items() if name != "name"}


def _written(item: LineConfig | ZoneConfig | Polygon) -> dict[str, str]:
    """The values of a line, zone or mask, each as YAML writes it in one line."""
    if isinstance(item, tuple):
        return {"": _polygon(item)}
    polygon = getattr(item, "polygon", None)
    if polygon is not None:
        return {"name": _name(item.name), "polygon": _polygon(polygon)}
    line: Any = item
    return {"name": _name(line.name), "start": _point(line.start), "end": _point(line.end)}


def _name(name: str) -> str:
    """In quotes where YAML would take the bare word for something else: null, on, 12, 2024-01-31."""
    return name if is_text(name) else f'"{name}"'


def _polygon(polygon: Polygon) -> str:
    return f"[{', '.join(_point(point) for point in polygon)}]"


def _point(point: Point) -> str:
    x, y = (repr(value).removesuffix(".0") for value in point)
    return f"[{x}, {y}]"


def _list_cuts(text: str, section: str, key: str, entries: list[_Entry], newline: str) -> Iterator[_Cut]:
    """The cuts that make the list `section.key` out of what stands there."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    _, parent = find(root, section)
    if parent is None:
        lines = [f"{section}:", f"{' ' * _INDENT}{key}:", *_items(entries, 2 * _INDENT)]
        yield _Cut(len(text), len(text), newline + _joined(lines, newline))
        return
    name, value = find(parent, key)
    if parent.flow_style:
        flow = f"[{', '.join(_flow(entry.new) for entry in entries)}]"
        if value is None:
            at, comma = parent.end_mark.index - 1, ", " if parent.value else ""
            yield _Cut(at, at, f"{comma}{key}: {flow}")
        else:
            yield from _in_flow(text, value, flow)
    elif value is None:
        column, at = parent.start_mark.column, after_line(text, end_of(parent))
        yield _Cut(at, at, _joined([f"{' ' * column}{key}:", *_items(entries, column + _INDENT)], newline))
    elif value.flow_style:
        yield from _out_of_flow(text, name, value, entries, newline)
    else:
        yield from _in_block(text, name, value, entries, newline)


def _in_flow(text: str, value: Any, put: str) -> Iterator[_Cut]:
    """A list in brackets becomes another one."""
    start, end = value.start_mark.index, value.end_mark.index
    yield _Cut(start, end, put)
    at = after_line(text, end)
    yield _Cut(at, at, comment_lines(text[start:end]))


def _out_of_flow(text: str, name: Any, value: Any, entries: list[_Entry], newline: str) -> Iterator[_Cut]:
    """A list in brackets becomes one with an entry on each line, or an empty one in brackets."""
    start, end = value.start_mark.index, value.end_mark.index
    if not entries:
        yield from _in_flow(text, value, "[]")
        return
    before = len(text[:start].rstrip(" ")) if text[:start].endswith(" ") else start
    comments = comment_lines(text[start:end])
    yield _Cut(before, end, "")
    items = _joined(_items(entries, name.start_mark.column + _INDENT), newline)
    at = after_line(text, end)
    yield _Cut(at, at, comments + items)


def _in_block(text: str, name: Any, value: Any, entries: list[_Entry], newline: str) -> Iterator[_Cut]:
    """A list with a dash for each entry: values are replaced, entries appended and taken out."""
    column: int = value.start_mark.column
    kept = {entry.index: entry for entry in entries if entry.index is not None}
    for index, node in enumerate(value.value):
        if index in kept:
            yield from _values(text, node, kept[index])
        else:
            start = _dash_line(text, node.start_mark.index, column)
            end = after_line(text, end_of(node))
            yield _Cut(start, end, comment_lines(text[start:end]))
    at = after_line(text, end_of(value))
    yield _Cut(at, at, _joined(_items([entry for entry in entries if entry.index is None], column), newline))
    if not entries:
        colon = after_colon(text, name)
        yield _Cut(colon, colon, " []")


def _values(text: str, node: Any, entry: _Entry) -> Iterator[_Cut]:
    for key, value in entry.new.items():
        if value == entry.old[key]:
            continue
        name, part = find(node, key) if key else (None, node)
        if name is None or isinstance(part, yaml.ScalarNode) or part.flow_style:
            yield _Cut(part.start_mark.index, end_of(part), value)
        else:  # a list with dashes below the key
            colon = after_colon(text, name)
            yield _Cut(colon, colon, f" {value}")
            yield _Cut(part.start_mark.index, end_of(part), "")


def _items(entries: Sequence[_Entry], column: int) -> list[str]:
    """The lines of new entries, the dash of each in `column`."""
    lines = []
    for entry in entries:
        for place, (key, value) in enumerate(entry.new.items()):
            lines.append(f"{' ' * column}{' ' if place else '-'} {key}{': ' if key else ''}{value}")
    return lines


def _flow(values: Mapping[str, str]) -> str:
    return values[""] if "" in values else f"{{{', '.join(f'{key}: {value}' for key, value in values.items())}}}"


def _joined(lines: Sequence[str], newline: str) -> str:
    return "".join(line + newline for line in lines)


def _dash_line(text: str, at: int, column: int) -> int:
    """Where the line begins that has, in `column`, the dash of the entry whose text begins at `at`."""
    dash = " " * column + "-"
    while at > 0:
        start = text.rfind("\n", 0, at) + 1
        if text.startswith(dash, start):
            return start
        at = start - 1
    raise ValueError("an entry without a dash")

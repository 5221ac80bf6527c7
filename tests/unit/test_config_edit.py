"""Lines, zones and masks are changed in the text of a configuration, and nothing else is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp import config_file
from edgeapp.config import Config, LineConfig, ZoneConfig
from edgeapp.config_edit import Shapes, arranged, edited, shapes_of

SHIPPED = (Path(__file__).parents[2] / "config.yaml").read_text()
NEEDED = "device: {id: a}\ncamera:\n  kind: video\n  source: v.avi\ninference: {model_dir: m}\nmqtt: {host: h}\n"
CORNERS = ((0.1, 0.1), (0.4, 0.1), (0.4, 0.5))
OTHER_CORNERS = ((0.6, 0.2), (0.9, 0.2), (0.9, 0.9), (0.6, 0.9))
DOOR = LineConfig(name="door", start=(0.2, 0.5), end=(0.8, 0.5))
YARD = ZoneConfig(name="yard", polygon=OTHER_CORNERS)
# The same two lists, written in each way that YAML has.
SPELLINGS = {
    "shipped": SHIPPED,
    "nothing": NEEDED,
    "empty": NEEDED + "counting:\n  # none yet\n  lines: []  # to come\n  zones: []\n",
    "flow section": NEEDED + "counting: {lines: [{name: a, start: [0, 0], end: [1, 1]}]}\n",
    "flow section without lists": NEEDED + "counting: {}\n",
    "flow list": NEEDED + "counting:\n  lines: [{name: a, start: [0, 0], end: [1, 1]}]  # one\n\n# the end\n",
    "flow over lines": NEEDED
    + "counting:\n  zones: [\n    # the till\n    {name: till, polygon: [[0, 0], [1, 0], [1, 1]]},\n  ]\n",
    "flow section over lines": NEEDED
    + "counting: {\n  # the door\n  lines: [\n    # here\n    {name: a, start: [0, 0], end: [1, 1]}],\n  zones: []}\n",
    "dashes": NEEDED
    + "counting:\n  zones:\n  # the till\n  - polygon:\n    - [0, 0]\n    # right\n    - - 1\n      - 0\n    - [1, 1]\n"
    "    name: till  # its name\n  # the last word\n",
    "dash alone": NEEDED + "counting:\n  lines:\n    -\n      # what for - no idea\n      name: a\n"
    "      start: [0, 0]\n      end: [1, 1]\n    - {name: b, start: [0, 1], end: [1, 0]}\n",
    "masks": NEEDED.replace("v.avi\n", "v.avi\n  masks: [[[0, 0], [0.3, 0], [0.3, 0.4]]]  # a screen\n  fps: 5\n"),
    "masks in dashes": NEEDED.replace(
        "v.avi\n", "v.avi\n  masks:\n    # a screen\n    - [[0, 0], [0.3, 0], [0.3, 0.4]]\n"
        "    - - [0.5, 0]\n      - [0.6, 0]\n      - [0.6, 0.4]\n  fps: 5\n",
    ),
    "windows": SHIPPED.replace("\n", "\r\n"),
    "no end of line": NEEDED + "counting:\n  zones: []",
    "marked": "\ufeff" + SHIPPED,
}  # fmt: skip


def read(text: str) -> Config:
    return config_file.read(text.encode(), "config.yaml")


def change(text: str, **shapes: Any) -> str:
    old = shapes_of(read(text))
    return edited(text, old, dataclasses.replace(old, **shapes))


def comments(text: str) -> list[str]:
    return sorted(line.strip() for line in text.splitlines() if line.strip().startswith("#"))


points = st.tuples(*[st.integers(0, 10_000).map(lambda value: value / 10_000)] * 2)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,6}", fullmatch=True) | st.sampled_from(["null", "on", "0x1f", "12", "1e3"])


@st.composite
def drawn(draw: st.DrawFn, old: Shapes) -> Shapes:
    """The old shapes, some gone, some changed, in another order, and new ones."""

    def some(items: tuple, new: st.SearchStrategy) -> tuple:  # type: ignore[type-arg]
        kept = draw(st.lists(st.sampled_from(items), unique=True)) if items else []
        return (*kept, *draw(st.lists(new, max_size=2)))

    polygons = st.sampled_from([CORNERS, OTHER_CORNERS])
    lines = [
        dataclasses.replace(line, end=draw(points)) if draw(st.booleans()) else line
        for line in some(old.lines, st.builds(LineConfig, name=names, start=points, end=points))
    ]
    zones = [
        dataclasses.replace(zone, name=draw(names)) if draw(st.booleans()) else zone
        for zone in some(old.zones, st.builds(ZoneConfig, name=names, polygon=polygons))
    ]
    return Shapes(lines=tuple(lines), zones=tuple(zones), masks=some(old.masks, polygons))


def is_allowed(shapes: Shapes) -> bool:
    return (
        all(len({each.name for each in named}) == len(named) for named in (shapes.lines, shapes.zones))
        and all(line.start != line.end for line in shapes.lines)
    )  # fmt: skip


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_drawn_is_what_is_read_and_no_comment_and_no_other_setting_is_lost(
    spelling: str, data: st.DataObject
) -> None:
    text = SPELLINGS[spelling]
    before = read(text)
    old = shapes_of(before)
    new = data.draw(drawn(old).filter(is_allowed))
    after = edited(text, old, new)
    found, wanted = read(after), arranged(old, new)
    assert found == dataclasses.replace(
        before,
        camera=dataclasses.replace(before.camera, masks=wanted.masks),
        counting=dataclasses.replace(before.counting, lines=wanted.lines, zones=wanted.zones),
    )
    assert comments(after) == comments(text)
    assert sorted(map(repr, wanted.lines)) == sorted(map(repr, new.lines))
    assert sorted(map(repr, wanted.zones)) == sorted(map(repr, new.zones))
    assert sorted(wanted.masks) == sorted(new.masks)


def test_a_moved_line_changes_two_values_and_no_other_character() -> None:
    line = LineConfig(name="entrance", start=(0.25, 0.6), end=(0.9, 0.625))
    assert change(SHIPPED, lines=(line,)) == SHIPPED.replace("start: [0.1, 0.6]", "start: [0.25, 0.6]").replace(
        "end: [0.9, 0.6]", "end: [0.9, 0.625]"
    )


def test_a_renamed_line_stays_where_it_stands() -> None:
    assert change(SHIPPED, lines=(LineConfig(name="exit", start=(0.1, 0.6), end=(0.9, 0.6)),)) == SHIPPED.replace(
        "- name: entrance", "- name: exit"
    )


def test_a_new_zone_stands_below_the_others() -> None:
    zones = (*shapes_of(read(SHIPPED)).zones, YARD)
    last = "      polygon: [[0.55, 0.65], [0.95, 0.65], [0.95, 0.95], [0.55, 0.95]]\n"
    added = "    - name: yard\n      polygon: [[0.6, 0.2], [0.9, 0.2], [0.9, 0.9], [0.6, 0.9]]\n"
    assert change(SHIPPED, zones=zones) == SHIPPED.replace(last, last + added)


def test_the_first_mask_takes_the_place_of_the_empty_list() -> None:
    masks = "  masks:\n    - [[0.1, 0.1], [0.4, 0.1], [0.4, 0.5]]\n"
    assert change(SHIPPED, masks=(CORNERS,)) == SHIPPED.replace("  masks: []\n", masks)


def test_what_is_not_changed_is_not_touched() -> None:
    assert change(SHIPPED) == SHIPPED


def test_a_trailing_comment_stays_with_its_key() -> None:
    after = change(SPELLINGS["empty"], lines=(DOOR,))
    assert (
        "  lines:  # to come\n    - name: door\n      start: [0.2, 0.5]\n      end: [0.8, 0.5]\n  zones: []\n" in after
    )

"""Sites to audit: two neighbouring worlds each, and all that a device publishes of them, life after life.

Run once for each world is what knows no chance: frames → tracker → counter → bound → windows, until the windows close.
Run for each sample is the rest of the product's way: closed window → noise → release → message → spool with its ledger
→ bytes, which are then parsed as any reader would. A sample is one life: its windows are published. In the
first lives they are then offered once more, as after a clock that was set back; the ledger must refuse that.

Published are the windows in which the two worlds differ. Of all others both worlds tell the same.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from edgeapp.config import (
    CountingConfig,
    EscalationConfig,
    LineConfig,
    PrivacyConfig,
    SharesConfig,
    TrackingConfig,
    ZoneConfig,
)
from edgeapp.telemetry.budget import LEVELS
from edgeapp.telemetry.levels import ClosedWindow
from edgeapp.telemetry.spool import Spool
from edgeapp.types import AGREED, DIFFERED, Box, Detection
from tests.fakes.releasing_device import ReleasingDevice

Frames = list[list[Detection]]  # one a second
Windows = list[ClosedWindow]
_PERSON = 0
_MIDNIGHT_S = 1_700_006_400
_BORDERS_S = (_MIDNIGHT_S, _MIDNIGHT_S + 36_000, _MIDNIGHT_S + 36_900, _MIDNIGHT_S + 36_450)  # of a day … of nothing
_BEFORE_S = 60
_STEP_S = 900.0
_LONG_S = 2 * 86_400
_LIVES_OF_TWO_OFFERS = 100
_COUNTING = CountingConfig(
    lines=(LineConfig(name="door", start=(0.5, 1.0), end=(0.5, 0.0)),),
    zones=(ZoneConfig(name="right", polygon=((0.5, 0), (1, 0), (1, 1), (0.5, 1))),),
)
_ACROSS = (0.38, 0.43, 0.48, 0.53, 0.58, 0.63)
_THERE_AND_BACK = (*_ACROSS, *_ACROSS[::-1], *_ACROSS)
_LANES, _NEAR = (0.35, 0.85), 0.1  # heights of feet, and how near one is to its lane
_WALKERS, _PAUSE_S = 6, 2


def agrees(_: Detection) -> str:
    """A larger model that sees everybody whom it is asked about."""
    return AGREED


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A configuration, and what makes two neighbouring worlds of a random choice."""

    name: str
    privacy: PrivacyConfig
    worlds: Callable[[random.Random, PrivacyConfig], tuple[Frames, Frames]]
    classes: tuple[str, ...] = ("person",)
    counting: CountingConfig = field(default_factory=CountingConfig)
    escalation: EscalationConfig = field(default_factory=EscalationConfig)
    opinion: Callable[[Detection], str] = agrees

    @property
    def epsilon(self) -> float:
        return self.privacy.epsilon_per_day

    def device(self, folder: Path, wall_s: float) -> ReleasingDevice:
        """A device with this configuration, and a ledger that no disk slows down."""
        return ReleasingDevice(
            folder,
            wall_s,
            spool=Spool(Path(":memory:"), 1000),
            classes=self.classes,
            tracking=TrackingConfig(confirm_frames=1),
            privacy=self.privacy,
            counting=self.counting,
            escalation=self.escalation,
            opinion=self.opinion,
        )


def only(*families: str) -> SharesConfig:
    """The budget for these families alone, in equal parts."""
    none = SharesConfig(entered=0, crossings=0, dwell=0, confidence=0, escalated=0)
    return replace(none, **dict.fromkeys(families, 1.0))


def one_track_more(rng: random.Random, _: PrivacyConfig) -> tuple[Frames, Frames]:
    """Some stand about, and in the other world somebody walks there and back over the line as well."""
    one = standing(rng.randrange(4))
    began_s = rng.randrange(2 * _BEFORE_S)
    other = [list(found) for found in one]
    for second, x in enumerate(_THERE_AND_BACK):
        other[began_s + second].append(_detection(_PERSON, x, 0.85))
    return one, other


def standing(people: int) -> Frames:
    """So many people, four at most, who do not move for three minutes."""
    found = [_detection(_PERSON, 0.1 + 0.2 * number, 0.35) for number in range(people)]
    return [found] * (3 * _BEFORE_S)


def one_takes_anothers_place(rng: random.Random, _: PrivacyConfig) -> tuple[Frames, Frames]:
    """Doubted tracks walk over the line one after the other, and in the other world somebody before them as well, who
    is asked about in the place of the first."""
    began_s, one = rng.randrange(_BEFORE_S), []
    for number in range(_WALKERS):
        one += _walk(_LANES[number % 2]) + [[]] * _PAUSE_S
    before: Frames = [[] for _ in range(began_s)]
    nobody: Frames = [[] for _ in range(len(_ACROSS) + _PAUSE_S)]
    return before + nobody + one, before + _walk(_LANES[1]) + [[]] * _PAUSE_S + one


def one_alone(rng: random.Random, _: PrivacyConfig) -> tuple[Frames, Frames]:
    """Nobody comes, and in the other world a doubted track, the only one."""
    walk: Frames = [[] for _ in range(rng.randrange(_BEFORE_S))] + _walk(_LANES[0])
    return [[] for _ in walk], walk


def _walk(lane: float) -> Frames:
    return [[_detection(_PERSON, x, lane)] for x in _ACROSS]


def by_lane(found: Detection) -> str:
    """A larger model that confirms what walks in the first lane."""
    return AGREED if abs(found.box.y_max - _LANES[0]) < _NEAR else DIFFERED


def by_other_lane(found: Detection) -> str:
    """Another one, that confirms what walks in the second lane."""
    return DIFFERED if by_lane(found) == AGREED else AGREED


def an_event(rng: random.Random, privacy: PrivacyConfig) -> tuple[Frames, Frames]:
    """In the other world a crowd is there for the length of an event, as often as it may come."""
    people, _ = _crowds(rng, privacy)
    return [[] for _ in people], people


def another_event(rng: random.Random, privacy: PrivacyConfig) -> tuple[Frames, Frames]:
    """People in the one world, bicycles in the other: every row leaves one cell and enters a second."""
    return _crowds(rng, privacy)


def _crowds(rng: random.Random, privacy: PrivacyConfig) -> tuple[Frames, Frames]:
    """Each appearance begins within a chunk, so that it touches as many chunks as it can."""
    frames: tuple[Frames, Frames] = ([], [])
    for _ in range(privacy.segments):
        before_s = rng.randrange(1, privacy.chunk_s)
        after_s = 3 * privacy.chunk_s - privacy.event_s - before_s
        for kind, world in enumerate(frames):
            crowd = [_detection(kind, 0.1 + 0.15 * number, 0.8) for number in range(privacy.max_rows + 2)]
            world.extend([[]] * before_s + [crowd] * privacy.event_s + [[]] * after_s)
    return frames


def _detection(kind: int, x: float, y: float) -> Detection:
    return Detection(Box(x - 0.05, y - 0.3, x + 0.05, y), 0.7, kind)


# At this ε an audit of so many samples comes nearest to it, in proportion.
EPSILON = 2.0
_TRACK = PrivacyConfig(epsilon_per_day=EPSILON, shares=only("entered"))
_EVENT = replace(_TRACK, guarantee="duration")
ENTERED = Site(name="track: entered", privacy=_TRACK, worlds=one_track_more)
PRESENCE = replace(ENTERED, name="track: presence", privacy=replace(_TRACK, shares=only("presence")))
CROSSINGS = replace(
    ENTERED, name="track: crossings", privacy=replace(_TRACK, shares=only("crossings")), counting=_COUNTING
)
# The more cells a change is spread over, the less one event can tell of them all: here ε is larger.
ALL_FAMILIES = replace(
    CROSSINGS,
    name="track: all families at once",
    privacy=PrivacyConfig(epsilon_per_day=6.0, shares=only("entered", "crossings", "presence", "dwell")),
)
ONE_CLASS = Site(name="duration: one class", privacy=_EVENT, worlds=an_event)
TWO_APPEARANCES = replace(ONE_CLASS, name="duration: two appearances", privacy=replace(_EVENT, segments=2))
TWO_CLASSES = Site(
    name="duration: two classes",
    privacy=_EVENT,
    worlds=another_event,
    classes=("person", "bicycle"),
)
# One crop an hour and two a day: whoever is asked about takes the place of somebody else.
_SCARCE = EscalationConfig(enabled=True, below=1.0, max_per_hour=1, max_per_day=2)
ESCALATED = replace(
    ENTERED,
    name="escalation: its outcomes",
    privacy=replace(_TRACK, shares=only("escalated")),
    worlds=one_takes_anothers_place,
    escalation=_SCARCE,
    opinion=by_lane,
)
ESCALATED_ALONE = replace(ESCALATED, name="escalation: the only one", worlds=one_alone)
CORRECTED = replace(
    ESCALATED,
    name="escalation: crossings that answers correct",
    privacy=replace(_TRACK, shares=only("crossings")),
    counting=_COUNTING,
    opinion=by_other_lane,
)
ESCALATED_BESIDE = replace(
    ESCALATED, name="escalation: beside another family", privacy=replace(_TRACK, shares=only("entered", "escalated"))
)


def neighbours(site: Site, seed: int) -> tuple[Windows, Windows]:
    """The windows, closed, in which two neighbouring worlds differ: the same windows of both."""
    rng = random.Random(seed)
    begin_s = rng.choice(_BORDERS_S) - rng.randrange(_BEFORE_S)
    one, other = (closed_windows(site, begin_s, frames) for frames in site.worlds(rng, site.privacy))
    differing = [key for key in one if one[key].counts._cells != other[key].counts._cells]
    return [one[key] for key in differing], [other[key] for key in differing]


def closed_windows(site: Site, begin_s: float, frames: Frames) -> dict[tuple[str, int], ClosedWindow]:
    """What the product counts in these frames: all windows of two days, by level and index."""
    closed: list[ClosedWindow | None] = []

    def keep(windows: list[ClosedWindow | None]) -> tuple[()]:
        closed.extend(windows)
        return ()

    with tempfile.TemporaryDirectory() as folder:
        device = site.device(Path(folder), begin_s)
        with mock.patch.object(device.pipeline._census, "_release", keep):
            device.advance(0)
            for found in frames:
                device.show(found)
                device.advance(1)
            while device.clock.now_s < begin_s + _LONG_S:
                device.advance(_STEP_S)
        device.spool.close()
    return {(window.level.name, window.index): window for window in closed if window is not None}


def published(site: Site, windows: Windows, lives: int) -> Iterator[list[bytes]]:
    """What a device that has just started publishes of these windows, in each of so many lives.

    A later life has later windows with the same counts.
    """
    indices = {level: [each.index for each in windows if each.level is level] for level in LEVELS}
    spans = {level: max(found) - min(found) + 1 for level, found in indices.items() if found}
    with tempfile.TemporaryDirectory() as folder:
        device = site.device(Path(folder), _MIDNIGHT_S)
        for life in range(lives + 1):
            for window in windows * 2 if life <= _LIVES_OF_TWO_OFFERS else windows:
                later = replace(window, index=window.index + life * spans[window.level])
                for release in device.pipeline._census._release([later]):
                    device.pipeline._report_counts(release)
            device.pipeline._reporter.keep()
            batch = device.spool.next_batch(1000)
            device.spool.delete(*(seq for seq, _, _ in batch))
            if life:  # of the first windows a new ledger tells nothing
                yield [payload for _, kind, payload in batch if kind == "counts"]
        device.spool.close()


AT_ONE_EPSILON = {
    "track": (ENTERED, PRESENCE, CROSSINGS),
    "duration": (ONE_CLASS, TWO_APPEARANCES),
    "escalation": (CORRECTED, ESCALATED),
}
OF_MANY_CELLS = (
    ALL_FAMILIES,
    replace(TWO_CLASSES, privacy=replace(_EVENT, epsilon_per_day=4.0)),
    replace(
        CORRECTED,
        name="escalation: outcomes, entered and corrected crossings at once",
        privacy=PrivacyConfig(epsilon_per_day=6.0, shares=only("entered", "crossings", "escalated")),
    ),
)

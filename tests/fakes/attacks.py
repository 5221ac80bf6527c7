"""The table of attacks and faults: each names what it expects, is run on a device of its own, and says what it got.

Owns the table and the device under attack. The attacks stand in modules of their own, which add theirs with `attack`
and `fault` and are named in `attack_list.py`; `scripts/attack-table` and the tests run whatever is listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tuf.ngclient.fetcher import FetcherInterface

from edgeapp.updates.admission import Admission, Gate
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.facts import ClockReading, DeviceFacts, Floors
from tests.fakes.releases import NOW_S, Repository

ACCEPTED = "accepted"
ALL_REFUSED = "all refused"
DAY_S = 86_400
FACTS = DeviceFacts(
    device_id="yard-1",
    groups=frozenset({"yard"}),
    app_version="0.1.0",
    runtime="ai-edge-litert",
    runtime_version="2.3.0",
    delegate="xnnpack",
    arch="aarch64",
    board="Raspberry Pi 4 Model B Rev 1.4",
    ram_mb=3800.0,
    classes=("person",),
)


_NOON = ClockReading(NOW_S, is_synchronised=True)


@dataclass
class Target:
    """A device with its own repository, folder, floors and clock, before it has heard of anything."""

    folder: Path
    is_thorough: bool = False
    repository: Repository = field(default_factory=Repository)
    floors: Floors = field(default_factory=Floors)
    clock: ClockReading = _NOON
    facts: DeviceFacts = FACTS
    other: FetcherInterface | None = None
    trusted_root: bytes = b""
    admitted: Admission | None = None

    def __post_init__(self) -> None:
        self.trusted_root = self.repository.first_root

    @property
    def metadata_dir(self) -> Path:
        return self.folder / "tuf"

    def receive(self, message: bytes) -> str:
        """What becomes of a message: the code of the refusal, or that it was accepted."""
        gate = Gate(self.metadata_dir, self.trusted_root, self.facts)
        try:
            self.admitted = gate.admit(message, self.floors, self.clock, self.other)
        except UpdateError as error:
            return error.code
        self.floors = self.admitted.floors
        return ACCEPTED

    def at(self, now_s: float, *, is_synchronised: bool = True) -> None:
        """Set the clock."""
        self.clock = ClockReading(now_s, is_synchronised)

    def with_floors(self, **changes: object) -> None:
        """Set floors, as the device's history would have."""
        self.floors = dataclasses.replace(self.floors, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """One row. `run` prepares the target and returns the message to send, or what it got."""

    name: str
    expected: str
    run: Callable[[Target], bytes | str]

    def got(self, folder: Path, *, is_thorough: bool) -> str:
        """Run it in an empty folder."""
        target = Target(folder, is_thorough)
        result = self.run(target)
        if isinstance(result, str):
            return result
        before = target.floors
        code = target.receive(result)
        return code if code == ACCEPTED or target.floors == before else f"{code}, but floors moved"


ATTACKS: list[Case] = []
FAULTS: list[Case] = []


def attack(name: str, expected: str) -> Callable[[Callable[[Target], bytes | str]], None]:
    """List an attack."""
    return lambda run: ATTACKS.append(Case(name, expected, run))


def fault(name: str, expected: str) -> Callable[[Callable[[Target], bytes | str]], None]:
    """List a fault."""
    return lambda run: FAULTS.append(Case(name, expected, run))

"""Every state of a disk that a power cut could leave, rebuilt from the record of its writes.

What was written before the last flush is on the disk; of what came after it, any part may be: all, none, some, the
last write alone or torn. The kernel's ext4 then replays its journal on each. After CrashMonkey (OSDI '18).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from edgeapp.updates.state import FRESH, State, parse, serialise
from edgeapp.updates.store import Store
from tests.fakes.power.file_calls import around_file_calls, commit_journal
from tests.fakes.power.mounting import loop_device, make_ext4, mount, mounted, unmount
from tests.fakes.power.recording_disk import Entry, RecordingDisk
from tests.fakes.power.story import FACTORY, Teller, judge

_DISK_BYTES = 8 << 20
_SECTOR_BYTES, _BLOCK_BYTES = 512, 4096
_SUBSETS = 2
Write = tuple[int, bytes]


@dataclass(slots=True)
class Verdict:
    """How many interruptions were tried, and what was wrong with which."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Commits that had been acknowledged and were gone."""
        return sum(each.startswith("lost") for each in self.wrong)

    @property
    def bad(self) -> int:
        """Everything else that was wrong: models that were not verified, trouble at the start."""
        return len(self.wrong) - self.lost


def record(work: Path, tell: Callable[[Teller], object], *, is_noisy: bool) -> tuple[bytes, list[Entry]]:
    """The disk before a story and the log of it, each commit marked. Noisy: the journal is committed at every call."""
    folder = work / "recorded"
    folder.mkdir(parents=True, exist_ok=True)
    with RecordingDisk(work / "disk", _DISK_BYTES) as disk, loop_device(disk.path) as device:
        make_ext4(device)
        mount(device, folder, "ext4")
        (folder / "noise").mkdir()
        os.sync()
        unmount(folder)
        before = bytes(disk.data)
        disk.is_recording = True
        mount(device, folder, "ext4")
        try:
            noise = around_file_calls(after=commit_journal(f"{folder}/noise")) if is_noisy else nullcontext()
            with noise:
                store = Store(folder / "store", FACTORY)
                tell(Teller(store, begun=_marker(disk, "begun"), acked=_marker(disk, "acked")))
        finally:
            unmount(folder)
        return before, disk.log


def try_states(
    work: Path, tell: Callable[[Teller], object], *, is_noisy: bool, limit: int, stop_at_first: bool = False
) -> Verdict:
    """Judge up to `limit` states, spread evenly over the story."""
    before, log = record(work, tell, is_noisy=is_noisy)
    step = max(1, sum(1 for _ in states(before, log)) / limit)
    extents = _extents(before, log)
    verdict, image = Verdict(), Path("/dev/shm") / f"power-{os.getpid()}.img"
    due = 0.0
    try:
        for index, (acked, begun, data) in enumerate(states(before, log)):
            if index < due:
                continue
            due += step
            _write_sparsely(image, data, extents)
            verdict.tried += 1
            with ExitStack() as stack:
                try:
                    stack.enter_context(mounted(image, work / "checked"))
                    wrong = judge(work / "checked" / "store", acked, begun)
                except Exception as error:  # whatever falls over is a finding
                    wrong = f"bad: {type(error).__name__}: {error}"
            if wrong:
                verdict.wrong.append(wrong)
                if stop_at_first:
                    break
    finally:
        image.unlink(missing_ok=True)
    return verdict


def states(before: bytes, log: list[Entry]) -> Iterator[tuple[State, State, bytearray]]:
    """Each state that a cut could leave, with the last commit that was acknowledged and the last that was begun."""
    chance = random.Random(0)
    durable, flight = bytearray(before), list[Write]()
    acked = begun = FRESH
    for entry in log:
        if entry is None:
            _apply(durable, flight)
            flight = []
            continue
        if isinstance(entry, str):
            kind, _, content = entry.partition(" ")
            state = parse(content.encode(), kind)
            acked, begun = (state, state) if kind == "acked" else (acked, state)
            survivors = [flight, []]
        else:
            flight.append(entry)
            survivors = _survivors(flight, chance)
        for writes in survivors:
            image = bytearray(durable)
            _apply(image, writes)
            yield acked, begun, image


def _survivors(flight: list[Write], chance: random.Random) -> list[list[Write]]:
    """Which of the writes since the last flush may be on the disk, when the last of them is the newest."""
    found = [list(flight)]
    if len(flight) > 1:
        found += [flight[-1:], flight[1:]]
        found += [[write for write in flight if chance.random() < 0.5] for _ in range(_SUBSETS)]
    offset, data = flight[-1]
    if len(data) > _SECTOR_BYTES:
        middle = chance.randrange(1, len(data) // _SECTOR_BYTES) * _SECTOR_BYTES
        found += [[*flight[:-1], (offset, data[:middle])], [*flight[:-1], (offset + middle, data[middle:])]]
    return found


def _apply(image: bytearray, writes: list[Write]) -> None:
    for offset, data in writes:
        image[offset : offset + len(data)] = data


def _marker(disk: RecordingDisk, kind: str) -> Callable[[State], object]:
    return lambda state: disk.log.append(f"{kind} {serialise(state).decode()}")


def _extents(before: bytes, log: list[Entry]) -> list[int]:
    """The blocks that are not zero in every state: only these need writing to a sparse file."""
    count = len(before) // _BLOCK_BYTES
    used = {i for i in range(count) if before[i * _BLOCK_BYTES : (i + 1) * _BLOCK_BYTES].strip(b"\0")}
    for entry in log:
        if isinstance(entry, tuple):
            offset, data = entry
            used.update(range(offset // _BLOCK_BYTES, (offset + len(data) - 1) // _BLOCK_BYTES + 1))
    return sorted(used)


def _write_sparsely(path: Path, data: bytearray, blocks: list[int]) -> None:
    with path.open("wb", buffering=0) as file, memoryview(data) as view:
        file.truncate(len(data))
        for block in blocks:
            file.seek(block * _BLOCK_BYTES)
            file.write(view[block * _BLOCK_BYTES : (block + 1) * _BLOCK_BYTES])

"""Every state of a disk that a power cut could leave, rebuilt from the record of its writes.

What was written before the last flush is on the disk; of what came after it, any part may be: all, none, some, the
last write alone or torn. The kernel's ext4 then replays its journal on each. After CrashMonkey (OSDI '18).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from edgeapp.updates.state import FRESH, State
from tests.fakes.power.file_calls import around_file_calls, commit_journal
from tests.fakes.power.mounting import loop_device, make_ext4, mounted, mounted_device
from tests.fakes.power.recording_disk import Entry, RecordingDisk
from tests.fakes.power.story import Teller, ToldStore
from tests.fakes.power.witness import Verdict, line, told

_DISK_BYTES = 8 << 20
_BLOCK_BYTES = 4096
_TORN_BYTES = 1024  # ext4 itself does not survive a cut within its superblock, which is so large
_SUBSETS = 2
Write = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class CrashState:
    """A disk, and the commits by then: the last one that was acknowledged and the last that was begun.

    It holds `durable`, with those of the last `writes` that made it.
    """

    acked: State
    begun: State
    durable: bytearray
    writes: list[Write]


def record(work: Path, tell: Callable[[Teller], object], *, is_noisy: bool) -> tuple[bytes, list[Entry]]:
    """The disk before a story and the log of it, each commit marked. Noisy: the journal is committed at every call."""
    folder = work / "recorded"
    folder.mkdir(parents=True, exist_ok=True)
    with RecordingDisk(work / "disk", _DISK_BYTES) as disk, loop_device(disk.path) as device:
        make_ext4(device)
        with mounted_device(device, folder):
            (folder / "noise").mkdir()
        disk.taken()
        with mounted_device(device, folder):
            noise = around_file_calls(after=commit_journal(f"{folder}/noise")) if is_noisy else nullcontext()
            with noise:
                tell(Teller(ToldStore(folder / "store", _marker(disk, "begun"), _marker(disk, "acked"))))
        return disk.taken()


def try_states(
    work: Path, tell: Callable[[Teller], object], *, is_noisy: bool, limit: int, stop_at_first: bool = False
) -> Verdict:
    """Judge up to `limit` states, spread evenly over the story."""
    before, log = record(work, tell, is_noisy=is_noisy)
    return judge_states(work, before, log, spread(before, log, limit), stop_at_first=stop_at_first)


def spread(before: bytes, log: list[Entry], limit: int) -> list[int]:
    """The numbers of up to `limit` states, spread evenly over the story."""
    count = sum(1 for _ in crash_states(before, log))
    return sorted({round(index * count / limit) for index in range(limit)}) if count > limit else list(range(count))


def judge_states(
    work: Path,
    before: bytes,
    log: list[Entry],
    numbers: Sequence[int],
    *,
    story: str = "the story",
    stop_at_first: bool = False,
) -> Verdict:
    """Judge the states with these numbers; `story` is how a finding calls what was told."""
    chosen, extents, folder = set(numbers), _extents(before, log), work / f"checked-{os.getpid()}"
    verdict, image = Verdict(), Path("/dev/shm") / f"power-{os.getpid()}.img"
    try:
        for number, state in enumerate(crash_states(before, log)):
            if number in chosen:
                where = f" (state {number} of {story})"
                _write_sparsely(image, state, extents)
                try:
                    with mounted(image, folder):
                        verdict.add(folder / "store", state.acked, state.begun, where)
                except OSError as error:
                    verdict.wrong.append(f"bad: cannot be mounted: {error}{where}")
                if stop_at_first and verdict.wrong:
                    break
    finally:
        image.unlink(missing_ok=True)
    return verdict


def crash_states(before: bytes, log: list[Entry]) -> Iterator[CrashState]:
    """Each state that a cut could leave. It is good until the next one is asked for."""
    chance = random.Random(0)
    durable, flight = bytearray(before), list[Write]()
    acked = begun = FRESH
    for entry in log:
        if entry is None:
            for offset, data in flight:
                durable[offset : offset + len(data)] = data
            flight = []
            continue
        if isinstance(entry, str):
            kind, state = told(entry)
            acked, begun = (state, state) if kind == "acked" else (acked, state)
            survivors = [flight, []] if flight else [[]]
        else:
            flight.append(entry)
            survivors = _survivors(flight, chance)
        for writes in survivors:
            yield CrashState(acked, begun, durable, writes)


def _survivors(flight: list[Write], chance: random.Random) -> list[list[Write]]:
    """Which of the writes since the last flush may be on the disk, when the last of them is the newest."""
    found = [list(flight)]
    if len(flight) > 1:
        found += [flight[-1:], flight[1:]]
        found += [[write for write in flight if chance.random() < 0.5] for _ in range(_SUBSETS)]
    offset, data = flight[-1]
    if len(data) > _TORN_BYTES:
        middle = chance.randrange(1, len(data) // _TORN_BYTES) * _TORN_BYTES
        found += [[*flight[:-1], (offset, data[:middle])], [*flight[:-1], (offset + middle, data[middle:])]]
    return [writes for index, writes in enumerate(found) if writes not in found[:index]]


def _marker(disk: RecordingDisk, kind: str) -> Callable[[State], object]:
    return lambda state: disk.mark(line(kind, state))


def _extents(before: bytes, log: list[Entry]) -> list[tuple[int, int]]:
    """Where any state is not zero, as start and end in bytes: only this needs writing to a sparse file."""
    blocks = {
        i for i in range(_DISK_BYTES // _BLOCK_BYTES) if before[i * _BLOCK_BYTES : (i + 1) * _BLOCK_BYTES].strip(b"\0")
    }
    for entry in log:
        if isinstance(entry, tuple):
            offset, data = entry
            blocks.update(range(offset // _BLOCK_BYTES, (offset + len(data) - 1) // _BLOCK_BYTES + 1))
    starts = [block for block in sorted(blocks) if block - 1 not in blocks]
    ends = [block + 1 for block in sorted(blocks) if block + 1 not in blocks]
    return [(start * _BLOCK_BYTES, end * _BLOCK_BYTES) for start, end in zip(starts, ends, strict=True)]


def _write_sparsely(path: Path, state: CrashState, extents: list[tuple[int, int]]) -> None:
    with path.open("wb", buffering=0) as file, memoryview(state.durable) as view:
        file.truncate(len(view))
        for start, end in extents:
            file.seek(start)
            file.write(view[start:end])
        for offset, data in state.writes:
            file.seek(offset)
            file.write(data)

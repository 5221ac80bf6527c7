"""Power cuts at random moments: ext4 on a loop device, stopped by an ioctl while a store is at work on it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from edgeapp.updates import changes
from edgeapp.updates.state import State
from edgeapp.updates.store import Store
from tests.fakes.power.mounting import cut_power, make_ext4, mounted
from tests.fakes.power.story import FACTORY, Teller
from tests.fakes.power.witness import Verdict, fork_teller, last_told

_DISK_BYTES = 32 << 20
_LONGEST_S = 0.4


def try_cuts(
    work: Path,
    cuts: int,
    *,
    seed: int = 0,
    stop_at_first: bool = False,
    on_tried: Callable[[int], object] = lambda _: None,
) -> Verdict:
    """Judge one store after each of so many cuts of its life; `on_tried` is told how many there have been."""
    image, folder, log = work / "cut.img", work / "cut", work / "cut.log"
    work.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    make_ext4(image)
    chance, verdict = random.Random(seed), Verdict()
    while verdict.tried < cuts and not (stop_at_first and verdict.wrong):
        with mounted(image, folder):
            before = _come_to_rest(folder / "store")
            child = fork_teller(folder / "store", log, lambda teller: teller.tell_for_ever())
            time.sleep(chance.uniform(0.0, _LONGEST_S))
            cut_power(folder)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        with mounted(image, folder):
            verdict.add(folder / "store", *last_told(log, before))
        on_tried(verdict.tried)
    return verdict


def _come_to_rest(root: Path) -> State:
    """End what was in work, so that the starts of judging do not add up, and let the disk have everything."""
    teller = Teller(Store(root, FACTORY))
    teller.start()
    teller.store.commit(changes.prove_healthy(teller.store.state))
    descriptor = os.open(root, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return teller.store.state

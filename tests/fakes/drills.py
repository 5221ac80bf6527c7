"""Faults done to a running device, and how it came through. The tests run a few rounds, scripts/fault-drill many."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from edgeapp.status import Status
from edgeapp.system.processes import rss_mb
from tests.fakes.broker import Broker
from tests.fakes.device import Device, descriptors, telemetry, threads
from tests.fakes.subscriber import Subscriber

CAUSES = {signal.SIGKILL: "died", signal.SIGSEGV: "died", signal.SIGSTOP: "silent"}
_LOOKS, _LOOK_S = 10, 0.02


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process may leave behind as it goes on: of control and of vision, memory in MiB."""

    threads: tuple[int, int]
    descriptors: tuple[int, int]
    visions: int
    rss_mb: tuple[float, float]


def footprint(device: Device, status: Status) -> Footprint:
    """What the device holds for good: the least of some looks, as it opens a file now and then for a moment."""
    assert status.vision_pid is not None
    pids = (device.pid, status.vision_pid)
    counts = []
    for _ in range(_LOOKS):
        counts.append([count(pid) for count in (threads, descriptors) for pid in pids])
        time.sleep(_LOOK_S)
    least = [min(each) for each in zip(*counts, strict=True)]
    memory = tuple(rss_mb(pid) or 0.0 for pid in pids)
    return Footprint(
        threads=(least[0], least[1]),
        descriptors=(least[2], least[3]),
        visions=len(device.visions()),
        rss_mb=(memory[0], memory[1]),
    )


def hurt_vision(device: Device, fault: signal.Signals) -> float:
    """Send vision a deadly signal; the seconds until the next inference, as the status tells (half a second coarse).

    Raises:
        AssertionError: inference does not come back, the daemon did not survive, or the cause was not counted.
    """
    before = device.wait_inferring()
    assert before.vision_pid is not None
    began = time.monotonic()
    os.kill(before.vision_pid, fault)
    after = device.wait(
        lambda now: now.vision_pid not in (None, before.vision_pid) and now.frames_inferred > before.frames_inferred,
        f"inference after {fault.name}",
    )
    took_s = time.monotonic() - began
    # Frames of the old process may still have been counted after `before`; of the new one there must be some.
    device.wait_inferring()
    assert after.pid == before.pid
    cause = CAUSES[fault]
    assert after.vision_restarts.get(cause, 0) == before.vision_restarts.get(cause, 0) + 1
    return took_s


def hurt_broker(
    device: Device, broker: Broker, subscriber: Subscriber, *, away_s: float = 0.0, waiting: int = 0
) -> None:
    """Kill the broker, start it again after a while and once so many reports wait for it; then wait until the device
    and the subscriber are back.

    The subscriber first: a broker without a database forgets what nobody is there to read.
    """
    broker.kill()
    device.wait(lambda now: not now.broker.is_connected, "the loss of the broker to be noticed")
    time.sleep(away_s)
    device.wait(lambda now: now.broker.waiting >= waiting, "reports to wait for it")
    subscriptions = subscriber.subscriptions
    device.signal(signal.SIGSTOP)
    try:
        broker.start()
        subscriber.wait_subscribed(subscriptions + 1)
    finally:
        device.signal(signal.SIGCONT)
    device.wait(lambda now: now.broker.is_connected, "the broker to be found again")


def missing_reports(subscriber: Subscriber) -> list[int]:
    """The numbers between the first and the last report that never came."""
    seqs = {report["seq"] for report in telemetry(subscriber.messages)}
    return sorted(set(range(min(seqs), max(seqs) + 1)) - seqs) if seqs else []


def take_video_away(device: Device, video: Path) -> None:
    """Move the video away until the loss is noticed, bring it back and wait for inference."""
    hidden = video.with_suffix(".away")
    video.rename(hidden)
    device.wait(lambda now: now.camera is not None and now.camera.state == "retrying", "the loss to be noticed")
    hidden.rename(video)
    device.wait(lambda now: now.camera is not None and now.camera.state == "running", "the camera to run again")
    device.wait_inferring()

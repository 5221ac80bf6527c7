"""Kills daemon and broker and cuts the link between them, at random, while numbered reports go to an ingester.

`torture` counts what gets lost. Two orders are kept, because MQTT promises nothing without them: a broker that forgets
its sessions meets the device again only after the ingester has subscribed again, and the next fault comes only when
reports flow again. `lose_on_purpose` loses reports where they may get lost, a full spool and a broker that dies with
what it acknowledged, and shows that the ingester names exactly those.
"""

from __future__ import annotations

import itertools
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeapp.config import MqttConfig
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from tests.fakes.bad_link import BadLink, Weather
from tests.fakes.broker import Broker
from tests.fakes.gate import Gate
from tests.fakes.ingester import Identity, Ingester
from tests.fakes.sending_device import DEVICE, SendingDevice
from tests.fakes.torture_device import ENOUGH, KEPT

_ROOT = Path(__file__).parents[2]
_REPORTS_PER_S = 40.0
_RECOVERY_S = 60.0
_SAVE_ALL = ("autosave_interval 1", "autosave_on_changes true")
_SMALL_SPOOL, _WAITED, _FORGOTTEN = 10, 50, 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Toll:
    """What one run did and found. `kills` counts the faults by name."""

    name: str
    seed: int
    seconds: float
    kills: dict[str, int]
    sent: int
    lost: int
    duplicates: int
    gaps_reported: int


@dataclass(frozen=True, slots=True)
class GapsFound:
    """Reports lost on purpose, and how many of them the ingester named; `false` were named and not lost."""

    planted: int
    reported: int
    false: int


class _Link(Protocol):
    """The way between device and broker."""

    host: str
    port: int
    faults: tuple[str, ...]

    def hurt(self, fault: str, chance: random.Random) -> None: ...
    def shut(self) -> None: ...
    def open(self) -> None: ...


class _GateLink:
    """Over loopback, through a forwarder."""

    faults: tuple[str, ...] = ("cut", "black hole")

    def __init__(self, gate: Gate) -> None:
        self._gate, self.host, self.port = gate, gate.host, gate.port
        self.shut, self.open = gate.shut, gate.open

    def hurt(self, fault: str, chance: random.Random) -> None:
        if fault == "cut":
            self._gate.shut()
            time.sleep(chance.uniform(0, 0.3))
        else:
            self._gate.jam()
            time.sleep(chance.uniform(0.1, 1.5))
            if chance.random() < 0.5:
                self._gate.shut()
                time.sleep(0.05)
        self._gate.open()


class _TunLink:
    """Between two network namespaces: packets get lost, late, doubled."""

    faults: tuple[str, ...] = ("black hole", "one-way", "bad weather")

    def __init__(self, link: BadLink, port: int) -> None:
        self._link, self.host, self.port = link, link.far_host, port

    def hurt(self, fault: str, chance: random.Random) -> None:
        cut = {"black hole": ("ab", "ba"), "one-way": (chance.choice(("ab", "ba")),)}.get(fault)
        bad = Weather(delay_s=0.1, jitter_s=0.05, loss=0.2, doubles=0.05, bits_per_s=64_000)
        self._link.weather = bad if cut is None else Weather(cut=cut)
        time.sleep(chance.uniform(0.3, 2.5))
        self.open()

    def shut(self) -> None:
        self._link.weather = Weather(cut=("ab", "ba"))

    def open(self) -> None:
        self._link.weather = Weather()


class _Device:
    """The process that reports; its folder outlives it."""

    def __init__(self, folder: Path, link: _Link, prefix: list[str]) -> None:
        self._folder, self._link, self._prefix = folder, link, prefix
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def __enter__(self) -> _Device:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        arguments = [str(self._folder), self._link.host, str(self._link.port), secrets.token_hex(8)]
        command = [sys.executable, "-m", "tests.fakes.torture_device", *arguments, str(_REPORTS_PER_S)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._prefix, *command], cwd=_ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def finish(self) -> None:
        """Make no more reports, deliver the rest, end.

        Raises:
            AssertionError: it did not.
        """
        assert self._process is not None
        (self._folder / ENOUGH).touch()
        status = self._process.wait(_RECOVERY_S)
        assert status == 0, (self._folder / "log").read_text()[-2000:]

    def kept(self) -> set[Identity]:
        """What the spool had made durable."""
        lines = (self._folder / KEPT).read_text().splitlines()
        return {(DEVICE, boot, int(seq)) for boot, seq in (line.split() for line in lines)}


def torture(
    folder: Path,
    *,
    seed: int,
    kills: int,
    pause_s: float,
    is_persistent: bool,
    in_namespaces: bool = False,
    on_kill: Callable[[str], None] = lambda _: None,
) -> Toll:
    """Hurt `kills` times with pauses of `pause_s` in the mean.

    Raises:
        AssertionError: reports did not flow again after a fault.
    """
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    began_s = time.monotonic()
    with ExitStack() as stack:
        options = _SAVE_ALL if is_persistent else ()
        prefix: list[str] = []
        if in_namespaces:
            tun = stack.enter_context(BadLink(seed))
            broker = Broker(
                folder / "broker", is_persistent=is_persistent, options=options, namespace=(tun.far, tun.far_host)
            )
            stack.enter_context(broker)
            link: _Link = _TunLink(tun, broker.port)
            prefix = ["ip", "netns", "exec", tun.near]
            ingester = stack.enter_context(Ingester(folder, str(broker.unix_socket)))
        else:
            broker = stack.enter_context(Broker(folder / "broker", is_persistent=is_persistent, options=options))
            link = _GateLink(stack.enter_context(Gate(broker.port)))
            ingester = stack.enter_context(Ingester(folder, (broker.host, broker.port)))
        device = stack.enter_context(_Device(folder / "device", link, prefix))
        _wait_for_flow(ingester)
        for fault in itertools.islice(_deal(("daemon", "broker", *link.faults), chance), kills):
            time.sleep(chance.expovariate(1 / pause_s))
            on_kill(fault)
            counts[fault] += 1
            if fault == "daemon":
                device.kill()
                time.sleep(chance.uniform(0, 0.1))
                device.start()
            elif fault == "broker":
                _kill_broker(broker, link, ingester, must_wait=not is_persistent)
            else:
                link.hurt(fault, chance)
            _wait_for_flow(ingester)
        device.finish()
        kept = device.kept()
        ingester.wait(lambda: kept <= ingester.identities(), "the last reports")
        arrived = ingester.identities()
        sent = kept | arrived  # a daemon killed right after the spool's commit could not write it down
        return Toll(
            name=("namespaces" if in_namespaces else "loopback") + (", persistent broker" if is_persistent else ""),
            seed=seed,
            seconds=round(time.monotonic() - began_s, 1),
            kills=dict(sorted(counts.items())),
            sent=len(sent),
            lost=len(sent - arrived),
            duplicates=ingester.duplicates,
            gaps_reported=len(ingester.gaps()),
        )


def _deal(faults: Sequence[str], chance: random.Random) -> Iterator[str]:
    """All of them in random order, again and again, so that each has its share."""
    while True:
        yield from chance.sample(faults, len(faults))


def _kill_broker(broker: Broker, link: _Link, ingester: Ingester, *, must_wait: bool) -> None:
    """Kill it in the middle of traffic. One that forgets gives reports to nobody until the ingester is back."""
    subscriptions = ingester.subscriptions
    broker.kill()
    if must_wait:
        link.shut()
    broker.start()
    ingester.wait_subscribed(subscriptions + 1)
    link.open()


def _wait_for_flow(ingester: Ingester) -> None:
    before = len(ingester.identities())
    ingester.wait(lambda: len(ingester.identities()) > before, "a new report", _RECOVERY_S)


def lose_on_purpose(folder: Path) -> GapsFound:
    """Let a small spool overflow while the broker is away, and a broker die with reports it has acknowledged."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder / "broker"))
        gate = stack.enter_context(Gate(broker.port))
        ingester = stack.enter_context(Ingester(folder, (broker.host, broker.port)))
        (folder / "device").mkdir()
        spool = Spool(folder / "device" / SPOOL_NAME, _SMALL_SPOOL)
        config = MqttConfig(host=gate.host, port=gate.port, reconnect_max_s=1.0)
        device = stack.enter_context(SendingDevice(folder / "device", config, spool=spool))
        made = _arrive(device, ingester, 5)
        gate.shut()
        _until(lambda: not device.health.is_connected)
        overflow = sorted(device.report(_WAITED), key=lambda identity: identity[2])
        dropped, kept = overflow[:-_SMALL_SPOOL], overflow[-_SMALL_SPOOL:]
        made |= set(kept)
        gate.open()
        ingester.wait(lambda: made <= ingester.identities(), "what the spool kept")
        made |= _arrive(device, ingester, 1)
        assert ingester.lost() == len(dropped), "the device tells how many it dropped"
        forgotten = _forget(broker, gate, device, ingester)
        made |= _arrive(device, ingester, 3)
        planted = {(name, seq) for name, _, seq in {*dropped, *forgotten}}
        reported = ingester.gaps()
        return GapsFound(len(planted), len(planted & reported), len(reported - planted))


def _arrive(device: SendingDevice, ingester: Ingester, reports: int) -> set[Identity]:
    made = device.report(reports)
    ingester.wait(lambda: made <= ingester.identities(), "the reports")
    _until(lambda: device.spool.waiting() == 0)  # one that is dropped though it has arrived counts as dropped
    return made


def _forget(broker: Broker, gate: Gate, device: SendingDevice, ingester: Ingester) -> set[Identity]:
    """Reports that the broker acknowledges while the ingester is away, and takes into its death."""
    subscriptions = ingester.subscriptions
    with ingester.away():
        made = device.report(_FORGOTTEN)
        _until(lambda: device.spool.waiting() == 0)
        broker.kill()
    gate.shut()
    broker.start()
    ingester.wait_subscribed(subscriptions + 1)
    gate.open()
    return made


def _until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _RECOVERY_S
    while not is_so():
        assert time.monotonic() < deadline_s, "the device does not come so far"
        time.sleep(0.01)

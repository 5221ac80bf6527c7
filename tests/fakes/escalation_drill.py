"""Escalation in trouble, with the real daemon, the real endpoint or oracle, and a link that misbehaves."""

from __future__ import annotations

import itertools
import math
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeapp.system.files import replace_quickly
from edgeapp.system.processes import rss_mb
from edgeapp.workshop.demo_assets import DemoAssets
from tests.fakes import endpoint as fake
from tests.fakes.certificates import Authority
from tests.fakes.endpoint import Endpoint
from tests.fakes.escalating_device import EscalatingDevice
from tests.fakes.oracle_server import OracleServer, crop, p99
from tests.fakes.paces import Pace, Pairs, cpu_time, frame_rate, latency
from tests.fakes.written import files, findings

FRAMES = "frames"
GIVEN = ("video.avi", "model", "config.yaml", "stick", "1.root.json", "made-1", "token", FRAMES)
HERE = fake.finding(fake.person((0.25, 0.25, 0.75, 0.75)))
SPAN_S = 2.0
_READY_S = 300.0
_LIMIT = 0.02
_CLOSED_AFTER = 2  # answered crops: the one that decides, and one more


class DrilledDevice(EscalatingDevice):
    """One of the two: it may escalate, and its pace is measured."""

    def __init__(
        self, folder: Path, endpoint: Endpoint, ca_file: Path, *, port: int, **sections: dict[str, Any]
    ) -> None:
        super().__init__(folder, endpoint, ca_file, port=port, program="tests.fakes.measured_daemon", **sections)
        self._frames = folder / FRAMES

    def start(self, **environment: str) -> None:
        super().start(EDGEAPP_TEST_FRAMES=str(self._frames), **environment)

    def memory_mb(self) -> float:
        return sum(rss_mb(pid) or 0.0 for pid in self._pids())

    def cpu_s(self) -> float:
        """What both processes have used of the processor."""
        return sum(_cpu_ticks(pid) for pid in self._pids()) / os.sysconf("SC_CLK_TCK")

    def frames(self, begin_ns: int, end_ns: int) -> list[float]:
        """The latencies, ms, of the frames that were observed between the two."""
        lines = self._frames.read_text().splitlines()[:-1]  # the last one may be torn
        times = [tuple(map(int, line.split())) for line in lines]
        return [(seen - captured) / 1e6 for captured, seen in times if begin_ns <= seen < end_ns]

    def _pids(self) -> list[int]:
        status = self.status()
        assert status is not None, self.log[-2000:]
        assert status.vision_restarts == {}, self.log[-2000:]
        return [pid for pid in (self.pid, status.vision_pid) if pid]


def _cpu_ticks(pid: int) -> int:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])  # utime and stime of proc(5)


def watch(off: DrilledDevice, on: DrilledDevice, seconds: float) -> list[tuple[Pace, Pace]]:
    """How both do over the next seconds, span by span."""
    spans = []
    for _ in range(max(1, round(seconds / SPAN_S))):
        before, begin_ns = [device.cpu_s() for device in (off, on)], time.monotonic_ns()
        time.sleep(SPAN_S)
        after, end_ns = [device.cpu_s() for device in (off, on)], time.monotonic_ns()
        spans.append((begin_ns, end_ns, [late - early for early, late in zip(before, after, strict=True)]))

    def pace(device: DrilledDevice, begin_ns: int, end_ns: int, cpu_s: float) -> Pace:
        latencies = device.frames(begin_ns, end_ns)
        seconds = (end_ns - begin_ns) / 1e9
        return Pace(frames=len(latencies), seconds=seconds, cpu_s=cpu_s, latencies_ms=tuple(latencies))

    time.sleep(0.5)  # for the last line
    return [
        (pace(off, begin_ns, end_ns, cpu_s[0]), pace(on, begin_ns, end_ns, cpu_s[1]))
        for begin_ns, end_ns, cpu_s in spans
    ]


def _keep_alive(path: Path, over: threading.Event) -> None:
    """A thermometer that stands still is taken for stuck, and then nothing is asked."""
    for turn in itertools.count():
        if over.wait(1.0):
            return
        replace_quickly(path, b"%d\n" % (50_000 + 500 * (turn % 3)))


def _flap(server: Endpoint, stop: threading.Event) -> None:
    """Well and sick in turns, every three seconds."""
    while not stop.wait(3.0):
        server.is_sick = not server.is_sick
        server.behaviour = fake.status(503) if server.is_sick else HERE


TROUBLES: dict[str, fake.Behaviour] = {
    "well": HERE,
    "500": fake.status(500),
    "garbage": fake.garbage,
    "oversized": fake.oversized,
    "slow": fake.dripping_headers,
    "hanging": fake.hanging,
}


def drill_troubles(
    folder: Path, assets: DemoAssets, port: int, seconds: float, show: Callable[[str], None]
) -> dict[str, Any]:
    """Each trouble in turn, on one of two devices with the demo's model and video while the other does not escalate,
    then with the roles changed."""
    folder.mkdir()
    (folder / "temp").write_text("50000\n")  # or the governor, without a thermometer, would rest now and then
    sections: dict[str, dict[str, Any]] = {
        "camera": {"source": str(assets.video)},
        "inference": {"model_dir": str(assets.int8_model_dir)},
        "thermal": {"sensor_path": str(folder / "temp"), "bits": "off", "stuck_s": 3600.0},
        "vision": {"silence_s": 30.0, "start_limit_s": 120.0},  # a busy machine is no fault of theirs
        "escalation": {"answer_s": 5.0},
    }
    authority = Authority(folder / "ca", "authority")
    names, over = [*TROUBLES, "flapping", "down"], threading.Event()
    found: dict[str, _Found] = {name: _Found() for name in names}
    with Endpoint(authority.sign("endpoint"), HERE) as server:
        one, other = (
            DrilledDevice(folder / name, server, authority.cert, port=port, **sections) for name in ("one", "other")
        )
        threading.Thread(target=_keep_alive, args=(folder / "temp", over), daemon=True).start()
        with one, other:  # at the same time, so that both meet the same load
            for off, on in ((one, other), (other, one)):
                for name in names:
                    show(f"{name}, {on.folder.name} escalates")
                    _in_trouble(name, server, off, on, seconds / 2, found[name])
        over.set()
        written = [
            each for one in (one, other) for each in findings(files(one.folder, but=GIVEN), counts=[], scores=[])
        ]
    everything = [pair for each in found.values() for pair in each.pairs]
    return {
        "troubles": {name: each.as_fields() for name, each in found.items()},
        "together": judged(everything),
        "written": written,
    }


class _Found:
    """What one trouble did, with both roles."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Pace, Pace]] = []
        self.rss_mb: list[tuple[float, float]] = []
        self.crops: list[int] = []

    def as_fields(self) -> dict[str, Any]:
        return {
            **judged(self.pairs),
            "rss_mb": [[round(each, 1) for each in both] for both in self.rss_mb],
            "crops": min(self.crops),
        }


def judged(pairs: Pairs) -> dict[str, Any]:
    """Frame rate, latency and CPU time with their intervals and verdicts."""
    changes = {"fps": frame_rate(pairs, _LIMIT), "latency": latency(pairs, _LIMIT), "cpu": cpu_time(pairs, _LIMIT)}
    return {
        name: {
            "ratio": round(change.ratio, 4),
            "interval": [round(change.low, 4), None if change.high == math.inf else round(change.high, 4)],
            "verdict": change.verdict,
        }
        for name, change in changes.items()
    }


def _in_trouble(
    name: str, server: Endpoint, off: DrilledDevice, on: DrilledDevice, seconds: float, found: _Found
) -> None:
    """First all is well until the breaker has closed; then the trouble meets questions, not a closed door.

    A consent that begins anew begins the breaker anew, too, so that it need not be waited for.
    """
    stop = threading.Event()
    server.is_sick, server.behaviour = False, HERE
    for device in (off, on):
        if device.is_allowed():
            device.forbid()
            device.wait(
                lambda one: one.escalation is not None and not one.escalation.has_consent, "no consent", _READY_S
            )
    crops = len(server.crops)
    on.allow()
    server.wait(lambda one: len(one.crops) >= crops + _CLOSED_AFTER, "the breaker to close", _READY_S)
    crops = len(server.crops)
    if name in TROUBLES:
        server.behaviour = TROUBLES[name]
    elif name == "flapping":
        threading.Thread(target=_flap, args=(server, stop), daemon=True).start()
    else:
        server.is_deaf = True
    found.pairs += watch(off, on, seconds)
    stop.set()
    server.is_deaf = False
    found.rss_mb.append((off.memory_mb(), on.memory_mb()))
    found.crops.append(len(server.crops) - crops)


def drill_oracle(folder: Path, model: Path, seconds: float, clients: int = 4) -> dict[str, Any]:
    """Clients that ask without a pause, one of them faster than it may."""
    options = ("--rate", "200", "--wait", "1.0", "--waiting", "16")
    with OracleServer(folder, *options, model=model) as oracle:
        replies: list[tuple[int, float]] = []
        deadline = time.monotonic() + seconds

        def ask() -> None:
            connection, body = oracle.connect(), crop(256)
            while time.monotonic() < deadline:
                reply = oracle.ask(body, connection=connection)
                replies.append((reply.status, reply.took_s))
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answered = [took_s for status, took_s in replies if status == 200]
        batches = oracle.metric("edgeapp_oracle_batch_size_count")
        in_batches = oracle.metric("edgeapp_oracle_batch_size_sum")
        killed = _kill_under_load(oracle, clients)
        kept = [path.name for path in folder.rglob("*.jpg")]
    return {
        "clients": clients,
        "answered": len(answered),
        "refused": sum(status in (429, 503) for status, _ in replies),
        "others": sorted({status for status, _ in replies} - {200, 429, 503}),
        "per_s": round(len(answered) / seconds, 1),
        "p50_ms": round(1e3 * statistics.median(answered), 1),
        "p99_ms": round(1e3 * p99(answered), 1),
        "batch_mean": round(in_batches / batches, 2),
        "kept": kept,
        **killed,
    }


def _kill_under_load(oracle: OracleServer, clients: int) -> dict[str, Any]:
    """SIGKILL while crops are in work: each client hears of it, and soon."""
    noticed: list[float] = []
    killed_s = [0.0]

    def ask() -> None:
        connection = oracle.connect()
        try:
            while True:
                oracle.ask(crop(256), connection=connection)
        except OSError:
            noticed.append(time.monotonic() - killed_s[0])
        except Exception:  # an answer cut off in the middle
            noticed.append(time.monotonic() - killed_s[0])

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    killed_s[0] = time.monotonic()
    oracle.kill()
    for thread in threads:
        thread.join(20)
    return {"noticed": len(noticed), "noticed_s": round(max(noticed, default=0.0), 2)}


def drill_killed_oracle(folder: Path, port: int) -> dict[str, Any]:
    """A device asks the real oracle, which is killed and comes back: the device carries on, and asks again."""
    oracle = OracleServer(folder / "oracle", "--rate", "500")
    oracle.start()
    try:
        device = EscalatingDevice(
            folder / "device",
            oracle,  # type: ignore[arg-type]  # only its address is looked at
            oracle.authority.cert,
            port=port,
            escalation={"token_file": str(folder / "oracle" / "token")},
        )
        device.allow()
        with device:
            device.wait(lambda one: one.escalation is not None and one.escalation.is_endpoint_up, "the oracle")
            deadline = time.monotonic() + 30
            while oracle.metric("edgeapp_oracle_latency_seconds_count") < 2:
                assert time.monotonic() < deadline, device.log[-2000:]
                time.sleep(0.1)
            oracle.kill()
            inferred = device.wait_inferring().frames_inferred
            device.wait(
                lambda one: one.escalation is not None and not one.escalation.is_endpoint_up, "it to be missed", 60
            )
            after = device.wait_inferring()
            oracle.start()
            device.wait(lambda one: one.escalation is not None and one.escalation.is_endpoint_up, "its return", 60)
            deadline = time.monotonic() + 30
            while not oracle.metric("edgeapp_oracle_latency_seconds_count"):
                assert time.monotonic() < deadline, device.log[-2000:]
                time.sleep(0.1)
            restarts = sum(after.vision_restarts.values())
            return {
                "frames_meanwhile": after.frames_inferred - inferred,
                "vision_restarts": restarts,
                "asked_again": True,
            }
    finally:
        oracle.kill()

"""Escalation in trouble, with the real daemon, the real endpoint or oracle, and a link that misbehaves."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeapp.system.processes import rss_mb
from edgeapp.workshop.demo_assets import DemoAssets
from tests.fakes import endpoint as fake
from tests.fakes.certificates import Authority
from tests.fakes.endpoint import Endpoint
from tests.fakes.escalating_device import EscalatingDevice
from tests.fakes.oracle_server import OracleServer, crop, p99
from tests.fakes.written import files, findings

GIVEN = ("video.avi", "model", "config.yaml", "stick", "1.root.json", "made-1", "token")
HERE = fake.finding(fake.person((0.25, 0.25, 0.75, 0.75)))
_CLOSED_AFTER = 2  # answered crops: the one that decides, and one more


@dataclass(frozen=True, slots=True)
class Paces:
    """Two devices over the same span, the first without escalation, sampled at the same moments.

    `fps` are the best of the span, since what else runs on the machine only makes it worse; `latency_ratios` those of
    the second to the first, of the medians from capture to observation; `rss_mb` at the end, both processes.
    """

    fps: tuple[float, float]
    latency_ratios: list[float]
    rss_mb: tuple[float, float]


def watch(off: EscalatingDevice, on: EscalatingDevice, seconds: float) -> Paces:
    """How both do over the next seconds."""
    began = time.monotonic()
    rates: list[tuple[float, float]] = []
    ratios: list[float] = []
    while time.monotonic() - began < seconds:
        time.sleep(0.5)
        without, escalating = off.wait_inferring(), on.wait_inferring()
        assert escalating.vision_restarts == {}, on.log[-2000:]
        rates.append((without.fps, escalating.fps))
        if without.latency_p50_ms and escalating.latency_p50_ms:
            ratios.append(escalating.latency_p50_ms / without.latency_p50_ms)
    return Paces(
        (max(rate for rate, _ in rates), max(rate for _, rate in rates)), ratios, (_memory_mb(off), _memory_mb(on))
    )


def _memory_mb(device: EscalatingDevice) -> float:
    status = device.status()
    assert status is not None, device.log[-2000:]
    return sum(rss_mb(pid) or 0.0 for pid in (device.pid, status.vision_pid) if pid)


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
    """Each trouble in turn on a device with the demo's model and video, beside one that does not escalate."""
    folder.mkdir()
    (folder / "temp").write_text("50000\n")  # or the governor, without a thermometer, would rest now and then
    sections: dict[str, dict[str, Any]] = {
        "camera": {"source": str(assets.video)},
        "inference": {"model_dir": str(assets.int8_model_dir)},
        "thermal": {"sensor_path": str(folder / "temp"), "bits": "off", "stuck_s": 3600.0},
    }
    authority = Authority(folder / "ca", "authority")
    result: dict[str, Any] = {}
    with Endpoint(authority.sign("endpoint"), HERE) as server:
        without = {"escalation": {"enabled": False}}
        off = EscalatingDevice(folder / "off", server, authority.cert, port=port, **sections, **without)
        on = EscalatingDevice(folder / "on", server, authority.cert, port=port, **sections)
        on.allow()
        with off, on:  # at the same time, so that both meet the same load
            for name in [*TROUBLES, "flapping", "down"]:
                show(name)
                result[name] = _in_trouble(name, server, off, on, seconds)
        written = findings(files(on.folder, but=GIVEN), counts=[], scores=[])
    return {"troubles": result, "written": written}


def _in_trouble(
    name: str, server: Endpoint, off: EscalatingDevice, on: EscalatingDevice, seconds: float
) -> dict[str, Any]:
    """First all is well until the breaker has closed; then the trouble meets questions, not a closed door."""
    stop = threading.Event()
    server.is_sick, server.behaviour = False, HERE
    crops = len(server.crops)
    server.wait(lambda one: len(one.crops) >= crops + _CLOSED_AFTER, "the breaker to close", 120)
    crops = len(server.crops)
    if name in TROUBLES:
        server.behaviour = TROUBLES[name]
    elif name == "flapping":
        threading.Thread(target=_flap, args=(server, stop), daemon=True).start()
    else:
        server.shutdown()
        server.socket.close()
    paces = watch(off, on, seconds)
    stop.set()
    return {
        "fps_ratio": round(paces.fps[1] / paces.fps[0], 4),
        "latency_ratio": round(statistics.median(paces.latency_ratios), 3),
        "rss_mb": [round(each, 1) for each in paces.rss_mb],
        "crops": len(server.crops) - crops,
    }


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

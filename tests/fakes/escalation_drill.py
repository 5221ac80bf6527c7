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
_SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a device does: frames a second, the median latency from capture to observation in ms, memory in MiB.

    The best of a span: what else runs on the machine only makes it worse, and what escalation costs is there all the
    time.
    """

    fps: float
    latency_p50_ms: float
    rss_mb: float


def watch(device: EscalatingDevice, seconds: float) -> Pace:
    """The pace over the next seconds."""
    time.sleep(_SETTLE_S)
    began = time.monotonic()
    rates: list[float] = []
    latencies: list[float] = []
    while time.monotonic() - began < seconds:
        time.sleep(0.5)
        status = device.wait_inferring()
        assert status.vision_restarts == {}, device.log[-2000:]
        rates.append(status.fps)
        latencies.append(status.latency_p50_ms or float("inf"))
    memory = [rss_mb(pid) or 0.0 for pid in (device.pid, status.vision_pid) if pid]
    return Pace(max(rates), min(latencies), sum(memory))


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
    sections = {"camera": {"source": str(assets.video)}, "inference": {"model_dir": str(assets.int8_model_dir)}}
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
    stop = threading.Event()
    server.is_sick = False
    crops = len(server.crops)
    if name in TROUBLES:
        server.behaviour = TROUBLES[name]
    elif name == "flapping":
        threading.Thread(target=_flap, args=(server, stop), daemon=True).start()
    else:
        server.shutdown()
        server.socket.close()
    paces: dict[str, Pace] = {}
    threads = [
        threading.Thread(target=lambda key=key, device=device: paces.update({key: watch(device, seconds)}))
        for key, device in (("off", off), ("on", on))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    return {
        "fps_ratio": round(paces["on"].fps / paces["off"].fps, 4),
        "latency_ratio": round(paces["on"].latency_p50_ms / paces["off"].latency_p50_ms, 3),
        "latency_ms": [round(paces[key].latency_p50_ms, 3) for key in ("off", "on")],
        "rss_mb": [round(paces[key].rss_mb, 1) for key in ("off", "on")],
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

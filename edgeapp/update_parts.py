"""Builds the installer from its parts and a configuration: whom to trust, where files come from, what a self-test is.

The parts of updates know neither vision nor MQTT; here they get to know each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeapp import __version__
from edgeapp.config import Config, DelegateLibrary
from edgeapp.errors import ConfigError
from edgeapp.interfaces import Clock
from edgeapp.messaging.blocks import BlockLink
from edgeapp.messaging.topics import blocks, consents
from edgeapp.model_desk import ModelDesk
from edgeapp.system.board import read_board
from edgeapp.updates.admission import Gate
from edgeapp.updates.broker_files import BrokerFiles
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.command import place
from edgeapp.updates.download import Source
from edgeapp.updates.facts import DeviceFacts
from edgeapp.updates.fetchers import FolderFiles, WebFiles
from edgeapp.updates.inbox import Inbox
from edgeapp.updates.installer import Installer
from edgeapp.updates.listener import Listener
from edgeapp.updates.release import Budget, TensorFacts
from edgeapp.updates.reports import Identity, KeepReport, Reports
from edgeapp.updates.sources import BrokerSource, FolderSource, HttpSource
from edgeapp.updates.store import Store
from edgeapp.updates.tools import SelfTested, Tools
from edgeapp.vision.runtimes import installed_runtime
from edgeapp.vision.selftest import SelfTestLimits, self_test

if TYPE_CHECKING:
    from tuf.ngclient.fetcher import FetcherInterface

_STORE_NAME = "updates"
_TUF_NAME = "tuf"
_TARGETS_NAME = "targets"  # of a published repository, in a folder or on a web server
_SELFTEST_S = 120.0


def build_installer(
    config: Config,
    *,
    boot: str,
    clock: Clock,
    inbox: Inbox,
    keep_report: KeepReport,
    on_report: Callable[[], None],
    desk: ModelDesk,
) -> Installer:
    """The installer of this device.

    Raises:
        ConfigError: the root of trust cannot be read; nothing was started.
    """
    facts = _facts(config)
    identity = Identity(config.device.id, boot, __version__)
    reports = Reports(identity, clock, keep_report, on_report)
    gate = Gate(Path(config.paths.state_dir) / _TUF_NAME, trusted_root(config), facts)
    gate.folder.mkdir(exist_ok=True)
    return Installer(
        store=Store(Path(config.paths.state_dir) / _STORE_NAME, Path(config.inference.model_dir)),
        clock=clock,
        inbox=inbox,
        listener=Listener(gate, inbox, clock, reports, lambda: metadata_source(config)),
        reports=reports,
        desk=desk,
        tools=Tools(
            sources=lambda urls: _sources(config, urls),
            self_test=lambda folder, budget, stop: _self_test(config, desk, folder, budget, stop),
            budget=lambda budgets: _budget(budgets, facts.board),
            wait_s=lambda command: config.updates.jitter_s * place(command, config.device.id),
        ),
    )


def trusted_root(config: Config) -> bytes:
    """The root that this device was provisioned with.

    Raises:
        ConfigError: it cannot be read.
    """
    path = Path(config.updates.root_file or "")
    try:
        return path.read_bytes()
    except OSError as error:
        expected = f"expected the first root of trust at {path}"
        raise ConfigError(f"updates.root_file: {expected}, found: {error.strerror}") from error


def _facts(config: Config) -> DeviceFacts:
    board = read_board(machine=os.uname().machine)
    runtime, _, version = installed_runtime().partition(" ")
    delegate = config.inference.delegate
    return DeviceFacts(
        device_id=config.device.id,
        groups=frozenset(config.device.groups),
        app_version=__version__,
        runtime=runtime,
        runtime_version=version,
        delegate=Path(delegate.library).name if isinstance(delegate, DelegateLibrary) else _DELEGATES[delegate],
        arch=board.machine,
        board=board.name,
        ram_mb=board.total_mb or 0.0,
        classes=config.tracking.classes,
    )


_DELEGATES = {"auto": "xnnpack", "xnnpack": "xnnpack", "none": "none"}


def metadata_source(config: Config) -> FetcherInterface | None:
    """Where metadata is looked for that did not come with a command."""
    if config.updates.folder is not None and Path(config.updates.folder).is_dir():
        return FolderFiles(Path(config.updates.folder))
    return WebFiles(config.updates.urls[0]) if config.updates.urls else None


def consent_source(config: Config) -> FetcherInterface | None:
    """Where the consent of the site is looked for: where metadata is, else on the broker."""
    source = metadata_source(config)
    if source is not None or not config.updates.blocks:
        return source
    return BrokerFiles(lambda: _link(config, "sites"), consents(blocks(config.device.tenant)))


def _sources(config: Config, urls: Sequence[str]) -> tuple[Source, ...]:
    """Where files may be had, the nearest first."""
    settings, device = config.updates, config.device
    sources: list[Source] = []
    if settings.folder is not None:
        sources.append(FolderSource(Path(settings.folder) / _TARGETS_NAME))
    sources += [HttpSource(f"{url.rstrip('/')}/{_TARGETS_NAME}") for url in dict.fromkeys((*urls, *settings.urls))]
    if settings.blocks:

        def connect() -> BlockLink:
            return _link(config, "blobs")

        sources.append(BrokerSource(connect, blocks(device.tenant), f"{config.mqtt.host}:{config.mqtt.port}"))
    return tuple(sources)


def _link(config: Config, purpose: str) -> BlockLink:
    """A connection to the broker for one purpose; of two with one name the broker would end the older."""
    return BlockLink(config.mqtt, f"{config.device.id}-{purpose}", lambda text: UpdateError(Code.E_NET, text))


def _self_test(
    config: Config, desk: ModelDesk, folder: Path, budget: Budget | None, stop: threading.Event
) -> SelfTested:
    """The self-test on the delegate and the threads that run here: what has fallen back is no fault of the model's."""
    running, delegate = desk.look().model, config.inference.delegate
    if running is not None and running.delegate.fell_back:
        delegate = "xnnpack"
    limits = SelfTestLimits(wall_s=_SELFTEST_S, cpu_s=round(_SELFTEST_S))
    if budget is not None:
        limits = SelfTestLimits(
            wall_s=_SELFTEST_S,
            cpu_s=round(_SELFTEST_S),
            median_ms=budget.p50_ms,
            p95_ms=budget.p95_ms,
            peak_mb=budget.rss_mb,
        )
    threads = running.threads if running is not None else config.inference.threads or 1
    report = self_test(folder, limits, delegate=delegate, threads=threads, stop=stop)
    tensors = {
        name: TensorFacts(shape=found.shape, dtype=found.dtype, scale=found.scale, zero_point=found.zero_point)  # type: ignore[arg-type]
        for name, found in report.tensors.items()
    }
    return SelfTested(report.code, report.text, tensors)


def _budget(budgets: Mapping[str, Budget], board: str) -> Budget | None:
    """The budget whose board's name fits best."""
    fitting = [name for name in budgets if board.startswith(name)]
    return budgets[max(fitting, key=len)] if fitting else None

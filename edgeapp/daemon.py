"""The daemon. Read this first: it builds every part and names every worker, in the order of the data's way.

    sensors          chip → temperature, throttling, under-voltage      thermal/sensors.py
    vision process   camera → frame → prediction                        vision/main.py (read it second)
    pipeline         prediction → window → aggregate                    pipeline.py, telemetry/window.py
                     prediction → observation → event → window          census.py, tracking/, telemetry/levels.py
                     window + noise → release                           telemetry/release.py
                     aggregate or release → message → spool             reporter.py, telemetry/spool.py
    publisher        spool → MQTT → command                             messaging/mqtt.py
    installer        command → release → trial → commit                 updates/installer.py
    escalation       with a consent: crop → larger model → outcome      escalation/client.py, escalator.py
    main thread      signals, hearts, watchdog, status                  supervisor.py, status.py

This process sees the network and no pixel; the vision process sees pixels and no network. The one exception are the
crops of escalation, while a signed consent of the site is in force: this process passes them on unread.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeapp import __version__, config_file
from edgeapp.config import Config
from edgeapp.config_change import differences, effect
from edgeapp.errors import ConfigError
from edgeapp.escalation.outbox import Outbox
from edgeapp.messaging import home_assistant
from edgeapp.messaging.announcements import ANNOUNCED_NAME, Announcements
from edgeapp.messaging.mqtt import Publisher
from edgeapp.messaging.topics import Topics, commands
from edgeapp.model_desk import ModelDesk
from edgeapp.pipeline import Pipeline
from edgeapp.status import LOCK_NAME, STATUS_NAME, BrokerStatus, HeatStatus, Status, lines, summary
from edgeapp.supervisor import Supervisor, Worker
from edgeapp.system import files, journal, notify
from edgeapp.system.clock import SystemClock
from edgeapp.telemetry.message import status_message
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from edgeapp.thermal.sensors import BoardSensors, SensorThread
from edgeapp.updates.inbox import Inbox
from edgeapp.vision import client
from edgeapp.vision.process import VisionProcess

if TYPE_CHECKING:
    from edgeapp.escalation.client import EscalationClient
    from edgeapp.updates.installer import Installer

_LOGGER = logging.getLogger(__name__)
_BOOT_BYTES = 8
_PIPELINE_LIMIT_S = 30.0  # a card may take seconds to make a report durable
_PUBLISHER_LIMIT_S = 60.0
_INSTALLER_LIMIT_S = 120.0  # it hashes and syncs whole models
_ESCALATION_LIMIT_S = 240.0  # it fetches the consent, then asks with a time limit
_SENSORS_LIMIT_S = 30.0  # it waits for no sensor


class Daemon:
    """All parts, built from one configuration."""

    def __init__(self, config: Config, config_path: Path, vision: VisionProcess | None = None) -> None:
        self._config, self._config_path = config, config_path
        self._clock = SystemClock()
        self._started_s = self._clock.wall_s()
        self._stop = threading.Event()
        self._needs_restart: tuple[str, ...] = ()
        self._reload_error = ""
        boot = secrets.token_hex(_BOOT_BYTES)
        self._sensors = SensorThread(BoardSensors(config.thermal), sample_hz=config.thermal.sample_hz)
        self._spool = Spool(Path(config.paths.state_dir) / SPOOL_NAME, config.telemetry.spool_max_reports)
        online, offline = (
            status_message(state, device=config.device.id, boot=boot, app_version=__version__)
            for state in ("online", "offline")
        )
        topics = Topics(config.device.tenant, config.device.id)
        inbox = Inbox()
        self._publisher = Publisher(
            config.mqtt,
            topics,
            self._spool,
            self._clock,
            online=online,
            offline=offline,
            announcements=_announcements(config, topics),
            subscriptions=commands(topics, config.device.groups) if config.updates.enabled else (),
            on_message=inbox.put,
        )
        outbox: Outbox | None = None
        self._escalation: EscalationClient | None = None
        if config.escalation.enabled:
            from edgeapp.escalation_parts import build_escalation  # with what updates bring in

            escalation = build_escalation(config, self._clock)
            outbox, self._escalation = escalation.outbox, escalation.client
        desk = ModelDesk(None if config.updates.enabled else config.inference.model_dir)
        self._pipeline = Pipeline(
            config,
            boot=boot,
            clock=self._clock,
            sensors=self._sensors,
            spool=self._spool,
            on_report=self._publisher.wake,
            desk=desk,
            outbox=outbox,
            first_vision=vision,
        )
        self._installer: Installer | None = None
        if config.updates.enabled:
            from edgeapp.update_parts import build_installer  # some 20 MB that others need not have

            self._installer = build_installer(
                config,
                boot=boot,
                clock=self._clock,
                inbox=inbox,
                keep_report=self._spool.put,
                on_report=self._publisher.wake,
                desk=desk,
            )

    def run(self) -> int:
        """Work until a signal. The exit status of the process."""
        workers = [
            Worker("sensors", lambda stop, heart: self._sensors.run(stop, heart.beat), _SENSORS_LIMIT_S),
            Worker("pipeline", self._pipeline.run, _PIPELINE_LIMIT_S),
            Worker("publisher", lambda stop, heart: self._publisher.run(stop, heart.beat), _PUBLISHER_LIMIT_S),
        ]
        if self._installer is not None:
            workers.append(Worker("installer", self._installer.run, _INSTALLER_LIMIT_S))
        if self._escalation is not None:
            workers.append(Worker("escalation", self._escalation.run, _ESCALATION_LIMIT_S))
        status = Supervisor(workers, reload=self._reload, tick=self._write_status, stop=self._stop).run()
        self._write_status()  # how it was left: what waits in the spool for the next start
        return status

    def _reload(self) -> None:
        """SIGHUP: apply what can change live, name what needs a restart, or keep the old and say why."""
        try:
            new = config_file.load(self._config_path)
            self._check_classes(new)
        except ConfigError as error:
            self._reload_error = str(error)
            _LOGGER.error("reload refused, the old configuration runs on:\n%s", error, extra=journal.CONFIG_REFUSED)
            return
        changes = differences(self._config, new)
        for change in changes:
            _LOGGER.info("%s (%s)", change, effect(change.key))
        self._needs_restart = tuple(change.key for change in changes if effect(change.key) == "restart")
        self._reload_error = ""
        # A section that needs a restart stays as it is as a whole, so that no part sees half of a change.
        kept = {key.partition(".")[0] for key in self._needs_restart}
        self._config = replace(new, **{section: getattr(self._config, section) for section in kept})
        logging.getLogger().setLevel(new.logging.level.upper())
        self._pipeline.reconfigure(self._config)

    def _check_classes(self, new: Config) -> None:
        """Only the model that runs knows which classes there are to track."""
        model = self._pipeline.health().model
        unknown = sorted(set(new.tracking.classes) - set(model.classes)) if model else []
        if model and unknown:
            known = ", ".join(model.classes)
            raise ConfigError(
                f"tracking.classes: expected classes of {model.name} ({known}), found {', '.join(unknown)}"
            )

    def _write_status(self) -> None:
        path, status = Path(self._config.paths.runtime_dir) / STATUS_NAME, self._status()
        notify.notify(f"STATUS={summary(lines(status, status.written_s, is_running=True))}")
        try:
            files.replace_quickly(path, json.dumps(asdict(status)).encode())
        except OSError as error:
            _LOGGER.warning("%s: the status cannot be written: %s", path, error)

    def _status(self) -> Status:
        pipeline, broker = self._pipeline.health(), self._publisher.health()
        heat = pipeline.heat
        return Status(
            version=__version__,
            device=self._config.device.id,
            pid=os.getpid(),
            started_s=self._started_s,
            written_s=self._clock.wall_s(),
            source=self._config.camera.kind,
            camera=pipeline.camera,
            model=pipeline.model,
            vision_pid=pipeline.vision_pid,
            vision_restarts=pipeline.vision_restarts,
            fps_wanted=self._config.inference.max_fps,
            fps=pipeline.fps,
            p50_ms=pipeline.p50_ms,
            p99_ms=pipeline.p99_ms,
            latency_p50_ms=pipeline.latency_p50_ms,
            latency_p99_ms=pipeline.latency_p99_ms,
            frames_inferred=pipeline.frames_inferred,
            failures=pipeline.failures,
            temp_c=heat.temp_c,
            heat=HeatStatus(
                state=heat.state.value,
                limited_by=heat.limited_by.value,
                rate_fps=heat.rate_fps,
                is_under_voltage=heat.flags is not None and heat.flags.under_voltage,
                text=heat.text,
            ),
            broker=BrokerStatus(**asdict(broker), lost=self._spool.lost()),
            next_report_s=pipeline.next_report_s,
            holds_counts_back=self._config.privacy.guarantee != "none" and not self._clock.is_synchronised(),
            drift=pipeline.drift,
            update=self._installer.health() if self._installer else None,
            escalation=self._escalation.health() if self._escalation else None,
            trouble=pipeline.trouble,
            needs_restart=self._needs_restart,
            reload_error=self._reload_error,
        )


def _announcements(config: Config, topics: Topics) -> Announcements:
    """What other programs on the broker shall know of us."""
    settings = config.mqtt.home_assistant
    description = {home_assistant.topic(settings.prefix, topics): home_assistant.description(topics, __version__)}
    path = Path(config.paths.state_dir) / ANNOUNCED_NAME
    return Announcements(path, description if settings.enabled else {})


def run(config: Config, config_path: Path, vision: VisionProcess | None = None) -> int:
    """`edgeapp run`: the daemon in the foreground, until a signal.

    Args:
        config: read from `config_path`, which is read again on SIGHUP.
        vision: a vision process that was started ahead; it ends with this one.

    Raises:
        ConfigError: a folder of the configuration cannot be used; nothing was started.
        AlreadyRunningError: another daemon holds the state or the runtime folder.
    """
    journal.set_up(config.logging.level, identifier="edgeapp", plain="%(levelname)s: %(message)s")
    locks = [_prepare(Path(folder)) for folder in (config.paths.state_dir, config.paths.runtime_dir)]
    if client.clean_up(Path(config.paths.runtime_dir)):
        _LOGGER.warning("a vision process that an earlier daemon left behind was killed")
    _LOGGER.info("edgeapp %s starts as %s", __version__, config.device.id, extra=journal.STARTED)
    status = Daemon(config, config_path, vision).run()
    _LOGGER.info("stopped, status %d", status, extra=journal.STOPPED)
    for lock in locks:
        os.close(lock)
    sys.stderr.flush()
    os._exit(status)  # a worker that hangs must not keep the process; every file is whole at any moment


def _prepare(folder: Path) -> int:
    """Make one of the daemon's folders and lock it.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return files.hold_lock(folder / LOCK_NAME)
    except OSError as error:
        raise ConfigError(f"paths: expected {folder} to be a folder that edgeapp may write, found: {error}") from error

"""The checks, thin: each looks at one thing of the machine and lets a `judge_*.py` say what it means.

Everything they touch is in `Machine`, so that a test replaces folders and commands, and nothing else. A check may raise
or hang: `examine.py` bounds and isolates it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from edgeapp import config_file, status
from edgeapp.config import Config, PathsConfig, ThermalConfig
from edgeapp.doctor import broker_checks, judge_access, judge_board, judge_camera, judge_model, judge_trust
from edgeapp.doctor.access import access_of, judged_person, may, service_user, user_of
from edgeapp.doctor.judge_access import FolderLook
from edgeapp.doctor.looks import Answer, CameraLook, ModelLook, RuntimeLook, Trouble
from edgeapp.doctor.report import Judgement
from edgeapp.errors import ConfigError, EdgeAppError
from edgeapp.reader import read_json
from edgeapp.system import clock, credentials, files
from edgeapp.system.board import Board, read_board
from edgeapp.telemetry.spool import SPOOL_NAME
from edgeapp.thermal.sensors import Temperature, ThrottleBits, VoltageAlarm
from edgeapp.vision import protocol
from edgeapp.vision.tuning import is_open, settle
from edgeapp.vision.tuning_store import find_best

_CHILD = (sys.executable, "-m", "edgeapp.doctor.child")
_SPARE_S = 5.0  # what a check may take beyond its child
_QUICK_S = 5.0
_CONSENT_LIMIT_S = 70.0  # fetching ends within a minute
_TRIAL_BYTES = 4096
_RUNTIME_FILES_BYTES = 1 << 20
_SHOWN_ERROR_LINES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the checks look at, and how long they wait."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    etc: Path = Path("/etc")
    run: Path = Path("/run")
    child: tuple[str, ...] = _CHILD
    vcgencmd: str = "vcgencmd"
    wall_s: Callable[[], float] = time.time
    is_synchronised: Callable[[], bool | None] = clock.is_synchronised
    runtime_limit_s: float = 30.0
    camera_limit_s: float = 25.0
    broker_limit_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check, not done yet: `look` does it, and is given up after `limit_s`."""

    name: str
    look: Callable[[], Judgement]
    limit_s: float = _QUICK_S


@dataclass(frozen=True, slots=True)
class _Place:
    """What is examined: a machine and its configuration, or why that cannot be used."""

    machine: Machine
    config_path: Path
    known: Config | None
    error: ConfigError | None

    @property
    def config(self) -> Config:
        assert self.known is not None, "the table says which checks need a configuration"
        return self.known

    @property
    def state_dir(self) -> Path:
        return Path((self.known.paths if self.known else PathsConfig()).state_dir)

    @property
    def runtime_dir(self) -> Path:
        return Path((self.known.paths if self.known else PathsConfig()).runtime_dir)

    def board(self) -> Board:
        machine = self.machine
        return read_board(proc=machine.proc, sysfs=machine.sysfs, etc=machine.etc, machine=os.uname().machine)

    def is_running(self) -> bool:
        """Whether a daemon holds the lock; not where this user may not even look."""
        try:
            return files.is_locked(self.runtime_dir / status.LOCK_NAME)
        except OSError:
            return False


def _always(_: _Place) -> bool:
    return True


def _if(is_asked: Callable[[Config], bool]) -> Callable[[_Place], bool]:
    """Where there is a configuration, and it asks for that."""
    return lambda place: place.known is not None and is_asked(place.known)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table of all checks, at the end of this file."""

    name: str
    when: Callable[[_Place], bool]
    look: Callable[[_Place], Judgement]
    limit_s: Callable[[_Place], float] = lambda _: _QUICK_S


def all_checks(config_path: Path, machine: Machine) -> tuple[Check, ...]:
    """What there is to check, in the order a person reads it. Without a configuration: what can be checked so."""
    place = _Place(machine, config_path, *_load(config_path))
    return tuple(Check(row.name, partial(row.look, place), row.limit_s(place)) for row in _TABLE if row.when(place))


def _load(path: Path) -> tuple[Config | None, ConfigError | None]:
    try:
        return config_file.load(path), None
    except ConfigError as error:
        return None, error


def _check_config(place: _Place) -> Judgement:
    path, camera = place.config_path, place.known.camera if place.known else None
    has_secret = camera is not None and camera.kind == "rtsp" and "@" in camera.source
    return judge_access.configuration(str(path), place.error, access_of(path), has_secret=has_secret)


def _check_runtime(place: _Place) -> Judgement:
    answer = _ask_child(place.machine, "runtime", b"", place.machine.runtime_limit_s)
    look = answer.runtime
    if look is None:
        look = RuntimeLook(numpy="?", opencv="?", runtime="", delegate=None, error=_trouble(answer).text)
    python = sys.version_info[:3]
    return judge_model.runtime(look, python=python, executable=sys.executable, board=place.board())


def _check_model(place: _Place) -> Judgement:
    config = place.config
    answer = _ask_child(place.machine, "model", _task(config), config.vision.start_limit_s)
    look: ModelLook | Trouble = answer.model or _trouble(answer)
    return judge_model.model(look, config.inference, cores=place.board().cores, classes=config.tracking.classes)


def _check_tuning(place: _Place) -> Judgement:
    return judge_model.tuning(find_best(place.config), place.config.inference)


def _check_camera(place: _Place) -> Judgement:
    if place.is_running():
        line = _camera_line(place.runtime_dir / status.STATUS_NAME, place.machine.wall_s())
        return judge_camera.camera_in_use(line)
    answer = _ask_child(place.machine, "camera", _task(place.config), place.machine.camera_limit_s)
    look: CameraLook | Trouble = answer.camera or _trouble(answer)
    return judge_camera.camera(look, place.config.camera)


def _camera_line(path: Path, now_s: float) -> status.Line | None:
    try:
        found = read_json(status.Status, path.read_bytes(), str(path))
    except (OSError, EdgeAppError):
        return None
    return next((line for line in status.lines(found, now_s, is_running=True) if line.label == "camera"), None)


def _check_heat(place: _Place) -> Judgement:
    sensor = (place.known.thermal if place.known else ThermalConfig()).sensor_path
    is_expected = sensor != "auto" or place.board().is_raspberry_pi
    return judge_board.heat(Temperature(sensor, place.machine.sysfs).read(), is_expected=is_expected)


def _check_power(place: _Place) -> Judgement:
    machine = place.machine
    bits = ThrottleBits("auto", machine.sysfs, machine.vcgencmd, clock.SystemClock()).read()
    if VoltageAlarm(machine.sysfs).read():
        bits = (bits or 0) | 1
    return judge_board.power(bits, is_expected=place.board().is_raspberry_pi)


def _check_clock(place: _Place) -> Judgement:
    machine = place.machine
    is_synchronised = machine.is_synchronised()
    if (machine.run / "systemd" / "timesync" / "synchronized").exists():
        is_synchronised = True
    return judge_board.clock(machine.wall_s(), is_synchronised=is_synchronised)


def _check_broker(place: _Place) -> Judgement:
    return broker_checks.check_broker(place.config, place.machine.broker_limit_s)


def _check_own_certificate(place: _Place) -> Judgement:
    return broker_checks.check_certificate(place.config.mqtt.tls.cert_file or "", place.machine.wall_s())


def _check_trust(place: _Place) -> Judgement:
    from edgeapp.updates.metadata import read_first_root  # some 20 MB that others need not have

    path = Path(place.config.updates.root_file or "")
    try:
        root = read_first_root(path.read_bytes())
    except (OSError, EdgeAppError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return judge_trust.trust(str(path), reason)
    return judge_trust.trust(str(path), "", version=root.version, keys=root.keys, threshold=root.threshold)


def _check_user(place: _Place) -> Judgement:
    return judge_access.user(user_of(os.geteuid()), service_user(place.state_dir))


def _check_state_dir(place: _Place) -> Judgement:
    """It must also have room for what the spool may still grow by."""
    max_reports = place.known.telemetry.spool_max_reports if place.known else 0
    try:
        size_bytes = (place.state_dir / SPOOL_NAME).stat().st_size
    except OSError:
        size_bytes = 0
    return _check_folder(place.state_dir, max(0, max_reports * judge_access.SPOOL_REPORT_BYTES - size_bytes))


def _check_folder(path: Path, needed_bytes: int) -> Judgement:
    access = access_of(path)
    there = path if access else next(parent for parent in path.absolute().parents if parent.is_dir())
    space = os.statvfs(there)
    look = FolderLook(
        path=str(path),
        access=access,
        error=_try_to_write(there),
        is_read_only=bool(space.f_flag & os.ST_RDONLY),
        free_bytes=space.f_bavail * space.f_frsize,
    )
    return judge_access.folder(look, user_of(os.geteuid()), needed_bytes=needed_bytes)


def _try_to_write(folder: Path) -> str:
    """Why a file cannot be written there, in words; it has no name and is gone again at once."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _check_model_folder(place: _Place) -> Judgement:
    path, person = Path(place.config.inference.model_dir), judged_person(place.state_dir)
    is_readable = may(person, path, judge_access.READ | judge_access.PASS)
    return judge_access.model_folder(access_of(path), str(path), person, is_readable=is_readable)


def _check_secret_file(key: str, place: _Place) -> Judgement:
    """The file that `key` of the configuration names."""
    path = Path(attrgetter(key)(place.config))
    if path.parent == credentials.FOLDER:
        found = access_of(credentials.find(str(path)))
        return judge_access.credential(key, found, str(path), is_root=os.geteuid() == 0)
    person = judged_person(place.state_dir)
    is_readable = may(person, path, judge_access.READ)
    return judge_access.secret_file(key, access_of(path), str(path), person, is_readable=is_readable)


def _check_consent(place: _Place) -> Judgement:
    """Fetched anew into a folder of its own, so that nothing of the daemon's is touched."""
    from edgeapp.escalation.consent import check_consent, in_words
    from edgeapp.escalation_parts import ConsentLookup  # some 20 MB that others need not have

    config, now, device = place.config, clock.SystemClock(), place.config.device
    assert config.escalation.endpoint is not None, "the configuration demands an endpoint"
    try:
        with tempfile.TemporaryDirectory(prefix="edgeapp-doctor-") as folder:
            found = ConsentLookup(config, now, Path(folder)).fetch()
        if found is not None:
            endpoint, now_s = config.escalation.endpoint, now.wall_s()
            check_consent(found, tenant=device.tenant, device=device.id, endpoint=endpoint, now_s=now_s)
    except EdgeAppError as error:
        return judge_trust.consent("", f"{error.code}: {error}")
    return judge_trust.consent(in_words(found) if found else "", "")


def _task(config: Config) -> bytes:
    inference = settle(config.inference, find_best(config))
    return protocol.encode(protocol.Configure(camera=config.camera, inference=inference, motion=config.motion))


def _ask_child(machine: Machine, question: str, task: bytes, limit_s: float) -> Answer:
    """What the child process says. A crash and a hang are answers, too."""
    command = [*machine.child, question, "--parent", str(os.getpid())]
    try:
        done = subprocess.run(command, input=task, capture_output=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Answer(trouble=Trouble(code="", text=f"hangs: no answer within {limit_s:g} s"))
    if done.returncode != 0:
        return Answer(trouble=Trouble(code="", text=_obituary(done)))
    try:
        return read_json(Answer, done.stdout, f"the {question} child")
    except EdgeAppError as error:
        return Answer(trouble=Trouble(code=error.code, text=str(error)))


def _obituary(done: subprocess.CompletedProcess[bytes]) -> str:
    how = f"was ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else "ended with an error"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-_SHOWN_ERROR_LINES:]
    return "\n".join([f"crashes: the process that tried it {how}", *last])


def _trouble(answer: Answer) -> Trouble:
    return answer.trouble or Trouble(code="E_INTERNAL", text="the child said nothing of what it was asked")


def _check_video_group(place: _Place) -> Judgement:
    return judge_access.video_group(judged_person(place.state_dir), kind=place.config.camera.kind)


def _secret(name: str, key: str) -> _Row:
    find = attrgetter(key)
    return _Row(name, _if(lambda config: find(config) is not None), partial(_check_secret_file, key))


_configured = _if(lambda _: True)
_TABLE = (
    _Row("config", _always, _check_config),
    _Row("board", _always, lambda place: judge_board.board(place.board())),
    _Row("runtime", _always, _check_runtime, lambda place: place.machine.runtime_limit_s + _SPARE_S),
    _Row("heat", _always, _check_heat),
    _Row("power", _always, _check_power),
    _Row("clock", _always, _check_clock),
    _Row("model", _configured, _check_model, lambda place: place.config.vision.start_limit_s + _SPARE_S),
    _Row("camera", _configured, _check_camera, lambda place: place.machine.camera_limit_s + _SPARE_S),
    _Row("broker", _configured, _check_broker, lambda place: place.machine.broker_limit_s + _SPARE_S),
    _Row("consent", _if(lambda config: config.escalation.enabled), _check_consent, lambda _: _CONSENT_LIMIT_S),
    _Row("tuning", _if(lambda config: is_open(config.inference)), _check_tuning),
    _Row("trust", _if(lambda config: config.updates.enabled), _check_trust),
    _Row("user", _always, _check_user),
    _Row("memory", _always, lambda place: judge_board.memory(place.board(), is_running=place.is_running())),
    _Row("state_dir", _always, _check_state_dir),
    _Row("runtime_dir", _always, lambda place: _check_folder(place.runtime_dir, _RUNTIME_FILES_BYTES)),
    _Row("model_dir", _configured, _check_model_folder),
    _secret("password", "mqtt.password_file"),
    _secret("tls_key", "mqtt.tls.key_file"),
    _Row("tls_cert", _if(lambda config: config.mqtt.tls.cert_file is not None), _check_own_certificate),
    _secret("token", "escalation.token_file"),
    _secret("endpoint_key", "escalation.key_file"),
    _Row("video", _if(lambda config: config.camera.kind in ("v4l2", "picamera2")), _check_video_group),
)

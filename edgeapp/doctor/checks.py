"""The checks, thin: each looks at one thing of the machine and lets `judge.py` say what it means.

Everything they touch is in `Machine`, so that a test replaces folders and commands, and nothing else. A check may raise
or hang: `examine.py` bounds and isolates it.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeapp import config_file, status
from edgeapp.config import Config, PathsConfig, ThermalConfig
from edgeapp.doctor import judge
from edgeapp.doctor.judge import Access, FolderLook, Person
from edgeapp.doctor.looks import Answer, CameraLook, ModelLook, RuntimeLook, Trouble
from edgeapp.doctor.report import Finding
from edgeapp.errors import ConfigError, EdgeAppError
from edgeapp.messaging.connection import Connection
from edgeapp.reader import read_json
from edgeapp.system import clock, credentials, files
from edgeapp.system.board import Board, read_board
from edgeapp.telemetry.spool import SPOOL_NAME
from edgeapp.thermal.sensors import Temperature, ThrottleBits, VoltageAlarm, zones
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
_TURN_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the checks look at, and how long they wait."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    etc: Path = Path("/etc")
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
    look: Callable[[], Finding]
    limit_s: float = _QUICK_S


def all_checks(config_path: Path, machine: Machine) -> tuple[Check, ...]:
    """What there is to check, in the order a person reads it. Without a configuration: what can be checked so."""
    config, error = _load(config_path)
    checks = [
        Check("config", partial(_check_config, config_path, config, error)),
        Check("board", lambda: judge.board(_board(machine))),
        Check("runtime", partial(_check_runtime, machine), machine.runtime_limit_s + _SPARE_S),
        Check("heat", partial(_check_heat, config.thermal if config else ThermalConfig(), machine)),
        Check("power", partial(_check_power, machine)),
        Check("clock", partial(_check_clock, machine)),
    ]
    if config is not None:
        checks += [
            Check("model", partial(_check_model, config, machine), config.vision.start_limit_s + _SPARE_S),
            Check("camera", partial(_check_camera, config, machine), machine.camera_limit_s + _SPARE_S),
            Check("broker", partial(_check_broker, config, machine), machine.broker_limit_s + _SPARE_S),
        ]
        if config.escalation.enabled:
            checks.append(Check("consent", partial(_check_consent, config), _CONSENT_LIMIT_S))
        if is_open(config.inference):
            checks.append(Check("tuning", partial(_check_tuning, config)))
        if config.updates.enabled:
            checks.append(Check("trust", partial(_check_trust, Path(config.updates.root_file or ""))))
    return (*checks, *_checks_of_place(config, machine))


def _checks_of_place(config: Config | None, machine: Machine) -> list[Check]:
    """Memory, folders and who may do what in them."""
    paths = config.paths if config else PathsConfig()
    state_dir, runtime_dir = Path(paths.state_dir), Path(paths.runtime_dir)
    max_reports = config.telemetry.spool_max_reports if config else 0
    checks = [
        Check("user", partial(_check_user, state_dir)),
        Check("memory", lambda: judge.memory(_board(machine), is_running=_is_running(runtime_dir))),
        Check("state_dir", lambda: _check_folder("state_dir", state_dir, _spool_growth_bytes(state_dir, max_reports))),
        Check("runtime_dir", partial(_check_folder, "runtime_dir", runtime_dir, _RUNTIME_FILES_BYTES)),
    ]
    if config is None:
        return checks
    checks.append(Check("model_dir", partial(_check_model_folder, Path(config.inference.model_dir), state_dir)))
    for name, key, file in (
        ("password", "mqtt.password_file", config.mqtt.password_file),
        ("tls_key", "mqtt.tls.key_file", config.mqtt.tls.key_file),
        ("token", "escalation.token_file", config.escalation.token_file),
        ("endpoint_key", "escalation.key_file", config.escalation.key_file),
    ):
        if file is not None:
            checks.append(Check(name, partial(_check_secret_file, name, key, Path(file), state_dir)))
    if config.camera.kind in ("v4l2", "picamera2"):
        checks.append(Check("video", lambda: judge.video_group(_judged(state_dir), kind=config.camera.kind)))
    return checks


def _load(path: Path) -> tuple[Config | None, ConfigError | None]:
    try:
        return config_file.load(path), None
    except ConfigError as error:
        return None, error


def _check_config(path: Path, config: Config | None, error: ConfigError | None) -> Finding:
    has_secret = config is not None and config.camera.kind == "rtsp" and "@" in config.camera.source
    return judge.configuration(str(path), error, _access(path), has_secret=has_secret)


def _check_runtime(machine: Machine) -> Finding:
    answer = _ask_child(machine, "runtime", b"", machine.runtime_limit_s)
    look = answer.runtime
    if look is None:
        look = RuntimeLook(numpy="?", opencv="?", runtime="", delegate=None, error=_trouble(answer).text)
    python = sys.version_info[:3]
    return judge.runtime(look, python=python, executable=sys.executable, board=_board(machine))


def _check_model(config: Config, machine: Machine) -> Finding:
    answer = _ask_child(machine, "model", _task(config), config.vision.start_limit_s)
    look: ModelLook | Trouble = answer.model or _trouble(answer)
    cores = _board(machine).cores
    return judge.model(look, config.inference, cores=cores, classes=config.tracking.classes)


def _check_tuning(config: Config) -> Finding:
    return judge.tuning(find_best(config), config.inference)


def _check_camera(config: Config, machine: Machine) -> Finding:
    runtime_dir = Path(config.paths.runtime_dir)
    if _is_running(runtime_dir):
        return judge.camera_in_use(_camera_line(runtime_dir / status.STATUS_NAME, machine.wall_s()))
    answer = _ask_child(machine, "camera", _task(config), machine.camera_limit_s)
    look: CameraLook | Trouble = answer.camera or _trouble(answer)
    return judge.camera(look, config.camera)


def _camera_line(path: Path, now_s: float) -> status.Line | None:
    try:
        found = read_json(status.Status, path.read_bytes(), str(path))
    except (OSError, EdgeAppError):
        return None
    return next((line for line in status.lines(found, now_s, is_running=True) if line.label == "camera"), None)


def _check_heat(config: ThermalConfig, machine: Machine) -> Finding:
    is_expected = config.sensor_path != "auto" or _board(machine).is_raspberry_pi
    temp_c = Temperature(config.sensor_path, machine.sysfs).read()
    return judge.heat(temp_c, is_expected=is_expected, zones=zones(machine.sysfs))


def _check_power(machine: Machine) -> Finding:
    bits = ThrottleBits("auto", machine.sysfs, machine.vcgencmd, clock.SystemClock()).read()
    if VoltageAlarm(machine.sysfs).read():
        bits = (bits or 0) | 1
    return judge.power(bits, is_expected=_board(machine).is_raspberry_pi)


def _check_clock(machine: Machine) -> Finding:
    """The kernel is asked, as the daemon asks it. What systemd-timesyncd leaves in /run stays there when it has lost
    its server, while the kernel calls the clock free after some nine hours."""
    return judge.clock(machine.wall_s(), is_synchronised=machine.is_synchronised())


def _check_broker(config: Config, machine: Machine) -> Finding:
    """Connects as a client of its own, without a last will: a running device is neither thrown out nor spoken for."""
    began_s = time.monotonic()
    until_s = began_s + machine.broker_limit_s
    client_id = f"{config.device.id}-doctor-{secrets.token_hex(4)}"
    waker, wakes = socket.socketpair()
    with waker, wakes:
        waker.setblocking(False)
        wakes.setblocking(False)
        for is_v5 in (True, False):
            connection = Connection(config.mqtt, client_id=client_id, will=None, wake=lambda: _wake(wakes), is_v5=is_v5)
            while not connection.is_open and not connection.error and time.monotonic() < until_s:
                connection.turn(waker, _TURN_S)
            if not connection.wants_older:
                break
            connection.drop("called again with the older version")
        took_ms = (time.monotonic() - began_s) * 1000
        error = "" if connection.is_open else connection.error or f"no answer within {machine.broker_limit_s:g} s"
        connection.disconnect()
    return judge.broker(f"{config.mqtt.host}:{config.mqtt.port}", error, took_ms, way=connection.way)


def _check_trust(path: Path) -> Finding:
    from edgeapp.updates.metadata import read_first_root  # some 20 MB that others need not have

    try:
        root = read_first_root(path.read_bytes())
    except (OSError, EdgeAppError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return judge.trust(str(path), reason)
    return judge.trust(str(path), "", version=root.version, keys=root.keys, threshold=root.threshold)


def _wake(link: socket.socket) -> None:
    try:
        link.send(b"w")
    except OSError:
        return  # the check was given up; nobody waits any more


def _check_user(state_dir: Path) -> Finding:
    return judge.user(_user(os.geteuid()), _service_user(state_dir))


def _spool_growth_bytes(state_dir: Path, max_reports: int) -> int:
    """By how much the spool may still grow."""
    try:
        size_bytes = (state_dir / SPOOL_NAME).stat().st_size
    except OSError:
        size_bytes = 0
    return max(0, max_reports * judge.SPOOL_REPORT_BYTES - size_bytes)


def _check_folder(name: str, path: Path, needed_bytes: int) -> Finding:
    access = _access(path)
    there = path if access else next(parent for parent in path.absolute().parents if parent.is_dir())
    space = os.statvfs(there)
    look = FolderLook(
        path=str(path),
        access=access,
        error=_try_to_write(there),
        is_read_only=bool(space.f_flag & os.ST_RDONLY),
        free_bytes=space.f_bavail * space.f_frsize,
    )
    return judge.folder(name, look, _user(os.geteuid()), needed_bytes=needed_bytes)


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


def _check_model_folder(path: Path, state_dir: Path) -> Finding:
    person = _judged(state_dir)
    is_readable = _may(person, path, judge.READ | judge.PASS)
    return judge.model_folder(_access(path), str(path), person, is_readable=is_readable)


def _check_secret_file(name: str, key: str, path: Path, state_dir: Path) -> Finding:
    if path.parent == credentials.FOLDER:
        found = _access(credentials.find(str(path)))
        return judge.credential(name, key, found, str(path), is_root=os.geteuid() == 0)
    person = _judged(state_dir)
    is_readable = _may(person, path, judge.READ)
    return judge.secret_file(name, key, _access(path), str(path), person, is_readable=is_readable)


def _may(person: Person, path: Path, bits: int) -> bool:
    """Whether a person may do that to a file or folder, and get there. Of oneself the kernel knows it best."""
    if person.uid == os.geteuid():
        return os.access(path, bits)  # the bits are those of access(2)
    ways = [_access(folder) for folder in path.resolve().parents]
    target = _access(path)
    can_pass = all(way is not None and judge.allows(way, person, judge.PASS) for way in ways)
    return can_pass and target is not None and judge.allows(target, person, bits)


def _check_consent(config: Config) -> Finding:
    """Fetched anew into a folder of its own, so that nothing of the daemon's is touched."""
    from edgeapp.escalation.consent import check_consent, in_words
    from edgeapp.escalation_parts import ConsentLookup  # some 20 MB that others need not have

    assert config.escalation.endpoint is not None, "the configuration demands an endpoint"
    now, device = clock.SystemClock(), config.device
    try:
        with tempfile.TemporaryDirectory(prefix="edgeapp-doctor-") as folder:
            found = ConsentLookup(config, now, Path(folder)).fetch()
        if found is not None:
            endpoint, now_s = config.escalation.endpoint, now.wall_s()
            check_consent(found, tenant=device.tenant, device=device.id, endpoint=endpoint, now_s=now_s)
    except EdgeAppError as error:
        return judge.consent("", f"{error.code}: {error}")
    return judge.consent(in_words(found) if found else "", "")


def _access(path: Path) -> Access | None:
    try:
        found = path.stat()
    except OSError:
        return None
    owner = _user(found.st_uid).name
    return Access(path=str(path), owner=owner, uid=found.st_uid, gid=found.st_gid, mode=found.st_mode & 0o777)


def _service_user(state_dir: Path) -> Person | None:
    """Whom the daemon's files belong to, where that is neither root nor who asks."""
    access = _access(state_dir)
    return _user(access.uid) if access is not None and access.uid not in (0, os.geteuid()) else None


def _judged(state_dir: Path) -> Person:
    """Whose permissions matter: who asks, or the service's user where root asks."""
    user = _user(os.geteuid())
    return (_service_user(state_dir) or user) if user.uid == 0 else user


def _user(uid: int) -> Person:
    """A user by number. One without an entry, as in some containers, is called by the number."""
    try:
        entry = pwd.getpwuid(uid)
        name, numbers = entry.pw_name, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except KeyError:
        name, numbers = str(uid), []
    if uid == os.geteuid():
        numbers = [*os.getgroups(), os.getegid()]  # what this process has, and not what a new log-in would have
    return Person(name=name, uid=uid, groups={number: _group_name(number) for number in numbers})


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _board(machine: Machine) -> Board:
    return read_board(proc=machine.proc, sysfs=machine.sysfs, etc=machine.etc, machine=os.uname().machine)


def _is_running(runtime_dir: Path) -> bool:
    """Whether a daemon holds the lock; not where this user may not even look."""
    try:
        return files.is_locked(runtime_dir / status.LOCK_NAME)
    except OSError:
        return False


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

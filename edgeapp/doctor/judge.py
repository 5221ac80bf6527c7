"""From what was found to what it means and what to do, pure: one function for each check.

Owns the words and the limits. Each function takes plain values and returns a Finding; the names of the findings are
stable, since programs read them from `edgeapp doctor --json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeapp import RELEASE_YEAR
from edgeapp.config import CameraConfig, InferenceConfig
from edgeapp.doctor.looks import CameraLook, ModelLook, RuntimeLook, Trouble
from edgeapp.doctor.report import Finding
from edgeapp.errors import ConfigError
from edgeapp.status import Level, Line
from edgeapp.system.board import Board
from edgeapp.types import DelegateReport
from edgeapp.vision.tuning import Measured, settle

NEEDED_MB = 160.0
"""What both processes need beside the system, in MiB: 126 were measured with the demo's detector on x86-64."""
SPOOL_REPORT_BYTES = 2048
_SPARE_DISK_BYTES = 16 << 20
_MIB = 1 << 20
_TRIED_PYTHONS = ((3, 11), (3, 13))
_HOT_C = 80.0
_SLOW_SHARE = 0.8
_YEAR_S = 365.2425 * 86400
_OLD_RUNTIME = "tflite-runtime"
_NEW_RUNTIME_PIN = "'ai-edge-litert>=2.3,<3'"
_OLD_RUNTIME_PINS = "'numpy<2' 'opencv-python-headless<=4.11.0.86'"

_CLOCK_WAITS = "no counts are released and no updates installed until it is"

READ, WRITE, PASS = 4, 2, 1
"""The permission bits, as chmod(1) and access(2) count them; PASS on a folder is to get to what is in it."""

_UNDER_VOLTAGE, _CLOCK_CAPPED, _THROTTLED, _SOFT_LIMIT = 0, 1, 2, 3
_SINCE = 16  # the same four bits again from here on: has occurred
_BITS = {
    _UNDER_VOLTAGE: "under-voltage",
    _CLOCK_CAPPED: "the clock is capped",
    _THROTTLED: "throttled",
    _SOFT_LIMIT: "at the soft temperature limit",
}

_CAMERA_ADVICE = {
    "v4l2": "see what is plugged in:  ls -l /dev/v4l/by-id/\nand what has it open:  fuser -v /dev/video*",
    "picamera2": "see what the board finds:  rpicam-hello --list-cameras\n"
    "then check the ribbon cable at both ends, with the power off",
    "rtsp": "correct camera.source: host, port, path, user and password; try the same address in a player",
    "video": "correct camera.source: the path of a video file that this user may read",
    "images": "correct camera.source: the path of a folder of jpg, png or bmp files that this user may read",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A user of the machine. `groups` maps the numbers of all groups of the user to their names."""

    name: str
    uid: int
    groups: Mapping[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Whose a file or folder is; `mode` has the nine permission bits."""

    path: str
    owner: str
    uid: int
    gid: int
    mode: int

    def __str__(self) -> str:
        return f"owner {self.owner}, mode {self.mode:04o}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderLook:
    """One of the daemon's folders. `error` is why a file could not be written there, empty where it could.

    `access` is None where the folder does not exist; then `error` tells of the folder that it would be made in.
    """

    path: str
    access: Access | None
    error: str
    is_read_only: bool
    free_bytes: int


def configuration(path: str, error: ConfigError | None, access: Access | None, *, has_secret: bool) -> Finding:
    """Whether it can be used; `has_secret`: it holds a stream's address with a password."""
    if error is not None:
        advice = (
            f"correct it, then:  edgeapp check-config {path}\nmodel, camera, broker and permissions come after that"
        )
        return Finding("config", "fail", str(error), advice)
    if has_secret and access is not None and access.mode & 0o004:
        advice = f"sudo chmod o-r {path}"
        return Finding("config", "warn", f"{path}: valid, but everybody can read the camera's password in it", advice)
    return Finding("config", "ok", f"{path}: valid")


def user(person: Person, service: Person | None) -> Finding:
    """Who runs the checks. `service` is whom the daemon's files belong to, where that is another user."""
    if person.uid == 0:
        name = service.name if service else "USER"
        advice = f"if the service does not run as root:  sudo -u {name} edgeapp doctor"
        return Finding("user", "warn", "root may do everything, so what is said of permissions proves little", advice)
    groups = ", ".join(sorted(person.groups.values()))
    return Finding("user", "ok", f"{person.name}, in the groups {groups}")


def runtime(look: RuntimeLook, *, python: tuple[int, int, int], executable: str, board: Board) -> Finding:
    """The libraries, and whether an interpreter could be built."""
    version = ".".join(str(number) for number in python)
    found = [f"Python {version}", f"NumPy {look.numpy or 'MISSING'}", f"OpenCV {look.opencv or 'MISSING'}"]
    found += [look.runtime] if look.runtime else []
    pip = f"{executable} -m pip install"

    def told(level: Level, text: str, advice: str = "") -> Finding:
        return Finding("runtime", level, f"{', '.join(found)}: {text}", advice)

    if look.error:
        return told("fail", look.error, _runtime_advice(look, pip, board))
    if not look.opencv:
        return told("fail", "OpenCV cannot be imported, so there is no camera", f"{pip} 'opencv-python-headless>=4.10'")
    if look.runtime.startswith(_OLD_RUNTIME):
        advice = _64_bit_advice(board) or f"{pip} {_NEW_RUNTIME_PIN}"
        return told("warn", "works, but this older runtime delegates no int8 convolution to XNNPACK", advice)
    if look.delegate is not None and look.delegate.nodes and not look.delegate.delegated:
        text = "works, but XNNPACK does not take an int8 convolution: int8 models will be slow"
        return told("warn", text, f"{pip} --force-reinstall {_NEW_RUNTIME_PIN}")
    if not _TRIED_PYTHONS[0] <= python[:2] <= _TRIED_PYTHONS[1]:
        return told("warn", "works, but edgeapp is tried with Python 3.11 to 3.13 only")
    return told("ok", "runs an int8 convolution through XNNPACK")


def _runtime_advice(look: RuntimeLook, pip: str, board: Board) -> str:
    is_numpy_2 = look.numpy.partition(".")[0].isdecimal() and int(look.numpy.partition(".")[0]) >= 2
    if _OLD_RUNTIME in f"{look.runtime} {look.error}" and is_numpy_2 and "ai-edge-litert" not in look.error:
        return f"tflite-runtime 2.14 needs NumPy 1:  {pip} {_OLD_RUNTIME_PINS}"
    return _64_bit_advice(board) or f"{pip} --force-reinstall {_NEW_RUNTIME_PIN}"


def _64_bit_advice(board: Board) -> str:
    if board.userland_bits == 64:
        return ""
    return "ai-edge-litert exists for 64 bit only: install the 64-bit system"


def model(look: ModelLook | Trouble, config: InferenceConfig, *, cores: int, classes: tuple[str, ...]) -> Finding:
    """The configured model on this machine. `classes` are those that tracking asks for."""
    if isinstance(look, Trouble):
        return Finding("model", "fail", look.text, _model_advice(look, config))
    report, delegate = look.model, look.model.delegate
    found = (
        f"{report.name} {report.version} ({report.quantization}) on {report.runtime}: {_coverage(delegate)}; "
        f"about {look.invoke_ms:.0f} ms an inference with {_count(report.threads, 'thread')}, {look.peak_mb:.0f} MiB"
    )
    unknown = sorted(set(classes) - set(report.classes))
    if unknown:
        cure = f"correct tracking.classes: this model knows {', '.join(report.classes)}"
        return Finding("model", "fail", f"{found}\nit has no class {', '.join(unknown)}", cure)
    doubts = [one.text for one in report.advice]
    advice = list(dict.fromkeys(one.do for one in report.advice))
    if 1 < cores < report.threads + 1:
        doubts.append(f"{_count(report.threads, 'thread')} on {_count(cores, 'core')} leave none for the camera")
        advice.append(f"set inference.threads to {cores - 1} at most")
    reachable_fps = 1000 / look.invoke_ms if look.invoke_ms > 0 else config.max_fps
    if reachable_fps < config.max_fps:
        doubts.append(f"{config.max_fps:g} fps are asked for, at most {reachable_fps:.1f} can be reached")
        advice.append("lower inference.max_fps, or take a smaller model")
    return Finding("model", "warn" if doubts else "ok", "\n".join([found, *doubts]), "\n".join(advice))


def tuning(best: Measured | None, config: InferenceConfig) -> Finding:
    """Whether what `auto` leaves open was measured. Only for a configuration that leaves something open."""
    settled = settle(config, best)
    way = f"delegate {settled.delegate}, {_count(settled.threads or 1, 'thread')}"
    if best is None:
        text = f"nothing is measured for this model with this runtime on this board: {way}"
        return Finding("tuning", "warn", text, "edgeapp tune, while the service is stopped")
    return Finding("tuning", "ok", f"{way}: measured best on this board, {best.median_ms:.1f} ms an inference")


def _model_advice(trouble: Trouble, config: InferenceConfig) -> str:
    if trouble.code == "E_MANIFEST":
        return f"copy the model's folder again, whole:  ls -l {config.model_dir}"
    return "where `runtime` above is ok, the model is to blame: take another one, or copy it again"


def _coverage(delegate: DelegateReport) -> str:
    if delegate.name == "unknown":
        return "what its delegate took cannot be read from this runtime"
    left = ", ".join(f"{count} {name}" for name, count in delegate.remaining.items()) or "nothing"
    if delegate.name == "none":
        return f"no delegate took any of {_count(delegate.nodes, 'node')}, left: {left}"
    parts = _count(delegate.partitions, "partition")
    return f"{delegate} in {parts}, left: {left}"


def camera(look: CameraLook | Trouble, config: CameraConfig) -> Finding:
    """The configured source, after some seconds of watching it."""
    if isinstance(look, Trouble):
        return Finding("camera", "fail", look.text, _CAMERA_ADVICE[config.kind])
    fps = f"{look.fps:.1f} fps" if look.fps else "too slow to measure its rate"
    found = f"{config.kind}, {look.width} x {look.height} {look.pixel_format}, {fps}"
    if look.picture == "black":
        return Finding(
            "camera", "fail", f"{found}: the picture is black", "take off the lens cap, or switch on a light"
        )
    if look.picture == "frozen":
        return Finding("camera", "fail", f"{found}: the picture stands still", "unplug the camera and plug it in again")
    if config.kind in ("v4l2", "picamera2") and (look.width, look.height) != (config.width, config.height):
        advice = "set camera.width and camera.height to a size that it offers:  v4l2-ctl --list-formats-ext"
        return Finding("camera", "warn", f"{found}, but {config.width} x {config.height} is asked for", advice)
    if config.kind in ("v4l2", "picamera2") and look.fps < _SLOW_SHARE * config.fps:
        advice = "more light shortens the exposure; a USB camera may be faster with camera.pixel_format: mjpeg"
        return Finding("camera", "warn", f"{found}, but {config.fps:g} fps are asked for", advice)
    return Finding("camera", "ok", found)


def camera_in_use(line: Line | None) -> Finding:
    """The camera while the daemon has it: what the daemon's own status says, None where it has none yet."""
    if line is None:
        return Finding("camera", "warn", "in use by edgeapp, which has no status yet", "ask again in a few seconds")
    advice = "" if line.level == "ok" else "edgeapp status"
    return Finding("camera", line.level, f"in use by edgeapp, which says: {line.text}", advice)


def board(found: Board) -> Finding:
    """The board and its bits."""
    text = f"{found.name or 'unknown'}, {_count(found.cores, 'core')}, {found.machine or 'unknown processor'}, "
    text += f"{found.os_name or 'unknown system'}, kernel {found.kernel or 'unknown'}, {found.userland_bits} bit"
    if found.userland_bits == 64:
        return Finding("board", "ok", text)
    kernel = "on a 64-bit kernel" if found.kernel_bits == 64 else "and a 32-bit kernel"
    text += (
        f"\n32-bit programs {kernel}: ai-edge-litert exists for 64 bit only, and the older tflite-runtime computes "
        "int8 models without XNNPACK's kernels"
    )
    return Finding("board", "warn", text, "install the 64-bit Raspberry Pi OS: a Pi 3, 4, 5 and Zero 2 W can run it")


def memory(found: Board, *, is_running: bool) -> Finding:
    """Whether both processes fit. While the daemon runs, it has taken its part already."""
    if found.total_mb is None or found.available_mb is None:
        return Finding("memory", "warn", "cannot be read from /proc/meminfo", "free -m")
    text = f"{found.available_mb:.0f} of {found.total_mb:.0f} MiB available"
    if is_running:
        return Finding("memory", "ok", f"{text} while edgeapp runs")
    text = f"{text}, edgeapp needs about {NEEDED_MB:.0f}"
    if found.available_mb >= NEEDED_MB:
        return Finding("memory", "ok", text)
    advice = "stop what else runs, a desktop above all:  sudo systemctl set-default multi-user.target"
    return Finding("memory", "fail" if found.total_mb < NEEDED_MB else "warn", text, advice)


def folder(name: str, look: FolderLook, person: Person, *, needed_bytes: int) -> Finding:
    """One of the daemon's folders: there, writable, large enough. `needed_bytes` is what it may still grow by."""
    found = f"{look.path}: {look.access}" if look.access else f"{look.path}: not there yet"
    found += f", {_size(look.free_bytes)} free"
    if look.is_read_only:
        advice = "sudo dmesg | grep -i -e mmc -e ext4\na card that turned read-only by itself is dying: replace it"
        return Finding(name, "fail", f"{found}; the file system is read-only", advice)
    if look.error:
        return _unwritable(name, look, person, found)
    if look.free_bytes < _SPARE_DISK_BYTES:
        return Finding(name, "fail", f"{found}: too little", _free_space_advice(look.path))
    if look.free_bytes < needed_bytes:
        text = f"{found}; {_size(needed_bytes)} may be needed while the broker is away"
        return Finding(name, "warn", text, f"{_free_space_advice(look.path)}\nor lower telemetry.spool_max_reports")
    return Finding(name, "ok", f"{found}; {person.name} may write" if look.access else f"{found}; edgeapp makes it")


def _free_space_advice(path: str) -> str:
    return f"see what fills it:  df -h {path} ; sudo du -xh --max-depth=2 / | sort -h | tail"


def _unwritable(name: str, look: FolderLook, person: Person, found: str) -> Finding:
    if look.access is None:
        advice = f"where systemd does not make it:  sudo install -d -m 750 -o {person.name} {look.path}"
        return Finding(name, "warn", f"{found}, and {person.name} cannot make it: {look.error}", advice)
    text = f"{found}; {person.name} cannot write: {look.error}"
    if look.access.uid not in (0, person.uid) and look.access.mode & 0o200:
        # Most probably the service's own user: then all is well, and only that user can tell.
        return Finding(name, "warn", text, f"ask as its owner:  sudo -u {look.access.owner} edgeapp doctor")
    return Finding(name, "fail", text, f"sudo chown {person.name} {look.path} && sudo chmod u+rwx {look.path}")


def heat(temp_c: float | None, *, is_expected: bool, zones: Mapping[str, str]) -> Finding:
    """The chip's temperature.

    Args:
        is_expected: a Raspberry Pi has a sensor, and a configured path should be one.
        zones: temperature files of the board and what each says that it is.
    """
    if temp_c is None:
        if zones and not is_expected:
            listed = ", ".join(f"{kind} in {file}" for file, kind in zones.items())
            advice = "set thermal.sensor_path to one that follows the chip; without it the rate begins at half"
            return Finding("heat", "ok", f"no thermometer known to be the chip's; there is {listed}", advice)
        if not is_expected:
            return Finding("heat", "ok", "this board tells no temperature")
        advice = "cat /sys/class/thermal/thermal_zone*/type\nthen set thermal.sensor_path to the chip's, or to auto"
        return Finding("heat", "warn", "the thermometer cannot be read", advice)
    if temp_c < _HOT_C:
        return Finding("heat", "ok", f"{temp_c:.0f} °C")
    advice = "a heat sink or a fan, shade, or a lower inference.max_fps"
    return Finding("heat", "warn", f"{temp_c:.0f} °C; a Raspberry Pi slows down from {_HOT_C:.0f} °C", advice)


def power(bits: int | None, *, is_expected: bool) -> Finding:
    """The firmware's `get_throttled` bits [raspberrypi/documentation, vcgencmd]; None where they cannot be read."""
    if bits is None:
        if not is_expected:
            return Finding("power", "ok", "this board tells nothing about its power supply")
        return Finding("power", "warn", "the firmware's bits cannot be read", "as root:  vcgencmd get_throttled")
    now = [bit for bit in _BITS if bits >> bit & 1]
    before = [bit for bit in _BITS if bits >> (bit + _SINCE) & 1 and bit not in now]
    said = [f"{_BITS[bit]} now" for bit in now] + [f"{_BITS[bit]}: has occurred" for bit in before]
    advice = []
    if _UNDER_VOLTAGE in (*now, *before):
        advice.append("take the power supply made for this board and a short, thick cable; unplug USB devices to try")
    if {_CLOCK_CAPPED, _THROTTLED} & {*now, *before}:
        advice.append("where it is heat: a heat sink or a fan, shade, or a lower inference.max_fps")
    level: Level = "fail" if _UNDER_VOLTAGE in now else "warn" if advice else "ok"
    return Finding("power", level, "; ".join(said) or "neither under-voltage nor throttling", "\n".join(advice))


def clock(now_s: float, *, is_synchronised: bool | None) -> Finding:
    """The time of day, which a board without a battery forgets.

    `is_synchronised` is None where the kernel does not say. Until the clock is known to be right, the daemon releases
    no counts and installs nothing.
    """
    year = 1970 + int(now_s / _YEAR_S)
    advice = "sudo timedatectl set-ntp true\nand let UDP port 123 out to a time server"
    if year < RELEASE_YEAR:
        return Finding("clock", "fail", f"shows the year {year}; edgeapp {RELEASE_YEAR} is newer than that", advice)
    if is_synchronised:
        return Finding("clock", "ok", "synchronised")
    if is_synchronised is None:
        return Finding("clock", "warn", f"whether it is synchronised cannot be told: {_CLOCK_WAITS}", "timedatectl")
    return Finding("clock", "warn", f"not synchronised: {_CLOCK_WAITS}", advice)


def consent(allowed: str, refused: str) -> Finding:
    """Whether the site consents to escalation: what is allowed, or why nothing is; both empty where nobody knows."""
    if allowed:
        return Finding("consent", "ok", f"pictures may leave {allowed}")
    if refused:
        advice = "edgeapp-workshop site allow, then release sign and release publish; or escalation.enabled: false"
        return Finding("consent", "warn", f"no picture leaves: {refused}", advice)
    advice = "look after the clock and the link, and updates.urls or updates.folder"
    return Finding("consent", "warn", "no picture leaves: the consent could not be fetched", advice)


def broker(where: str, error: str, took_ms: float, *, way: str) -> Finding:
    """The broker's answer to a client with a name of its own; `error` is empty where it was welcomed.

    `way` says what was spoken last, such as "MQTT 5 over TLS".
    """
    if not error:
        return Finding("broker", "ok", f"{where}: welcomes us after {took_ms:.0f} ms, {way}")
    return Finding("broker", "fail", f"{where}: {error}", _broker_advice(error, where))


def trust(path: str, error: str, *, version: int = 0, keys: int = 0, threshold: int = 0) -> Finding:
    """The first root of trust; `error` is empty where it is one, signed by its own keys."""
    if error:
        advice = "copy 1.root.json there as the keepers of the root keys handed it over; compare its sha256 with theirs"
        return Finding("trust", "fail", f"{path}: {error}", advice)
    return Finding("trust", "ok", f"{path}: root version {version}, to be signed with {threshold} of {keys} keys")


def _broker_advice(error: str, where: str) -> str:
    host, _, port = where.rpartition(":")
    table = {
        "name not found": f"correct mqtt.host, or ask the name server:  getent hosts {host}",
        "the name server": "check the network:  ip route ; cat /etc/resolv.conf",
        "connection refused": f"start the broker, or correct mqtt.port ({port}): the host answers, but nothing listens",
        "no route": "check the network:  ip address ; ip route",
        "no answer": f"a firewall, or the wrong host?  ping {host}",
        "connected, but": "what listens there is no MQTT broker, or an overloaded one: check mqtt.port",
        "not authorised": "correct mqtt.username and mqtt.password_file, or allow this user on the broker",
        "password file": "correct mqtt.password_file: a file that the service's user may read, with the password alone",
        "closed before": "check mqtt.port: a port for TLS or for WebSockets closes on plain MQTT; look into its log",
        "what answers does not speak TLS": f"set mqtt.port to the broker's port for TLS, often 8883, not {port}",
        "what answers does not speak MQTT": "check mqtt.port, and whether that port wants mqtt.tls; look into its log",
        "the broker's certificate": f"look at it:  openssl s_client -connect {where} -showcerts </dev/null",
        "the broker wants a client": "ask the broker's owner for a certificate and a key, and set both",
        "the broker refuses our cert": "ask the broker's owner which authority it trusts, and since when it is expired",
        "the broker speaks no TLS": "update the broker",
        "mqtt.tls.": "correct that key, or the file: the service's user must be able to read it",
    }
    return next((advice for start, advice in table.items() if error.startswith(start)), "look into the broker's log")


def secret_file(name: str, key: str, access: Access | None, path: str, person: Person, *, is_readable: bool) -> Finding:
    """A file with a secret, which `key` of the configuration names: for the service's user alone."""
    if access is None:
        found = f"{path}: not there, or out of reach of {person.name}"
        return Finding(name, "fail", found, f"write the secret into it, or correct {key}")
    found = f"{path}: {access}"
    if access.mode & 0o007:
        return Finding(name, "fail", f"{found}: everybody on this device may use it", f"sudo chmod 600 {path}")
    if not is_readable:
        advice = f"make the service's user its owner:  sudo chown USER {path}"
        return Finding(name, "warn", f"{found}: {person.name} cannot read it", advice)
    return Finding(name, "ok", found)


def credential(name: str, key: str, access: Access | None, path: str, *, is_root: bool) -> Finding:
    """A secret in root's folder of credentials, which `key` names: systemd hands the service a copy."""
    if not is_root:
        return Finding(name, "warn", f"{path}: only root may look there", "sudo edgeapp doctor")
    if access is None:
        return Finding(name, "fail", f"{path}: not there", f"write the secret into it, or correct {key}")
    if access.mode & 0o077 or access.uid != 0:
        advice = f"sudo chown root:root {path} && sudo chmod 600 {path}"
        return Finding(name, "fail", f"{path}: {access}: for root alone it has to be", advice)
    return Finding(name, "ok", f"{path}: {access}; systemd hands it to the service")


def model_folder(access: Access | None, path: str, person: Person, *, is_readable: bool) -> Finding:
    """The model's folder: to be read by the service's user, and not to be written by it."""
    if access is None:
        advice = "copy the model's folder there, or correct inference.model_dir"
        return Finding("model_dir", "fail", f"{path}: not there, or out of reach of {person.name}", advice)
    found = f"{path}: {access}"
    if not is_readable:
        advice = f"sudo chmod -R a+rX {path}\nand let others pass through the folders above it"
        return Finding("model_dir", "fail", f"{found}; {person.name} cannot read it", advice)
    # Root may write everything; what matters then is whether somebody else may.
    is_writable = bool(access.mode & 0o022) if person.uid == 0 else allows(access, person, WRITE)
    if is_writable:
        who = "others than root" if person.uid == 0 else person.name
        text = f"{found}; {who} may write it, so a service that was broken into could exchange the model"
        advice = f"sudo chown -R root:root {path} && sudo chmod -R go-w {path}"
        return Finding("model_dir", "warn", text, advice)
    return Finding("model_dir", "ok", found)


def allows(access: Access, person: Person, bits: int) -> bool:
    """Whether the permission bits let a person do all of `bits` (READ, WRITE, PASS)."""
    if person.uid == 0:
        return True
    shift = 6 if access.uid == person.uid else 3 if access.gid in person.groups else 0
    return access.mode >> shift & bits == bits


def video_group(person: Person, *, kind: str) -> Finding:
    """Whether the user may open a camera at all: Debian gives cameras to the group video."""
    if person.uid == 0 or "video" in person.groups.values():
        who = "root may open any camera" if person.uid == 0 else f"{person.name} is in the group video"
        return Finding("video", "ok", who)
    advice = f"sudo usermod -aG video {person.name}\nthen log in again, or restart the service"
    return Finding("video", "warn", f"{person.name} is not in the group video, which {kind} cameras belong to", advice)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / _MIB:.0f} MiB"

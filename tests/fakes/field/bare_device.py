"""A device on which edgeapp is not installed yet, with all that a technician brings: the bundle, a model, the answers.

It has real systemd, loopback as its only network, and a broker there that speaks TLS alone, wants a certificate of the
device, and a password. Bundles lie in /srv/NAME, unpacked. The deployment scripts are run in it as a person runs them,
and may be killed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeapp.system.files import sha256_of
from tests.fakes.field.installation import ROOT, forget_the_machines_own
from tests.fakes.field.keepers import Keepers
from tests.fakes.field.networked import PASSWORD, NetworkedDevice
from tests.fakes.field.reached import CONTROL
from tests.fakes.updating_device import UpdatingDevice

BUNDLE_LIMIT_S, SCRIPT_LIMIT_S = 600.0, 300.0
ANSWERS = "/srv/answers"
INSTALL = ("/srv/bundle/deploy/install.sh",)
UNINSTALL = ("/srv/bundle/deploy/uninstall.sh",)
PROVISION = ("/opt/edgeapp/current/deploy/provision.sh", "--answers", ANSWERS)
_OWNED = ("opt/edgeapp", "etc/edgeapp", "var/lib/edgeapp/models", "var/lib/edgeapp/acceptance")
_SHARED = (
    "etc/systemd/system",
    "etc/sysusers.d",
    "etc/tmpfiles.d",
    "usr/local/bin",
)  # with others: what is named edgeapp


Listing = dict[str, tuple[object, ...]]


class BundleUnavailableError(Exception):
    """No bundle can be made here: the wheels are not in the cache, and the package index cannot be reached."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended, what it said, and after how many seconds it began each of its steps."""

    status: int
    text: str
    seconds: float
    steps_s: tuple[float, ...]


def debian_python() -> str:
    """The version of the Python that a device on this machine's tree would run, as 3.11."""
    command = ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_bundle(folder: Path, *, machine: str = "", python: str = "", model: Path | None = None) -> Path:
    """A bundle, unpacked below `folder`: for this machine, unless another one and its Python are named.

    `model` is a folder to bring along.

    Raises:
        BundleUnavailableError: the text is what scripts/bundle said.
    """
    archive = folder / "bundle.tar.gz"
    command = [sys.executable, str(ROOT / "scripts/bundle"), "--arch", machine or platform.machine()]
    command += ["--python", python or debian_python(), *(["--model", str(model)] if model else [])]
    done = subprocess.run(
        [*command, "--out", str(archive)], check=False, capture_output=True, text=True, timeout=BUNDLE_LIMIT_S
    )
    if done.returncode != 0:
        raise BundleUnavailableError(done.stderr.strip()[-500:])
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="tar")
    archive.unlink()
    (unpacked,) = (each.parent for each in folder.glob("*/MANIFEST"))
    return unpacked


def variant(bundle: Path, version: str, **appended: str) -> Path:
    """Beside a bundle, one of another version. `appended` is put at the end of a module of edgeapp: daemon="…"."""
    folder = bundle.with_name(f"edgeapp-{version}")
    shutil.copytree(bundle, folder)
    (wheel,) = (folder / "wheels").glob("edgeapp-*.whl")
    old_sha256 = sha256_of(wheel)
    with zipfile.ZipFile(wheel) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    members["edgeapp/__init__.py"] += f'__version__ = "{version}"\n'.encode()
    for module, text in appended.items():
        members[f"edgeapp/{module}.py"] += f"\n{text}\n".encode()
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    pinned, about = folder / "requirements.txt", folder / "BUNDLE"
    pinned.write_text(pinned.read_text().replace(old_sha256, sha256_of(wheel)))
    about.write_text(re.sub("version=.*", f"version={version}", about.read_text()))
    listed = [line.split("  ")[1] for line in (folder / "MANIFEST").read_text().splitlines()]
    (folder / "MANIFEST").write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in listed))
    return folder


class BareDevice(NetworkedDevice):
    """Boot it after entering the context. `bundles` are unpacked ones by the name that they get below /srv."""

    def __init__(self, folder: Path, bundles: dict[str, Path]) -> None:
        self.keepers = Keepers(folder / "keepers")
        super().__init__(
            folder,
            options=[f"--bind-ro={bundle}:/srv/{name}" for name, bundle in bundles.items()],
            broker_options=self.keepers.broker_options,
        )
        self._bundles = bundles

    def answer(self, **changes: str) -> None:
        """Write the file with the answers."""
        (self.root / ANSWERS[1:]).write_text(answers(self.broker.port, **changes))

    def script(self, *command: str, kill_in: tuple[int, float] | None = None) -> Ended:
        """As `run_script`, in the device."""
        return run_script("nsenter", "--target", str(self.leader), "--all", "--", *command, kill_in=kill_in)

    def tree(self, *, with_times: bool) -> Listing:
        """As `owned_by_scripts`, of the device."""
        return owned_by_scripts(self.root, with_times=with_times)

    def take_away(self) -> None:
        """Uninstall it with all that it knew, whatever state it is in."""
        ended = self.script(*UNINSTALL, "--purge")
        assert ended.status == 0, ended.text

    def is_active(self) -> bool:
        return self.ask(CONTROL, "SubState") == "running"

    def running_version(self) -> str:
        """The version that the running service says it is; empty where none runs."""
        status = self.status()
        return status.version if status is not None and self.is_active() else ""

    def configure(self, *settings: str) -> None:
        """Change keys of the configuration, as `edgeapp configure` does; the service is not told."""
        config = "/etc/edgeapp/config.yaml"
        change = f"edgeapp configure {config} {' '.join(settings)} >/tmp/config.yaml && cat /tmp/config.yaml >{config}"
        self.run("env", "PYTHONDONTWRITEBYTECODE=1", "bash", "-c", change)

    def prepare(self) -> None:
        forget_the_machines_own(self.root)
        for name in self._bundles:
            (self.root / "srv" / name).mkdir()
        bring(self.root, self.made, self.keepers)
        self.answer()


def bring(root: Path, made: UpdatingDevice, keepers: Keepers) -> None:
    """Into /srv of a tree, what a technician brings beside bundle and answers."""
    srv = root / "srv"
    for name, content in (
        ("1.root.json", (made.folder / "1.root.json").read_bytes()),
        ("video.avi", (made.folder / "video.avi").read_bytes()),
        ("password", f"{PASSWORD}\n".encode()),
        ("ca.pem", keepers.authority.cert.read_bytes()),
        ("device.pem", keepers.device.cert.read_bytes()),
        ("device.key", keepers.device.key.read_bytes()),
    ):
        (srv / name).write_bytes(content)
    (srv / "model").mkdir()
    for path in (made.folder / "model").iterdir():
        (srv / "model" / path.name).write_bytes(path.read_bytes())


def answers(broker_port: int, **changes: str) -> str:
    """The answers that go with what `bring` brings, as the text of a file."""
    given = {
        "TECHNICIAN": "Ada",
        "LOCATION": "Main door, north side",
        "DEVICE_ID": "test-device",
        "GROUPS": "doors",
        "CAMERA_KIND": "video",
        "CAMERA_SOURCE": "/srv/video.avi",
        "MODEL": "/srv/model",
        "BROKER_HOST": "127.0.0.1",
        "BROKER_PORT": str(broker_port),
        "BROKER_CA_FILE": "/srv/ca.pem",
        "BROKER_CERT_FILE": "/srv/device.pem",
        "BROKER_KEY_FILE": "/srv/device.key",
        "BROKER_USER": "edgeapp",
        "BROKER_PASSWORD_FILE": "/srv/password",
        "ROOT_FILE": "/srv/1.root.json",
        **changes,
    }
    return "".join(f"{key}={value}\n" for key, value in given.items())


def run_script(*command: str, kill_in: tuple[int, float] | None = None, limit_s: float = SCRIPT_LIMIT_S) -> Ended:
    """Run a deployment script to its end. `kill_in`: kill it and all that it started, without a warning, in this step
    (from 0) after so many seconds of it; after `limit_s` at the latest."""
    began_s = time.monotonic()
    lines: list[str] = []
    steps_s: list[float] = []
    timers: list[threading.Timer] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        timers.append(_kill_later(process.pid, limit_s))
        for line in process.stdout:
            lines.append(line)
            if line.startswith("["):
                if kill_in is not None and kill_in[0] == len(steps_s):
                    timers.append(_kill_later(process.pid, kill_in[1]))
                steps_s.append(time.monotonic() - began_s)
        process.wait()
    for timer in timers:
        timer.cancel()
    return Ended(process.returncode, "".join(lines), time.monotonic() - began_s, tuple(steps_s))


def owned_by_scripts(root: Path, *, with_times: bool) -> Listing:
    """What the scripts own, path by path: kind, mode, owner, content or target; and when it was changed."""
    paths = [path for owned in _OWNED for path in (root / owned).rglob("*")]
    paths += [path for shared in _SHARED for path in (root / shared).rglob("*edgeapp*")]
    found: Listing = {}
    for path in paths:
        if path.suffix == ".pyc":  # has the time of its source in it
            continue
        look = path.lstat()
        what = str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else sha256_of(path)
        times = (look.st_mtime_ns,) if with_times and not path.is_dir() else ()
        found[str(path.relative_to(root))] = (oct(look.st_mode), look.st_uid, look.st_gid, what, *times)
    return found


def _kill_later(group: int, after_s: float) -> threading.Timer:
    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    timer = threading.Timer(after_s, kill)
    timer.start()
    return timer


def differences(before: Listing, after: Listing) -> Sequence[str]:
    """The paths that are not in both as they are in the other."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

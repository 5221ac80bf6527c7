"""Judges who may do what with files, folders and cameras, and whether there is room. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeapp.doctor.report import Judgement
from edgeapp.errors import ConfigError

SPOOL_REPORT_BYTES = 2048
_SPARE_DISK_BYTES = 16 << 20
_MIB = 1 << 20
READ, WRITE, PASS = 4, 2, 1
"""The permission bits, as chmod(1) and access(2) count them; PASS on a folder is to get to what is in it."""


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


def allows(access: Access, person: Person, bits: int) -> bool:
    """Whether the permission bits let a person do all of `bits` (READ, WRITE, PASS)."""
    if person.uid == 0:
        return True
    shift = 6 if access.uid == person.uid else 3 if access.gid in person.groups else 0
    return access.mode >> shift & bits == bits


def configuration(path: str, error: ConfigError | None, access: Access | None, *, has_secret: bool) -> Judgement:
    """Whether it can be used; `has_secret`: it holds a stream's address with a password."""
    if error is not None:
        advice = (
            f"correct it, then:  edgeapp check-config {path}\nmodel, camera, broker and permissions come after that"
        )
        return Judgement("fail", str(error), advice)
    if has_secret and access is not None and access.mode & 0o004:
        advice = f"sudo chmod o-r {path}"
        return Judgement("warn", f"{path}: valid, but everybody can read the camera's password in it", advice)
    return Judgement("ok", f"{path}: valid")


def user(person: Person, service: Person | None) -> Judgement:
    """Who runs the checks. `service` is whom the daemon's files belong to, where that is another user."""
    if person.uid == 0:
        name = service.name if service else "USER"
        advice = f"if the service does not run as root:  sudo -u {name} edgeapp doctor"
        return Judgement("warn", "root may do everything, so what is said of permissions proves little", advice)
    groups = ", ".join(sorted(person.groups.values()))
    return Judgement("ok", f"{person.name}, in the groups {groups}")


def folder(look: FolderLook, person: Person, *, needed_bytes: int) -> Judgement:
    """One of the daemon's folders: there, writable, large enough. `needed_bytes` is what it may still grow by."""
    found = f"{look.path}: {look.access}" if look.access else f"{look.path}: not there yet"
    found += f", {_size(look.free_bytes)} free"
    if look.is_read_only:
        advice = "sudo dmesg | grep -i -e mmc -e ext4\na card that turned read-only by itself is dying: replace it"
        return Judgement("fail", f"{found}; the file system is read-only", advice)
    if look.error:
        return _unwritable(look, person, found)
    if look.free_bytes < _SPARE_DISK_BYTES:
        return Judgement("fail", f"{found}: too little", _free_space_advice(look.path))
    if look.free_bytes < needed_bytes:
        text = f"{found}; {_size(needed_bytes)} may be needed while the broker is away"
        return Judgement("warn", text, f"{_free_space_advice(look.path)}\nor lower telemetry.spool_max_reports")
    return Judgement("ok", f"{found}; {person.name} may write" if look.access else f"{found}; edgeapp makes it")


def _unwritable(look: FolderLook, person: Person, found: str) -> Judgement:
    if look.access is None:
        advice = f"where systemd does not make it:  sudo install -d -m 750 -o {person.name} {look.path}"
        return Judgement("warn", f"{found}, and {person.name} cannot make it: {look.error}", advice)
    text = f"{found}; {person.name} cannot write: {look.error}"
    if look.access.uid not in (0, person.uid) and look.access.mode & 0o200:
        # Most probably the service's own user: then all is well, and only that user can tell.
        return Judgement("warn", text, f"ask as its owner:  sudo -u {look.access.owner} edgeapp doctor")
    return Judgement("fail", text, f"sudo chown {person.name} {look.path} && sudo chmod u+rwx {look.path}")


def _free_space_advice(path: str) -> str:
    return f"see what fills it:  df -h {path} ; sudo du -xh --max-depth=2 / | sort -h | tail"


def model_folder(access: Access | None, path: str, person: Person, *, is_readable: bool) -> Judgement:
    """The model's folder: to be read by the service's user, and not to be written by it."""
    if access is None:
        advice = "copy the model's folder there, or correct inference.model_dir"
        return Judgement("fail", f"{path}: not there, or out of reach of {person.name}", advice)
    found = f"{path}: {access}"
    if not is_readable:
        advice = f"sudo chmod -R a+rX {path}\nand let others pass through the folders above it"
        return Judgement("fail", f"{found}; {person.name} cannot read it", advice)
    # Root may write everything; what matters then is whether somebody else may.
    is_writable = bool(access.mode & 0o022) if person.uid == 0 else allows(access, person, WRITE)
    if is_writable:
        who = "others than root" if person.uid == 0 else person.name
        text = f"{found}; {who} may write it, so a service that was broken into could exchange the model"
        advice = f"sudo chown -R root:root {path} && sudo chmod -R go-w {path}"
        return Judgement("warn", text, advice)
    return Judgement("ok", found)


def secret_file(key: str, access: Access | None, path: str, person: Person, *, is_readable: bool) -> Judgement:
    """A file with a secret, which `key` of the configuration names: for the service's user alone."""
    if access is None:
        found = f"{path}: not there, or out of reach of {person.name}"
        return Judgement("fail", found, f"write the secret into it, or correct {key}")
    found = f"{path}: {access}"
    if access.mode & 0o007:
        return Judgement("fail", f"{found}: everybody on this device may use it", f"sudo chmod 600 {path}")
    if not is_readable:
        advice = f"make the service's user its owner:  sudo chown USER {path}"
        return Judgement("warn", f"{found}: {person.name} cannot read it", advice)
    return Judgement("ok", found)


def credential(key: str, access: Access | None, path: str, *, is_root: bool) -> Judgement:
    """A secret in root's folder of credentials, which `key` names: systemd hands the service a copy."""
    if not is_root:
        return Judgement("warn", f"{path}: only root may look there", "sudo edgeapp doctor")
    if access is None:
        return Judgement("fail", f"{path}: not there", f"write the secret into it, or correct {key}")
    if access.mode & 0o077 or access.uid != 0:
        advice = f"sudo chown root:root {path} && sudo chmod 600 {path}"
        return Judgement("fail", f"{path}: {access}: for root alone it has to be", advice)
    return Judgement("ok", f"{path}: {access}; systemd hands it to the service")


def video_group(person: Person, *, kind: str) -> Judgement:
    """Whether the user may open a camera at all: Debian gives cameras to the group video."""
    if person.uid == 0 or "video" in person.groups.values():
        who = "root may open any camera" if person.uid == 0 else f"{person.name} is in the group video"
        return Judgement("ok", who)
    advice = f"sudo usermod -aG video {person.name}\nthen log in again, or restart the service"
    return Judgement("warn", f"{person.name} is not in the group video, which {kind} cameras belong to", advice)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / _MIB:.0f} MiB"

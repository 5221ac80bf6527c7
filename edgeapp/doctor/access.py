"""Whose a file is, and what a person may do with it, as this machine tells."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from edgeapp.doctor import judge_access
from edgeapp.doctor.judge_access import Access, Person


def access_of(path: Path) -> Access | None:
    """Whose it is; None where there is nothing, or it is out of reach."""
    try:
        found = path.stat()
    except OSError:
        return None
    owner = user_of(found.st_uid).name
    return Access(path=str(path), owner=owner, uid=found.st_uid, gid=found.st_gid, mode=found.st_mode & 0o777)


def may(person: Person, path: Path, bits: int) -> bool:
    """Whether a person may do that to a file or folder, and get there. Of oneself the kernel knows it best."""
    if person.uid == os.geteuid():
        return os.access(path, bits)  # the bits are those of access(2)
    ways = [access_of(folder) for folder in path.resolve().parents]
    target = access_of(path)
    can_pass = all(way is not None and judge_access.allows(way, person, judge_access.PASS) for way in ways)
    return can_pass and target is not None and judge_access.allows(target, person, bits)


def judged_person(state_dir: Path) -> Person:
    """Whose rights matter: who asks, or the service's user where root asks."""
    user = user_of(os.geteuid())
    return (service_user(state_dir) or user) if user.uid == 0 else user


def service_user(state_dir: Path) -> Person | None:
    """Whom the daemon's files belong to, where that is neither root nor who asks."""
    access = access_of(state_dir)
    return user_of(access.uid) if access is not None and access.uid not in (0, os.geteuid()) else None


def user_of(uid: int) -> Person:
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

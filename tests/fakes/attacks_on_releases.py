"""Attacks on releases: on their manifests, and releases that this device must not run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from tests.fakes.attacks import Target, attack
from tests.fakes.releases import manifest


def with_model(**changes: Any) -> Callable[[Target], bytes]:
    """A genuine release whose manifest says something of its model that it should not."""

    def run(target: Target) -> bytes:
        content = manifest(8)
        content["model"].update(changes)
        return install(target, content)

    return run


def install(target: Target, content: dict[str, Any], **custom: Any) -> bytes:
    """Publish a release and order it."""
    path = target.repository.add_release(content, **custom)
    reference = {"path": path, "sha256": sha256(target.repository.contents[path]).hexdigest()}
    return target.repository.message(release=reference)


_FILE = {"sha256": "a" * 64, "size_bytes": 1}
for _name, _changes in (
    ("a model file with .. in its name", {"model": {"file": "../../etc/cron.d/x", **_FILE}}),
    ("a model file with an absolute name", {"model": {"file": "/etc/cron.d/x", **_FILE}}),
    ("a model file called model.json", {"model": {"file": "model.json", **_FILE}}),
    ("a release without golden cases", {"golden": None}),
):
    attack(_name, "E_PARSE")(with_model(**_changes))


@attack("a manifest under another release's path", "E_PARSE")
def _(target: Target) -> bytes:
    path, content = "releases/person/9.json", manifest(8)
    target.repository.add(path, content, {"version": 9})
    digest = sha256(target.repository.contents[path]).hexdigest()
    return target.repository.message(release={"path": path, "sha256": digest})


@attack("a manifest with a byte more", "E_LENGTH")
def _(target: Target) -> bytes:
    path = "releases/person/7.json"
    content = target.repository.contents[path] + b" "
    return target.repository.message(files={**target.repository.files, path: content})


@attack("another manifest of the same length", "E_HASH")
def _(target: Target) -> bytes:
    path = "releases/person/7.json"
    content = target.repository.contents[path].replace(b"320", b"640")
    return target.repository.message(files={**target.repository.files, path: content})


@attack("not among the targets", "E_NOT_IN_TARGETS")
def _(target: Target) -> bytes:
    return target.repository.message(release={"path": "releases/person/99.json", "sha256": "a" * 64})


@attack("another hash than the targets'", "E_NOT_IN_TARGETS")
def _(target: Target) -> bytes:
    return target.repository.message(release={"path": "releases/person/7.json", "sha256": "a" * 64})


@attack("withdrawn", "E_WITHDRAWN")
def _(target: Target) -> bytes:
    return install(target, manifest(8), withdrawn=True)


@attack("below the security floor, with allow_downgrade", "E_FLOOR")
def _(target: Target) -> bytes:
    target.repository.add_release(manifest(8), security_floor=8)
    return target.repository.message(allow_downgrade=True)


@attack("blocked after it failed here", "E_BLOCKED")
def _(target: Target) -> bytes:
    target.with_floors(blocked=frozenset({target.repository.command()["release"]["sha256"]}))
    return target.repository.message()


@attack("a downgrade", "E_DOWNGRADE")
def _(target: Target) -> bytes:
    target.with_floors(version_floor=8)
    return target.repository.message()


_COMPAT = manifest()["compat"]
for _code, _compat in (
    ("E_COMPAT_APP", {"app": {"min": "0.2"}}),
    ("E_COMPAT_APP", {"app": {"min": "0.0.1", "below": "0.1"}}),
    ("E_COMPAT_RUNTIME", {"runtimes": {"ai-edge-litert": "2.10"}}),
    ("E_COMPAT_RUNTIME", {"runtimes": {"tflite-runtime": "2.0"}}),
    ("E_COMPAT_RUNTIME", {"delegates": ["none"]}),
    ("E_COMPAT_ARCH", {"arch": ["x86_64"]}),
    ("E_COMPAT_BOARD", {"boards": ["Raspberry Pi 5"]}),
    ("E_COMPAT_RAM", {"min_ram_mb": 4000}),
):
    attack(f"a release that needs {json.dumps(_compat)}", _code)(
        lambda target, compat=_compat: install(target, manifest(8, compat={**_COMPAT, **compat}))  # type: ignore[misc]
    )


@attack("a release without the class that is counted", "E_COMPAT_IO")
def _(target: Target) -> bytes:
    target.facts = dataclasses.replace(target.facts, classes=("person", "bicycle"))
    return target.repository.message()

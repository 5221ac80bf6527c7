"""The way of a command through all the questions of trust, in order: read this first.

Owns the order and the cached list of operators. Cheap questions come first, so that a flood costs little; nothing is
believed before its signature was verified. Afterwards the files of the release may be fetched, and not before.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeapp.document import JSON_MAX_BYTES
from edgeapp.system.files import write_durably
from edgeapp.updates.codes import Code, Refusal, UpdateError, hold
from edgeapp.updates.command import (
    OPERATORS_PATH,
    Command,
    Operators,
    ReleaseRef,
    SignedCommand,
    check_signatures,
    judge,
    read_document,
    read_message,
)
from edgeapp.updates.fetchers import CarriedFiles
from edgeapp.updates.metadata import TrustedMetadata, fetch_code, fetch_target, refresh
from edgeapp.updates.release import (
    ReleaseManifest,
    check_compatible,
    check_policy,
    read_release,
    read_status,
    security_floor,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tuf.ngclient.fetcher import FetcherInterface

    from edgeapp.updates.facts import ClockReading, DeviceFacts, Floors

_OPERATORS_NAME = "operators"  # beside TUF's own files, which end in .json


@dataclass(frozen=True, slots=True)
class Admission:
    """A genuine command for this device, the release that it installs, if any, and the floors as they are from now on.

    `manifest` is what was signed as the release's manifest. `withdrawn` has the sha256 of the manifests that no device
    may run any more.
    """

    signed: SignedCommand
    floors: Floors
    withdrawn: frozenset[str]
    release: ReleaseManifest | None = None
    manifest: bytes = b""


class GenuineButRefusedError(UpdateError):
    """An operator's command for this device, whose release may not run here. It need not be judged again."""

    def __init__(self, refusal: Refusal, admission: Admission) -> None:
        super().__init__(refusal.code, refusal.text)
        self.admission = admission


@dataclass(frozen=True, slots=True)
class Gate:
    """What a device brings along to judge a command by.

    `folder` keeps the metadata, `trusted_root` is the root that the device was provisioned with.
    """

    folder: Path
    trusted_root: bytes
    device: DeviceFacts

    def admit(
        self, content: bytes, floors: Floors, clock: ClockReading, other: FetcherInterface | None = None
    ) -> Admission:
        """Judge a published message. `other` is asked for files that did not come with it.

        Raises:
            GenuineButRefusedError: why its release is not installed; the code says it.
            UpdateError: why it is not followed, or could not be judged (a code of the group fetch).
        """
        signed, files = read_message(content)
        hold(judge(signed, self.device, floors, clock))
        fetcher = CarriedFiles(files, other)
        metadata = refresh(self.folder, self.trusted_root, fetcher, clock, floors)
        hold(check_signatures(signed, self._operators(fetcher, metadata)))
        floors = _raised(floors, signed, metadata, clock)
        targets = metadata.targets.values()
        withdrawn = frozenset(target.sha256 for target in targets if target.custom.get("withdrawn") is True)
        admission = Admission(signed, floors, withdrawn)
        if signed.command.release is None:
            return admission
        try:
            manifest = self._manifest(signed.command, signed.command.release, fetcher, metadata, floors)
            release = read_release(manifest, signed.command.release.path)
            hold(check_compatible(release, self.device))
        except UpdateError as error:
            if error.reason.code.group == "fetch":
                raise
            raise GenuineButRefusedError(error.reason, admission) from error
        return dataclasses.replace(admission, release=release, manifest=manifest)

    def _operators(self, fetcher: FetcherInterface, metadata: TrustedMetadata) -> Operators:
        """The current list: the kept one where that is still what was signed, else fetched."""
        kept, target = self.folder / _OPERATORS_NAME, metadata.targets.get(OPERATORS_PATH)
        try:
            content = kept.read_bytes() if kept.is_file() else b""
            if target is None or hashlib.sha256(content).hexdigest() != target.sha256:
                content = fetch_target(fetcher, metadata, OPERATORS_PATH, JSON_MAX_BYTES)
                write_durably(kept, content)
        except OSError as error:
            raise UpdateError(fetch_code(error), f"{kept}: {error.strerror}") from error
        return read_document(Operators, content, OPERATORS_PATH)

    @staticmethod
    def _manifest(
        command: Command, wanted: ReleaseRef, fetcher: FetcherInterface, metadata: TrustedMetadata, floors: Floors
    ) -> bytes:
        """The signed manifest of the release that the command names, once it may run here."""
        target = metadata.targets.get(wanted.path)
        if target is None or target.sha256 != wanted.sha256:
            found = target.sha256 if target else "nothing"
            raise UpdateError(Code.E_NOT_IN_TARGETS, f"{wanted.path}: expected {wanted.sha256}, found {found}")
        status = read_status(target.custom, wanted.path)
        hold(check_policy(status, target.sha256, floors, may_downgrade=command.allow_downgrade))
        return fetch_target(fetcher, metadata, wanted.path, JSON_MAX_BYTES)


def _raised(floors: Floors, signed: SignedCommand, metadata: TrustedMetadata, clock: ClockReading) -> Floors:
    """The floors once the command is known to be genuine; an operator's fast clock raises none into the future."""
    return dataclasses.replace(
        floors,
        seq_seen=signed.command.seq,
        command_sha256=signed.sha256,
        time_floor_s=max(floors.time_floor_s, min(signed.command.iat, int(clock.now_s))),
        security_floor=security_floor((target.custom for target in metadata.targets.values()), floors.security_floor),
        metadata=metadata.versions,
    )

"""What a device remembers about its models and updates, and the bytes of it, pure.

Owns the value and its file format: eight hexadecimal digits of CRC-32, a space, and JSON. How it changes is
`changes.py`'s; where it lies, `store.py`'s. Guarantee: `parse` gives a value that keeps every annotation below, or
raises; nothing is ever filled in.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Annotated

from edgeapp.errors import ManifestError
from edgeapp.manifest import FileSpec, Sha256
from edgeapp.reader import Length, Pattern, Range, read_json
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.facts import Floors, MetadataFloor
from edgeapp.updates.phases import AT_RISK, BUSY, MAX_ATTEMPTS, Phase
from edgeapp.updates.trial import Conduct

MAX_HISTORY = 32
MAX_BLOCKED = 64
LEVELS = 3  # active, last good, factory; beyond lies safe mode
_FORMAT = 1
_CRC_DIGITS = 8

Count = Annotated[int, Range(0, 1 << 53, "whole number")]
Version = Annotated[int, Range(1, 1 << 31, "release number")]
Name = Annotated[str, Pattern(r"[a-z0-9][a-z0-9-]{0,62}", "1 to 63 of a-z, 0-9 and -")]
CommandId = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "1 to 64 of A-Z, a-z, 0-9, ., _ and -")]
CodeName = Annotated[str, Pattern(r"(E_[A-Z0-9_]{1,40})?", "an error code or nothing")]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptCommand:
    """What is kept of an operator's command. `sha256` is that of the message, which is a blob while it is in work."""

    id: CommandId
    seq: Count
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A genuine release. `sha256` is that of its release manifest; `files` make up its model folder."""

    name: Name
    version: Version
    sha256: Sha256
    files: Annotated[tuple[FileSpec, ...], Length(1, 20, "files")]

    @property
    def blobs(self) -> frozenset[str]:
        """The sha256 of everything that belongs to it."""
        return frozenset({self.sha256, *(file.sha256 for file in self.files)})

    @property
    def folder_name(self) -> str:
        """Of its model folder."""
        return f"{self.version}-{self.sha256}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a command ended. `version` is None where its release never became known, `code` empty where all went well."""

    command_id: CommandId
    seq: Count
    version: Version | None
    outcome: Phase
    code: CodeName
    ended_s: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """All that is remembered. Every write has a `generation` of its own.

    `active` is the last committed release, `last_good` the one committed before it; None is the factory model.
    `candidate` is what the command in work wants to make active: it runs in TRIAL, and becomes active at the commit
    only. `attempts` counts the starts in a row that have not ended well, the running one included. `newest` is the
    newest command seen, of whatever kind, and `payload_sha256` is of what was signed of it. `metadata` are the versions
    of the TUF metadata seen last. `before_trial` is how the device did before the switch to the candidate. `blocked`
    are the release manifests of what failed in use here.
    """

    format: Annotated[int, Range(_FORMAT, _FORMAT, "as this version writes it")]
    generation: Count
    phase: Phase
    attempts: Annotated[int, Range(0, LEVELS * MAX_ATTEMPTS, "starts")]
    active: Release | None
    last_good: Release | None
    candidate: Release | None
    command: KeptCommand | None
    newest: KeptCommand | None
    is_pinned: bool
    version_floor: Count
    security_floor: Count
    time_floor_s: Count
    payload_sha256: Annotated[str, Pattern(r"([0-9a-f]{64})?", "64 hexadecimal digits or nothing")]
    metadata: MetadataFloor
    before_trial: Conduct | None
    history: Annotated[tuple[Ending, ...], Length(0, MAX_HISTORY, "endings")]
    blocked: Annotated[tuple[Sha256, ...], Length(0, MAX_BLOCKED, "releases")]

    @property
    def seq_seen(self) -> int:
        """The highest sequence number of any command seen."""
        return self.newest.seq if self.newest else 0

    @property
    def floors(self) -> Floors:
        """What commands and releases are judged by."""
        return Floors(
            seq_seen=self.seq_seen,
            command_sha256=self.payload_sha256,
            time_floor_s=self.time_floor_s,
            version_floor=self.version_floor,
            security_floor=self.security_floor,
            blocked=frozenset(self.blocked),
            metadata=self.metadata,
        )

    @property
    def releases(self) -> tuple[Release, ...]:
        """All that it refers to."""
        return tuple(each for each in (self.active, self.last_good, self.candidate) if each)

    @property
    def blobs(self) -> frozenset[str]:
        """The sha256 of everything that must be kept for it."""
        commands = {self.command.sha256} if self.command else frozenset[str]()
        return frozenset(commands).union(*(release.blobs for release in self.releases))


FRESH = State(
    format=_FORMAT,
    generation=0,
    phase=Phase.IDLE,
    attempts=0,
    active=None,
    last_good=None,
    candidate=None,
    command=None,
    newest=None,
    is_pinned=False,
    version_floor=0,
    security_floor=0,
    time_floor_s=0,
    payload_sha256="",
    metadata=MetadataFloor(),
    before_trial=None,
    history=(),
    blocked=(),
)


def serialise(state: State) -> bytes:
    """The content of a state file."""
    body = json.dumps(asdict(state), separators=(",", ":")).encode() + b"\n"
    return b"%08x " % zlib.crc32(body) + body


def parse(content: bytes, origin: str) -> State:
    """The state that a file, called `origin` in messages, holds.

    Raises:
        UpdateError: E_STATE_LOST: it is torn, damaged, or not what this version writes.
    """
    crc, body = content[: _CRC_DIGITS + 1], content[_CRC_DIGITS + 1 :]
    if crc != b"%08x " % zlib.crc32(body):
        found = f"{len(content)} bytes that do not fit theirs"
        raise UpdateError(Code.E_STATE_LOST, f"{origin}: expected a checksum and a state that fits it, found {found}")
    try:
        state = read_json(State, body, origin)
    except ManifestError as error:
        raise UpdateError(Code.E_STATE_LOST, str(error)) from error
    if (state.phase in BUSY and not state.command) or (state.phase in AT_RISK and not state.candidate):
        raise UpdateError(Code.E_STATE_LOST, f"{origin}: expected what phase {state.phase} works on, found nothing")
    return state

"""What a device says about its updates: the bytes of an event and of the answer to `status`, made and read, pure.

Owns the names of every field; `docs/messages.md` and `edgeapp/schemas/` describe them for readers. The device makes
these bytes, the operator's tool reads them. Guarantee: what is read keeps every limit, has no control characters that a
terminal would follow, and no input makes the reading raise anything but UpdateError.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from edgeapp.document import compact_json
from edgeapp.manifest import Sha256
from edgeapp.reader import Length, Pattern, Range
from edgeapp.updates.command import Label, UnixTime, read_document

TEXT_MAX_CHARACTERS = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

DeviceId = Annotated[str, Pattern(r"[a-z0-9][a-z0-9-]{0,62}", "1 to 63 of a-z, 0-9 and -")]
Boot = Annotated[str, Pattern(r"[0-9a-f]{16}", "16 hexadecimal digits")]
AppVersion = Annotated[str, Pattern(r"[!-~]{1,64}", "1 to 64 printable characters")]
Count = Annotated[int, Range(0, 1 << 53, "a count")]
Version = Annotated[int, Range(1, 1 << 31, "release number")]
Floor = Annotated[int, Range(0, 1 << 31, "release number")]
CodeName = Annotated[str, Pattern(r"(?:E_[A-Z_]{1,40})?", "a code, or nothing")]
Text = Annotated[
    str, Pattern(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,300}", f"at most {TEXT_MAX_CHARACTERS} characters on one line")
]
Phase = Literal[
    "received",
    "verified",
    "wait_window",
    "downloading",
    "staged",
    "selftest",
    "standby",
    "trial",
    "committed",
    "refused",
    "failed",
    "cancelled",
    "superseded",
    "rolled_back",
]
Outcome = Literal["committed", "refused", "failed", "cancelled", "superseded", "rolled_back"]
OUTCOMES: frozenset[str] = frozenset(("committed", "refused", "failed", "cancelled", "superseded", "rolled_back"))


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandId:
    """The command that is spoken of."""

    id: Label
    seq: Annotated[int, Range(1, 1 << 53, "sequence number")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseId:
    """A release: `sha256` is that of its manifest."""

    name: Label
    version: Version
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Whence and when. (device, boot, seq) is the identity of every report."""

    v: Literal[1] = 1
    device: DeviceId
    boot: Boot
    seq: Count
    lost: Count
    app: AppVersion
    at: UnixTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Event(Origin):
    """A step of an update.

    `command` is the one the phase belongs to; `release` what it installs, `active` what runs (None: the factory model).
    """

    type: Literal["update"] = "update"
    command: CommandId | None
    phase: Phase
    code: CodeName = ""
    text: Text = ""
    release: ReleaseId | None
    active: ReleaseId | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PastUpdate:
    """How one command ended. `version` is that of the release it was about, None where it was about none."""

    command_id: Label
    seq: Annotated[int, Range(1, 1 << 53, "sequence number")]
    version: Version | None
    outcome: Outcome
    code: CodeName = ""
    ended_s: UnixTime


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateStatus:
    """Where the device stands. `blocked` are the sha256 of the manifests that failed there; `history` oldest first."""

    phase: Literal[Phase, "idle"]
    active: ReleaseId | None
    last_good: ReleaseId | None
    candidate: ReleaseId | None
    is_pinned: bool
    version_floor: Floor
    security_floor: Floor
    blocked: Annotated[tuple[Sha256, ...], Length(0, 100, "releases")]
    history: Annotated[tuple[PastUpdate, ...], Length(0, 100, "commands")]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandResult(Origin):
    """The answer to the operation `status`."""

    command: CommandId
    update: UpdateStatus


def event_message(event: Event) -> bytes:
    """The bytes of an event. Its text is put on one line and cut to 300 characters."""
    text = _CONTROL.sub(" ", event.text)[:TEXT_MAX_CHARACTERS]
    return compact_json(dataclasses.asdict(dataclasses.replace(event, text=text)))


def result_message(result: CommandResult) -> bytes:
    """The bytes of an answer to `status`."""
    return compact_json(dataclasses.asdict(result))


def read_event(content: bytes) -> Event:
    """An event as a device sent it.

    Raises:
        UpdateError: E_TOO_BIG or E_PARSE.
    """
    return read_document(Event, content, "event")


def read_result(content: bytes) -> CommandResult:
    """An answer to `status` as a device sent it.

    Raises:
        UpdateError: E_TOO_BIG or E_PARSE.
    """
    return read_document(CommandResult, content, "cmd-result")

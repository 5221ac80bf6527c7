"""An operator's command: what it may say, who signed it, and whether this device follows it now, pure.

Owns the message in which a command travels, its DSSE envelope (https://github.com/secure-systems-lab/dsse, v1.0.2) and
the list of operators. Whether a release is genuine is left to TUF (`metadata.py`), whether it fits to `release.py`.
Guarantees: no input makes the reading raise anything but UpdateError; what no operator signed is never followed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature as KeySignature
from securesystemslib.signer import SSlibKey

from edgeapp.config import TimeOfDay
from edgeapp.document import JSON_MAX_BYTES
from edgeapp.errors import ManifestError
from edgeapp.manifest import Sha256
from edgeapp.reader import Length, Pattern, Range, read_json
from edgeapp.updates.codes import Code, Refusal, UpdateError
from edgeapp.updates.facts import ClockReading, DeviceFacts, Floors, check_clock

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound="DataclassInstance")

PAYLOAD_TYPE = "application/vnd.edgeapp.command+json"
OPERATORS_PATH = "keys/operators.json"
IAT_TOLERANCE_S = 300  # by which an operator's clock may be ahead of the device's
_PACKED = b"x"  # how zlib begins; JSON does not
_SHOWN_MISTAKES = 3
_DAY_S = 86_400

Operation = Literal["install", "rollback", "cancel", "pin", "unpin", "status"]
UnixTime = Annotated[int, Range(0, 1 << 40, "Unix seconds")]
KeyId = Annotated[str, Pattern(r"[0-9A-Za-z._-]{1,128}", "1 to 128 of letters, digits, ., _ and -")]
Label = Annotated[str, Pattern(r"[0-9A-Za-z._-]{1,64}", "1 to 64 of letters, digits, ., _ and -")]
ReleasePath = Annotated[
    str, Pattern(r"releases/[a-z0-9][a-z0-9-]{0,62}/[1-9][0-9]{0,9}\.json", "releases/NAME/VERSION.json")
]
Url = Annotated[str, Pattern(r"https?://[!-~]{1,500}", "an http or https address")]
Reason = Annotated[str, Pattern(r"[^\x00-\x1f\x7f]{0,200}", "at most 200 characters on one line")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """A share of the devices. The same salt with a larger share holds all of the smaller one."""

    salt: Label
    pct: Annotated[float, Range(0, 100, "% of the devices")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Audience:
    """Whom the command is for: whoever is named, of a named group, or all; of these, those of the cohort."""

    devices: Annotated[tuple[Label, ...], Length(0, 2000, "device ids")] = ()
    groups: Annotated[tuple[Label, ...], Length(0, 100, "groups")] = ()
    all: bool = False
    cohort: Cohort | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The hours of the day in which a device may switch; one that ends before it starts spans midnight."""

    start: TimeOfDay
    end: TimeOfDay


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseRef:
    """A release: where its manifest stands among the TUF targets, and the manifest's hash."""

    path: ReleasePath
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What an operator wants of the addressed devices. `seq` grows from command to command; install names a release.

    `urls` say where files may be fetched and carry no authority.
    """

    v: Literal[1]
    id: Label
    seq: Annotated[int, Range(1, 1 << 53, "sequence number")]
    iat: UnixTime
    exp: UnixTime
    aud: Audience
    op: Operation
    not_before: UnixTime = 0
    window: Window | None = None
    release: ReleaseRef | None = None
    allow_downgrade: bool = False
    urls: Annotated[tuple[Url, ...], Length(0, 8, "addresses")] = ()
    reason: Reason = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """One signature of an envelope; `sig` is base64."""

    keyid: KeyId
    sig: Annotated[str, Pattern(r"[0-9A-Za-z+/]{4,1024}={0,2}", "base64")]


@dataclass(frozen=True, kw_only=True, slots=True)
class DsseDocument:
    """A DSSE envelope as JSON."""

    payload: Annotated[str, Pattern(r"[0-9A-Za-z+/]{4,65536}={0,2}", "base64")]
    payloadType: Literal["application/vnd.edgeapp.command+json"]
    signatures: Annotated[tuple[Signature, ...], Length(0, 16, "signatures")]


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageDocument:
    """What is published: the command, and TUF metadata and small targets that ride along, by file name."""

    v: Literal[1]
    command: DsseDocument
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignedCommand:
    """A command with what was signed of it. Nothing here says that a signature is good."""

    command: Command
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def sha256(self) -> str:
        """Tells one command from another, whoever signed it."""
        return hashlib.sha256(self.payload).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """A person or service that may order `ops`. `public` is an Ed25519 key."""

    name: Label
    keyid: KeyId
    public: Annotated[str, Pattern(r"[0-9a-f]{64}", "an Ed25519 key as 64 hexadecimal digits")]
    ops: Annotated[tuple[Operation, ...], Length(1, 6, "operations")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operators:
    """The TUF target keys/operators.json: how many of whom must sign."""

    v: Literal[1]
    threshold: Annotated[int, Range(1, 16, "signatures")]
    operators: Annotated[tuple[Operator, ...], Length(1, 64, "operators")]


def read_document(cls: type[T], content: bytes, origin: str) -> T:
    """A JSON document of at most 64 KiB, called `origin` in messages, read strictly.

    Raises:
        UpdateError: E_TOO_BIG or E_PARSE.
    """
    if len(content) > JSON_MAX_BYTES:
        raise UpdateError(Code.E_TOO_BIG, f"{origin}: expected at most {JSON_MAX_BYTES} bytes, found {len(content)}")
    try:
        return read_json(cls, content, origin)
    except ManifestError as error:
        raise UpdateError(Code.E_PARSE, "\n".join(str(error).splitlines()[:_SHOWN_MISTAKES])) from error


def read_message(content: bytes) -> tuple[SignedCommand, dict[str, bytes]]:
    """The command of a published message, not yet verified, and the files that came with it.

    Raises:
        UpdateError: E_TOO_BIG or E_PARSE.
    """
    message = read_document(MessageDocument, unpacked(content), "message")
    files = {name: text.encode() for name, text in message.files.items()}
    payload = _base64(message.command.payload, "payload")
    for signature in message.command.signatures:
        _base64(signature.sig, "signature")
    command = read_document(Command, payload, "command")
    if (command.release is not None) != (command.op == "install"):
        found = "one" if command.release else "none"
        raise UpdateError(Code.E_PARSE, f"command: release: expected with install and only there, found {found}")
    return SignedCommand(command, payload, message.command.signatures), files


def unpacked(content: bytes) -> bytes:
    """The JSON of a message that may be packed (zlib, RFC 1950). However much it would become, a little too much is
    made of it at most; and nothing may stand behind it.
    """
    if content[:1] != _PACKED:
        return content
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(content, JSON_MAX_BYTES + 1)
    except zlib.error as error:
        raise UpdateError(Code.E_PARSE, f"message: expected zlib, found: {error}") from error
    if len(unpacked) <= JSON_MAX_BYTES and (not unpacker.eof or unpacker.unused_data):
        raise UpdateError(Code.E_PARSE, "message: expected whole zlib and nothing more")
    return unpacked


def _base64(text: str, what: str) -> bytes:
    """What the text stands for. Only the one canonical way of writing it is taken, so that no byte may be altered."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UpdateError(Code.E_PARSE, f"message: {what}: expected base64, found: {error}") from error
    if base64.b64encode(content).decode() != text:
        raise UpdateError(Code.E_PARSE, f"message: {what}: expected canonical base64, found stray bits")
    return content


def check_signatures(signed: SignedCommand, operators: Operators) -> Refusal | None:
    """Whether enough operators signed, and enough of them may order this operation. One key counts once."""
    pae = Envelope(signed.payload, PAYLOAD_TYPE, {}).pae()
    signers = [
        operator
        for operator in operators.operators
        for signature in signed.signatures
        if signature.keyid == operator.keyid and _is_signed(pae, signature, operator)
    ]
    threshold, op = operators.threshold, signed.command.op
    if not signers:
        return Refusal(Code.E_SIG, f"expected {threshold} signatures of operators, found none")
    count = len({operator.public for operator in signers})
    if count < threshold:
        return Refusal(Code.E_THRESHOLD, f"expected signatures of {threshold} operators, found {count}")
    count = len({operator.public for operator in signers if op in operator.ops})
    if count < threshold:
        return Refusal(Code.E_OP_NOT_ALLOWED, f"{op}: expected {threshold} who may order it, found {count}")
    return None


def _is_signed(pae: bytes, signature: Signature, operator: Operator) -> bool:
    key = SSlibKey(operator.keyid, "ed25519", "ed25519", {"public": operator.public})
    try:
        key.verify_signature(KeySignature(operator.keyid, base64.b64decode(signature.sig).hex()), pae)
    except UnverifiedSignatureError:
        return False
    return True


def judge(signed: SignedCommand, device: DeviceFacts, floors: Floors, clock: ClockReading) -> Refusal | None:
    """Whether this device follows the command now, if it is genuine. E_NOT_YET means: judge it again later.

    Verifies no signature, so it may come first: it refuses a flood without any cryptography.
    """
    command = signed.command
    if command.seq <= floors.seq_seen:
        how = "the same again" if is_repeated(signed, floors) else "another command"
        return Refusal(Code.E_REPLAY, f"expected a seq above {floors.seq_seen}, found {command.seq}, {how}")
    if not is_addressed(command.aud, device):
        return Refusal(Code.E_AUDIENCE, f"expected a command for {device.device_id}, found one for others")
    untimely = check_clock(clock, floors)
    if untimely is not None:
        return untimely
    if clock.now_s >= command.exp:
        return Refusal(Code.E_EXPIRED, f"expected an end after {clock.now_s:.0f}, found {command.exp}")
    if clock.now_s < max(command.iat - IAT_TOLERANCE_S, command.not_before):
        start = f"{command.iat} and not before {command.not_before}"
        return Refusal(Code.E_NOT_YET, f"expected a command of before {clock.now_s:.0f}, found one of {start}")
    return None


def is_repeated(signed: SignedCommand, floors: Floors) -> bool:
    """Whether this is the last accepted command once more, as each reconnect brings it: nothing worth a report."""
    return signed.command.seq == floors.seq_seen and signed.sha256 == floors.command_sha256


def is_addressed(audience: Audience, device: DeviceFacts) -> bool:
    """Whether the device is meant."""
    is_named = audience.all or device.device_id in audience.devices or not device.groups.isdisjoint(audience.groups)
    return is_named and (audience.cohort is None or is_in_cohort(audience.cohort, device.device_id))


def is_in_cohort(cohort: Cohort, device_id: str) -> bool:
    """Whether the device stands within the share, in the order that the salt makes."""
    return place(cohort.salt, device_id) * 100 < cohort.pct


def place(salt: str, device_id: str) -> float:
    """Where a device stands in the order that a salt makes of a fleet, 0 to below 1."""
    digest = hashlib.sha256(f"{salt}:{device_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def window_opens_in_s(window: Window | None, now_s: float) -> float:
    """The seconds until the device may switch; 0 where it may now."""
    if window is None:
        return 0.0
    start_s, end_s = _second_of_day(window.start), _second_of_day(window.end)
    passed_s = (now_s - start_s) % _DAY_S
    length_s = (end_s - start_s) % _DAY_S or _DAY_S
    return 0.0 if passed_s < length_s else _DAY_S - passed_s


def _second_of_day(text: str) -> int:
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60

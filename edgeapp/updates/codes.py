"""Why an update was refused or failed: the stable codes, what each means and what to do, pure.

One table. `docs/operations.md` shows it to people (a test holds the two equal), telemetry counts the names.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeapp.errors import EdgeAppError


class Code(enum.Enum):
    """A code: the part of an update that it belongs to, what it means, what to do."""

    def __init__(self, group: str, meaning: str, advice: str) -> None:
        self.group = group
        self.meaning = meaning
        self.advice = advice

    E_PARSE = (
        "command",
        "a command, a release's manifest or the list of operators is malformed",
        "the text names document, line and key; make it with `edgeapp-workshop`",
    )
    E_TOO_BIG = ("command", "a message or a manifest is longer than 64 KiB", "shorten the list of devices; use groups")
    E_SIG = (
        "command",
        "no signature is that of a listed operator",
        "sign with a key of `keys/operators.json`; if nobody sent this, somebody else can write to the broker",
    )
    E_THRESHOLD = (
        "command",
        "fewer operators signed than `keys/operators.json` asks for",
        "let another operator sign; one operator counts once",
    )
    E_EXPIRED = ("command", "the command's time is over", "send it again if it is still wanted")
    E_NOT_YET = (
        "command",
        "the command was issued in the future or is not to be followed yet",
        "nothing, it is judged again; an `iat` in the future: correct the operator's clock",
    )
    E_REPLAY = (
        "command",
        "a command with this sequence number or a later one was accepted before",
        "nothing after a reconnect; a new command needs a higher `seq`",
    )
    E_AUDIENCE = ("command", "the command is for other devices", "nothing, or correct `aud`")
    E_OP_NOT_ALLOWED = (
        "command",
        "too few of the operators who signed may order this operation",
        "let one sign who may, or change `keys/operators.json`",
    )
    E_MD_SIG = (
        "trust",
        "metadata is not signed by enough of its role's keys, or is no metadata",
        "publish again, with every root version in between; if all is there, somebody altered it on its way",
    )
    E_MD_ROLLBACK = (
        "trust",
        "metadata is older than what this device has seen",
        "serve the newest metadata; an old copy stands in a cache, on a stick or in a retained message",
    )
    E_MD_EXPIRED = ("trust", "metadata has expired", "sign it anew; the running model is not affected")
    E_MD_MIX = (
        "trust",
        "metadata files do not belong together",
        "publish all of them in one step, the timestamp last",
    )
    E_ROOT = (
        "trust",
        "the root of trust cannot be used, or a link of its chain is not the one that is due and signed",
        "sign each root version with the keys of the one before, and publish all of them",
    )
    E_CLOCK = (
        "trust",
        "the clock is not synchronised, or stands before a time that was signed",
        "a time service for the device; it goes on by itself",
    )
    E_NOT_IN_TARGETS = (
        "policy",
        "the signed metadata does not list the release, or lists another under its name",
        "publish it; check path and sha256 of the command",
    )
    E_WITHDRAWN = ("policy", "the release was withdrawn by its signers", "choose another release")
    E_BLOCKED = (
        "policy",
        "the release failed on this device before",
        "see why in the device's history; correct it in a new version",
    )
    E_DOWNGRADE = (
        "policy",
        "the release is older than what was committed here",
        "allow it in the command (`allow_downgrade`) if that is meant",
    )
    E_PINNED = ("policy", "the device is pinned to what it runs", "unpin it first")
    E_FLOOR = ("policy", "the release is below the security floor", "choose a newer one; no command can allow this")
    E_COMPAT_APP = ("policy", "the release needs another version of edgeapp", "update the device's software first")
    E_COMPAT_RUNTIME = (
        "policy",
        "the device has none of the runtimes or delegates that the release needs",
        "update the device's software, or convert the model for its runtime",
    )
    E_COMPAT_ARCH = ("policy", "the release is not for this processor", "correct the audience")
    E_COMPAT_BOARD = ("policy", "the release is not for this board", "correct the audience")
    E_COMPAT_RAM = ("policy", "the board has less memory than the release needs", "a smaller model")
    E_COMPAT_IO = (
        "policy",
        "the model does not give what the device counts, or its tensors are not those of its manifest",
        "the text names class or tensor; a release for this task, made anew",
    )
    E_SPACE = ("fetch", "the disk has no room for the release", "free space in the state folder")
    E_NET = ("fetch", "no source could be reached", "network, name and address; it is tried again")
    E_HTTP = (
        "fetch",
        "a source does not have the file, or answered with an error",
        "the text has address and status; is the release published?",
    )
    E_LENGTH = ("fetch", "a file is longer or shorter than what was signed", "publish the file again")
    E_HASH = ("fetch", "a file is not the one that was signed", "publish the file again; look for who altered it")
    E_DEADLINE = ("fetch", "a source was too slow", "a better link, or a source nearer by; it is tried again")
    E_IO = ("fetch", "the state folder cannot be read or written", "a read-only file system means a dying card")
    E_LOAD = (
        "self-test",
        "the runtime refuses the model, or it gives impossible numbers",
        "the text names tensor and shape. Another model, or a newer runtime",
    )
    E_LOAD_CRASH = (
        "self-test",
        "in its self-test the model crashed the runtime, or the child ended without a report",
        "never use this model on this runtime; the text names the signal",
    )
    E_GOLDEN = (
        "self-test",
        "the model answers otherwise than where it was made, beyond its tolerance",
        "the text says by how much. A few steps: the tolerance is too tight for this runtime. "
        "Many: a damaged or another model",
    )
    E_BUDGET = (
        "self-test",
        "the model works, but is slower or larger than allowed here",
        "a smaller model, or a larger budget",
    )
    E_SELFTEST_TIMEOUT = (
        "self-test",
        "the self-test did not end in its time",
        "a model that hangs, or a board that is busy: try again once",
    )
    E_SELFTEST = (
        "self-test",
        "the self-test could not run; it says nothing about the model",
        "the text: memory, limits, a broken installation",
    )
    E_TRIAL_FAILRATE = ("trial", "in use the model failed more often than allowed", "see the report; rolled back")
    E_TRIAL_LATENCY = ("trial", "in use the model was slower than allowed", "a smaller model; rolled back")
    E_TRIAL_THERMAL = ("trial", "in use the model made the board too hot", "a smaller model; rolled back")
    E_TRIAL_MEMORY = ("trial", "in use the model took more memory than allowed", "a smaller model; rolled back")
    E_TRIAL_CRASH = ("trial", "vision died with the model in use", "never use this release; rolled back")
    E_TRIAL_AGREEMENT = (
        "trial",
        "in use the model saw other things than the one before it in the same frames",
        "find out which one is right; if it is the new one: a release with probation.min_agreement 0; rolled back",
    )
    E_TRIAL_STARVED = (
        "trial",
        "the trial ended without enough frames to judge by",
        "a camera that works, or a longer probation; rolled back",
    )
    E_STATE = (
        "device",
        "a command about models does not fit what vision has loaded, or a step of an update its phase; nothing changed",
        "the text says what is there",
    )
    E_STATE_LOST = (
        "device",
        "both copies of the update state are unreadable; the factory model runs",
        "replace the card, then install again",
    )
    E_INTERRUPTED = (
        "device",
        "the device was restarted again and again while the update was prepared",
        "see why it restarts, then send a new command",
    )
    E_NO_LAST_GOOD = ("device", "there is no release to go back to", "install one; the factory model runs")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, as a rule returns it: the code, and what was expected and found."""

    code: Code
    text: str


class UpdateError(EdgeAppError):
    """An update, or a document of it, is refused or failed; `reason` has the code."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.reason = Refusal(code, text)
        self.code = code.name


def hold(refusal: Refusal | None) -> None:
    """Go on where a rule refused nothing.

    Raises:
        UpdateError: what it refused.
    """
    if refusal is not None:
        raise UpdateError(refusal.code, refusal.text)

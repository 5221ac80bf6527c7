"""`edgeapp-workshop command …`: one command to some devices, from the question to the last device's answer.

Owns the options and the words. Making and signing is `commands.py`'s, listening and publishing `fleet.py`'s.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from edgeapp.errors import CommandError
from edgeapp.messaging.topics import Topics, fleet_command, group_command
from edgeapp.system.files import write_durably
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.command import (
    OPERATORS_PATH,
    Audience,
    Cohort,
    Command,
    Operation,
    Operators,
    ReleaseRef,
    Window,
    is_in_cohort,
    read_document,
)
from edgeapp.updates.messages import OUTCOMES, Event
from edgeapp.words import counted
from edgeapp.workshop.commands import (
    Draft,
    add_signature,
    checked_files,
    opened,
    pack,
    plain,
    read_draft,
    seal,
    take_numbers,
    target_sha256,
    write_draft,
)
from edgeapp.workshop.dialogue import (
    add_common_options,
    add_key_options,
    add_repository_option,
    confirm,
    open_keyring,
    progress_bar,
    say,
)
from edgeapp.workshop.fleet import Fleet
from edgeapp.workshop.operator_config import Workplace, add_config_argument, load_workplace
from edgeapp.workshop.repository import Repository
from edgeapp.workshop.words import addressees, in_words, names, shown_time

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_OPS: tuple[Operation, ...] = get_args(Operation)
_HELP = {
    "install": "install a release",
    "rollback": "go back to the last good release",
    "cancel": "stop an install that has not been committed",
    "pin": "refuse installs from now on",
    "unpin": "take installs again",
    "status": "ask devices where they stand",
}
_GOOD_ENDS = {"rollback": ("rolled_back", "committed"), "cancel": ("cancelled", "committed")}
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_PUBLISH_S = 60.0


def add_commands(commands: Commands) -> None:
    """Add `command` to the commands."""
    parser = commands.add_parser("command", help="order devices to install, roll back, cancel, pin, tell their status")
    actions = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    for op in _OPS:
        action = actions.add_parser(op, help=_HELP[op])
        if op == "install":
            action.add_argument("release", metavar="releases/NAME/VERSION.json")
            action.add_argument("--sha256", metavar="HEX", help="of the manifest; else the repository tells it")
            action.add_argument("--allow-downgrade", action="store_true", help="also below what was committed before")
            action.add_argument("--url", action="append", default=[], help="where devices may fetch the files")
        _add_audience(action)
        _add_times(action)
        action.add_argument("--seq", type=int, metavar="N", help="a number above every command so far; needed once")
        action.add_argument("--sign-only", type=Path, metavar="FILE", help="sign, and leave it to others to go on")
        add_signing(action)
        _add_wait(action)
        action.set_defaults(op=op)
        add_common_options(action, _order)
        add_config_argument(action)
    sign = actions.add_parser("sign", help="add a signature to what somebody left with --sign-only")
    send = actions.add_parser("send", help="send what has enough signatures")
    for action, function in ((sign, _sign), (send, _send)):
        action.add_argument("file", type=Path, metavar="FILE")
        add_common_options(action, function)
    add_signing(sign)
    add_repository_option(send)
    add_config_argument(send)
    _add_wait(send)


def add_signing(parser: argparse.ArgumentParser) -> None:
    """The options of what signs."""
    parser.add_argument("--key", action="append", default=[], metavar="NAME", help="sign with it (all that may)")
    add_key_options(parser)
    add_repository_option(parser)


def signers(chosen: argparse.Namespace, op: Operation) -> list[Signer]:
    """The keys of --key; without it those at hand whose operators may order this.

    Raises:
        CommandError: there is none.
        KeyringError: a key or its passphrase is wrong.
    """
    keyring = open_keyring(chosen)
    wanted = chosen.key
    if not wanted:
        path = Repository(chosen.repository).targets_dir / OPERATORS_PATH
        try:
            operators = read_document(Operators, path.read_bytes(), OPERATORS_PATH).operators
        except (OSError, UpdateError) as error:
            raise CommandError(f"expected --key NAME or a repository with {OPERATORS_PATH}, found: {error}") from error
        allowed = {operator.public for operator in operators if op in operator.ops}
        wanted = [name for name in keyring.names() if keyring.public(name) in allowed]
    if not wanted:
        raise CommandError(f"{chosen.keys}: expected the key of an operator who may order {op}, found none")
    return [keyring.signer(name) for name in wanted]


def moment(text: str) -> int:
    """A time in Unix seconds: ISO 8601 (UTC unless it says otherwise), or +30m, +12h, +14d from now.

    Raises:
        CommandError: it is neither.
    """
    span = re.fullmatch(r"\+([0-9]{1,6})([mhd])", text)
    if span:
        return int(time.time()) + int(span[1]) * _UNITS_S[span[2]]
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"expected a time such as 2026-06-01T22:00 or +12h, found {text!r}") from error
    return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp())


def _add_audience(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", action="append", default=[], metavar="ID", help="this device; may be given again")
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="this group; may be given again")
    parser.add_argument("--all", action="store_true", help="every device of the tenant")
    parser.add_argument("--cohort-salt", metavar="TEXT", help="of these, a share; the salt chooses which")
    parser.add_argument("--cohort-pct", type=float, metavar="PCT", help="how large the share is")


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--not-before", metavar="TIME", help="2026-06-01T22:00 (UTC) or +12h")
    parser.add_argument("--expires", default="+14d", metavar="TIME", help="when it is over (%(default)s)")
    parser.add_argument("--window", metavar="HH:MM-HH:MM", help="switch at these hours only (UTC)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="for whoever asks later")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="until each device has ended it; silence is a failure")
    parser.add_argument("--expect", type=int, metavar="N", help="with --group: how many devices are in the groups")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="(%(default).0f)")


def _order(chosen: argparse.Namespace) -> int:
    workplace = load_workplace(chosen.config)
    audience = _audience(chosen)
    topics = _topics(audience, workplace.tenant)
    command = _command(chosen, audience)
    with Fleet(workplace) as fleet:
        known = None if chosen.sign_only else fleet.learn()
        _ask(chosen, command, known)
        keys = signers(chosen, command.op)
        (number,) = take_numbers(workplace.state, 1, chosen.seq, fleet.history.highest_command())
        document = seal(dataclasses.replace(command, id=f"{command.op}-{number}", seq=number), keys)
        draft = Draft(commands={"command": document}, topics=tuple(topics))
        if chosen.sign_only:
            write_draft(chosen.sign_only, draft)
            text = f"{chosen.sign_only}: command {number}, signed by {len(keys)}. Nothing was sent."
            return say(chosen, {"file": str(chosen.sign_only), "seq": number, "signatures": len(keys)}, text)
        return _publish(chosen, workplace, fleet, draft)


def _sign(chosen: argparse.Namespace) -> int:
    draft = read_draft(chosen.file)
    commands = {name: opened(document).command for name, document in draft.commands.items()}
    lines = [line for name, command in commands.items() for line in (f"{name}:", *described(command))]
    confirm(chosen, "\n".join([*lines, f"Sign {len(commands)} command{'s' * (len(commands) > 1)}?"]))
    keys = signers(chosen, next(iter(commands.values())).op)
    signed = dict(draft.commands)
    for name in signed:
        for key in keys:
            signed[name] = add_signature(signed[name], key)
    write_draft(chosen.file, Draft(commands=signed, topics=draft.topics, plan=draft.plan))
    count = min(len(document.signatures) for document in signed.values())
    return say(
        chosen, {"file": str(chosen.file), "signatures": count}, f"{chosen.file}: signed, {count} signatures now"
    )


def _send(chosen: argparse.Namespace) -> int:
    draft = read_draft(chosen.file)
    if draft.plan:
        raise CommandError(f"{chosen.file}: expected one command, found a rollout: edgeapp-workshop rollout start FILE")
    workplace = load_workplace(chosen.config)
    with Fleet(workplace) as fleet:
        _ask(chosen, opened(draft.commands["command"]).command, fleet.learn())
        return _publish(chosen, workplace, fleet, draft)


def _audience(chosen: argparse.Namespace) -> Audience:
    if not (chosen.device or chosen.group or chosen.all):
        raise CommandError("expected --device, --group or --all, found none")
    if (chosen.cohort_salt is None) != (chosen.cohort_pct is None):
        raise CommandError("expected --cohort-salt and --cohort-pct together")
    cohort = None if chosen.cohort_salt is None else Cohort(salt=chosen.cohort_salt, pct=chosen.cohort_pct)
    return Audience(devices=tuple(chosen.device), groups=tuple(chosen.group), all=chosen.all, cohort=cohort)


def _topics(audience: Audience, tenant: str) -> list[str]:
    """The topics on which a command for this audience is published."""
    if audience.all:
        return [fleet_command(tenant)]
    groups = [group_command(tenant, group) for group in audience.groups]
    try:
        return [*groups, *(Topics(tenant, device).command for device in audience.devices)]
    except ValueError as error:
        raise CommandError(str(error)) from error


def _command(chosen: argparse.Namespace, audience: Audience) -> Command:
    """The command as it is to be, without its number. Raises CommandError where a device could not read it."""
    release = None
    if chosen.op == "install":
        sha256 = chosen.sha256 or target_sha256(Repository(chosen.repository), chosen.release)
        release = ReleaseRef(path=chosen.release, sha256=sha256)
    window = None
    if chosen.window is not None:
        start, _, end = chosen.window.partition("-")
        window = Window(start=start, end=end)
    command = Command(
        v=1,
        id=f"{chosen.op}-1",
        seq=1,
        iat=int(time.time()),
        exp=moment(chosen.expires),
        aud=audience,
        op=chosen.op,
        not_before=moment(chosen.not_before) if chosen.not_before else 0,
        window=window,
        release=release,
        allow_downgrade=getattr(chosen, "allow_downgrade", False),
        urls=tuple(getattr(chosen, "url", ())),
        reason=chosen.reason,
    )
    return opened(seal(command, ())).command


def _addressed(audience: Audience, known: Collection[str]) -> set[str]:
    """The devices that are meant, as far as one can know without their groups."""
    named = set(known if audience.all else audience.devices)
    return {device for device in named if audience.cohort is None or is_in_cohort(audience.cohort, device)}


def described(command: Command) -> list[str]:
    """What a command says, in lines for a person."""
    lines = [f"{command.op}: {addressees(command.aud)}; valid until {shown_time(command.exp)}"]
    if command.release is not None:
        lines.append(f"release: {command.release.path}, sha256 {command.release.sha256}")
    lines += ["ATTENTION: devices may go below the version that they had committed"] * command.allow_downgrade
    lines += [f"not before {shown_time(command.not_before)}"] * bool(command.not_before)
    lines += [f"between {command.window.start} and {command.window.end} UTC"] if command.window else []
    return lines + [f"reason: {command.reason}"] * bool(command.reason)


def _ask(chosen: argparse.Namespace, command: Command, known: set[str] | None) -> None:
    """Say what will happen to how many devices, and ask."""
    lines = described(command)
    if known is None:
        confirm(chosen, "\n".join([*lines, "Sign this? Nothing is sent yet."]))
        return
    addressed = _addressed(command.aud, known)
    strangers = addressed - known
    if strangers:
        lines.append(f"ATTENTION: the broker does not know {names(strangers)}; they get it when they come")
    if command.aud.groups:
        lines.append("How many devices are in the groups, only they know.")
    lines.append(
        f"The broker knows {counted(len(known), 'device')}; this is for {len(addressed & known)} of them. Send it?"
    )
    confirm(chosen, "\n".join(lines))


def _publish(chosen: argparse.Namespace, workplace: Workplace, fleet: Fleet, draft: Draft) -> int:
    document = draft.commands["command"]
    command = opened(document).command
    if chosen.wait and command.aud.groups and chosen.expect is None:
        raise CommandError("--wait for groups: expected --expect N, since only devices know their groups")
    content = pack(document, checked_files(chosen.repository, document))
    sent = workplace.state / "sent"
    sent.mkdir(exist_ok=True)
    write_durably(sent / f"{command.seq}.message", content)
    deadline_s = time.monotonic() + _PUBLISH_S
    waiting = set(draft.topics)
    for topic in draft.topics:
        fleet.link.send(topic, topic, content)
    while waiting:
        fleet.link.turn(0.1)
        waiting.difference_update(fleet.link.take_delivered())
        if waiting and time.monotonic() > deadline_s:
            raise CommandError(
                f"command {command.seq}: expected the broker to take it, found no answer for {names(waiting)} "
                f"({fleet.link.trouble or 'connected'}); it may have been sent"
            )
    result: dict[str, Any] = {"id": command.id, "seq": command.seq, "bytes": len(content), "topics": list(draft.topics)}
    if not chosen.wait:
        return say(chosen, result, f"{command.id}: sent, {len(content)} bytes")
    return _report(chosen, command, result, _follow(chosen, fleet, command), fleet)


def _follow(chosen: argparse.Namespace, fleet: Fleet, command: Command) -> dict[str, Event | None]:
    """The last event of each addressed device, once all have ended it or the time is up; None for the silent."""
    heard: dict[str, Event | None] = dict.fromkeys(_addressed(command.aud, fleet.present))
    expected = max(len(heard), chosen.expect or 0)
    deadline_s, cursor, ended = time.monotonic() + chosen.timeout, 0, 0
    with progress_bar(chosen) as progress:
        while ended < expected and time.monotonic() < deadline_s:
            fleet.link.turn(0.2)
            for row, event in fleet.history.events_after(cursor, [command.seq]):
                cursor = row
                before = heard.get(event.device)
                if before is None or before.phase not in OUTCOMES:
                    heard[event.device] = event
            ended = sum(event is not None and event.phase in OUTCOMES for event in heard.values())
            progress(f"waiting for {counted(expected, 'device')}", ended / expected)
    return heard


def _report(
    chosen: argparse.Namespace,
    command: Command,
    result: dict[str, Any],
    heard: dict[str, Event | None],
    fleet: Fleet,
) -> int:
    good_ends = _GOOD_ENDS.get(command.op, ("committed",))
    silent = [device for device, event in heard.items() if event is None or event.phase not in OUTCOMES]
    good = [device for device, event in heard.items() if event is not None and event.phase in good_ends]
    unheard = max((chosen.expect or 0) - len(heard), 0)
    answers = {device: plain(answer.update) for device, answer in fleet.history.results(command.seq).items()}
    lines = [
        f"{device}: {in_words(event) if event else 'nothing'}{', then SILENT' * (device in silent)}"
        for device, event in sorted(heard.items())
    ]
    lines += [f"{unheard} more were expected and said nothing"] * bool(unheard)
    lines.append(f"{command.id}: {len(good)} of {max(len(heard), chosen.expect or 0)} as ordered, {len(silent)} silent")
    devices = {
        device: None if event is None else {"phase": event.phase, "code": event.code, "text": event.text}
        for device, event in sorted(heard.items())
    }
    say(chosen, {**result, "devices": devices, "silent": silent, "answers": answers}, "\n".join(lines))
    return 0 if len(good) == len(heard) and not unheard else 1

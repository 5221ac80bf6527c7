"""`edgeapp-workshop rollout …`: start, watch, pause, resume, approve, halt, and where it stands.

Owns the options and the words. All commands of a rollout are made and signed at its start, also the one that halts it:
afterwards no key is needed, and nothing can be sent that was not signed then.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from edgeapp.errors import AlreadyRunningError, RolloutError
from edgeapp.reader import read_json
from edgeapp.system.files import sha256_of
from edgeapp.updates.command import Command, Operation, ReleaseRef
from edgeapp.updates.release import Probation, ReleaseManifest, read_release
from edgeapp.words import counted
from edgeapp.workshop import rollout_driver
from edgeapp.workshop.commands import (
    Draft,
    plain,
    read_draft,
    seal,
    take_numbers,
    target_sha256,
    write_draft,
)
from edgeapp.workshop.dialogue import add_common_options, add_repository_option, confirm, print_table, say
from edgeapp.workshop.fleet import Fleet
from edgeapp.workshop.history import History
from edgeapp.workshop.operator_config import Workplace, add_config_argument, load_workplace
from edgeapp.workshop.repository import Repository
from edgeapp.workshop.rollout_driver import Driver, Rollout
from edgeapp.workshop.rollout_outlook import Member, Outlook, Start, failures, outlook, starts
from edgeapp.workshop.rollout_plan import Plan, assign, audiences, check_plan, read_plan
from edgeapp.workshop.rollout_step import RolloutState, Standing, tally, waits_for_approval
from edgeapp.workshop.update_command import add_signing, signers
from edgeapp.workshop.words import names, shown_time

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_STANDINGS: tuple[Standing, ...] = ("success", "failure", "open", "untouched")
_LOOK_S = 1.0
_REQUESTS = {
    "pause": "start no further wave",
    "resume": "go on after a pause",
    "approve": "let the wave start that waits for it",
    "halt": "send the signed cancel, and the rollback where the plan has one",
}


def add_commands(commands: Commands) -> None:
    """Add `rollout` to the commands."""
    parser = commands.add_parser("rollout", help="install on a fleet wave by wave, and halt by itself")
    actions = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    start = actions.add_parser("start", help="sign all commands of a plan, and drive it")
    start.add_argument("plan", type=Path, metavar="PLAN.yaml|DRAFT.json")
    start.add_argument(
        "--dry-run", action="store_true", help="say who would get it and when, and who would refuse it; sign nothing"
    )
    start.add_argument("--sign-only", type=Path, metavar="DRAFT.json", help="sign, and leave it to others to go on")
    start.add_argument("--seq", type=int, metavar="N", help="a number above every command so far; needed once")
    add_signing(start)
    watch = actions.add_parser("watch", help="drive it on; while another process does, look on")
    add_repository_option(watch)
    shown = actions.add_parser("status", help="where it stands")
    parsers = [(start, _start), (watch, _watch), (shown, _status)]
    for kind, text in _REQUESTS.items():
        asked = actions.add_parser(kind, help=text)
        asked.set_defaults(kind=kind)
        add_repository_option(asked)
        parsers.append((asked, _request))
    for action, function in parsers:
        add_common_options(action, function)
        add_config_argument(action)
        if action is not start:
            action.add_argument("name", nargs="?", metavar="NAME", help="of the rollout (the newest)")


def _start(chosen: argparse.Namespace) -> int:
    workplace = load_workplace(chosen.config)
    draft = read_draft(chosen.plan) if chosen.plan.suffix == ".json" else None
    plan = _plan(chosen, draft)
    os.close(rollout_driver.hold(workplace.state))  # told before the question: one rollout at a time
    if chosen.sign_only:
        with History(workplace.state, workplace.tenant) as history:
            confirm(chosen, "\n".join([*_plan_lines(plan), "Sign all of its commands? Nothing is sent yet."]))
            made = _signed(chosen, workplace, history, plan)
        write_draft(chosen.sign_only, made)
        text = f"{chosen.sign_only}: {counted(len(made.commands), 'command')}, signed. Nothing was sent."
        return say(chosen, {"file": str(chosen.sign_only), "commands": len(made.commands)}, text)
    with Fleet(workplace) as fleet:
        known = fleet.learn()
        waves = assign(plan, known)
        release = _manifest(chosen.repository, plan)
        begins = starts(plan, (release.probation if release else Probation()).duration_s, time.time())
        prospects = outlook(plan, release, waves, _members(fleet.history, plan))
        lines = _plan_lines(plan) + _wave_lines(plan, waves, begins) + _warnings(prospects)
        if chosen.dry_run:
            return _say_dry(chosen, plan, begins, prospects, lines)
        confirm(chosen, "\n".join([*lines, f"Start it, on {counted(len(waves), 'device')} at most?"]))
        draft = draft or _signed(chosen, workplace, fleet.history, plan)
    return _drive(chosen, workplace, rollout_driver.create(workplace.state, draft, waves, chosen.repository))


def _watch(chosen: argparse.Namespace) -> int:
    workplace = load_workplace(chosen.config)
    rollout = _rollout(chosen, workplace)
    return _drive(chosen, workplace, rollout)


def _request(chosen: argparse.Namespace) -> int:
    """Leave the request for whoever drives. A halt does not wait for one."""
    workplace = load_workplace(chosen.config)
    rollout = _rollout(chosen, workplace)
    if rollout.is_ended:
        raise RolloutError(f"{rollout.name}: expected a running rollout, found it {rollout.state.phase}")
    if chosen.kind == "approve" and not waits_for_approval(rollout.plan, rollout.state):
        raise RolloutError(f"{rollout.name}: expected a wave that waits for approval, found none")
    if chosen.kind in ("halt", "approve"):
        confirm(chosen, f"{rollout.name}: {chosen.kind}, that is, {_REQUESTS[chosen.kind]}?")
    with History(workplace.state, workplace.tenant) as history:
        history.request(rollout.name, chosen.kind)
    if chosen.kind == "halt":
        return _watch(chosen)
    text = f"{rollout.name}: {chosen.kind} is noted; whoever drives it (`rollout watch`) follows it at once"
    return say(chosen, {"rollout": rollout.name, "request": chosen.kind}, text)


def _status(chosen: argparse.Namespace) -> int:
    return _say(chosen, _rollout(chosen, load_workplace(chosen.config)))


def _rollout(chosen: argparse.Namespace, workplace: Workplace) -> Rollout:
    return Rollout(workplace.state, chosen.name or rollout_driver.newest(workplace.state))


def _drive(chosen: argparse.Namespace, workplace: Workplace, rollout: Rollout) -> int:
    """Drive it to its end, or look on for as long as another process does."""
    with _shown(chosen) as show:
        while not rollout.is_ended:
            try:
                with Driver(workplace, rollout, chosen.repository) as driver:
                    while not driver.rollout.is_ended:
                        driver.turn()
                        show(driver.rollout)
                    driver.end_session()
            except AlreadyRunningError:
                show(rollout)
                time.sleep(_LOOK_S)
            rollout = Rollout(workplace.state, rollout.name)
    return _say(chosen, rollout)


def _plan(chosen: argparse.Namespace, draft: Draft | None) -> Plan:
    """The plan with the hash of its release."""
    if draft is not None:
        if not draft.plan:
            raise RolloutError(f"{chosen.plan}: expected a rollout, found one command: edgeapp-workshop command send")
        plan = read_json(Plan, draft.plan, str(chosen.plan))
        check_plan(plan, str(chosen.plan))
        return plan
    try:
        plan = read_plan(chosen.plan.read_bytes(), str(chosen.plan))
    except OSError as error:
        raise RolloutError(f"{chosen.plan}: expected a plan, found: {error.strerror}") from error
    return dataclasses.replace(plan, sha256=plan.sha256 or target_sha256(Repository(chosen.repository), plan.release))


def _signed(chosen: argparse.Namespace, workplace: Workplace, history: History, plan: Plan) -> Draft:
    """Every command of the plan, numbered so that what halts comes last, and signed."""
    wanted = audiences(plan)
    keys = signers(chosen, "install")
    numbers = take_numbers(workplace.state, len(wanted), chosen.seq, history.highest_command())
    commands, now_s = {}, int(time.time())
    for number, (order, audience) in zip(numbers, wanted.items(), strict=True):
        op: Operation = "install"
        if order in ("cancel", "rollback"):
            op = "cancel" if order == "cancel" else "rollback"
        is_install = op == "install"
        command = Command(
            v=1,
            id=f"{plan.name}-{order}-{number}",
            seq=number,
            iat=now_s,
            exp=now_s + round(plan.expires_h * 3600) * (1 if is_install else 2),
            aud=audience,
            op=op,
            window=plan.window if is_install else None,
            release=ReleaseRef(path=plan.release, sha256=plan.sha256 or "") if is_install else None,
            allow_downgrade=plan.allow_downgrade and is_install,
            urls=plan.urls if is_install else (),
            reason=plan.reason,
        )
        commands[order] = seal(command, keys)
    return Draft(commands=commands, plan=json.dumps(plain(plan)))


def _manifest(repository: Path, plan: Plan) -> ReleaseManifest | None:
    """The release's manifest, where the repository is at hand."""
    path = repository / "targets" / plan.release
    if not path.is_file() or sha256_of(path) != plan.sha256:
        return None
    return read_release(path.read_bytes(), plan.release)


def _members(history: History, plan: Plan) -> list[Member]:
    """The fleet as it was last heard of."""
    failed = failures(history.events_about(plan.sha256 or ""), plan.sha256 or "")
    return [
        Member(
            device=each.device,
            state=each.state,
            app=each.app,
            model=each.model,
            version=each.version,
            failed=failed.get(each.device, ""),
        )
        for each in history.devices()
    ]


def _warnings(prospects: Sequence[Outlook]) -> list[str]:
    offline = [each.device for each in prospects if each.state != "online"]
    refusing = [each for each in prospects if each.code]
    lines = [f"ATTENTION: {counted(len(offline), 'device')} offline now: {names(offline)}"] * bool(offline)
    return lines + [
        f"ATTENTION: {counted(len(refusing), 'device')} would refuse it: {names([each.device for each in refusing])} "
        f"({', '.join(f'{code} {count}' for code, count in Counter(each.code for each in refusing).most_common())})"
    ] * bool(refusing)


def _say_dry(
    chosen: argparse.Namespace, plan: Plan, begins: Sequence[Start], prospects: Sequence[Outlook], lines: list[str]
) -> int:
    """Who would get it, when, and what would come of it."""
    if not chosen.json:
        print("\n".join(lines))
        print_table(
            ("wave", "device", "state", "runs", ""),
            [(plan.waves[each.wave].name, each.device, each.state, each.runs, each.text) for each in prospects],
            wrapped=("",),
        )
        return 0
    per_wave = [[each.device for each in prospects if each.wave == wave] for wave in range(len(plan.waves))]
    result = {
        "waves": per_wave,
        "offline": sorted(each.device for each in prospects if each.state != "online"),
        "starts": [{"earliest": round(each.earliest_s), "latest": round(each.latest_s)} for each in begins],
        "devices": [dataclasses.asdict(each) for each in prospects],
    }
    return say(chosen, result, "")


def _plan_lines(plan: Plan) -> list[str]:
    lines = [f"{plan.name}: install {plan.release}, sha256 {plan.sha256}, signed for {plan.expires_h:g} h"]
    lines += ["ATTENTION: devices may go below the version that they had committed"] * plan.allow_downgrade
    goes_back = "; committed devices go back" if plan.on_halt == "rollback" else "; committed devices keep it"
    return [*lines, f"a halt cancels by itself, without asking{goes_back}; its commands are signed now"]


def _wave_lines(plan: Plan, waves: dict[str, int], begins: Sequence[Start]) -> list[str]:
    lines, is_gated = [], False
    for number, (wave, start) in enumerate(zip(plan.waves, begins, strict=True)):
        members = [device for device, each in waves.items() if each == number]
        is_gated = is_gated or wave.approval
        when = "at once" if number == 0 else f"not before {shown_time(start.earliest_s)}"
        if number and not is_gated:  # nobody knows when somebody approves
            when += f", by {shown_time(start.latest_s)} where nothing halts or pauses it"
        lines.append(
            f"wave {wave.name}, {when}{', after an approval' * wave.approval}: {counted(len(members), 'device')} "
            f"({names(members)}); {wave.success_pct:g} % must commit, more than {wave.error_pct:g} % failed or silent "
            f"for {wave.report_timeout_s:g} s halt it"
        )
    return lines


def _in_words(plan: Plan, state: RolloutState) -> str:
    if state.phase != "running":
        return f"{state.phase}: {state.reason}"
    if waits_for_approval(plan, state):
        return f"wave {plan.waves[state.wave + 1].name} waits for `rollout approve`"
    if state.is_paused:
        return "paused: no further wave starts"
    return "about to start" if state.wave < 0 else f"wave {plan.waves[state.wave].name}"


def _say(chosen: argparse.Namespace, rollout: Rollout) -> int:
    plan, state = rollout.plan, rollout.state
    counts = [{name: tally(state, number)[name] for name in _STANDINGS} for number in range(len(plan.waves))]
    lines = [f"{rollout.name}: {_in_words(plan, state)}"]
    for wave, count in zip(plan.waves, counts, strict=True):
        lines.append(f"wave {wave.name}: " + ", ".join(f"{count[name]} {name}" for name in _STANDINGS))
    failed = {device: each for device, each in sorted(state.devices.items()) if each.standing == "failure"}
    lines += [f"{device}: {', '.join(each.ends)} {each.code} {each.text}" for device, each in failed.items()]
    result: dict[str, Any] = {
        "rollout": rollout.name,
        "phase": state.phase,
        "reason": state.reason,
        "paused": state.is_paused,
        "waits_for_approval": waits_for_approval(plan, state),
        "halted_at": shown_time(state.halted_s) if state.halted_s else None,
        "waves": [{"name": wave.name, **count} for wave, count in zip(plan.waves, counts, strict=True)],
        "devices": {device: dataclasses.asdict(each) for device, each in state.devices.items()},
    }
    say(chosen, result, "\n".join(lines))
    return 1 if state.phase in ("halting", "halted", "expired") else 0


@contextmanager
def _shown(chosen: argparse.Namespace) -> Iterator[Callable[[Rollout], None]]:
    """What shows a rollout on standard error: bars on a terminal, else a line for each change."""
    if chosen.json:
        yield lambda rollout: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("")

            def show_bar(rollout: Rollout) -> None:
                devices = rollout.state.devices.values()
                ended = sum(each.standing in ("success", "failure") for each in devices)
                text = _in_words(rollout.plan, rollout.state).partition(":")[0]  # why it halted is said at the end
                progress.update(bar, total=len(devices), completed=ended, description=text)

            yield show_bar
    else:
        said = [""]

        def show_line(rollout: Rollout) -> None:
            count = Counter(each.standing for each in rollout.state.devices.values())
            counts = ", ".join(f"{count[name]} {name}" for name in _STANDINGS)
            text = f"{_in_words(rollout.plan, rollout.state)}; {counts}"
            if text != said[0]:
                print(text, file=sys.stderr, flush=True)
                said[0] = text

        yield show_line

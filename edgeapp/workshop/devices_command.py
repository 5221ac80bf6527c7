"""`edgeapp-workshop devices …`: what is known of the fleet, and listening to it for as long as one likes."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any, TypeAlias

from edgeapp.errors import CommandError
from edgeapp.words import counted
from edgeapp.workshop.commands import plain
from edgeapp.workshop.dialogue import add_common_options, print_table, say
from edgeapp.workshop.fleet import Fleet
from edgeapp.workshop.history import DeviceSummary
from edgeapp.workshop.operator_config import add_config_argument, load_workplace
from edgeapp.workshop.words import ago, in_words, shown_time

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_COLUMNS = ("device", "state", "heard", "model", "app", "last update", "last error", "reports")


def add_commands(commands: Commands) -> None:
    """Add `devices` to the commands."""
    parser = commands.add_parser("devices", help="what is known of the fleet")
    actions = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    listed = actions.add_parser("list", help="every device that the broker or the history knows")
    shown = actions.add_parser("show", help="one device and its last events")
    shown.add_argument("device", metavar="ID")
    shown.add_argument("--events", type=int, default=20, metavar="N", help="how many (%(default)s)")
    watched = actions.add_parser("watch", help="listen, and keep what devices say; run it as a service")
    watched.add_argument("--seconds", type=float, metavar="N", help="end after so long")
    for action, function in ((listed, _list), (shown, _show), (watched, _watch)):
        add_common_options(action, function)
        add_config_argument(action)


def _list(chosen: argparse.Namespace) -> int:
    with Fleet(load_workplace(chosen.config)) as fleet:
        fleet.learn()
        devices = fleet.history.devices()
    if chosen.json:
        return say(chosen, {"devices": [_as_json(device) for device in devices]}, "")
    print_table(_COLUMNS, map(_row, devices), wrapped=("last error", "reports"))
    return 0


def _show(chosen: argparse.Namespace) -> int:
    with Fleet(load_workplace(chosen.config)) as fleet:
        fleet.learn()
        found = [device for device in fleet.history.devices() if device.device == chosen.device]
        if not found:
            raise CommandError(f"{chosen.device}: expected a device that the broker or the history knows, found none")
        events = fleet.history.events_of(chosen.device, chosen.events)
    (device,) = found
    rows = [f"{name}: {text}" for name, text in zip(_COLUMNS, _row(device), strict=True)]
    for event in events:
        rows.append(f"{shown_time(event.at)}  {event.command.id if event.command else '-':<20} {in_words(event)}")
    return say(chosen, {**_as_json(device), "events": [plain(event) for event in events]}, "\n".join(rows))


def _watch(chosen: argparse.Namespace) -> int:
    end_s = None if chosen.seconds is None else time.monotonic() + chosen.seconds
    with Fleet(load_workplace(chosen.config), "watch") as fleet:
        fleet.link.connect()
        cursor = fleet.history.cursor()
        try:
            while end_s is None or time.monotonic() < end_s:
                fleet.link.turn(0.5)
                for row, event in fleet.history.events_after(cursor):
                    cursor = row
                    if not chosen.json:
                        print(f"{shown_time(event.at)}  {event.device}: {in_words(event)}", flush=True)
        except KeyboardInterrupt:
            pass
        return say(chosen, {"devices": [_as_json(device) for device in fleet.history.devices()]}, "")


def _row(device: DeviceSummary) -> tuple[str, ...]:
    troubles = [f"{counted(device.missing, 'report')} never came here"] * bool(device.missing)
    troubles += [f"{device.lost} dropped on the device"] * bool(device.lost)
    troubles += [f"{device.unreadable} unreadable"] * bool(device.unreadable)
    version = "" if device.version is None else f" {device.version}"
    return (
        device.device,
        device.state,
        f"{ago(time.time() - device.heard_s)} ago",
        f"{device.model}{version}" or "not told",
        device.app,
        device.last.phase.replace("_", " ") if device.last else "none",
        in_words(device.last_error) if device.last_error else "none",
        "; ".join(troubles) or "all here",
    )


def _as_json(device: DeviceSummary) -> dict[str, Any]:
    fields = {each.name: getattr(device, each.name) for each in dataclasses.fields(device)}
    for name in ("last", "last_error"):
        fields[name] = None if fields[name] is None else plain(fields[name])
    return {**fields, "heard_s": round(device.heard_s, 3)}

"""Drives a rollout: hears the fleet, asks `rollout_step.step`, keeps the state, sends what it says.

Owns the folder of a rollout. Guarantees: the state is on disk before anything that follows from it is sent; an order's
bytes are on disk before they are first sent, and are never made anew; reports are taken from the history, from the row
where the last kept state ended. So whoever is killed at any point, and goes on, sends the same and misses nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from edgeapp.errors import EdgeAppError, RolloutError
from edgeapp.messaging.topics import Topics
from edgeapp.reader import read_json
from edgeapp.system.files import hold_lock, sync_folder, write_durably
from edgeapp.workshop.commands import Draft, checked_files, opened, pack, read_draft, write_draft
from edgeapp.workshop.fleet import Fleet
from edgeapp.workshop.operator_config import Workplace
from edgeapp.workshop.rollout_plan import Plan
from edgeapp.workshop.rollout_step import (
    Delivered,
    DeviceState,
    Moment,
    Report,
    Request,
    RolloutState,
    Send,
    begin,
    step,
)

_LOGGER = logging.getLogger(__name__)
_ROLLOUTS = "rollouts"
_TURN_S = 0.2
_ENDED = ("halted", "expired", "done")


class Rollout:
    """The folder of one rollout: what was signed, and where it stands."""

    def __init__(self, state_folder: Path, name: str) -> None:
        """Open it.

        Raises:
            RolloutError: there is none of that name, or it cannot be read.
        """
        self.name, self.folder = name, state_folder / _ROLLOUTS / name
        try:
            self.draft = read_draft(self.folder / "draft.json")
            kept = json.loads((self.folder / "state.json").read_bytes())
            self.plan = read_json(Plan, self.draft.plan, "plan")
            self.cursors: dict[str, int] = kept["cursors"]
            devices = {device: DeviceState(**_as_tuples(fields)) for device, fields in kept["state"]["devices"].items()}
            self.state = RolloutState(**{**kept["state"], "devices": devices})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RolloutError(f"{self.folder}: expected a rollout, found: {error}") from error
        self.seqs = {opened(document).command.seq: order for order, document in self.draft.commands.items()}

    @property
    def is_ended(self) -> bool:
        return self.state.phase in _ENDED

    def keep(self, state: RolloutState, cursors: dict[str, int]) -> None:
        """Make the state durable, where it has changed."""
        if (state, cursors) != (self.state, self.cursors):
            write_durably(self.folder / "state.json", _encode(state, cursors))
            self.state, self.cursors = state, cursors

    def message(self, order: str, repository: Path) -> bytes:
        """The bytes of an order: those that were sent before, or made now and kept.

        They carry the metadata as it is now, or, if that cannot be had, as it was at the start: a halt must not fail
        for a repository that is just being changed.
        """
        path = self.folder / f"{order}.message"
        if not path.exists():
            document = self.draft.commands[order]
            try:
                files = checked_files(repository, document) or self._first_files()
            except EdgeAppError as error:
                _LOGGER.warning("%s: the metadata of the rollout's start is sent: %s", order, error)
                files = self._first_files()
            write_durably(path, pack(document, files))
        return path.read_bytes()

    def _first_files(self) -> dict[str, str]:
        files: dict[str, str] = json.loads((self.folder / "files.json").read_bytes())
        return files


def create(state_folder: Path, draft: Draft, waves: dict[str, int], repository: Path) -> Rollout:
    """Lay the folder of a rollout down, whole or not at all. Its name is the plan's with its first number.

    Raises:
        RolloutError: there is one of that name.
        CommandError, ReleaseError: devices would refuse the signatures, or the repository is in disorder.
    """
    first, *others = draft.commands.values()
    files, command = checked_files(repository, first), opened(first).command
    for document in others:
        checked_files(repository, document)
    name = f"{read_json(Plan, draft.plan, 'plan').name}-{command.seq}"
    folder = state_folder / _ROLLOUTS / name
    if folder.exists():
        raise RolloutError(f"{folder}: expected no rollout of that name, found one: edgeapp-workshop rollout watch")
    building = folder.with_name(f".{name}.new")
    building.mkdir(parents=True, exist_ok=True)
    write_draft(building / "draft.json", draft)
    write_durably(building / "state.json", _encode(begin(waves, command.exp), {"event": 0, "request": 0}))
    write_durably(building / "files.json", json.dumps(files).encode())
    building.rename(folder)
    sync_folder(folder.parent)
    return Rollout(state_folder, name)


def newest(state_folder: Path) -> str:
    """The name of the rollout that was created last.

    Raises:
        RolloutError: there is none.
    """
    folders = (state_folder / _ROLLOUTS).glob("[!.]*")
    found = sorted(folders, key=lambda folder: int(folder.name.rpartition("-")[2]))
    if not found:
        raise RolloutError(f"{state_folder / _ROLLOUTS}: expected a rollout, found none")
    return found[-1].name


def hold(state_folder: Path) -> int:
    """Take the right to drive rollouts from this state folder; the descriptor to close.

    Raises:
        AlreadyRunningError: another process drives one.
    """
    (state_folder / _ROLLOUTS).mkdir(exist_ok=True)
    return hold_lock(state_folder / _ROLLOUTS / ".lock")


class Driver:
    """Drives one rollout; `turn` until it is ended. Holds the lock from `__enter__` to `__exit__`."""

    def __init__(self, workplace: Workplace, rollout: Rollout, repository: Path) -> None:
        self._workplace, self.rollout, self._repository = workplace, rollout, repository
        self._messages: dict[str, bytes] = {}
        self._sending: dict[str, str] = {}

    def __enter__(self) -> Driver:
        self._lock = hold(self._workplace.state)
        # A session of its own for each rollout: what devices say while nobody drives it waits at the broker.
        self.fleet = Fleet(self._workplace, self.rollout.name)
        self.rollout = Rollout(self._workplace.state, self.rollout.name)  # as whoever drove it before has left it
        return self

    def __exit__(self, *details: object) -> None:
        self.fleet.__exit__(*details)
        os.close(self._lock)

    def turn(self) -> None:
        """Listen for a moment, and do what follows from it."""
        fleet, rollout = self.fleet, self.rollout
        fleet.link.turn(_TURN_S)
        now_s = time.time()
        events: list[Report | Delivered | Request] = []
        events.extend(Delivered(device, self._sending[device], now_s) for device in fleet.link.take_delivered())
        cursors = dict(rollout.cursors)
        for row, kind in fleet.history.requests_after(cursors["request"], rollout.name):
            cursors["request"] = row
            events.append(Request(kind))
        for row, event in fleet.history.events_after(cursors["event"], rollout.seqs):
            cursors["event"] = row
            order = rollout.seqs[event.command.seq] if event.command else ""
            events.append(Report(event.device, order, event.phase, event.code, event.text))
        moment = Moment(now_s, fleet.link.listening_since_s)
        state, sends = step(rollout.plan, rollout.state, events, moment)
        rollout.keep(state, cursors)
        for send in sends:
            self._send(send)

    def end_session(self) -> None:
        """Tell the broker that nobody comes back for what it would keep."""
        self.fleet.link.end_session()

    def _send(self, send: Send) -> None:
        if self.fleet.link.is_sending(send.device) and self._sending[send.device] == send.order:
            return
        if send.order not in self._messages:
            self._messages[send.order] = self.rollout.message(send.order, self._repository)
        topic = Topics(self._workplace.tenant, send.device).command
        self.fleet.link.send(send.device, topic, self._messages[send.order])
        self._sending[send.device] = send.order


def _as_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _encode(state: RolloutState, cursors: dict[str, int]) -> bytes:
    return json.dumps({"v": 1, "cursors": cursors, "state": dataclasses.asdict(state)}).encode()

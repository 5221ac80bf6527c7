"""The fleet as the operator's tool meets it: listens into the history, and publishes commands.

Owns which connection is used for what. A session that the broker keeps belongs to one purpose of one state folder, so
that two commands never throw each other out.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from edgeapp.system.files import write_durably
from edgeapp.workshop.broker_link import BrokerLink, Message
from edgeapp.workshop.history import History
from edgeapp.workshop.operator_config import Workplace

_TURN_S = 0.1
_QUIET_S = 0.5  # retained messages follow the subscription at once; after so long without a new device all have come
_LEARN_S = 30.0


class Fleet:
    """Use as a context. `history` may be asked at any time."""

    def __init__(self, workplace: Workplace, purpose: str = "") -> None:
        """With a `purpose` the broker keeps what comes while we are away, for the next one of this purpose."""
        self.history = History(workplace.state, workplace.tenant)
        self.present: set[str] = set()
        self._quiet_s = 0.0  # for how long we have listened without hearing of a new device
        self._link = BrokerLink(
            workplace.mqtt,
            f"{_tool_id(workplace.state)}-{purpose or secrets.token_hex(4)}",
            self.history.topics(),
            self._keep,
            keeps_session=bool(purpose),
        )

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *details: object) -> None:
        self._link.__exit__(*details)
        self.history.__exit__(*details)

    @property
    def link(self) -> BrokerLink:
        """What publishes, and knows how the connection is."""
        return self._link

    def learn(self) -> set[str]:
        """Connect, and wait until the broker has told which devices there are. Returns them.

        Raises:
            BrokerError: it cannot be reached.
        """
        self._link.connect()
        self._quiet_s, start_s = 0.0, time.monotonic()
        while self._quiet_s < _QUIET_S and time.monotonic() - start_s < _LEARN_S:
            before_s = time.monotonic()
            self._link.turn(_TURN_S)
            # More than it may take is no listening: this machine has held us back.
            self._quiet_s += min(time.monotonic() - before_s, _TURN_S)
        return set(self.present)

    def _keep(self, messages: list[Message]) -> None:
        present = self.history.keep(messages)
        if not present <= self.present:
            self._quiet_s = 0.0
        self.present |= present


def _tool_id(state: Path) -> str:
    """A client id of this state folder, drawn once."""
    path = state / "client-id"
    if not path.exists():
        write_durably(path, f"edgeapp-workshop-{secrets.token_hex(8)}\n".encode())
    return path.read_text().strip()

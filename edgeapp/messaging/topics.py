"""The names of the MQTT topics, pure. `docs/messages.md` describes them for readers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ROOT = "edgeapp/v1"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Topics:
    """One device's topics: edgeapp/v1/<tenant>/<device>/…

    Raises:
        ValueError: tenant or device is not 1 to 63 of a-z, 0-9 and -. A slash or a wildcard in them would reach into
            another device's topics.
    """

    tenant: str
    device: str

    def __post_init__(self) -> None:
        for field, value in (("tenant", self.tenant), ("device", self.device)):
            if not _NAME.fullmatch(value):
                raise ValueError(f"{field}: expected 1 to 63 of a-z, 0-9 and -, not starting with -, found {value!r}")

    @property
    def status(self) -> str:
        """Retained: whether the device is online."""
        return f"{_ROOT}/{self.tenant}/{self.device}/status"

    def report(self, kind: str) -> str:
        """The reports of one kind, such as "telemetry"; not retained."""
        return f"{_ROOT}/{self.tenant}/{self.device}/{kind}"

    @property
    def command(self) -> str:
        """Retained: the newest command for this device alone."""
        return f"{_ROOT}/{self.tenant}/{self.device}/cmd/update"


def commands(topics: Topics, groups: Iterable[str]) -> tuple[str, ...]:
    """Where a device hears commands: its own topic, its groups', and that of all."""
    of_groups = (group_command(topics.tenant, group) for group in groups)
    return (topics.command, *of_groups, fleet_command(topics.tenant))


def blocks(tenant: str) -> str:
    """Below it lie the blocks of files that a broker retains."""
    return f"{_ROOT}/{tenant}"


def consents(below: str) -> str:
    """Retained: signed metadata and consents of the tenant whose `blocks` lie `below`, for devices without a web."""
    return f"{below}/_all/sites"


def group_command(tenant: str, group: str) -> str:
    """Retained: the newest command for a group. No device's id can hold the underscore."""
    return f"{_ROOT}/{tenant}/_group/{group}/cmd/update"


def fleet_command(tenant: str) -> str:
    """Retained: the newest command for all devices."""
    return f"{_ROOT}/{tenant}/_all/cmd/update"

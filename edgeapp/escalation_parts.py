"""Builds escalation for this device: the outbox, the client, and where it gets the consent from.

The parts of escalation know nothing of updates; here they get to know each other. The consent is a TUF target, trusted
as releases are (docs/update-trust.md), with a folder of metadata of its own, since two threads must not share one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edgeapp.config import Config
from edgeapp.errors import ConsentError
from edgeapp.escalation import consent
from edgeapp.escalation.client import EscalationClient
from edgeapp.escalation.opened_hours import OPENED_NAME, OpenedHours
from edgeapp.escalation.outbox import Outbox
from edgeapp.escalation.policy import limits, spent_at_start
from edgeapp.interfaces import Clock
from edgeapp.system.links import default_interfaces
from edgeapp.update_parts import consent_source, trusted_root
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.metadata import fetch_target, refresh

_LOGGER = logging.getLogger(__name__)
_TUF_NAME = "tuf-sites"
_CONSENT_MAX_BYTES = 16 * 1024
# These say that it could not be found out, not that there is no consent.
_UNKNOWN = frozenset({Code.E_CLOCK, Code.E_NET, Code.E_HTTP, Code.E_DEADLINE, Code.E_SPACE, Code.E_IO})


@dataclass(frozen=True, slots=True)
class EscalationParts:
    """What the pipeline and the worker meet at, and the worker."""

    outbox: Outbox
    client: EscalationClient


def build_escalation(config: Config, clock: Clock) -> EscalationParts:
    """The escalation of this device.

    Raises:
        ConfigError: the root of trust cannot be read; nothing was started.
    """
    hours = OpenedHours(Path(config.paths.state_dir) / OPENED_NAME, clock.wall_s())
    outbox = Outbox(spent_at_start(hours.kept, limits(config.escalation)))
    lookup = ConsentLookup(config, clock, Path(config.paths.state_dir) / _TUF_NAME)
    client = EscalationClient(config, outbox, hours, clock, fetch_consent=lookup.fetch, interfaces=default_interfaces)
    return EscalationParts(outbox, client)


class ConsentLookup:
    """Fetches the consent of one device from where its updates come, and keeps the metadata in `folder`.

    Raises:
        ConfigError: the root of trust cannot be read.
    """

    def __init__(self, config: Config, clock: Clock, folder: Path) -> None:
        self._config, self._clock, self._folder = config, clock, folder
        self._root = trusted_root(config)
        self._said = ""

    def fetch(self) -> consent.SiteConsent | None:
        """The genuine consent as it is now; None where it cannot be known at present.

        Raises:
            ConsentError: there is none, or it is malformed.
            UpdateError: the metadata is not to be trusted.
        """
        source = consent_source(self._config)
        if source is None:
            return None
        clock = ClockReading(self._clock.wall_s(), self._clock.is_synchronised())
        device = self._config.device
        try:
            self._folder.mkdir(exist_ok=True)
            trusted = refresh(self._folder, self._root, source, clock, Floors())
            for path in consent.paths(device.tenant, device.id):
                if path in trusted.targets:
                    return consent.read_consent(fetch_target(source, trusted, path, _CONSENT_MAX_BYTES), path)
        except OSError as error:
            self._say(str(error))
            return None
        except UpdateError as error:
            if error.reason.code not in _UNKNOWN:
                raise
            self._say(f"{error.code}: {error}")
            return None
        raise ConsentError(f"expected {' or '.join(consent.paths(device.tenant, device.id))} among the signed targets")

    def _say(self, why: str) -> None:
        if why != self._said:
            _LOGGER.info("escalation: the consent cannot be fetched: %s", why)
            self._said = why

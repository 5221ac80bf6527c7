"""The worker with the network: keeps the permission up to date, sends crops, brings outcomes back.

Owns the permission, the circuit breaker and the opened hours. A crop lives in this memory from the outbox to the socket
and is forgotten with its answer; nothing is retried, nothing is written. Consent is asked for anew every hour and holds
for a day at most without being confirmed, so one that is taken back ends within that, and within the hour where the
device can fetch.

What is logged and shown follows a fixed schedule: probes, never questions, since a question tells that somebody passed.
Guarantees: without a consent in force no connection to the endpoint is made at all, not even for a probe.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeapp.config import Config
from edgeapp.errors import ConsentError, EdgeAppError, EndpointError
from edgeapp.escalation.answer import judge, read_answer
from edgeapp.escalation.breaker import Breaker, Event
from edgeapp.escalation.consent import SiteConsent, check_consent, in_words
from edgeapp.escalation.link import Link
from edgeapp.escalation.opened_hours import OpenedHours
from edgeapp.escalation.outbox import Outbox, Permission, Sealed
from edgeapp.interfaces import Clock
from edgeapp.system.heart import Heart
from edgeapp.types import UNANSWERED, EscalationHealth

_LOGGER = logging.getLogger(__name__)
_TURN_S = 0.25
_CONFIRM_S = 3600.0
_CONFIRM_AGAIN_S = 60.0  # where there was none, or it could not be fetched
_HOLDS_S = 86_400.0
_PROBE_S = 30.0
_PROBE_LIMIT_S = 5.0
_LOOK_S = 5.0
_OPEN_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """A genuine consent and the last moment (Unix seconds) for which its confirmation is good."""

    consent: SiteConsent
    until_s: float


class EscalationClient:
    """`run` is one thread's; `health` may be called from any."""

    def __init__(
        self,
        config: Config,
        outbox: Outbox,
        hours: OpenedHours,
        clock: Clock,
        *,
        fetch_consent: Callable[[], SiteConsent | None],
        interfaces: Callable[[], frozenset[str]],
    ) -> None:
        """`fetch_consent` gives the genuine consent as it is now, None where that cannot be known at present, or raises
        an EdgeAppError where there is none; `interfaces` are those of the default route.
        """
        self._config, self._settings = config, config.escalation
        self._outbox, self._hours, self._clock = outbox, hours, clock
        self._fetch_consent, self._interfaces = fetch_consent, interfaces
        self._link = Link(config.escalation)
        self._breaker = Breaker()
        self._confirmed: _Confirmed | None = None
        self._due_s = dict.fromkeys(("confirm", "probe", "look", "hour"), 0.0)  # on the monotonic clock
        self._consent_text = "not looked for yet"
        self._probe_text = "not asked yet"

    def run(self, stop: threading.Event, heart: Heart) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            heart.beat()
            self.turn()
            sealed = self._outbox.take(_TURN_S)
            if sealed is not None:
                self._send(sealed)
        self._outbox.drop_all()

    def health(self) -> EscalationHealth:
        """How it stands, for the status."""
        permission = self._outbox.permission
        return EscalationHealth(
            has_consent=permission.consent_until_s > self._clock.wall_s(),
            consent=self._consent_text,
            is_endpoint_up=permission.is_endpoint_up,
            endpoint=self._probe_text,
            is_metered=permission.is_metered,
        )

    def turn(self) -> None:
        """Look at what is due: consent, link, probe, hour."""
        if self._is_due("confirm"):
            self._in(_CONFIRM_S if self._confirm() else _CONFIRM_AGAIN_S, "confirm")
        until_s = self._consent_until_s()
        if not until_s:
            self._forbid()
            return
        self._outbox.permission = replace(self._outbox.permission, consent_until_s=until_s)
        if self._is_due("look"):
            self._in(_LOOK_S, "look")
            self._outbox.permission = replace(self._outbox.permission, is_metered=self._is_metered())
        if self._is_due("probe") and not self._outbox.permission.is_metered:
            self._in(_PROBE_S, "probe")
            self._probe()
        if self._is_due("hour"):
            self._open_hour()

    def _forbid(self) -> None:
        """Without a consent nothing waits, nothing is probed, and one is looked for again soon."""
        self._outbox.permission = Permission()
        self._outbox.drop_all()
        self._probe_text, self._breaker = "not asked", Breaker()
        self._due_s["probe"] = self._due_s["look"] = 0.0
        again_s = self._clock.monotonic_ns() / 1e9 + _CONFIRM_AGAIN_S
        self._due_s["confirm"] = min(self._due_s["confirm"], again_s)

    def _confirm(self) -> bool:
        """Fetch the consent; whether there is one in force."""
        settings, device = self._settings, self._config.device
        now_s = self._clock.wall_s()
        try:
            consent = self._fetch_consent()
            if consent is not None:
                assert settings.endpoint is not None, "the configuration demands an endpoint"
                check_consent(consent, tenant=device.tenant, device=device.id, endpoint=settings.endpoint, now_s=now_s)
                self._confirmed = _Confirmed(consent, min(consent.expires, now_s + _HOLDS_S))
        except EdgeAppError as error:
            self._confirmed = None
            self._say_consent(f"{error.code}: {error}")
            return False
        if self._consent_until_s() == 0:
            self._say_consent(f"{ConsentError.code}: none could be confirmed: no clock, or nothing to fetch it from")
            return False
        assert self._confirmed is not None, "one is in force"
        self._say_consent(in_words(self._confirmed.consent))
        return consent is not None

    def _consent_until_s(self) -> float:
        """Until when the consent holds, Unix seconds; 0 where none is in force now."""
        confirmed, now_s = self._confirmed, self._clock.wall_s()
        if confirmed is None or not self._clock.is_synchronised():
            return 0.0
        if confirmed.consent.begins <= now_s < confirmed.until_s:
            return confirmed.until_s
        if now_s >= confirmed.consent.expires:
            self._confirmed = None
            self._say_consent(f"{ConsentError.code}: it has expired")
        return 0.0

    def _say_consent(self, text: str) -> None:
        if text != self._consent_text:
            _LOGGER.info("escalation: consent: %s", text)
            self._consent_text = text

    def _is_metered(self) -> bool:
        beginnings = self._settings.metered_interfaces
        return any(name.startswith(beginnings) for name in self._interfaces()) if beginnings else False

    def _probe(self) -> None:
        try:
            self._link.probe(_PROBE_LIMIT_S)
            event, text = Event.WELL, f"{self._link.host} answers"
        except EndpointError as error:
            event, text = Event.UNWELL, f"{error.code}: {error}"
        self._breaker = self._breaker.after(event)
        if text != self._probe_text:
            _LOGGER.info("escalation: endpoint: %s", text)
            self._probe_text = text
        self._outbox.permission = replace(self._outbox.permission, is_endpoint_up=event is Event.WELL)

    def _open_hour(self) -> None:
        try:
            hour = self._hours.open(self._clock.wall_s())
        except OSError as error:
            _LOGGER.warning("escalation: nothing is asked, the hour cannot be opened: %s", error)
            self._in(_OPEN_AGAIN_S, "hour")
            hour = 0
        if hour != self._outbox.permission.open_hour:
            self._outbox.permission = replace(self._outbox.permission, open_hour=hour)

    def _send(self, sealed: Sealed) -> None:
        """Ask once; what is late, or meets an open breaker, is dropped."""
        left_s = (sealed.due_ns - self._clock.monotonic_ns()) / 1e9
        outcome = UNANSWERED
        if left_s > 0 and self._breaker.lets_through and self._consent_until_s() > 0:
            try:
                answer = read_answer(self._link.ask(sealed.jpeg, left_s))
                outcome = judge(answer, sealed.class_name, sealed.box)
                self._breaker = self._breaker.after(Event.ANSWERED)
            except EndpointError:
                self._breaker = self._breaker.after(Event.FAILED)
        self._outbox.note(sealed.number, outcome)

    def _is_due(self, what: str) -> bool:
        return self._clock.monotonic_ns() / 1e9 >= self._due_s[what]

    def _in(self, seconds: float, what: str) -> None:
        self._due_s[what] = self._clock.monotonic_ns() / 1e9 + seconds

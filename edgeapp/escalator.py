"""The pipeline's side of escalation: whether a doubted track is asked about, and its crop on the way to the client.

Owns the budgets and the questions that wait for their crop; all of it belongs to the pipeline's thread, and no call
waits for anything. Here the crop crosses control: opaque bytes from vision's message into the outbox, looked at by
nobody and written nowhere. Guarantee: while no consent is in force vision keeps no crop and none is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeapp.config import Config
from edgeapp.escalation.outbox import Outbox, Sealed
from edgeapp.escalation.policy import Conditions, Spent, Windows, bar, is_quiet, limits, spend, windows_at
from edgeapp.escalation.watch import Question
from edgeapp.interfaces import Clock
from edgeapp.types import UNANSWERED
from edgeapp.vision import protocol


class Escalator:
    """For one device. Without an outbox it never asks."""

    def __init__(
        self, config: Config, clock: Clock, outbox: Outbox | None, order: Callable[[protocol.CropCommand], None]
    ) -> None:
        """`order` tells the running vision process."""
        self._settings, self._clock, self._outbox, self._order = config.escalation, clock, outbox, order
        self._limits = limits(config.escalation)
        self._spent = outbox.spent if outbox else Spent(Windows(0, 0, 0))
        self._is_hot = self._is_running = self._keeps = False
        self._waiting: dict[tuple[int, int], tuple[Question, int]] = {}  # by frame and detection; and when it is late

    def ask(self, question: Question) -> bool:
        """Ask vision for the question's crop, if consent, conditions and budgets allow."""
        now_s = self._clock.wall_s()
        if self._outbox is None or not self._keeps or bar(self._conditions(now_s)) is not None:
            return False
        if self._outbox.permission.open_hour < windows_at(now_s).hour:
            return False
        self._spent, why = spend(self._spent, now_s, self._limits)
        if why is not None:
            return False
        due_ns = self._clock.monotonic_ns() + round(self._settings.answer_s * 1e9)
        self._waiting[question.frame_id, question.index] = question, due_ns
        self._order(protocol.AskCrop(frame_id=question.frame_id, index=question.index))
        return True

    def hear(self, message: protocol.Message) -> None:
        """Take a crop that vision gives; a crop that nobody asked for is dropped."""
        if isinstance(message, protocol.Ready):
            self._keeps = False  # this vision has not been told yet
        if not isinstance(message, protocol.Crop | protocol.NoCrop) or self._outbox is None:
            return
        question, due_ns = self._waiting.pop((message.frame_id, message.index), (None, 0))
        if question is None:
            return
        if isinstance(message, protocol.NoCrop) or not self._has_consent(self._clock.wall_s()):
            self._outbox.note(question.number, UNANSWERED)
            return
        self._outbox.put(
            Sealed(
                number=question.number,
                class_name=question.class_name,
                box=question.box,
                jpeg=message.jpeg,
                due_ns=due_ns,
            )
        )

    def attend(self, tell: Callable[[int, str], None], *, is_hot: bool, is_running: bool) -> None:
        """Let vision know when the consent begins or ends, and `tell` what came of questions since the last call."""
        if self._outbox is None:
            return
        self._is_hot = is_hot
        if is_running and not self._is_running:
            self._keeps = False
        self._is_running = is_running
        has_consent = self._has_consent(self._clock.wall_s())
        if is_running and has_consent != self._keeps:
            self._keeps = has_consent
            self._order(protocol.KeepCrops(is_on=has_consent))
        now_ns = self._clock.monotonic_ns()
        self._waiting = {key: kept for key, kept in self._waiting.items() if now_ns < kept[1]}
        for number, outcome in self._outbox.take_outcomes():
            tell(number, outcome)

    def _conditions(self, now_s: float) -> Conditions:
        assert self._outbox is not None, "without an outbox nothing is asked"
        permission = self._outbox.permission
        return Conditions(
            has_consent=self._has_consent(now_s),
            is_hot=self._is_hot,
            is_quiet=is_quiet(self._settings.quiet_hours, now_s),
            is_metered=permission.is_metered,
            is_endpoint_up=permission.is_endpoint_up,
        )

    def _has_consent(self, now_s: float) -> bool:
        outbox = self._outbox
        return outbox is not None and self._clock.is_synchronised() and now_s < outbox.permission.consent_until_s

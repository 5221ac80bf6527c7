"""The pipeline's side: a crop is asked for only when consent, conditions and budgets allow, and passed on unread."""

from __future__ import annotations

from dataclasses import replace

from edgeapp.config import CameraConfig, Config, DeviceConfig, EscalationConfig, InferenceConfig, MqttConfig, QuietHours
from edgeapp.escalation.outbox import Outbox, Permission
from edgeapp.escalation.policy import Spent, Windows, windows_at
from edgeapp.escalation.watch import Question
from edgeapp.escalator import Escalator
from edgeapp.types import UNANSWERED, Box
from edgeapp.vision import protocol
from tests.fakes.clock import FakeClock

NOON_S = 1_782_820_800.0
JPEG = b"\xff\xd8\xff pixels \xff\xd9"
GOOD = Permission(
    consent_until_s=NOON_S + 3600, is_metered=False, is_endpoint_up=True, open_hour=windows_at(NOON_S).hour
)


class Desk:
    """An escalator, its outbox, and what it ordered of vision."""

    def __init__(self, permission: Permission = GOOD, **settings: object) -> None:
        self.clock = FakeClock(NOON_S)
        self.orders: list[protocol.CropCommand] = []
        self.outbox = Outbox(Spent(Windows(0, 0, 0)))
        self.outbox.permission = permission
        config = Config(
            device=DeviceConfig(id="door"),
            camera=CameraConfig(kind="video", source="none.avi"),
            inference=InferenceConfig(model_dir="none"),
            mqtt=MqttConfig(host="127.0.0.1"),
            escalation=EscalationConfig(enabled=True, endpoint="https://oracle", **settings),  # type: ignore[arg-type]
        )
        self.escalator = Escalator(config, self.clock, self.outbox, self.orders.append)
        self.attend()

    def attend(self, *, is_hot: bool = False, is_running: bool = True) -> tuple[tuple[int, str], ...]:
        told: list[tuple[int, str]] = []
        self.escalator.attend(lambda number, what: told.append((number, what)), is_hot=is_hot, is_running=is_running)
        return tuple(told)

    def ask(self, number: int = 1) -> bool:
        box = Box(0.25, 0.25, 0.75, 0.75)
        return self.escalator.ask(
            Question(number=number, track_id=7, class_name="person", frame_id=number, index=2, box=box)
        )


def test_with_a_consent_vision_keeps_crops_and_is_asked_for_one() -> None:
    desk = Desk()
    assert desk.ask()
    assert desk.orders == [protocol.KeepCrops(is_on=True), protocol.AskCrop(frame_id=1, index=2)]
    desk.escalator.hear(protocol.Crop(1, 2, JPEG))
    sealed = desk.outbox.take(0)
    assert sealed is not None
    assert (sealed.number, sealed.class_name, sealed.jpeg) == (1, "person", JPEG)


def test_nothing_is_asked_without_what_it_takes() -> None:
    for change in ({"consent_until_s": 0.0}, {"is_metered": True}, {"is_endpoint_up": False}, {"open_hour": 0}):
        desk = Desk(replace(GOOD, **change))  # type: ignore[arg-type]
        assert not desk.ask()
        assert protocol.AskCrop(frame_id=1, index=2) not in desk.orders
    quiet = Desk(quiet_hours=QuietHours(start="11:00", end="13:00"))
    assert not quiet.ask()
    hot = Desk()
    hot.attend(is_hot=True)
    assert not hot.ask()
    unsure = Desk()
    unsure.clock.synchronised = False
    assert not unsure.ask()


def test_when_the_consent_ends_vision_forgets_and_a_crop_under_way_is_dropped() -> None:
    desk = Desk()
    assert desk.ask()
    desk.clock.advance(3600)
    desk.escalator.hear(protocol.Crop(1, 2, JPEG))
    assert desk.outbox.take(0) is None
    assert desk.attend() == ((1, UNANSWERED),)
    assert desk.orders[-1] == protocol.KeepCrops(is_on=False)


def test_a_vision_that_starts_anew_is_told_anew() -> None:
    desk = Desk()
    desk.escalator.hear(_ready())
    desk.attend()
    assert desk.orders == [protocol.KeepCrops(is_on=True)] * 2
    desk.attend(is_running=False)
    desk.attend()
    assert desk.orders == [protocol.KeepCrops(is_on=True)] * 3


def _ready() -> protocol.Ready:
    from tests.unit.vision.test_protocol import _MODEL

    return protocol.Ready(model=_MODEL, model_number=1)


def test_budgets_bound_what_is_asked() -> None:
    desk = Desk(max_per_hour=3)
    assert [desk.ask(number) for number in range(5)] == [True, True, True, False, False]


def test_a_crop_that_nobody_asked_for_goes_nowhere() -> None:
    desk = Desk()
    desk.escalator.hear(protocol.Crop(5, 5, JPEG))
    assert desk.outbox.take(0) is None
    assert desk.ask()
    desk.escalator.hear(protocol.NoCrop(frame_id=1, index=2))
    assert desk.attend() == ((1, UNANSWERED),)
    desk.escalator.hear(protocol.Crop(1, 2, JPEG))
    assert desk.outbox.take(0) is None


def test_a_crop_that_comes_too_late_is_dropped() -> None:
    desk = Desk(answer_s=5.0)
    assert desk.ask()
    desk.clock.advance(6)
    desk.attend()
    desk.escalator.hear(protocol.Crop(1, 2, JPEG))
    assert desk.outbox.take(0) is None

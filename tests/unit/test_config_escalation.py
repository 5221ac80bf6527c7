"""Escalation is refused where it could not keep its promises: no consent to fetch, nothing noised, no way, no room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeapp.config import (
    CameraConfig,
    Config,
    CropConfig,
    DeviceConfig,
    EscalationConfig,
    InferenceConfig,
    MqttConfig,
    PrivacyConfig,
    SharesConfig,
    UpdatesConfig,
)
from edgeapp.config_check import check

ESCALATION = EscalationConfig(enabled=True, endpoint="https://oracle.example.org")
GOOD = Config(
    device=DeviceConfig(id="door"),
    camera=CameraConfig(kind="video", source="none.avi"),
    inference=InferenceConfig(model_dir="none"),
    mqtt=MqttConfig(host="127.0.0.1"),
    updates=UpdatesConfig(enabled=True, root_file="/etc/root.json", folder="/media/stick"),
    escalation=ESCALATION,
)
OFF = UpdatesConfig(enabled=False, root_file="/etc/root.json", folder="/media/stick")


def test_a_good_configuration_is_accepted() -> None:
    assert check(GOOD) == ()
    assert check(replace(GOOD, escalation=EscalationConfig(), updates=UpdatesConfig())) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates": OFF}, "escalation.enabled: expected updates.enabled: true with it, found updates.enabled: false"),
        (
            {"updates": replace(OFF, enabled=True, folder=None, blocks=False)},
            "where the consent is fetched, found none of them",
        ),
        ({"privacy": PrivacyConfig(guarantee="none")}, "a privacy.guarantee of track or duration, found none"),
        ({"privacy": PrivacyConfig(shares=SharesConfig(escalated=0))}, "privacy.shares.escalated: expected a share"),
        ({"escalation": replace(ESCALATION, endpoint=None)}, "escalation.endpoint: expected an https address"),
        ({"escalation": replace(ESCALATION, endpoint="https://me:secret@oracle")}, "without a user"),
        ({"escalation": replace(ESCALATION, endpoint="https:///path")}, "escalation.endpoint: expected https://HOST"),
        ({"escalation": replace(ESCALATION, cert_file="/c.pem")}, "escalation.cert_file: expected a key_file with it"),
        ({"escalation": replace(ESCALATION, token_file=" ")}, "escalation.token_file: expected a path"),
        ({"escalation": replace(ESCALATION, max_mb_per_day=0.03)}, "room for one crop (0.04 MB), found 0.03 MB"),
        (
            {"escalation": replace(ESCALATION, max_mb_per_hour=0.05, crop=CropConfig(max_kb=48))},
            "escalation.max_mb_per_hour: expected room for one crop (0.056 MB)",
        ),
        ({"escalation": replace(ESCALATION, metered_interfaces=("",))}, "which every name begins with"),
    ],
)
def test_what_could_not_keep_its_promises_is_refused(change: dict[str, Any], message: str) -> None:
    told = [str(mistake) for mistake in check(replace(GOOD, **change))]
    assert any(message in each for each in told), told
    assert "secret" not in " ".join(told)

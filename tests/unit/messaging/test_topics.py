from __future__ import annotations

import pytest

from edgeapp.messaging.topics import Topics, fleet_command, group_command


def test_topics_are_the_published_ones() -> None:
    topics = Topics(tenant="default", device="kiosk-7")
    assert topics.status == "edgeapp/v1/default/kiosk-7/status"
    assert topics.report("telemetry") == "edgeapp/v1/default/kiosk-7/telemetry"
    assert topics.command == "edgeapp/v1/default/kiosk-7/cmd/update"
    assert group_command("default", "north") == "edgeapp/v1/default/_group/north/cmd/update"
    assert fleet_command("default") == "edgeapp/v1/default/_all/cmd/update"


@pytest.mark.parametrize("name", ["", "+", "#", "a/b", "../b", "A", "-a", "a\n", "a" * 64])
def test_a_name_that_reaches_into_other_topics_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tenant: expected"):
        Topics(tenant=name, device="d")
    with pytest.raises(ValueError, match="device: expected"):
        Topics(tenant="t", device=name)

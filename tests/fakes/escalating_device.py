"""A whole device that may escalate: the real daemon, an endpoint on loopback, and a stick with the site's consent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.fakes.endpoint import Endpoint
from tests.fakes.updating_device import UpdatingDevice

OWN = "sites/default/test-device.json"


def consent(**changes: Any) -> dict[str, Any]:
    """One that allows it; `changes` replace keys."""
    now_s = int(time.time())
    return {
        "v": 1,
        "tenant": "default",
        "devices": ["test-device"],
        "purpose": "a second opinion on uncertain detections",
        "retention_days": 0,
        "endpoint_host": "127.0.0.1",
        "responsible": "Anna Muster, privacy@example.org",
        "begins": now_s - 60,
        "expires": now_s + 3600,
        **changes,
    }


class EscalatingDevice(UpdatingDevice):
    """Unsure of everything it sees, so that it asks as often as it may."""

    def __init__(
        self,
        folder: Path,
        endpoint: Endpoint,
        ca_file: Path,
        *,
        port: int,
        program: str = "tests.fakes.synchronised_daemon",
        **sections: dict[str, Any],
    ) -> None:
        escalation = {
            "enabled": True,
            "endpoint": endpoint.url,
            "ca_file": str(ca_file),
            "below": 1.0,
            "judge_after_s": 1.0,
            "answer_s": 2.0,
            "metered_interfaces": [],
            "max_per_hour": 3600,
            "max_per_day": 86_400,
            "max_mb_per_hour": 1000.0,
            "max_mb_per_day": 10_000.0,
            "max_mb_per_month": 10_000.0,
            **sections.pop("escalation", {}),
        }
        super().__init__(folder, port=port, program=program, escalation=escalation, **sections)

    def allow(self, path: str = OWN, **changes: Any) -> None:
        """Put a signed consent on the stick."""
        self.repository.add(path, consent(**changes), None)
        self.repository.write(self.stick)

    def is_allowed(self, path: str = OWN) -> bool:
        """Whether there is one."""
        return path in self.repository.contents

    def forbid(self, path: str = OWN) -> None:
        """Take it back."""
        del self.repository.targets.signed.targets[path], self.repository.contents[path]
        self.repository.publish()
        self.repository.write(self.stick)

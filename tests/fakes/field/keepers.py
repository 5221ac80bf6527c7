"""The keepers of a site's certificates: an authority, what it signed for the broker and a device, and a stranger."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fakes.certificates import Authority, Signed


class Keepers:
    """Everything is in `folder`. `broker_options` are the lines for a broker that shows what it is told to `show`, and
    talks to nobody whom the authority did not sign."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.stranger = (Authority(folder, name) for name in ("authority", "stranger"))
        self.device = self.authority.sign("device", last_day=365)
        self._shown = Signed(folder / "shown.pem", folder / "shown.key")
        self.broker = self.authority.sign("broker")
        self.show(self.broker)
        self.broker_options = (
            f"cafile {self.authority.cert}",
            f"certfile {self._shown.cert}",
            f"keyfile {self._shown.key}",
            "require_certificate true",
        )

    def show(self, signed: Signed) -> None:
        """What the broker shows from its next start or reload on."""
        shutil.copy(signed.cert, self._shown.cert)
        shutil.copy(signed.key, self._shown.key)

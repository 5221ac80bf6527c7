"""The lines, zones and masks of the configuration file, as the page reads and writes them.

Owns the file while aiming. Guarantees: what is written was read back and found to be the old configuration with the
new shapes, so it passes `check-config`; nobody else's change since the page read the file is overwritten; and a power
cut leaves the old file or the new one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from edgeapp import config_file
from edgeapp.config import CameraConfig, Config, CountingConfig, LineConfig, Polygon, ZoneConfig
from edgeapp.config_change import Change, differences
from edgeapp.config_edit import Shapes, arranged, edited, shapes_of
from edgeapp.errors import AimError, ConfigError
from edgeapp.reader import read_json
from edgeapp.system.files import rewrite_durably


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counting:
    lines: tuple[LineConfig, ...]
    zones: tuple[ZoneConfig, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Camera:
    masks: tuple[Polygon, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What the page sends, under the keys of the configuration. `base` is the version that it was drawn on."""

    base: str
    camera: _Camera
    counting: _Counting

    @property
    def shapes(self) -> Shapes:
        return Shapes(lines=self.counting.lines, zones=self.counting.zones, masks=self.camera.masks)


@dataclass(frozen=True, slots=True)
class Version:
    """The configuration as it stands in the file; `base` names this very text."""

    config: Config
    base: str
    changes: tuple[Change, ...] = field(default=())


class ConflictError(AimError):
    """The file is another one than the page drew on."""

    code = "E_AIM_CONFLICT"


class ShapesFile:
    """One configuration file. `write` is called by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Version:
        """
        Raises:
            ConfigError: it cannot be used.
        """
        return _version(config_file.load(self.path), self._text())

    def is_writable(self) -> bool:
        """Whether this user may replace the file."""
        return os.access(self.path.resolve().parent, os.W_OK | os.X_OK)

    def write(self, body: bytes) -> Version:
        """Put what the page sent into the file; `changes` of the result says what became different.

        Raises:
            ManifestMistakesError: `body` is not what the page sends, or has values that cannot be.
            ConfigError: with these shapes the configuration has mistakes; they are listed as check-config does.
            ConflictError: the file was changed since.
            AimError: the file cannot be written, or not in a way that is sure.
        """
        drawn = read_json(Drawn, body, "page")
        text = self._text()
        if _base(text) != drawn.base:
            raise ConflictError(f"{self.path}: was changed by somebody else since; load it again")
        old = config_file.read(text, str(self.path))
        before = shapes_of(old)
        after = edited(text.decode(), before, drawn.shapes).encode()
        new = config_file.read(after, str(self.path))
        if new != _with(old, arranged(before, drawn.shapes)):
            raise AimError(f"{self.path}: written in a way that only a person can change safely; nothing was changed")
        try:
            rewrite_durably(self.path, after)
        except OSError as error:
            raise AimError(f"{self.path}: cannot be written: {error.strerror}; run edgeapp aim as root") from error
        return _version(new, after, differences(old, new))

    def _text(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error


def _with(config: Config, shapes: Shapes) -> Config:
    camera: CameraConfig = dataclasses.replace(config.camera, masks=shapes.masks)
    counting: CountingConfig = dataclasses.replace(config.counting, lines=shapes.lines, zones=shapes.zones)
    return dataclasses.replace(config, camera=camera, counting=counting)


def _version(config: Config, text: bytes, changes: tuple[Change, ...] = ()) -> Version:
    return Version(config, _base(text), changes)


def _base(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()

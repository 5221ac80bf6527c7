"""A release engineer's desk: keys, a repository, model folders with their pictures, and a device beside it.

The device is the product's own refresh with a folder, a root and floors that it keeps.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.fetchers import FolderFiles
from edgeapp.updates.metadata import TrustedMetadata, refresh
from edgeapp.updates.release import Accuracy
from edgeapp.workshop.key_roles import KeyPlan, create_repository
from edgeapp.workshop.keyring import Keyring
from edgeapp.workshop.release_writer import ReleaseFacts, Request, create
from edgeapp.workshop.repository import Repository
from tests.fakes.tiny_models import bright_spot, make_model_folder

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ACCURACY = Accuracy(metric="mAP", data_set="street", float_model=0.61, quantized=0.6, floor=0.55)
PLACES = ((4.5, 4.5), (8.5, 8.5), (11.5, 6.5))  # of the bright spot, on cells of the models' grid


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything in one folder."""

    folder: Path

    @property
    def repository(self) -> Repository:
        return Repository(self.folder / "repository")

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.folder / "keys")

    def sticks(self, *names: str) -> Keyring:
        """These keys alone, on a stick of their own."""
        stick = self.folder / "-".join(names)
        stick.mkdir()
        for name in names:
            shutil.copy(self.folder / "keys" / f"{name}.pem", stick)
        return Keyring(stick)


def new_desk(folder: Path, now: datetime = NOW) -> Desk:
    """A desk with new keys and an empty repository."""
    desk = Desk(folder)
    create_repository(desk.repository, desk.keyring, KeyPlan(operator="anna"), now)
    return desk


def make_pictures(folder: Path) -> Path:
    """Three pictures with a bright spot, and a dark one."""
    folder.mkdir()
    for number, (x, y) in enumerate(PLACES):
        cv2.imwrite(str(folder / f"{number}.png"), bright_spot(320, 240, centre=(x / 16, y / 16)))
    cv2.imwrite(str(folder / "dark.png"), np.full((240, 320, 3), 16, np.uint8))
    return folder


def request(folder: Path, version: int = 7) -> Request:
    """What makes a good release, of model folders and pictures in `folder`."""
    return Request(
        model_dir=make_model_folder(folder / "int8", version=version),
        float_dir=make_model_folder(folder / "float32", dtype="float32"),
        pictures_dir=make_pictures(folder / "pictures"),
        facts=ReleaseFacts(accuracy=ACCURACY),
        semver=f"1.{version}.0",
        created_s=int(NOW.timestamp()) - 3600,
    )


def make_release(folder: Path, version: int = 7) -> Path:
    """A release's folder, unsigned."""
    folder.mkdir(parents=True, exist_ok=True)
    create(request(folder, version), folder / "release")
    return folder / "release"


class Device:
    """A device that was provisioned with the first root of a published folder."""

    def __init__(self, folder: Path, first_root: bytes) -> None:
        self._folder = folder
        self._first_root = first_root
        self._floors = Floors()

    def refresh(self, published: Path, now: datetime = NOW) -> TrustedMetadata:
        """What it believes; raises UpdateError for what it refuses."""
        clock = ClockReading((now + timedelta(minutes=1)).timestamp(), is_synchronised=True)
        trusted = refresh(self._folder, self._first_root, FolderFiles(published), clock, self._floors)
        self._floors = Floors(metadata=trusted.versions)
        return trusted

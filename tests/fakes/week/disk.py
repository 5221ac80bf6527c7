"""The card of a device: an ext4 on a loop device whose power can be cut, and that can be filled."""

from __future__ import annotations

import errno
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.fakes.power.mounting import cut_power, loop_device, make_ext4, mounted_device, why_not

_BYTES = 32 << 20
_BALLAST = "ballast"
_PIECE = bytes(64 << 10)


class Card:
    """Use as a context: the card is mounted at `folder` inside of it.

    Where this machine has no loop device, `why_not` says so, the folder is a plain one, a cut does nothing to it, and
    it cannot be filled.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self._image, self._folder = image, folder
        self.why_not = why_not(image.parent)
        self._inserted = ExitStack()

    def __enter__(self) -> Card:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.why_not:
            with self._image.open("wb") as file:
                file.truncate(_BYTES)
            make_ext4(self._image)
            self._insert()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inserted.close()

    def cut(self) -> None:
        """The power goes: what the card was not made to keep is gone."""
        if not self.why_not:
            cut_power(self._folder)

    def come_back(self) -> None:
        """The power is back. Nobody may hold a file of before.

        It is another device with the same blocks: who has copied our mounts meanwhile, as each new mount namespace of
        this machine does, keeps the old file system alive, and would be given it again.
        """
        if not self.why_not:
            self._inserted.close()
            fresh = self._image.with_suffix(".new")
            shutil.copyfile(self._image, fresh)
            fresh.replace(self._image)
            self._insert()

    def fill(self) -> None:
        """Leave no free block."""
        with (self._folder / _BALLAST).open("wb", buffering=0) as ballast:
            piece = _PIECE
            while piece:
                try:
                    ballast.write(piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece = piece[: len(piece) // 2]

    def free(self) -> None:
        (self._folder / _BALLAST).unlink()

    def _insert(self) -> None:
        with ExitStack() as stack:
            device = stack.enter_context(loop_device(self._image))
            stack.enter_context(mounted_device(device, self._folder))
            self._inserted = stack.pop_all()

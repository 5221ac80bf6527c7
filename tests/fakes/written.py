"""Looks through everything that a daemon wrote for what must not be there: true counts, pictures, boxes, scores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

_PICTURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n",
    "WebP": b"WEBPVP8",
    "AVI": b"AVI LIST",
    "dark pixels": b"\x14" * 64,  # the ground and the square of `device.write_video`, raw
    "white pixels": b"\xff" * 64,
}
_BLOB = re.compile(rb"[A-Za-z0-9+/_=-]{1024,}")  # base64 or hexadecimal digits of more than a kilobyte
_NUMBER = rb"-?\d+\.\d{2,}(?:[eE][-+]?\d+)?"
_FLOATS = re.compile(rb"(?:" + _NUMBER + rb"[,;\s]+){3,}" + _NUMBER)  # a box has four, an embedding more
_RAW_FLOATS = 8


def findings(written: Iterable[tuple[str, bytes]], *, counts: Iterable[int], scores: Iterable[float]) -> list[str]:
    """Where something was found and what it was; [] where nothing was.

    Args:
        written: names and contents.
        counts: true counts large enough not to stand somewhere by chance; looked for as numbers of their own, in
            decimals and as integers of 4 and 8 bytes.
        scores: looked for in decimals.
    """
    secrets = [re.compile(rb"(?<![0-9a-fA-F.])%d(?![0-9a-fA-F])" % count) for count in counts]
    secrets += [re.compile(re.escape(str(score).encode())) for score in scores]
    binary = [count.to_bytes(size, order) for count in counts for size in (4, 8) for order in ("big", "little")]
    found = []
    for name, content in written:
        found += [f"{name}: {secret.pattern!r}" for secret in secrets if secret.search(content)]
        found += [f"{name}: {number!r}" for number in binary if number in content]
        found += [f"{name}: {kind}" for kind, mark in _PICTURES.items() if mark in content]
        found += [f"{name}: {kind}" for kind in _numbers_and_blobs(content)]
    return found


def _numbers_and_blobs(content: bytes) -> Iterator[str]:
    if _BLOB.search(content):
        yield "a blob in letters"
    if _FLOATS.search(content):
        yield "a list of floats"
    for offset in range(4):
        usable = content[offset : len(content) - (len(content) - offset) % 4]
        values = np.frombuffer(usable, "<f4")
        with np.errstate(invalid="ignore"):
            is_share = (values > 1e-4) & (values <= 1)
        if len(values) >= _RAW_FLOATS and np.lib.stride_tricks.sliding_window_view(is_share, _RAW_FLOATS).all(1).any():
            yield "raw floats"
            return


def files(folder: Path, *, but: Iterable[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, but those given to the daemon: names and contents."""
    given = [folder / name for name in but]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.is_relative_to(each) for each in given):
            yield str(path.relative_to(folder)), path.read_bytes()

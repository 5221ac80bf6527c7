"""A video of raw BGR pictures, as a camera without compression sends them; OpenCV's own writer makes YUV of them.

The form is that of "AVI RIFF File Reference" (Microsoft): a header, a list of pictures as device-independent bitmaps,
top row first (a negative height says so), and an index.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

_HAS_INDEX, _KEY_FRAME = 0x10, 0x10


def write_raw_avi(path: Path, pictures: Sequence[npt.NDArray[np.uint8]], fps: int) -> None:
    """Write pictures, uint8[height, width, 3] BGR of one size, whose width is a multiple of 4."""
    height, width = pictures[0].shape[:2]
    size = width * height * 3
    main = struct.pack(
        "<14I", 1_000_000 // fps, size * fps, 0, _HAS_INDEX, len(pictures), 0, 1, size, width, height, 0, 0, 0, 0
    )
    stream = struct.pack(
        "<4s4s10I4H", b"vids", b"DIB ", 0, 0, 0, 1, fps, 0, len(pictures), size, 0, 0, 0, 0, width, height
    )
    bitmap = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, size, 0, 0, 0, 0)
    header = _list(b"hdrl", _chunk(b"avih", main) + _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", bitmap)))
    index = b"".join(
        struct.pack("<4sIII", b"00db", _KEY_FRAME, 4 + number * (size + 8), size) for number in range(len(pictures))
    )
    movie_size = 4 + len(pictures) * (size + 8)
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s", b"RIFF", 4 + len(header) + 8 + movie_size + 8 + len(index), b"AVI "))
        file.write(header + struct.pack("<4sI4s", b"LIST", movie_size, b"movi"))
        for picture in pictures:
            file.write(struct.pack("<4sI", b"00db", size) + picture.tobytes())
        file.write(_chunk(b"idx1", index))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content


def _list(name: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", name + content)

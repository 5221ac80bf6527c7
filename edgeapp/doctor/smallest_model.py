"""The smallest model that proves something: one int8 convolution that answers what it was given.

Made by hand, so that the runtime can be tried on a device that has no model yet: input `x` and output `y` are int8
[1, 1, 1, 8] with scale 1, the weights (per channel) are the identity. A test builds the same bytes from the runtime's
schema (tests/fakes/tiny_models.py: `one_convolution`).
"""

from __future__ import annotations

import base64
import zlib

INPUT, OUTPUT, CHANNELS = "x", "y", 8
_PACKED = (
    "c-rG&U|<Mw^D(yi|Np-Tki7zkHvn-9GXnz<f$;<&wgF-mAie}t2ci`ihyiR296()cP`wU7%m|YrlflBk0yYbTOEU8+VX`7%X+8!CAWMLO2W&4N"
    "R9ps#D}cBLh#R1Ka}zW3(DjM|NswM{s9qVUohm>=1I*+C%JYNG=7Q>lx{Q&L0TEs>bD5wtGm;NLcAo)q1b{dO$`AVY|Gxl`Hh?JM1ko-)F%GEP"
    "7|}u%!f&t#(Unj$7?ChYUmP?(JD~0WQ7u4X4%A#9s5)u@4yb$ZVUW9$klY80D`B*_YC-sy6BJiI{~_-6pptuub!#~^TshFf736Laa4KMcyBm~F"
    "ETC=%(L6xN0F~!~>JvbVN8~uHz!8UxP<=c|_VJ*mGiCr;OgVc"
)


def content() -> bytes:
    """The .tflite file."""
    return zlib.decompress(base64.b85decode(_PACKED))

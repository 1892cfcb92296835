"""PNG images as data URIs, for a page without other files."""

import base64
import struct
import zlib

import numpy as np

_SHADES = (
    (0.00, (0, 32, 76)),
    (0.25, (66, 78, 108)),
    (0.50, (124, 123, 120)),
    (0.75, (187, 175, 113)),
    (1.00, (255, 233, 69)),
)
"""A share from 0 to 1 as a colour: dark blue to yellow, for colour-blind readers as well. After
cividis: Nunez, Anderton and Renslow, PLoS ONE 2018."""


def shades(shares: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 of shares (...) from 0 to 1."""
    places = [place for place, _ in _SHADES]
    mixed = [np.interp(shares, places, [colour[k] for _, colour in _SHADES]) for k in range(3)]
    return np.rint(np.stack(mixed, axis=-1)).astype(np.uint8)


def data_uri(pixels: np.ndarray) -> str:
    """A picture (H, W) grey or (H, W, 3) RGB, uint8, as a PNG in a data URI."""
    height, width = pixels.shape[:2]
    kind = {2: 0, 3: 2}[pixels.ndim]  # PNG's colour types: grey, RGB
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(body)) + name + body
        content += struct.pack(">I", zlib.crc32(name + body))
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"

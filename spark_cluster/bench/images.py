"""Pictures for the benchmark and the check: PNG files made here, the same for the same seed."""

from __future__ import annotations

import base64
import random
import struct
import zlib

#: Edge of a square of one colour. A picture of squares is a few kilobytes and never the same twice;
#: noise would be megabytes, and its upload would be what is measured.
_SQUARE = 16


def png(width: int, height: int, *key: object) -> bytes:
    """A picture of coloured squares, 8 bits a channel, named by `key` (PNG, third edition)."""
    draw = random.Random("/".join(map(str, key)))
    rows = []
    for top in range(0, height, _SQUARE):
        colours = draw.randbytes(3 * (-(-width // _SQUARE)))
        squares = (colours[at : at + 3] * _SQUARE for at in range(0, len(colours), 3))
        row = b"\0" + b"".join(squares)[: 3 * width]
        rows.append(row * min(_SQUARE, height - top))
    return _file(width, height, b"".join(rows))


def plain(edge: int, colour: tuple[int, int, int]) -> bytes:
    """A square picture of one colour (red, green, blue; 0 to 255)."""
    return _file(edge, edge, (b"\0" + bytes(colour) * edge) * edge)


def _file(width: int, height: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(rows, 6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_url(picture: bytes) -> str:
    """The picture as a chat's `image_url` wants it."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"

"""Files of 16-bit numbers, byte by byte: Pillow writes few of them."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of (H, W) or (H, W, C) uint16, with further chunks before the pixels."""
    values = values[..., None] if values.ndim == 2 else values
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def tiff(
    values: np.ndarray,
    tags: Sequence[tuple[int, Sequence[int]]] = (),
    order: str = "<",
    planar: int = 1,
    compressed: bool = False,
) -> bytes:
    """A TIFF of (H, W, C) uint16, with further tags of 16-bit numbers."""
    height, width, channels = values.shape
    planes = [values] if planar == 1 else list(np.moveaxis(values, -1, 0))
    strips = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    strips = [zlib.compress(strip) if compressed else strip for strip in strips]
    entries: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [16] * channels, 259: [8 if compressed else 1],
        262: [2 if channels > 1 else 1], 273: [0] * len(strips), 277: [channels], 278: [height],
        279: [len(strip) for strip in strips], 284: [planar], **dict(tags),
    }  # fmt: skip
    if channels == 4:
        entries[338] = [2]
    kinds = {number: "I" if number in (273, 279) else "H" for number in entries}
    start = 8 + 2 + 12 * len(entries) + 4
    sizes = {n: struct.calcsize(order + kinds[n] * len(v)) for n, v in entries.items()}
    place = start + sum(size for size in sizes.values() if size > 4)
    entries[273] = [place + sum(map(len, strips[:number])) for number in range(len(strips))]
    directory = extra = b""
    for number, several in sorted(entries.items()):
        content = struct.pack(order + kinds[number] * len(several), *several)
        if len(content) > 4:
            content, extra = struct.pack(order + "I", start + len(extra)), extra + content
        kind = 4 if kinds[number] == "I" else 3
        directory += struct.pack(order + "HHI", number, kind, len(several)) + content.ljust(
            4, b"\0"
        )
    head = b"II*\0" if order == "<" else b"MM\0*"
    head += struct.pack(order + "IH", 8, len(entries))
    return head + directory + struct.pack(order + "I", 0) + extra + b"".join(strips)

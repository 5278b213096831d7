# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture as PNG."""

from __future__ import annotations

import io

from pagedbg.output.printable import printable
from pagedbg.schema.picture import Ink, Picture

__all__ = ("png",)

# Pixels for one of the picture's: text is sharp when it is looked at more closely.
_SCALE = 2

_PAGE = "#ffffff"
_INK: dict[Ink, str] = {
    "text": "#1f2328",
    "faint": "#59636e",
    "black": "#000",
    "white": "#fff",
}


def png(picture: Picture) -> bytes:
    """Draw a picture on white, with the font that Pillow brings along."""
    # Imported for those who need it.
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (picture.width * _SCALE, picture.height * _SCALE), _PAGE)
    draw = ImageDraw.Draw(image)
    for box in picture.boxes:
        left, top = box.x * _SCALE, box.y * _SCALE
        right = max(left, (box.x + box.width) * _SCALE - 1)
        bottom = max(top, (box.y + box.height) * _SCALE - 1)
        draw.rectangle((left, top, right, bottom), fill=box.color)
    font = ImageFont.load_default(12 * _SCALE)
    for label in picture.labels:
        draw.text(
            (label.x * _SCALE, label.y * _SCALE),
            printable(label.text),
            fill=_INK[label.ink],
            font=font,
            anchor="ls",
            stroke_width=int(label.bold),
            stroke_fill=_INK[label.ink],
        )
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()

# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture as SVG: boxes that say what they are, in light and dark windows."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from pagedbg.output.printable import printable
from pagedbg.schema.picture import Picture

__all__ = ("svg",)

_STYLE = (
    "text{font:12px sans-serif;fill:#1f2328}.faint{fill:#59636e}"
    ".black{fill:#000}.white{fill:#fff}.bold{font-weight:bold}.page{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}"
    ".page{fill:#0d1117}}"
)


def svg(picture: Picture) -> Iterator[str]:
    """
    Return the lines of an SVG file, which fetches nothing and runs nothing; what is not
    printable in a name is written as in a terminal.
    """
    width, height = picture.width, picture.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img">'
    )
    yield f"<title>{_text(picture.title)}</title>"
    yield f"<style>{_STYLE}</style>"
    yield f'<rect class="page" width="{width}" height="{height}"/>'
    for box in picture.boxes:
        rect = (
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}"'
            f' height="{box.height:g}" fill="{box.color}"'
        )
        title = f"><title>{_text(box.title)}</title></rect>" if box.title else "/>"
        yield rect + title
    for label in picture.labels:
        names = [label.ink] * (label.ink != "text") + ["bold"] * label.bold
        kind = f' class="{" ".join(names)}"' if names else ""
        yield f'<text x="{label.x:g}" y="{label.y:g}"{kind}>{_text(label.text)}</text>'
    yield "</svg>"


def _text(text: str) -> str:
    return escape(printable(text))

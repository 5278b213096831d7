# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's Chromium, for what it sees of a page that is opened from a file."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

# Debian's package, which make installs for the tests.
CHROMIUM = "chromium"

# A window of it is at least 500 pixels wide, a frame may be as narrow as a phone.
_FRAME = """<!doctype html>
<body>
<script>addEventListener("message", event => {{
  document.body.dataset.seen = event.data;
}});</script>
<iframe src="{page}" style="border: 0; width: {width}px; height: 800px"></iframe>
"""

_TELL = """<script>parent.postMessage(document.body.dataset.seen, "*");</script>"""

PALE = r"""
<script>
// The texts that are read with difficulty: with less contrast than WCAG 2 asks for.
function pale() {
  const luminance = color => {
    const parts = color.match(/[\d.]+/g).slice(0, 3).map(part => part / 255).map(
      part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const below = text => {
    const at = text.getBoundingClientRect(), middle = (at.top + at.bottom) / 2;
    const boxes = [...text.ownerSVGElement.querySelectorAll("rect")].filter(each => {
      const box = each.getBoundingClientRect();
      return box.left <= at.left + 1 && at.left <= box.right
        && box.top <= middle && middle <= box.bottom;
    });
    return getComputedStyle(boxes.pop()).fill;
  };
  const behind = element => {
    const color = getComputedStyle(element).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : color;
  };
  const written = [...document.body.querySelectorAll("*")].filter(each =>
    each.checkVisibility() && each.getClientRects().length
    && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  pale.looked = written.length;
  return written.filter(each => {
    const drawn = each instanceof SVGElement, style = getComputedStyle(each);
    const [one, other] = drawn
      ? [style.fill, below(each)] : [style.color, behind(each)];
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05) < 4.5;
  }).map(each => each.textContent);
}
</script>
"""


def looked_at(
    page: str,
    directory: Path,
    driver: str,
    width: int = 800,
    fragment: str = "",
    dark: bool = False,
) -> Any:
    """
    What a script behind the page's own sees, in a frame of a width; no console says
    anything.

    :param driver: the script, which puts it into ``document.body.dataset.seen``
    :param fragment: what stands behind the page's address
    :param dark: whether whoever looks prefers dark pages
    """
    file = directory / "page.html"
    driven = page.replace("</html>", f"{driver}{_TELL}</html>")
    file.write_text(driven, encoding="utf-8")
    frame = directory / "frame.html"
    frame.write_text(_FRAME.format(page=f"page.html{fragment}", width=width))
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
            f"--user-data-dir={directory / 'profile'}",
            *("--enable-logging=stderr", "--window-size=1700,900", "--dump-dom"),
            "--virtual-time-budget=20000",
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen is not None, done.stdout
    return json.loads(html.unescape(seen[1]))

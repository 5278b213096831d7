# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's Chromium, for what it sees of a page that is opened from a file."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

# Of Debian's package, wherever the tests run.
CHROMIUM = shutil.which("chromium")

# A window of it is at least 500 pixels wide, a frame may be as narrow as a phone.
_FRAME = """<!doctype html>
<body>
<script>addEventListener("message", event => {{
  document.body.dataset.seen = event.data;
}});</script>
<iframe src="{page}" style="border: 0; width: {width}px; height: 800px"></iframe>
"""

_TELL = """<script>parent.postMessage(document.body.dataset.seen, "*");</script>"""


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
    assert CHROMIUM is not None
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of many hosts, made by ``contrib/fleet/make-snapshots`` of the sample."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from known import SAMPLE, Run

MAKE = Path(__file__).parents[2] / "contrib/fleet/make-snapshots"


def make_snapshots(into: Path, hosts: int, days: int) -> Path:
    """
    Make a snapshot a host and day, in which a driver leaks with the new kernel, another
    stack grows with load, and a third on one host alone.
    """
    source = into / "source"
    if not source.exists():
        assert Run()("-c", SAMPLE, "snapshot", "save", source).returncode == 0
    planted = (
        *("--leak", "leaky_rx_refill"),
        *("--load", "page_cache_ra_unbounded"),
        *("--own", "alloc_buf.constprop.0"),
    )
    subprocess.run(
        [
            *(sys.executable, MAKE, source, into / "all"),
            *("--hosts", str(hosts), "--days", str(days), *planted),
        ],
        check=True,
    )
    return into / "all"


def change_meta(snapshot: Path, **changes: Any) -> None:
    """Have a snapshot say something else of its kernel, or when it is of."""
    path = snapshot / "meta.json"
    meta = json.loads(path.read_text())
    kernel = meta["kernel"]
    for name, value in changes.items():
        (meta if name in meta else kernel)[name] = value
    path.write_text(json.dumps(meta))


def told(pagedbg: Run, *words: str | Path) -> list[dict[str, Any]]:
    """The rows that a command gives."""
    done = pagedbg(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found

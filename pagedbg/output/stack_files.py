# SPDX-License-Identifier: GPL-2.0-or-later
"""The stacks of a table for other programs: folded lines, and speedscope's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pagedbg import __version__
from pagedbg.output.call_tree import function_names, weighed_stacks
from pagedbg.output.printable import printable
from pagedbg.schema.table import Table

__all__ = ("folded", "speedscope")


def folded(table: Table) -> Iterator[str]:
    """
    Return lines as ``stackcollapse-*.pl`` of FlameGraph do: the functions from the
    outermost to the innermost with ``;`` between, a space, and a number.
    """
    _, stacks = weighed_stacks(table)
    for stack in stacks:
        names = [printable(name) for name in function_names(stack.frames)]
        path = ";".join(name.replace(";", ":") for name in reversed(names))
        yield f"{path} {stack.weight}"


def speedscope(table: Table, title: str) -> str:
    """
    Return a file for speedscope.app, by
    https://www.speedscope.app/file-format-schema.json: a profile of samples, each of
    which is a stack and weighs what its pages do.
    """
    unit, stacks = weighed_stacks(table)
    frames: dict[str, int] = {}
    samples, weights, sizes = [], [], []
    for stack in stacks:
        names = map(printable, reversed(function_names(stack.frames)))
        samples.append([frames.setdefault(name, len(frames)) for name in names])
        weights.append(stack.weight)
        sizes.append(stack.bytes)
    in_bytes = any(sizes)
    if in_bytes:
        weights = sizes
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "exporter": f"pagedbg@{__version__}",
            "name": title,
            "activeProfileIndex": 0,
            "shared": {"frames": [{"name": name} for name in frames]},
            "profiles": [
                {
                    "type": "sampled",
                    "name": f"{title} ({'bytes' if in_bytes else unit})",
                    "unit": "bytes" if in_bytes else "none",
                    "startValue": 0,
                    "endValue": sum(weights),
                    "samples": samples,
                    "weights": weights,
                }
            ],
        }
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal as prompts draw on it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pagedbg.output.printable import raw

if TYPE_CHECKING:
    from prompt_toolkit.output import Output


def terminal_output() -> Output:
    """
    The terminal, with what is drawn on it printable: prompt_toolkit takes care of
    control characters only.
    """
    from prompt_toolkit.output import ColorDepth
    from prompt_toolkit.output.vt100 import Vt100_Output
    from prompt_toolkit.utils import get_cwidth

    class PrintableOutput(Vt100_Output):
        """
        A terminal that gets escape sequences from prompt_toolkit and from nobody else.
        """

        def write(self, data: str) -> None:
            if not data.isprintable():
                # As wide as prompt_toolkit takes it to be. It moves the cursor by the
                # two that are let through.
                data = "".join(
                    c if c.isprintable() or c in "\r\n" else "?" * get_cwidth(c)
                    for c in data
                )
            super().write(data)

    return PrintableOutput.from_pty(
        raw(sys.stdout),
        term=os.environ.get("TERM"),
        default_color_depth=ColorDepth.from_env(),
    )

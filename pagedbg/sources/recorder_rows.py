# SPDX-License-Identifier: GPL-2.0-or-later
"""What was recording in a dump, as rows."""

from __future__ import annotations

from collections.abc import Iterable

from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.schema.event_filter import describe
from pagedbg.schema.table import Row


def recorder_rows(found: Iterable[RecoveredRecorder]) -> list[Row]:
    """Return the rows of :data:`pagedbg.schema.kernel_columns.RECORDERS`."""
    return [
        (
            number,
            each.backend,
            each.attach,
            describe(each.filters[-1]) if each.filters else None,
            each.cpus,
            each.slots,
            each.recorded,
        )
        for number, each in enumerate(found, 1)
    ]

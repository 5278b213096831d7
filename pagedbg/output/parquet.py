# SPDX-License-Identifier: GPL-2.0-or-later
"""A table as Parquet, which DuckDB writes."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TextIO

from pagedbg.analysis.stored_rows import store_rows
from pagedbg.capture.database import open_database
from pagedbg.capture.scratch import scratch
from pagedbg.errors import PagedbgError
from pagedbg.output.printable import raw
from pagedbg.schema.table import Table


def write_parquet(table: Table, out: TextIO) -> None:
    """
    Write a table as a Parquet file. Its rows are put into a database first, which takes
    no more memory for more of them, and then compressed.

    :param out: a file; what it has written as text comes before
    """
    buffer = getattr(raw(out), "buffer", None)
    if buffer is None:
        raise PagedbgError("Parquet is written to files: give one with -o.")
    with scratch() as folder, closing(open_database(folder)) as db:
        store_rows(db, "found", table)
        path = Path(folder) / "rows"
        db.execute(f"COPY found TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        out.flush()
        with path.open("rb") as file:
            shutil.copyfileobj(file, buffer)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Captures to be damaged: every file of one, each in the way that hurts its kind, whatever
files there are.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from mutate import EDGES, TEXT, Choice, few, number, one

from pagedbg.analysis.holding import Holding
from pagedbg.capture.sealing import Sealer
from pagedbg.schema.event_record import RECORD, check_of

WRONG: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.5,
        -0.0,
        float("nan"),
        float("inf"),
        1e308,
        10**30,
        -(1 << 63),
        "",
        "0",
        "nan",
        [],
        {},
        [[]],
        {"": None},
    ),
    *EDGES[::7],
    TEXT.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode(),
    "x" * (1 << 20),
)
KINDS = ("meta", "events", "records", "sealed", "lines", "arrays", "files")

_MOST = 1 << 26


class Captures:
    """A capture, and a copy of it to damage."""

    def __init__(self, whole: Path) -> None:
        self.whole = whole

    def copies(self, directory: Path) -> None:
        """Have a place for copies; and the capture sealed, and only what is held."""
        self.path = directory / "capture"
        self._forms = [
            self.whole,
            *(
                Path(shutil.copytree(self.whole, directory / f"whole-{form}"))
                for form in ("sealed", "held")
            ),
        ]
        Sealer(self._forms[1]).seal(0)
        Holding(self._forms[2]).fold(1, 1)

    def damage(self, choice: Choice) -> Path:
        """Make a new copy and damage it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._form = self._forms[one(choice, len(self._forms))]
        shutil.copytree(self._form, self.path)
        for _ in range(few(choice, 6)):
            kind = KINDS[one(choice, len(KINDS))]
            # One that was made a terabyte is left at that.
            files = sorted(
                path
                for path in self.path.iterdir()
                if path.is_file()
                and not path.is_symlink()
                and path.stat().st_size < _MOST
            )
            wanted = {
                "meta": ".json",
                "events": ".bin",
                "records": ".bin",
                "sealed": ".parquet",
                "lines": ".jsonl",
                "arrays": ".npy",
            }.get(kind, "")
            files = [path for path in files if path.name.endswith(wanted)]
            if files:
                getattr(self, f"_{kind}")(choice, files[one(choice, len(files))])
        return self.path

    # ---- files of JSON ----

    def _meta(self, choice: Choice, path: Path) -> None:
        data = path.read_text(encoding="utf-8", errors="surrogateescape")
        kind = one(choice, 10)
        if kind == 0:
            data = data[: one(choice, len(data) + 1)]
        elif kind == 1:
            data = "[" * (1 << one(choice, 18)) + data
        elif kind == 2:
            data = '{"a":' * (1 << one(choice, 18)) + "1" + "}" * (1 << one(choice, 18))
        elif kind == 3:
            at = one(choice, len(data) + 1)
            data = data[:at] + chr(one(choice, 0x300)) + data[at + 1 :]
        else:
            try:
                data = json.dumps(self._other(choice, json.loads(data)))
            except (ValueError, RecursionError):
                return
        path.write_text(data, encoding="utf-8", errors="surrogateescape")

    def _other(self, choice: Choice, value: Any) -> Any:
        """A value with another somewhere in it."""
        if isinstance(value, dict) and value and choice.random() < 0.93:
            key = list(value)[one(choice, len(value))]
            kind = one(choice, 12)
            if kind == 0:
                return {k: v for k, v in value.items() if k != key}
            if kind == 1:
                return {**value, "more": WRONG[one(choice, len(WRONG))]}
            if kind == 2:
                return {(f"{k}x" if k == key else k): v for k, v in value.items()}
            return {**value, key: self._other(choice, value[key])}
        if isinstance(value, list) and value and choice.random() < 0.85:
            at = one(choice, len(value))
            kind = one(choice, 6)
            if kind == 0:
                return value[:at]
            if kind == 1:
                return value * 1000
            return [*value[:at], self._other(choice, value[at]), *value[at + 1 :]]
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and choice.random() < 0.5
        ):
            return number(choice, value & (1 << 64) - 1, 8)
        return WRONG[one(choice, len(WRONG))]

    def _lines(self, choice: Choice, path: Path) -> None:
        lines = path.read_bytes().split(b"\n")
        at = one(choice, len(lines))
        kind = one(choice, 8)
        if kind == 0:
            lines = lines[:at]
        elif kind == 1:
            lines[at] = lines[at][: one(choice, len(lines[at]) + 1)]
        elif kind == 2:
            lines.insert(at, lines[one(choice, len(lines))])
        elif kind == 3:
            lines[at] = b"[" * (1 << one(choice, 18))
        elif kind == 4:
            lines[at] = choice.bytes(64)
        elif kind == 5:
            lines[at] = b"x" * (1 << one(choice, 24))
        else:
            try:
                lines[at] = json.dumps(
                    self._other(choice, json.loads(lines[at] or b"{}"))
                ).encode()
            except (ValueError, RecursionError):
                return
        path.write_bytes(b"\n".join(lines))

    # ---- files of records ----

    def _events(self, choice: Choice, path: Path) -> None:
        data = bytearray(path.read_bytes())
        kind = one(choice, 7)
        if not data or kind == 0:
            path.write_bytes(b"")
            return
        at = one(choice, len(data))
        if kind == 1:
            del data[at:]
        elif kind == 2:
            data += bytes(data)
        elif kind == 3:
            size = 64 * (1 + one(choice, 1 << 12))
            del data[at // 64 * 64 : at // 64 * 64 + size]
        elif kind == 4:
            length = min(1 << one(choice, 16), len(data) - at)
            data[at : at + length] = (
                bytes(length),
                b"\xff" * length,
                choice.bytes(length),
            )[one(choice, 3)]
        else:
            for _ in range(few(choice)):
                size = (8, 8, 4, 2, 1)[one(choice, 5)]
                at = one(choice, len(data)) // size * size
                old = int.from_bytes(data[at : at + size], "little")
                data[at : at + size] = number(choice, old, size).to_bytes(
                    size, "little"
                )
        path.write_bytes(data)

    _sealed = _events

    def _records(self, choice: Choice, path: Path) -> None:
        """Records that are whole, and say what they please."""
        records = np.fromfile(path, RECORD, path.stat().st_size // RECORD.itemsize)
        if not len(records):
            return
        for _ in range(few(choice)):
            name = (RECORD.names or ())[one(choice, len(RECORD.names or ()) - 1)]
            at = one(choice, len(records))
            size = 1 << one(choice, 12) if choice.random() < 0.3 else 1
            flat = records[name][at : at + size].reshape(-1)
            unsigned = flat.astype(f"<u{flat.dtype.itemsize}") if len(flat) else flat
            if len(flat):
                value = number(choice, int(unsigned[0]), flat.dtype.itemsize)
                unsigned[:] = value
                records[name][at : at + size] = unsigned.view(flat.dtype).reshape(
                    records[name][at : at + size].shape
                )
        records["check"] = check_of(records)
        records.tofile(path)

    def _arrays(self, choice: Choice, path: Path) -> None:
        if choice.random() < 0.5:
            self._events(choice, path)
            return
        data = path.read_bytes()
        # NumPy's header is a line of Python.
        head, rest = bytearray(data[:256]), data[256:]
        for _ in range(few(choice, 8)):
            at = one(choice, max(len(head), 1))
            head[at : at + 1] = (
                b"(",
                b"'",
                b"9" * 20,
                b"\n",
                b"\0",
                b"-",
                choice.bytes(1),
            )[one(choice, 7)]
        path.write_bytes(bytes(head) + rest)

    # ---- what is no file ----

    def _files(self, choice: Choice, path: Path) -> None:
        kind = one(choice, 9)
        path.unlink()
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.symlink_to("/dev/zero")
        elif kind == 2:
            path.symlink_to("/etc/passwd")
        elif kind == 3:
            path.symlink_to(path.name)
        elif kind == 4:
            path.mkdir()
        elif kind == 5:
            with path.open("wb") as file:
                file.truncate(1 << (20, 31, 33, 40)[one(choice, 4)])
        elif kind == 6:
            shutil.copyfile(self._form / path.name, path)
            os.truncate(path, 1 << (20, 31, 33, 40)[one(choice, 4)])
        elif kind == 7:
            path.with_name(f"more-{path.name}").symlink_to("/etc/shadow")

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What pagedbg keeps and shows of a kernel while it runs: ``top`` in a terminal, and
snapshots, against what a module holds (contrib/lab/churn) and the kernel's own records.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from booted import NO_BCC, OUT, PAGEDBG, PATIENCE, boot
from booted import pagedbg as here
from debugfs_text import Record, parse

DRIVE = Path(__file__).with_name("drive_top.py")
CHURN = "/proc/pagedbg_churn"

# What is asked of the kernel and of snapshots alike.
LINES = {
    "status": "status",
    "owners": "owners --module pagedbg_churn",
    "sums": "owners --module pagedbg_churn --by stack,order,gfp,comm,kind",
    "map": "map --by function --cell 64K --pfns {pfn}+512",
    "page": "inspect pfn {pfn}",
}

SNAPSHOTS = """
snapshot save $OUT/kept/sums
!cp -r $OUT/kept/sums $OUT
snapshot save --full $OUT/full
!cp -r $OUT/full $OUT/kept
!cat /sys/kernel/debug/page_owner >$OUT/text
snapshot save --full --keep 2 $OUT/kept/newer
"""


@dataclasses.dataclass(frozen=True)
class Session:
    """
    What one guest left behind in ``out``: what ``top`` showed, what was said of the
    kernel by the names of :data:`LINES`, and the kernel's records of what the module
    holds by pfn. ``pfn`` is that of a whole pageblock among it.
    """

    out: Path
    top: dict[str, Any]
    said: dict[str, list[dict[str, Any]]]
    printed: str
    records: dict[int, Record]
    pfn: int
    without_bcc: str

    def of(self, snapshot: str, name: str) -> list[dict[str, Any]]:
        """What a snapshot says to a line."""
        line = LINES[name].format(pfn=self.pfn)
        done = here(
            *("--snapshot", self.out / snapshot),
            *(*line.split(), "--format", "jsonl"),
        )
        assert done.status == 0, done.stderr
        return rows(done.stdout)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    out = tmp_path_factory.mktemp("session")
    with boot("6.12", "session", memory="640M", out=out) as machine:
        machine.load_churn()
        driven = machine.run(
            [sys.executable, DRIVE, PAGEDBG, OUT], timeout=2 * PATIENCE
        ).check()
        held = machine.sh(f"echo alloc 9 1 >{CHURN}; tail -n +3 {CHURN}").splitlines()
        pfns = [int(line.split()[0]) for line in held]
        script = SNAPSHOTS.replace("$OUT", str(OUT)) + "\n".join(
            f"{line.format(pfn=pfns[-1])} --format jsonl -o {OUT}/{name}.jsonl"
            for name, line in LINES.items()
        )
        machine.write(OUT / "script", script)
        machine.sh(f"mkdir {OUT}/kept")
        printed = machine.run([PAGEDBG, "--no-pager", "-x", OUT / "script"]).check()
        # In a mount namespace of its own.
        without_bcc = machine.sh(
            f'unshare --mount sh -c \'{NO_BCC}; {PAGEDBG} -e "trace start" -e'
            ' "trace stop"\'; lsmod'
        )
    records = {
        record.pfn: record
        for record in parse((out / "text").read_text(errors="backslashreplace"))
    }
    return Session(
        out,
        json.loads(driven.text),
        {name: rows((out / f"{name}.jsonl").read_text()) for name in LINES},
        printed.text,
        {pfn: records[pfn] for pfn in pfns},
        pfns[-1],
        without_bcc,
    )


def test_top_shows_what_the_module_holds_and_obeys_its_keys(session: Session) -> None:
    top = session.top
    # drive_top.py has seen what each key does.
    assert top["held"] == 40 * 16
    assert top["grown"] == ["2.5 MiB", "2.5 MiB"]
    stacks = {record.stack for record in session.records.values() if record.order == 4}
    assert [tuple(top["frames"])] == [*stacks]
    assert top["unfolded without the filter"] == top["frames"]
    assert top["status"] == 0
    (status,) = rows((session.out / "top.status").read_text())
    assert status["state"] == "recording"


# Of status what stays as it is.
STILL = (
    *("release", "build_id", "boot_id", "host", "machine", "cpus", "booted_s"),
    *("pages", "page_size", "nodes", "page_owner"),
)


@pytest.mark.parametrize("snapshot", ["sums", "full", "kept/newer"])
def test_a_snapshot_of_a_running_kernel_says_what_the_kernel_said(
    session: Session, snapshot: str
) -> None:
    (kept,), (live,) = session.of(snapshot, "status"), session.said["status"]
    assert {key: kept[key] for key in STILL} == {key: live[key] for key in STILL}
    assert session.of(snapshot, "sums") == session.said["sums"]
    if snapshot == "sums":
        return
    assert session.of(snapshot, "owners") == session.said["owners"]
    cells = session.of(snapshot, "map")
    assert cells == session.said["map"]
    assert {cell["mostly"] for cell in cells} == {"pagedbg_churn_alloc"}
    assert sum(cell["pages"] for cell in cells) == 512
    (page,), (live,) = session.of(snapshot, "page"), session.said["page"]
    same = page.keys() & live.keys()
    assert same >= {"pfn", "order", "ts_ns", "stack", "kind", "pageblock_migratetype"}
    assert {key: page[key] for key in same} == {key: live[key] for key in same}


def test_a_full_snapshot_has_the_kernels_own_records(session: Session) -> None:
    found = {row["pfn"]: row for row in session.of("full", "owners")}
    assert len(session.records) == 41
    for pfn, record in session.records.items():
        row = found[pfn]
        assert (
            *(row["order"], row["gfp_mask"], row["gfp"], row["migratetype"]),
            *(row["pid"], row["comm"], row["ts_ns"], tuple(row["stack"])),
        ) == (
            *(record.order, record.gfp_mask, record.gfp, record.migratetype),
            *(record.pid, record.comm, record.ts, record.stack),
        )


def test_no_more_snapshots_are_kept_than_are_to_be(session: Session) -> None:
    assert {each.name for each in (session.out / "kept").iterdir()} == {"full", "newer"}
    assert "1 older snapshot removed." in session.printed


def test_the_module_is_taken_where_bpf_does_not_work(session: Session) -> None:
    assert "The kernel module listens to __" in session.without_bcc
    assert not re.search("^pagedbg ", session.without_bcc, re.MULTILINE)

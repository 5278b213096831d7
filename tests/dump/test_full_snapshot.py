# SPDX-License-Identifier: GPL-2.0-or-later
"""
Snapshots with every block: they list what the dump lists, and say how many pages have
changed hands; and those that are too old or too many go.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from kept_snapshots import CORES, Answers, answers_to, snapshots_of
from known import SAMPLE, Oracle, Run

from pagedbg.analysis.changed_hands import ChangedHands, changed_hands

MAP_KEYS = ("detail", "order", "memcg", "cache", "file", "function", "comm", "module")

LINES = (
    "owners",
    "owners --no-stack --sort -ts_ns --top 7",
    "owners --orders '>=2' --gfp __GFP_COMP --sort gfp",
    "owners --pid 1 --zone DMA32",
    "owners --age '>20s' --stack vmalloc",
    "owners --pfns 0x1100-0x51ff --module leaky",
    "owners --pfns 0x1005+1 --node 0",
    "owners --by pid",
    "owners --by pid,function --comm 'python*' --age '<70s'",
    "owners --by stack --pfns 0x1100-0x6fff --migratetype movable",
    "owners --kind slab",
    "owners --kind file,anon --no-stack --sort -ts_ns --top 9",
    "owners --memcg '/*' --top 5",
    "owners --by kind --pid 1",
    "owners --by detail,kind --pfns 0x1000-0x5fff",
    "owners --by file",
    "owners --by cache --age '<70s'",
    "owners --by memcg,pageblock_migratetype --pid 1-50",
    "map --cell 1M",
    "map",
    *(f"map --by {key} --cell 256K" for key in MAP_KEYS),
    "map --by comm --cell 1M --zone DMA32",
    "map --by migratetype --cell 64K --pfns 0x1003-0x2fff",
    "map --by module --highlight '--module leaky'",
    "map --highlight '--stack vmalloc --orders 0' --cell 256K --layout hilbert",
    "map --at 0x1234 --cell 1M",
    "map --by function --at 0x3003 --cell 256K",
    "inspect pfn 0x1000+0x800 --columns"
    " pfn,pages,zone,node,kind,memcg,pageblock_migratetype",
    'sql "SELECT * EXCLUDE (phys, page, virt, head, flags, refcount, mapcount,'
    " detail, flags_mask, compound_head, compound_order, pgoff, file_offset,"
    " pageblock_pfn, pageblock_order, record, handle_kind, free_handle_kind,"
    " free_age_ns, age_ns, migrate_reason, free_ts_ns, free_handle, free_stack,"
    " free_pid, free_tgid, vmalloc, holder, witness) FROM pages"
    " WHERE pfn BETWEEN 4096 AND 8191 AND state = 'allocated' ORDER BY pfn\"",
    "stacks",
    'sql "SELECT comm, sum(pages) FROM blocks GROUP BY 1 ORDER BY ALL"',
    'sql "SELECT module, count(*) FROM blocks JOIN stacks USING (handle) GROUP BY 1'
    ' ORDER BY ALL"',
)


kept = snapshots_of("--full")
answers = answers_to(LINES)


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.stem)
@pytest.mark.parametrize("line", LINES)
def test_a_full_snapshot_says_what_the_dump_says(
    answers: Answers, core: Path, line: str
) -> None:
    answers.compare(core, line)
    if core == SAMPLE:
        assert answers.of_dump(core, line)


def test_a_block_takes_twelve_bytes(kept: dict[Path, Path]) -> None:
    for snapshot in kept.values():
        files = [snapshot / f"{name}.parquet" for name in ("blocks", "pages")]
        ((blocks,),) = duckdb.sql(f"SELECT count(*) FROM '{files[0]}'").fetchall()
        assert blocks > 7000
        assert sum(file.stat().st_size for file in files) <= 12 * blocks


@pytest.mark.parametrize(
    ("line", "said"),
    (
        (
            "map --by mobility",
            "map: a snapshot does not hold the mobility of pages: it has order,",
        ),
        (
            "map --highlight '--kind slab'",
            "map: --highlight: a snapshot knows who holds the pages of blocks on",
        ),
        (
            "inspect virt 0xffff888000000000",
            "inspect: a snapshot does not hold addresses: inspect pfn takes the number",
        ),
        (
            "inspect pfn 0xfffffff",
            "inspect: there is no page to show at page frame 0xfffffff: the snapshot",
        ),
        (
            "stacks 0xfffffff",
            "stacks: a snapshot does not hold a stack 0xfffffff: stacks lists ",
        ),
    ),
)
def test_what_it_does_not_hold_is_said(
    pagedbg: Run, kept: dict[Path, Path], line: str, said: str
) -> None:
    done = pagedbg("--snapshot", kept[SAMPLE], *shlex.split(line))
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_what_is_full_is_asked_for(pagedbg: Run, tmp_path: Path) -> None:
    sums = tmp_path / "sums"
    assert pagedbg("-c", SAMPLE, "snapshot", "save", sums).returncode == 0
    for line in ("map", "inspect pfn 5"):
        done = pagedbg("--snapshot", sums, *line.split())
        assert done.returncode == 1
        assert done.stderr == (
            f"{line.split()[0]}: a snapshot does not hold single pages: snapshot save"
            " --full keeps them.\n"
        )
    for line in ("owners", "owners --by pid", "stacks"):
        done = pagedbg("--snapshot", sums, *line.split())
        assert done.returncode == 1
        assert done.stderr == (
            f"{line.split()[0]}: a snapshot does not hold single blocks: snapshot save"
            " --full keeps them; owners --by has sums.\n"
        )


# ---- pages that change hands ----


def test_pages_that_changed_hands_are_counted_one_by_one() -> None:
    db = duckdb.connect()
    db.execute(
        "CREATE TABLE before AS SELECT * FROM (VALUES (0, 2, 4, 5), (8, 0, 1, 6),"
        ' (16, 1, 2, 7), (32, 3, 5, 8), (64, 1, 2, 9)) t(pfn, "order", pages, ts_ns)'
    )
    # Split in two, allocated again, half of it allocated again, freed in part, kept.
    db.execute(
        "CREATE TABLE after AS SELECT * FROM (VALUES (0, 1, 2, 5), (2, 1, 2, 5),"
        " (8, 0, 1, 60), (17, 0, 1, 70), (32, 3, 2, 8), (64, 1, 2, 9))"
        ' t(pfn, "order", pages, ts_ns)'
    )
    assert changed_hands(db, "before", "after") == ChangedHands(2, 2)


def test_between_a_snapshot_and_its_dump_none_did(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    done = pagedbg("-c", SAMPLE, "diff", kept[SAMPLE])
    assert ": the same boot, in which 0 pages changed hands.\n" in done.stdout


def test_what_another_reading_of_the_blocks_finds_changed_hands(
    pagedbg: Run, kept: dict[Path, Path], tmp_path: Path
) -> None:
    later = shutil.copytree(kept[SAMPLE], tmp_path / "later")
    blocks = f"'{kept[SAMPLE]}/blocks.parquet'"
    duckdb.sql(
        "SELECT * REPLACE (CASE WHEN comm = 'python3' THEN ts_ns + 1 ELSE ts_ns END AS"
        f" ts_ns) FROM {blocks}"
    ).write_parquet(str(later / "blocks.parquet"))
    expected = sum(
        block.pages
        for block in Oracle(SAMPLE_ORACLE).blocks()
        if block.record["comm"] == "python3"
        and block.pages == 1 << block.record["order"]
    )
    done = pagedbg("diff", kept[SAMPLE], later)
    assert f"in which {expected:,} pages changed hands" in done.stdout
    assert expected > 1000


SAMPLE_ORACLE = Path(__file__).parent / "data" / "incident.oracle.json.xz"


# ---- those that are kept ----


@pytest.fixture
def series(kept: dict[Path, Path], tmp_path: Path) -> Callable[..., Path]:
    """Make a snapshot of the sample's host that was taken at another time."""

    def make(name: str, taken: str, **more: str) -> Path:
        made = shutil.copytree(kept[SAMPLE], tmp_path / name)
        meta = json.loads((made / "meta.json").read_text())
        meta["taken"] = taken
        meta["kernel"].update(more)
        (made / "meta.json").write_text(json.dumps(meta))
        return made

    return make


def left(where: Path) -> set[str]:
    """What there is in a directory."""
    return {each.name for each in where.iterdir()}


def test_what_is_too_old_or_too_many_is_removed(
    pagedbg: Run, series: Callable[..., Path], tmp_path: Path
) -> None:
    for day in range(16, 24):
        series(f"day{day}", f"2026-11-{day}T12:00:00+00:00")
    done = pagedbg(
        *("-c", SAMPLE, "snapshot", "save", tmp_path / "new", "--keep", "5d,4")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("5 older snapshots removed.\n")
    assert left(tmp_path) == {"day21", "day22", "day23", "new"}
    done = pagedbg(
        *("-c", SAMPLE, "snapshot", "save", tmp_path / "newer", "--keep", "1d")
    )
    assert left(tmp_path) == {"day23", "new", "newer"}


def test_what_is_not_ours_to_remove_stays(
    pagedbg: Run, series: Callable[..., Path], tmp_path: Path
) -> None:
    old = "2026-11-01T12:00:00+00:00"
    series("another host", old, host="elsewhere")
    series("later", "2026-12-24T12:00:00+00:00")
    series("no zone", "2026-11-01T12:00:00")
    series("more in it", old).joinpath("notes.txt").write_text("mine")
    damaged = series("damaged", old)
    (damaged / "meta.json").write_text("{")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(series("old", old))
    outside = tmp_path / "file.parquet"
    outside.write_text("mine")
    hostile = series("hostile", old)
    meta = json.loads((hostile / "meta.json").read_text())
    meta["relations"]["../file"] = 1
    (hostile / "meta.json").write_text(json.dumps(meta))
    before = left(tmp_path)
    done = pagedbg("-c", SAMPLE, "snapshot", "save", tmp_path / "new", "--keep", "7d")
    assert done.returncode == 0
    assert left(tmp_path) == before - {"old", "hostile"} | {"new"}
    assert outside.read_text() == "mine"
    assert (
        f"{tmp_path}/more in it is not removed: it has other files: notes.txt."
        in done.stdout
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")
def test_another_users_snapshot_stays(
    pagedbg: Run, series: Callable[..., Path], tmp_path: Path
) -> None:
    os.chown(series("theirs", "2026-11-01T12:00:00+00:00"), 65534, 65534)
    done = pagedbg("-c", SAMPLE, "snapshot", "save", tmp_path / "new", "--keep", "1")
    assert f"{tmp_path}/theirs is not removed: it is somebody else's." in done.stdout
    assert left(tmp_path) == {"theirs", "new"}


@pytest.mark.parametrize("keep", ("x", "0", "7d,8d", "1,2", "7d,1,1"))
def test_what_says_nothing_to_keep_is_refused(
    pagedbg: Run, tmp_path: Path, keep: str
) -> None:
    done = pagedbg("-c", SAMPLE, "snapshot", "save", tmp_path / "new", "--keep", keep)
    assert done.returncode == 2
    assert done.stderr.startswith("snapshot save: --keep: ")
    assert not list(tmp_path.iterdir())

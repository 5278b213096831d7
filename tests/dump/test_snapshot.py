# SPDX-License-Identifier: GPL-2.0-or-later
"""
Snapshots: what they keep is what the commands say of the dump, and what has changed
between two is what somebody else finds in the dumps.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from known import DATA, ORDINARY, SAMPLE, Ask, Oracle, Row, Run, asking

from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.schema.snapshot_meta import SnapshotMeta
from pagedbg.target.opening import open_target

ROOT = Path(__file__).parents[2]

FILES = {
    "meta.json",
    *(
        f"{name}.parquet"
        for name in (
            *("owners", "stacks", "kernel", "memory", "unaccounted", "pools"),
            *("largest", "health", "zones", "free", "free_areas", "pageblocks"),
            "failures",
        )
    ),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """A snapshot of each dump."""
    where = tmp_path_factory.mktemp("snapshots")
    made = {}
    for core in (ORDINARY, SAMPLE):
        made[core] = where / core.stem
        done = Run()("-c", core, "snapshot", "save", made[core])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f" in {made[core]}.\n")
    return made


@pytest.fixture(scope="module")
def ask() -> Ask:
    """What a command says of the ordinary machine's dump."""
    return asking(open_target(str(ORDINARY)))


@pytest.fixture
def copy(kept: dict[Path, Path], tmp_path: Path) -> Path:
    """A snapshot to be damaged."""
    return shutil.copytree(kept[ORDINARY], tmp_path / "copy")


def rows(snapshot: Path, relation: str) -> list[Row]:
    """What a Parquet file of a snapshot has, by another's reading."""
    found = duckdb.sql(f"SELECT * FROM '{snapshot}/{relation}.parquet'")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def compared(pagedbg: Run, *args: str | Path) -> list[Row]:
    """What ``diff`` says, as JSON."""
    done = pagedbg("diff", "--format", "json", *args)
    assert done.returncode == 0, done.stderr
    found: list[Row] = json.loads(done.stdout)
    return found


def test_a_snapshot_is_for_its_owner_alone(kept: dict[Path, Path]) -> None:
    assert {each.name for each in kept[SAMPLE].iterdir()} == FILES
    assert kept[SAMPLE].stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in kept[SAMPLE].iterdir()} == {0o600}


def test_an_older_one_lacks_a_column_and_answers(pagedbg: Run, copy: Path) -> None:
    file, older = copy / "owners.parquet", copy / "older"
    query = f"SELECT * EXCLUDE site FROM '{file}'"
    duckdb.sql(f"COPY ({query}) TO '{older}' (FORMAT parquet)")
    before = compared(pagedbg, copy, ORDINARY, "--by", "comm", "--section", "owners")
    older.rename(file)
    assert before == compared(
        pagedbg, copy, ORDINARY, "--by", "comm", "--section", "owners"
    )
    done = pagedbg("--snapshot", copy, "owners", "--by", "site", "--format", "json")
    assert [row["site"] for row in json.loads(done.stdout)] == [None]


def test_the_format_is_documented() -> None:
    said = (ROOT / "contrib" / "snapshot-format.md").read_text(encoding="utf-8")
    of_full = {"blocks.parquet", "handles.parquet", "pages.parquet"}
    assert {"meta.json", *re.findall(r"^\| `(\w+\.parquet)`", said, re.M)} == (
        FILES | of_full | {"slab_sums.parquet"}
    )
    keys = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", said, re.M)))
    assert set(SnapshotMeta.__struct_fields__) <= set(keys)


@pytest.mark.parametrize(
    ("relation", "line"),
    (
        ("memory", "memory --section kinds"),
        ("zones", "zones"),
        ("free_areas", "free --by migratetype"),
        ("pageblocks", "blocks"),
    ),
)
def test_a_relation_is_what_the_command_says(
    kept: dict[Path, Path], ask: Ask, relation: str, line: str
) -> None:
    found = rows(kept[ORDINARY], relation)
    assert json.loads(json.dumps(found)) == ask(line)
    assert found


@pytest.mark.parametrize(
    "key",
    [
        column.name
        for column in (*OWNER_SUMS, *STACK_NAMES)
        if column.name not in ("blocks", "pages", "bytes", "age", "site")
    ],
)
def test_sums_of_the_owners_are_those_of_the_command(
    kept: dict[Path, Path], ask: Ask, key: str
) -> None:
    stacks = {row["stack_id"]: row for row in rows(kept[ORDINARY], "stacks")}
    found: Counter[tuple[str, str]] = Counter()
    for row in rows(kept[ORDINARY], "owners"):
        value = row[key] if key in row else stacks.get(row["stack_id"], {}).get(key)
        for sum_ in ("blocks", "pages", "bytes"):
            found[json.dumps(value or None if key == "stack" else value), sum_] += row[
                sum_
            ]
    said = {
        (json.dumps(row[key] or None if key == "stack" else row[key]), sum_): row[sum_]
        for row in ask(f"owners --by {key}")
        for sum_ in ("blocks", "pages", "bytes")
    }
    assert dict(found) == said


def test_the_ids_of_stacks_are_those_of_their_frames(kept: dict[Path, Path]) -> None:
    named = rows(kept[ORDINARY], "stacks")
    assert len({row["stack_id"] for row in named}) == len(named)
    assert {row["stack_id"] for row in rows(kept[ORDINARY], "owners")} - {None} == {
        row["stack_id"] for row in named
    }


def test_what_has_changed_is_what_debug_info_finds(pagedbg: Run) -> None:
    before, after = (
        Oracle(DATA / f"{name}.oracle.json.xz") for name in ("ordinary", "incident")
    )
    sums: dict[tuple[str, int], list[int]] = {}
    for place, oracle in enumerate((before, after)):
        for block in oracle.blocks():
            key = (block.record["comm"], block.record["order"])
            row = sums.setdefault(key, [0, 0])
            row[place] += block.pages
    said = {
        (row["comm"], row["order"]): [row["pages_before"], row["pages_after"]]
        for row in compared(pagedbg, ORDINARY, SAMPLE, "--by", "comm,order")
    }
    assert said == {key: pages for key, pages in sums.items() if pages[0] != pages[1]}


FILTERS: tuple[tuple[str, ...], ...] = (
    (),
    ("--orders", ">=1"),
    ("--gfp", "__GFP_COMP"),
    ("--migratetype", "movable"),
    ("--zone", "dma32"),
    ("--node", "0"),
    ("--node", "1"),
    ("--comm", "python*"),
    ("--stack", "vmalloc"),
    ("--module", "leaky"),
    ("--kind", "slab,file"),
    ("--memcg", "/*"),
    ("--comm", "python*", "--orders", "0", "--zone", "DMA*"),
)


@pytest.mark.parametrize("filters", FILTERS, ids=" ".join)
def test_a_snapshot_answers_as_the_dump_it_is_of(
    pagedbg: Run, kept: dict[Path, Path], filters: tuple[str, ...]
) -> None:
    by = ("--by", "stack_shape,order,gfp,kind", *filters)
    of_dumps = compared(pagedbg, ORDINARY, SAMPLE, *by)
    assert compared(pagedbg, kept[ORDINARY], kept[SAMPLE], *by) == of_dumps
    # There is one node.
    assert bool(of_dumps) == (filters != ("--node", "1"))


def test_the_kernel_that_is_open_is_the_later_side(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    done = pagedbg(
        *("-c", SAMPLE, "diff", kept[ORDINARY], "--by", "module", "--format", "json")
    )
    assert json.loads(done.stdout) == compared(
        pagedbg, ORDINARY, SAMPLE, "--by", "module"
    )
    (leaky,) = [row for row in json.loads(done.stdout) if row["module"] == "leaky"]
    assert (leaky["pages_before"], leaky["change"]) == (0, "new")


def test_nothing_has_changed_between_a_snapshot_and_its_dump(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    done = pagedbg("-c", SAMPLE, "diff", kept[SAMPLE])
    assert "All kinds of memory have the same pages.\n" in done.stdout
    assert "Nobody holds more, or less.\n" in done.stdout
    assert ": the same boot.\n" in done.stdout


def test_changes_come_the_greatest_first_and_add_up(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    found = compared(pagedbg, kept[ORDINARY], kept[SAMPLE])
    growth = [row["delta_pages"] for row in found]
    assert growth == sorted(growth, reverse=True)
    assert growth[0] > 0 > growth[-1]
    for row in found:
        assert row["delta_pages"] == row["pages_after"] - row["pages_before"]
        assert row["delta_bytes"] == 4096 * row["delta_pages"]
        assert row["stack"]
    least = compared(
        pagedbg, kept[ORDINARY], kept[SAMPLE], "--sort", "-delta_pages", "--top", "1"
    )
    assert [row["delta_pages"] for row in least] == growth[-1:]


def test_snapshots_are_listed_by_time(
    pagedbg: Run, kept: dict[Path, Path], copy: Path
) -> None:
    (copy / "meta.json").write_text('{"format": "pagedbg snapshot", "version": 9}')
    done = pagedbg(
        *("snapshot", "list", "--format", "json"),
        *(kept[SAMPLE].parent, copy),
    )
    listed = json.loads(done.stdout)
    assert [row["snapshot"] for row in listed] == [
        str(kept[ORDINARY]),
        str(kept[SAMPLE]),
    ]
    assert [row["host"] for row in listed] == ["lab", "lab"]
    assert listed[0]["taken"] < listed[1]["taken"]
    assert done.stderr == (
        f"{copy} has version 9 of the format, and this pagedbg reads 1.\n"
    )


def replace_meta(**values: Any) -> Callable[[Path], None]:
    def change(snapshot: Path) -> None:
        path = snapshot / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def cut(snapshot: Path) -> None:
    path = snapshot / "owners.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def other_types(snapshot: Path) -> None:
    duckdb.sql(
        "SELECT 'x' AS stack_id, 'many' AS pages, 1 AS blocks, 1 AS bytes"
    ).write_parquet(str(snapshot / "owners.parquet"))


def link(snapshot: Path) -> None:
    (snapshot / "owners.parquet").unlink()
    (snapshot / "owners.parquet").symlink_to("/etc/passwd")


def fifo(snapshot: Path) -> None:
    (snapshot / "owners.parquet").unlink()
    os.mkfifo(snapshot / "owners.parquet")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (cut, "owners.parquet of {} is damaged: "),
    "other types": (other_types, "owners.parquet of {} is damaged: "),
    "half": (
        lambda snapshot: (snapshot / "owners.parquet").unlink(),
        "{} lacks owners.parquet, which its meta.json counts: No such file or"
        " directory. Was it copied in part?",
    ),
    "link": (link, "{} lacks owners.parquet, which its meta.json counts: is not a"),
    "FIFO": (fifo, "{} lacks owners.parquet, which its meta.json counts: is not a"),
    "counts": (
        replace_meta(relations={"owners": 1, "stacks": 1}),
        "owners.parquet of {} is damaged, or of another snapshot: meta.json counts 1",
    ),
    "without": (
        replace_meta(relations={}, missing={"owners": "page_owner is off."}),
        "{} has no owners: page_owner is off.",
    ),
    "text": (
        lambda snapshot: (snapshot / "meta.json").write_text("{"),
        "{} is no snapshot: its meta.json is damaged.",
    ),
    "capture": (
        lambda snapshot: (snapshot / "meta.json").write_text(
            '{"format": "pagedbg capture"}'
        ),
        "{} has version (unreadable) of the format, and this pagedbg reads ",
    ),
    "nonsense": (
        replace_meta(kernel={"release": 5}),
        "{} is no snapshot: its meta.json is damaged (",
    ),
    "version": (
        replace_meta(version=2),
        "{} has version 2 of the format, and this pagedbg reads 1.",
    ),
    "no meta.json": (
        lambda snapshot: (snapshot / "meta.json").unlink(),
        "{} is no snapshot: meta.json: No such file or directory.",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_snapshot_is_said_in_one_sentence(
    pagedbg: Run, copy: Path, damage: str
) -> None:
    change, said = DAMAGE[damage]
    change(copy)
    done = pagedbg("diff", copy, copy, "--by", "comm")
    assert done.returncode == 1
    assert done.stderr.startswith(f"diff: {said.format(copy)}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert "/proc/" not in done.stderr


def test_of_many_that_were_copied_in_part_a_few_are_named(
    pagedbg: Run, copy: Path, tmp_path: Path
) -> None:
    meta = copy / "meta.json"
    meta.write_bytes(meta.read_bytes()[:200])
    beside = tmp_path / "several"
    for number in range(8):
        shutil.copytree(copy, beside / str(number))
    done = pagedbg("--sample", "snapshot", "list", beside)
    damaged = "is no snapshot: its meta.json is damaged."
    assert done.stdout.splitlines() == [
        "There is no snapshot.",
        *(f"{beside / str(number)} {damaged}" for number in range(5)),
        "So it is with 3 more.",
    ]


@pytest.mark.parametrize("option", ("--pid 1", "--age >1s", "--pfns 0-9"))
def test_what_only_single_allocations_tell_is_refused(
    pagedbg: Run, kept: dict[Path, Path], option: str
) -> None:
    done = pagedbg("diff", kept[SAMPLE], kept[SAMPLE], *option.split())
    assert done.returncode == 2
    name = option.split()[0]
    assert done.stderr == (
        f"diff: {name}: a snapshot has sums, and knows no single allocation; leave"
        f" {name} out\n"
    )


def test_nothing_is_overwritten(pagedbg: Run, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    done = pagedbg("-c", SAMPLE, "snapshot", "save", tmp_path / "there")
    assert (done.returncode, done.stderr) == (
        1,
        f"snapshot save: {tmp_path}/there is there already: give a name that is not.\n",
    )
    assert not list((tmp_path / "there").iterdir())


def test_what_cannot_be_written_leaves_nothing(pagedbg: Run, tmp_path: Path) -> None:
    done = pagedbg("-c", SAMPLE, "snapshot", "save", tmp_path / "no" / "such")
    assert done.returncode == 1
    assert done.stderr == (
        f"snapshot save: {tmp_path}/no/such cannot be written: No such file or"
        " directory.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(pagedbg: Run, tmp_path: Path) -> None:
    done = pagedbg(
        *("-c", SAMPLE, "snapshot", "save", tmp_path / "new"),
        starting=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        # Python would leave modules that it compiles cut short, too, for everybody.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert not list(tmp_path.iterdir())


# ---- captures ----


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the sample's recorder has left in it."""
    made = tmp_path_factory.mktemp("captures") / "capture"
    done = Run()("-c", SAMPLE, "trace", "save", made)
    assert done.returncode == 0, done.stderr
    return made


def test_a_side_may_be_a_capture(
    pagedbg: Run, kept: dict[Path, Path], capture: Path
) -> None:
    by = "stack_shape,function,order"
    done = pagedbg(
        *("--capture", capture, "correlate", "--leaked", "--by", by),
        *("--format", "json"),
    )
    held = {
        (row["stack_shape"], row["function"], row["order"]): row
        for row in json.loads(done.stdout)
    }
    assert len(held) > 1
    found = compared(pagedbg, kept[ORDINARY], capture, "--by", by)
    for row in found:
        of_capture = held.pop((row["stack_shape"], row["function"], row["order"]), {})
        assert row["pages_after"] == of_capture.get("pages", 0)
        assert row["blocks_after"] == of_capture.get("blocks", 0)
    assert not held
    assert compared(pagedbg, capture, capture, "--by", by) == []
    done = pagedbg("--capture", capture, "diff", kept[ORDINARY], "--format", "json")
    assert json.loads(done.stdout) == compared(pagedbg, kept[ORDINARY], capture)


@pytest.mark.parametrize(
    ("option", "status", "said"),
    (
        ("--by zone", 2, "--by zone: a capture does not tell; it has "),
        ("--kind slab", 2, "--kind: a capture does not tell; leave it out\n"),
        ("--section memory", 1, "{} is a capture, which knows nothing of all memory: "),
    ),
)
def test_what_a_capture_does_not_tell_is_said(
    pagedbg: Run, capture: Path, option: str, status: int, said: str
) -> None:
    done = pagedbg("diff", capture, capture, *option.split())
    assert done.returncode == status
    assert done.stderr.startswith(f"diff: {said.format(capture)}")
    assert done.stderr.count("\n") == 1


def test_notes_are_said_once_and_of_memory_too(pagedbg: Run, copy: Path) -> None:
    replace_meta(notes=["Some could not be read."])(copy)
    note = f"{copy}: Some could not be read.\n"
    assert pagedbg("diff", copy, copy).stdout.count(note) == 1
    done = pagedbg("diff", copy, copy, "--section", "memory")
    assert done.stdout.count(note) >= 1
    done = pagedbg("diff", copy, copy, "--format", "json")
    assert note in done.stderr


def test_columns_are_chosen(pagedbg: Run, kept: dict[Path, Path]) -> None:
    found = compared(
        pagedbg, kept[ORDINARY], SAMPLE, "--by", "comm", "--columns", "pages_after,comm"
    )
    assert [list(row) for row in found[:1]] == [["pages_after", "comm"]]
    whole = compared(pagedbg, kept[ORDINARY], SAMPLE, "--by", "comm")
    assert found == [
        {"pages_after": row["pages_after"], "comm": row["comm"]} for row in whole
    ]

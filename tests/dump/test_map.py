# SPDX-License-Identifier: GPL-2.0-or-later
"""
``map`` on a dump: what is in its cells, against what drgn says of the dump's pages one
by one, and what other commands count; and how it is drawn.
"""

from __future__ import annotations

import collections
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from known import ORDINARY, SAMPLE, Ask, Oracle, Row, Run, asking

from pagedbg.target.target import Target

SVG = "{http://www.w3.org/2000/svg}"
SIZE = 64


@pytest.fixture(scope="session")
def ask(sample: Target) -> Ask:
    """What a command says as JSON."""
    return asking(sample)


def contents(row: Row) -> dict[str, int]:
    return {each["value"]: each["pages"] for each in row["contents"]}


def by_cell(rows: list[Row]) -> dict[int, Row]:
    """Rows by the number of their cells; those that two zones share are left out."""
    numbers = [row["start_pfn"] // SIZE for row in rows]
    once = {each for each, count in collections.Counter(numbers).items() if count == 1}
    return {
        row["start_pfn"] // SIZE: row
        for row in rows
        if row["start_pfn"] // SIZE in once
    }


def recorded(oracle: Oracle) -> dict[int, collections.Counter[str]]:
    """Of each cell, how many pages are allocated, by the order that is on record."""
    found: dict[int, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    for pfn, page in oracle.pages.items():
        if page["state"] == "allocated":
            found[pfn // SIZE][str(page["order"])] += 1
    return found


def test_allocated_pages_are_where_drgn_finds_them(ask: Ask, oracle: Oracle) -> None:
    cells = by_cell(ask("map --by order --cell 256K"))
    expected = recorded(oracle)
    assert len(cells) > 300 and len(expected) > 100
    for number, row in cells.items():
        found = contents(row)
        for other in ("free", "not on record"):
            found.pop(other, None)
        assert found == expected[number]


def test_free_pages_are_those_of_the_zones(ask: Ask, oracle: Oracle) -> None:
    free: collections.Counter[str] = collections.Counter()
    for row in ask("map"):
        free[row["zone"]] += contents(row).get("free", 0)
    for zone in oracle.zones:
        buddies = sum(count << order for order, count in enumerate(zone["nr_free"]))
        on_lists = sum(
            each["pages"]
            for each in ask("memory --by zone,detail --kind free")
            if (each["zone"], each["detail"]) == (zone["name"], "per-CPU lists")
        )
        assert free[zone["name"]] == buddies + on_lists


def test_cells_are_all_of_the_zones(ask: Ask, oracle: Oracle) -> None:
    rows = ask("map --cell 64K")
    for zone in oracle.zones:
        own = [row for row in rows if row["zone"] == zone["name"]]
        assert own[0]["start_pfn"] == zone["start_pfn"]
        frames = sum(row["pages"] + row["absent"] for row in own)
        assert frames == zone["spanned"]
        assert zone["present"] <= sum(row["pages"] for row in own) <= zone["spanned"]


def test_what_is_highlighted_is_what_owners_chooses(ask: Ask) -> None:
    marked = ask("map --by mobility --highlight '--comm swapper/0' --cell 256K")
    counts: collections.Counter[int] = collections.Counter()
    for block in ask("owners --comm swapper/0 --no-stack"):
        # Of one that was freed in part it is not said which pages are left.
        assert block["pages"] == 1 << block["order"]
        for pfn in range(block["pfn"], block["pfn"] + block["pages"]):
            counts[pfn // SIZE] += 1
    found = by_cell(marked)
    assert counts
    assert {number: row["highlighted"] for number, row in found.items()} == {
        number: counts[number] for number in found
    }


def test_mobility_is_that_of_the_pageblocks(ask: Ask) -> None:
    blocks = ask("blocks --size 256K")
    cells = ask("map --by mobility --cell 256K")
    words = ("free", "pcp", "movable", "pinned", "reclaimable", "unmovable", "unknown")
    shown = {(row["zone"], row["start_pfn"]): contents(row) for row in cells}
    assert len(blocks) > 300
    for block in blocks:
        found = shown[block["zone"], block["start_pfn"]]
        assert found == {word: block[word] for word in words if block[word]}


@pytest.mark.parametrize(
    "by", ["kind", "function", "comm", "age", "pageblock_type", "file", "mobility"]
)
def test_one_cell_is_what_the_map_has_there(ask: Ask, by: str) -> None:
    cells = ask(f"map --by {by} --cell 1M")
    for row in cells[:: len(cells) // 8]:
        rows = ask(f"map --by {by} --cell 1M --at {row['start_pfn']}")
        assert sum(each["pages"] for each in rows) == row["pages"]
        alone = {each["value"]: each["pages"] for each in rows}
        whole = contents(row)
        others = [value for value in whole if re.fullmatch(r"\d+ others", value)]
        rest = sum(whole.pop(value) for value in others)
        assert {value: alone[value] for value in whole} == whole
        assert sum(alone.values()) - sum(whole.values()) == rest
        for each in rows:
            assert row["start_pfn"] <= each["pfn"] < row["start_pfn"] + 256


def test_a_cell_of_a_hole_has_nothing(ask: Ask) -> None:
    holes = [row for row in ask("map --cell 64K") if not row["pages"]]
    assert holes
    for row in holes:
        assert ask(f"map --cell 64K --at {row['start_pfn']}") == []


def test_a_cell_is_as_large_as_those_of_the_map(pagedbg: Run) -> None:
    size = re.search(r"A cell is (\d+) pages", "".join(drawn(pagedbg, "map")))
    one = re.search(
        r": (\d+) page frames", "".join(drawn(pagedbg, "map", "--at", "0x4000"))
    )
    assert size is not None and one is not None
    assert size[1] == one[1]


def test_the_first_page_of_a_cell_is_what_inspect_says(ask: Ask) -> None:
    for row in ask("map --cell 4M --at 0x2000"):
        (page,) = ask(f"inspect pfn {row['pfn']}")
        assert page["kind"] == row["value"]


# ---- how it is drawn ----


def drawn(pagedbg: Run, *args: str, **more: str) -> list[str]:
    done = pagedbg("-c", SAMPLE, *args, env={"PATH": "/usr/bin:/bin", **more})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_letters_say_what_most_of_a_cell_is(pagedbg: Run) -> None:
    lines = drawn(pagedbg, "map", "--cell", "256K")
    rows = pagedbg.json("map", "--cell", "256K", core=SAMPLE)
    letters = "".join(line[8:] for line in lines if line.startswith("0x"))
    legend = dict(
        pair
        for line in lines[lines.index("") + 1 : -1]
        for pair in re.findall(r"(\S) ([\w ]+?) <?[\d.]+%", line)
    )
    # Blanks at the end of a line are left out; this dump has none.
    assert len(letters) == len(rows)
    named = set(legend.values())
    for letter, row in zip(letters, rows, strict=True):
        if letter == "+":
            assert row["mostly"] == legend["+"] or row["mostly"] not in named
        else:
            assert legend.get(letter) == row["mostly"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("layout", ["lines", "hilbert"])
def test_it_is_as_wide_as_the_window(pagedbg: Run, columns: int, layout: str) -> None:
    args = ("map", "--by", "function", "--layout", layout)
    lines = drawn(pagedbg, *args, COLUMNS=str(columns))
    widest = max(map(len, lines[:-1]))
    # A heading is as long as it is.
    assert columns // 2 <= widest <= max(columns, 44)


def test_a_picture_says_what_is_in_each_cell(pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    drawn(pagedbg, "map", "--cell", "64K", "-o", str(path))
    titles = {
        each[0].text
        for each in ET.parse(path).getroot().iter(f"{SVG}rect")
        if len(each)
    }
    for row in pagedbg.json("map", "--cell", "64K", core=SAMPLE):
        start = row["start_pfn"]
        end = start + row["pages"] + row["absent"] - 1
        parts = [f"{each['value']} {each['pages']}" for each in row["contents"]]
        if len(parts) <= 4:
            said = ", ".join(sorted(parts)) or "no memory"
            shown = next(each for each in titles if each.startswith(f"{start:#x}-"))
            place, _, what = shown.partition(": ")
            assert place == f"{start:#x}-{end:#x}"
            assert ", ".join(sorted(what.split(", "))) == said


def test_a_picture_says_what_is_highlighted(pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    drawn(pagedbg, "map", "--highlight", "--module leaky --pid '>=1'", "-o", str(path))
    title = ET.parse(path).getroot().findtext(f"{SVG}title")
    assert title is not None
    assert title.endswith(", by kind; highlighted: --module leaky --pid '>=1'")


def test_a_picture_may_be_pixels(pagedbg: Run, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "map.png"
    drawn(pagedbg, "map", "--layout", "hilbert", "-o", str(path))
    with Image.open(path) as image:
        image.load()
        assert image.width > 2000
        colors = {color for _, color in image.getcolors(1 << 20)}
    # Of free memory, of the kernel's and of the page.
    assert {(208, 208, 208), (255, 135, 0), (255, 255, 255)} <= colors


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("map --at 0x7fffff", "page frame 0x7fffff is in no zone that is drawn"),
        ("map --pfns 0x700000+5", "there is no zone with such pages"),
        ("map --cell 1K", "--cell: a block cannot be smaller than a page"),
        ("map --by stack", "nothing to sum up by; choose from kind, mobility"),
        ("map --by kind,order", "--by: a map shows one thing"),
        ("map --highlight ''", "there is no filter in it; write '--module leaky'"),
        ("map --highlight '--modul x'", "--highlight: unknown option --modul"),
        ('map --highlight "\'"', "no closing quotation"),
        ("map --highlight '--zone Nomal'", "Nomal"),
        ("map > a.svg", "map: a.svg: such a file is written with -o"),
        (
            "owners --by comm --inverted",
            "--inverted and --allocator are for pictures of stacks: give -o FILE.svg",
        ),
        ("map -o a.html", ".html is for stacks; a map is written into .svg and .png"),
        ("map -o /no/such/map.svg", "/no/such/map.svg: No such file or directory"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    pagedbg: Run, command: str, said: str, tmp_path: Path
) -> None:
    done = pagedbg("-c", ORDINARY, "-e", command, cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ---- stacks ----


def test_folded_stacks_are_those_of_the_table(pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.folded"
    pagedbg("-c", ORDINARY, "owners", "--by", "stack", "-o", path)
    rows = pagedbg.json("owners", "--by", "stack")
    weights = [int(line.rpartition(" ")[2]) for line in path.read_text().splitlines()]
    assert weights == [row["pages"] for row in rows]
    first = path.read_text().partition("\n")[0].rpartition(" ")[0].split(";")
    assert [frame.split("+")[0] for frame in rows[0]["stack"]] == [
        name.split(" ")[0] for name in reversed(first)
    ]


@pytest.mark.parametrize(
    "command",
    [
        "owners --top 20",
        "memory --by kind,stack",
        "blocks --by stack",
        "correlate --leaked",
        "correlate --lifetimes --by stack",
        "stacks",
        "trace show --last 50",
    ],
)
def test_stacks_are_drawn_wherever_they_are(
    pagedbg: Run, command: str, tmp_path: Path
) -> None:
    files = [tmp_path / f"a.{ending}" for ending in ("svg", "html", "speedscope.json")]
    lines = [part for file in files for part in ("-e", f"{command} -o {file}")]
    done = pagedbg("-c", SAMPLE, *lines)
    assert done.returncode == 0, done.stderr
    titles = [
        each.text or "" for each in ET.parse(files[0]).getroot().iter(f"{SVG}title")
    ]
    assert titles[0].startswith(command) and len(titles) > 3
    (profile,) = json.loads(files[2].read_text())["profiles"]
    assert sum(profile["weights"]) > 0
    assert ">all" not in files[1].read_text()

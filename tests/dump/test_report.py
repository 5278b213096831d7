# SPDX-License-Identifier: GPL-2.0-or-later
"""
``report`` on dumps: that its figures are those of the commands that it names, what it
says where something is missing, what ``--redact`` leaves of names, and that a page is
there whole or not at all.
"""

from __future__ import annotations

import collections
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import attack
import duckdb
import pytest
from drgn.helpers.linux.pid import for_each_task
from known import ORDINARY, SAMPLE, Ask, Run, asking, look_at

from pagedbg.schema.sizes import size
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

SECTIONS = [
    *("findings", "machine", "memory", "explanation", "map", "owners", "leaks"),
    *("events", "unread", "methods"),
]


MARKUP = (
    b"<img src=x onerror=x>",
    b"</script><script>x()</script>",
    b"</title><svg onload=x>",
    b"'\"><b onclick=x>",
    b"</text><style>*{}",
    b"<!--",
    b"]]><iframe src=x>",
    b"&lt;img\xe2\x80\xa8\x1bc",
)


class Page(HTMLParser):
    """
    The tables of a page by their captions, each cell as its text; how many elements
    there are of each kind, and which attributes.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.names: list[str] = []
        self.tags: collections.Counter[str] = collections.Counter()
        self.attributes: set[str] = set()
        self._caption = ""
        self._rows: list[list[str]] = []
        self._into: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= dict(attrs).keys()
        if tag == "h2":
            self.names.append(dict(attrs)["id"] or "")
        elif tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._into = self._rows[-1]
        elif tag == "div" and dict(attrs).get("role") == "region":
            self._caption = dict(attrs)["aria-label"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            # That of the functions belongs to the picture of call paths.
            if self._caption:
                self.tables[self._caption] = self._rows
            self._caption = ""
        elif tag in ("td", "th"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


@pytest.fixture(scope="module")
def incident() -> Target:
    """The bundled dump, in this process."""
    return open_target(str(SAMPLE))


@pytest.fixture(scope="module")
def ask(incident: Target) -> Ask:
    """What a command says as JSON."""
    return asking(incident)


@pytest.fixture(scope="session")
def report(pagedbg: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report on the bundled dump."""
    path = tmp_path_factory.mktemp("report") / "memory.html"
    done = pagedbg("--sample", "report", path)
    assert (done.returncode, done.stderr) == (0, "")
    text = path.read_text(encoding="utf-8")
    assert "bug in pagedbg" not in text
    assert done.stdout == f"memory.html: {size(path.stat().st_size)}.\n"
    return text


def words(text: str) -> str:
    """All text of a page, with its names as they are."""
    return html.unescape(re.sub(r"<[^>]*>", "", text))


def table(page: Page, caption: str) -> list[dict[str, str]]:
    """Rows by the names of columns."""
    (found,) = [rows for name, rows in page.tables.items() if name.startswith(caption)]
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def test_each_question_has_a_section(report: str) -> None:
    assert Page(report).names == SECTIONS


def test_figures_are_those_of_the_commands(report: str, ask: Ask) -> None:
    page = Page(report)
    drawn = table(page, "Memory by kind")
    assert [(row["kind"], int(row["pages"])) for row in drawn] == [
        (row["kind"], row["pages"]) for row in ask("memory --section kinds")
    ]
    drawn = table(page, "The call paths that hold most")
    expected = ask("owners --by module,function,stack --top 15")
    assert [(row["function"], int(row["pages"])) for row in drawn] == [
        (row["function"], row["pages"]) for row in expected
    ]
    for row, other in zip(drawn, expected, strict=True):
        assert "\n".join(other["stack"]) in row["stack"]
    drawn = table(page, "What became of allocations")
    assert [(row["state"], int(row["blocks"])) for row in drawn] == [
        (row["state"], row["blocks"]) for row in ask("correlate --by state")
    ]
    drawn = table(page, "Still held")
    assert drawn[0]["function"] == "leaky_rx_refill"
    assert int(drawn[0]["blocks"]) == ask("correlate --leaked")[0]["blocks"]


def test_findings_are_what_the_commands_say(report: str, ask: Ask) -> None:
    (said,) = re.findall('<h2 id="findings">.*?<p>(.*?)</p>', report, re.DOTALL)
    said = html.unescape(said)
    for command in ("explain 1", "explain order 4"):
        assert ask(command)[-1]["finding"] in said
    assert "panicked: leaky: no receive buffer." in said
    (free,) = [row for row in ask("memory --section kinds") if row["kind"] == "free"]
    assert f"{size(free['bytes'])} are free" in said
    for row in ask("memory --section health"):
        assert (f"{row['detail']}." in said) == row["unusual"]
    assert "still held, most is of leaky_rx_refill [leaky]" in said


def test_what_went_wrong_is_said_first(report: str) -> None:
    (said,) = re.findall('<h2 id="findings">.*?<p>(.*?)</p>', report, re.DOTALL)
    places = [
        said.index(words)
        for words in (
            "panicked",
            "An order-4 allocation by traffic failed",
            "still held",
            "Most of",
        )
    ]
    assert places == sorted(places)


def test_each_column_is_explained(report: str) -> None:
    methods = report[report.index('id="methods"') :]
    headings = re.findall('<th scope="col"[^>]*>(.*?)</th>', report)
    explained = dict(re.findall("<dt>(\\w+)</dt><dd>(.*?)</dd>", methods))
    # That of the picture of call paths is of its own.
    assert {*headings} - {"", "function", "share"} <= explained.keys()
    assert explained["unusable_index"].endswith("extfrag/unusable_index has it.")
    assert f'title="{explained["stuck"]}">stuck</th>' in report


def test_the_map_is_that_of_the_command(
    report: str, pagedbg: Run, tmp_path: Path
) -> None:
    path = tmp_path / "map.svg"
    done = pagedbg(
        *("--sample", "map", "--highlight", "--module leaky", "-o", path),
    )
    assert done.returncode == 0
    drawn = path.read_text().splitlines()
    assert len(drawn) > 1000
    assert "\n".join(drawn) in report


def test_events_end_with_the_failure(report: str, ask: Ask) -> None:
    (failure,) = ask("explain")
    events = ask("trace show --no-stack --last 40")
    drawn = table(Page(report), "Events around the last failure")
    assert [row["event"] for row in drawn] == [row["event"] for row in events]
    assert all(row["time_ns"] <= failure["time_ns"] for row in events)
    assert f"allocation failure at {failure['time_ns'] / 1e9:.9f} s" in report


def test_what_is_not_there_is_said(pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "memory.html"
    done = pagedbg("-c", ORDINARY, "report", path)
    assert done.returncode == 0
    assert re.fullmatch("Nothing was recording in .*\n", done.stderr)
    text = path.read_text(encoding="utf-8")
    assert Page(text).names == SECTIONS
    unread = words(text[text.index('id="unread"') : text.index('id="methods"')])
    assert "Leak suspects, What happened last: Nothing was recording" in unread
    # No failure was logged: orders 4 and 9 are asked for.
    assert "<code>explain order 4 9</code>" in text
    for order in (4, 9):
        assert f"Free blocks by order (explain order {order})" in words(text)


def test_names_have_stand_ins(report: str, pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "memory.html"
    done = pagedbg("--sample", "report", path, "--redact")
    assert (done.returncode, done.stderr) == (0, "")
    text = path.read_text(encoding="utf-8")
    assert str(SAMPLE) in report and str(SAMPLE) not in text
    assert SAMPLE.name in report and SAMPLE.name not in text
    assert "traffic" in report and "traffic" not in words(text)
    assert not re.search("0x[0-9a-f]{9}", text)
    # The process that failed is who the events are of.
    (logged,) = table(Page(text), "What was logged")
    assert re.fullmatch(r"\(process \d+\)", logged["comm"])
    assert {
        row["comm"] for row in table(Page(text), "Events around the last failure")
    } == {logged["comm"]}
    assert f"An order-4 allocation by {logged['comm']} failed" in words(text)
    # Functions, modules and figures stay.
    assert "leaky_rx_refill+" in text and "[leaky]" in text
    assert [row[:3] for row in Page(text).tables["Memory by kind"]] == [
        row[:3] for row in Page(report).tables["Memory by kind"]
    ]


def test_no_process_is_named(incident: Target, pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "memory.html"
    assert pagedbg("--sample", "report", path, "--redact").returncode == 0
    text = words(re.sub("<(style|script).*?</\\1>", "", path.read_text(), flags=re.S))
    # Without what is about functions, of which kernel threads have the names.
    text = re.sub(r"[\w.]+\+0x.*", "", text)
    names = {task.comm.string_().decode() for task in for_each_task(incident.prog)}
    assert len(names) > 20
    kept = {
        name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    }
    assert kept <= {"khugepaged", "kcompactd0", "kthreadd"}


@pytest.mark.parametrize("name", ["memory.txt", "memory"])
def test_a_page_is_named_as_one(pagedbg: Run, tmp_path: Path, name: str) -> None:
    done = pagedbg("--sample", "report", tmp_path / name)
    assert done.returncode == 2
    assert "is no name of a page; write report memory.html" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said(pagedbg: Run, tmp_path: Path) -> None:
    done = pagedbg("--sample", "report", tmp_path / "none" / "memory.html")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "No such file" in done.stderr
    former = tmp_path / "memory.html"
    former.write_text("former")
    former.chmod(0o400)
    tmp_path.chmod(0o755)
    pagedbg("--sample", "report", former)
    assert former.read_text().startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["memory.html"]


def test_a_capture_alone_has_a_report(pagedbg: Run, tmp_path: Path) -> None:
    capture, path = tmp_path / "capture", tmp_path / "memory.html"
    assert pagedbg("--sample", "trace", "save", capture).returncode == 0
    done = pagedbg("--capture", capture, "report", path, "--redact")
    assert done.returncode == 0
    assert done.stderr.startswith("there is no kernel here, only a capture")
    assert done.stderr.count("\n") == 1
    text = path.read_text()
    assert int(table(Page(text), "Still held")[0]["blocks"]) == 796
    assert words(text).count("there is no kernel here, only a capture") == 5
    assert str(capture) not in text and "traffic" not in words(text)


def test_a_snapshot_has_a_report(report: str, pagedbg: Run, tmp_path: Path) -> None:
    kept, path = tmp_path / "kept", tmp_path / "memory.html"
    assert pagedbg("--sample", "snapshot", "save", kept).returncode == 0
    done = pagedbg("--snapshot", kept, "report", path)
    assert done.returncode == 0
    assert "a snapshot does not hold single pages" in done.stderr
    then, now = Page(path.read_text()), Page(report)
    for caption in ("Memory by kind", "What was logged"):
        assert table(then, caption) == table(now, caption)
    assert table(then, "The call paths")[0] == table(now, "The call paths")[0]


def test_who_grows_is_drawn(pagedbg: Run, tmp_path: Path) -> None:
    series, path = tmp_path / "series", tmp_path / "memory.html"
    series.mkdir()
    for name in ("one", "two"):
        where = series / name
        assert pagedbg("--sample", "snapshot", "save", where).returncode == 0
    meta = series / "two" / "meta.json"
    kernel = json.loads(meta.read_text())
    kernel["kernel"]["up_ns"] += 3600 * 10**9
    meta.write_text(json.dumps(kernel))
    owners = series / "one" / "owners.parquet"
    duckdb.sql(
        "SELECT owners.* REPLACE"
        " (bytes * CASE WHEN module = 'leaky' THEN 3 ELSE 1 END AS bytes)"
        f" FROM '{owners}' AS owners"
        f" LEFT JOIN '{owners.with_name('stacks.parquet')}' USING (stack_id)"
    ).write_parquet(str(series / "two" / "owners.parquet"))
    assert pagedbg("--sample", "report", path, "--trend", series).returncode == 0
    grows = table(Page(path.read_text()), "Who grows")
    # The function that asked stands before the stack.
    names = {row["stack"].split("get_page_from_freelist")[0] for row in grows}
    assert names == {"leaky_rx_refill", "leaky_tx_buffer"}


def test_no_name_of_a_dump_becomes_markup(
    report: str,
    incident: Target,
    pagedbg: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attack, "ATTACKS", MARKUP)
    core = attack.hostile_dump(incident.prog, tmp_path / "vmcore")
    path = tmp_path / "memory.html"
    assert pagedbg("-c", core, "report", path).returncode == 0
    page, plain = Page(path.read_text(encoding="utf-8")), Page(report)
    assert page.tags.keys() <= plain.tags.keys() | {"noscript"}
    assert page.attributes <= plain.attributes
    for tag in ("script", "style", "svg"):
        assert page.tags[tag] == plain.tags[tag]
    text = path.read_text(encoding="utf-8")
    # They are there, as text.
    assert "<img src=x" in words(text)
    assert "bug in pagedbg" not in text
    assert not [each for each in attack.DRIVES if each in text]


def test_two_reports_are_made_by_one_prompt(tmp_path: Path) -> None:
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    for status, _, said in look_at(SAMPLE, f"report {one}", f"report {two}"):
        assert (status, said) == (0, "")
    cut = re.compile("Made by[^<]*")
    assert cut.sub("", one.read_text()) == cut.sub("", two.read_text())

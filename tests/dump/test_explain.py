# SPDX-License-Identifier: GPL-2.0-or-later
"""
``explain`` on dumps: of the incident, whose kernel has logged what it says of an
allocation that failed, and of an ordinary machine.
"""

from __future__ import annotations

import json
import re
import struct

import pytest
from known import ORDINARY, SAMPLE, Ask, Row, Run, asking, look_at
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from pagedbg.errors import PagedbgError
from pagedbg.mm.printk import printk_records
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.completion import LineCompleter
from pagedbg.sources.failure_log import failures_of
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target


@pytest.fixture(scope="module")
def incident() -> Ask:
    """Commands on the dump of the machine that failed to allocate 16 pages."""
    return asking(open_target(str(SAMPLE)))


@pytest.fixture(scope="module")
def ordinary(sample: Target) -> Ask:
    """Commands on the dump of an ordinary machine."""
    return asking(sample)


def topic(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row["topic"] == name]


# ---- what was logged ----------


def test_the_failure_in_the_log_is_listed(incident: Ask) -> None:
    (row,) = incident("explain")
    (message,) = [
        each for each in incident("log") if "allocation failure" in each["message"]
    ]
    assert row["time_ns"] == message["time_ns"]
    assert (row["failure"], row["order"], row["gfp"], row["comm"]) == (
        "allocation failure",
        4,
        "GFP_KERNEL",
        "traffic",
    )
    assert (row["module"], row["function"]) == ("leaky", "leaky_rx_refill")
    assert (row["free_then"], row["complete"]) == (15082, True)
    assert "leaky_rx_refill+0x15/0x40 [leaky]" in row["stack"]


def test_a_log_without_a_failure_says_so() -> None:
    listed, first = look_at(ORDINARY, "explain", "explain 1")
    assert listed[:2] == (0, "The log has no allocation that failed.\n")
    assert first[0] == 1
    assert "the log has no report 1: there is none" in first[2]


def test_a_report_says_what_the_allocator_had(incident: Ask) -> None:
    rows = incident("explain 1")
    then = topic(rows, "zone")
    now = topic(incident("explain order 4"), "zone")
    # The machine died at once: only the counters have moved since.
    for old, new in zip(then, now, strict=True):
        assert abs(old.pop("stuck") - new.pop("stuck")) < 10
        assert abs(old.pop("blocks") - new.pop("blocks")) < 10
        for column in ("unusable_index", "fragmentation_index"):
            assert abs(old.pop(column) - new.pop(column)) < 3
        assert re.sub(r"\b(is|are)\b", "", new.pop("finding")) == re.sub(
            r"\b(was|were)\b", "", old.pop("finding")
        )
        assert old == new
    counters = {row["kind"]: row["pages"] for row in topic(rows, "counter")}
    assert (counters["free"], counters["RAM"]) == (15082, 32637)
    (verdict,) = topic(rows, "verdict")
    assert (verdict["result"], verdict["zone"]) == ("fails", "DMA32")
    assert verdict["finding"] == (
        "An order-4 allocation by traffic failed in DMA32: 45.5 MiB were free, none in"
        " pieces of 16 pages."
    )


def test_a_log_that_has_wrapped_says_where_it_begins() -> None:
    target = open_target(str(SAMPLE))
    oldest = list(printk_records(target.prog))[-1]
    assert oldest is not None and oldest.text is not None and oldest.seq == 0
    infos = target.prog["prb"].desc_ring.infos
    info = next(
        infos[i] for i in range(10) if infos[i].text_len == len(oldest.text or b"")
    )
    target.prog.add_memory_segment(
        info.seq.address_, 8, lambda *_: struct.pack("<Q", 1234), False
    )
    notes: list[str] = []
    assert len(failures_of(target.prog, notes)) == 1
    assert notes == [
        "The log begins 0.000000 s after boot: 1,234 messages before were overwritten."
    ]


# ---- what would be now ----------


def test_what_failed_would_fail_again_and_half_of_it_would_not(incident: Ask) -> None:
    (fails,) = topic(incident("explain order 4"), "verdict")
    assert (fails["result"], fails["zone"]) == ("fails", "DMA32")
    assert fails["finding"].startswith(
        "Order 4 fails, unless memory is freed, in DMA32: 45.5 MiB are free, none in"
        " pieces of 16 pages; compaction has failed too often to be tried again soon;"
    )
    assert fails["finding"].endswith(
        "but for pages of leaky_rx_refill [leaky], 3 of them once what is movable has"
        " been moved."
    )
    (succeeds,) = topic(incident("explain order 3"), "verdict")
    assert (succeeds["result"], succeeds["zone"]) == ("succeeds", "DMA32")


def test_zones_and_free_blocks_are_those_of_the_other_commands(incident: Ask) -> None:
    rows = incident("explain order 2")
    zones = {row["zone"]: row for row in incident("zones")}
    assert [row["zone"] for row in topic(rows, "zone")] == ["DMA32", "DMA"]
    free = incident("free")
    for row in topic(rows, "zone"):
        assert row["free"] == zones[row["zone"]]["free"]
        counts = {each["order"]: each for each in free if each["zone"] == row["zone"]}
        small = sum(each["pages"] for each in counts.values() if each["order"] < 2)
        assert row["stuck"] == small
        everything = sum(each["pages"] for each in counts.values())
        assert row["unusable_index"] == small * 1000 // everything
        # The watermark, the allocation itself, and what lower zones keep.
        assert row["need"] == zones[row["zone"]]["wmark_min"] + 4 + row["withheld"]
    lists = {
        (row["zone"], row["migratetype"], row["order"]): row["blocks"]
        for row in topic(rows, "blocks")
    }
    assert lists == {
        (row["zone"], row["migratetype"], row["order"]): row["blocks"]
        for row in incident("free --by migratetype")
    }
    for row in topic(rows, "blocks"):
        assert row["usable"] == (row["order"] >= 2)


def test_who_is_in_the_way_is_who_blocks_finds(incident: Ask) -> None:
    first, *_ = topic(incident("explain order 4"), "owners")
    assert (first["module"], first["function"]) == ("leaky", "leaky_rx_refill")
    (leaky,) = [
        row
        for row in incident("blocks --by module,function --size 64K")
        if row["function"] == "leaky_rx_refill"
    ]
    assert first["blocks"] == leaky["sole_pageblocks"]
    assert first["blocks"] - 3 == first["at_once"]
    (stack, *_) = topic(incident("explain order 4 --by stack --top 1"), "owners")
    assert stack["blocks"] == first["blocks"]
    assert "leaky_rx_refill+0x15/0x40 [leaky]" in stack["stack"]


def test_the_more_owners_let_go_the_more_is_free(incident: Ask) -> None:
    steps = topic(incident("explain order 4 --top 4"), "owners")
    assert [row["step"] for row in steps] == sorted(row["step"] for row in steps)
    assert 1 < len(steps) <= 4
    assert all(row["blocks"] > 0 for row in steps)


def test_several_orders_are_explained_as_each_is_alone(incident: Ask) -> None:
    four, three, nine = (incident(f"explain order {order}") for order in (4, 3, 9))
    assert incident("explain order 4 3 9 4") == [*four, *three, *nine]
    # Of two of them it is looked for what is in the way, of unlike blocks.
    assert topic(four, "owners") and topic(nine, "owners")


def test_several_orders_stand_below_each_other(pagedbg: Run) -> None:
    texts = [
        pagedbg("--sample", "explain", "order", order).stdout for order in ("4", "3")
    ]
    both = pagedbg("--sample", "explain", "order", "4", "3").stdout
    assert both == "\n".join(texts)


def test_without_page_owner_it_is_said_that_nobody_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = open_target(str(SAMPLE))
    enabled = target.prog["page_owner_inited"].key.enabled.counter
    target.prog.add_memory_segment(
        enabled.address_, 4, lambda *_: struct.pack("<i", 0), False
    )
    ask = asking(target)
    rows = ask("explain order 4")
    assert "page_owner is off: who holds pages is not known." in capsys.readouterr().err
    assert topic(rows, "owners") == []
    assert [row["movable"] > 0 for row in topic(rows, "compaction")] == [True, True]
    (verdict,) = topic(rows, "verdict")
    assert verdict["result"] == "fails"
    assert verdict["finding"].endswith(
        "compaction has failed too often to be tried again soon."
    )


def test_what_is_asked_with_by_default_needs_no_name(incident: Ask) -> None:
    target = open_target(str(SAMPLE))
    table = target.prog["gfpflag_names"]
    name = next(
        table[i].name.value_()
        for i in range(10)
        if table[i].name.string_() == b"GFP_KERNEL"
    )
    target.prog.add_memory_segment(
        name, 10, lambda _, size, at, __: b"GFP_CORPSE"[at : at + size], False
    )
    (verdict,) = topic(asking(target)("explain order 4"), "verdict")
    assert verdict == topic(incident("explain order 4"), "verdict")[0]


def test_an_allocation_in_an_interrupt_may_use_reserves_and_cannot_wait(
    incident: Ask,
) -> None:
    kernel, atomic = (
        incident(f"explain order 4 --gfp {gfp}") for gfp in ("GFP_KERNEL", "GFP_ATOMIC")
    )
    for one, other in zip(topic(kernel, "zone"), topic(atomic, "zone"), strict=True):
        assert other["need"] < one["need"]
    (verdict,) = topic(atomic, "verdict")
    assert verdict["result"] == "fails"
    assert verdict["finding"].startswith("Order 4 fails in DMA32:")


def test_flags_types_and_zones_say_where_it_may_come_from(incident: Ask) -> None:
    (request, *_) = incident("explain order 0 --zone dma --migratetype movable")
    assert (request["gfp"], request["migratetype"]) == (
        "GFP_KERNEL|GFP_DMA|__GFP_MOVABLE",
        "Movable",
    )
    rows = incident("explain order 0 --zone DMA")
    assert [row["zone"] for row in topic(rows, "zone")] == ["DMA"]
    # What may only come from there is not kept from it.
    assert topic(rows, "zone")[0]["withheld"] == 0


def test_text_has_what_json_has(incident: Ask) -> None:
    for line in ("explain 1", "explain order 4", "explain order 3"):
        (answer,) = look_at(SAMPLE, line)
        rows = incident(line)
        for row in rows:
            if row["topic"] in ("request", "compaction", "owners", "verdict"):
                assert row["finding"] in answer[1]
        said = json.dumps(rows)
        for number in re.findall(r"\b\d{3,}\b", answer[1].split("Free blocks")[1]):
            assert number in said


def test_what_can_be_asked_is_offered() -> None:

    session = Session(open_target(str(SAMPLE)), settings=Settings(pager="off"))
    completer = LineCompleter(session)

    def offers(text: str) -> list[str]:
        event = CompleteEvent(completion_requested=True)
        return [each.text for each in completer.get_completions(Document(text), event)]

    assert offers("explain ")[:2] == ["order", "1"]
    assert "GFP_ATOMIC" in offers("explain order 4 --gfp GFP_A")
    # One more of several, without those that are there.
    assert "'GFP_DMA|GFP_ATOMIC'" in offers("explain order 4 --gfp 'GFP_DMA|GFP_A")
    assert "'GFP_DMA|GFP_DMA'" not in offers("explain order 4 --gfp 'GFP_DMA|GFP_DM")
    assert offers("owners --module leak") == ["leaky"]
    assert offers("owners --node ") == ["0"]
    assert offers("explain order 4 --zone DMA") == ["DMA", "DMA32"]

    def word_on(text: str) -> str:
        event = CompleteEvent(completion_requested=True)
        (found,) = completer.get_completions(Document(text), event)
        return found.display_meta_text

    assert re.fullmatch(r"[\d.]+ [KM]iB", word_on("owners --module leak"))
    assert re.fullmatch(r"[\d.]+ MiB", word_on("owners --node "))
    assert re.fullmatch(r"[\d.]+ MiB", word_on("owners --zone DMA3"))
    assert word_on("owners --zone Mov") == "no pages"
    assert word_on("owners --migratetype Unm") == "stays where it is"
    assert word_on("owners --state fr") == "of pages that are free"
    assert word_on("correlate --state mig") == "held elsewhere"
    assert word_on("inspect tas") == "by a process and an address of it"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("explain order 11", "11 is no order: this kernel has 0 to 10"),
        ("explain order", "write explain, explain N, or explain order 4"),
        ("explain order 4 x", "write explain, explain N, or explain order 4"),
        ("explain order 4 11", "11 is no order: this kernel has 0 to 10"),
        ("explain order x", "write explain, explain N, or explain order 4"),
        ("explain 0", "the log has no report 0"),
        ("explain 7", "the log has no report 7: there are 1, explain lists them"),
        ("explain 99999999999999999999", "the log has no report"),
        ("explain 1 --gfp GFP_KERNEL", "--gfp is for explain order ORDER"),
        ("explain order 4 --gfp GFP_KERNAL", "no allocation flag of this kernel"),
        ("explain order 4 --gfp 0x5", "asks for several zones at once"),
        ("explain order 4 --migratetype CMA", "cannot be asked for; choose from"),
        ("explain order 4 --zone Device", "choose from DMA, DMA32, Normal, Movable"),
        ("explain order 4 --node 3", "node 3 is not online; there are 0"),
        ("explain order 4 --by pfn", "is nothing to sum up by"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(
    incident: Ask, line: str, sentence: str
) -> None:
    with pytest.raises(PagedbgError) as caught:
        incident(line)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)

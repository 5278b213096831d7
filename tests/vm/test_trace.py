# SPDX-License-Identifier: GPL-2.0-or-later
"""
Recording on booted kernels, where a module allocates and frees known blocks from known
functions (contrib/lab/churn).

What must be recorded is said by that module, by tracefs, or by the kernel's own
records; one guest for each kernel goes through it all.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import forkserver
import numpy as np
import pytest
from booted import ATTACHED, KERNELS, OUT, Machine, boot, pagedbg
from numpy.typing import NDArray

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import META
from pagedbg.capture.segments import FULL_HELD
from pagedbg.schema import event_record
from pagedbg.schema.loss import Loss, LossKind

CHURN = "/proc/pagedbg_churn"
TRACEFS = "/sys/kernel/tracing"

# What two back ends record at once.
BOTH = "; ".join(
    f"echo {words} >{CHURN}"
    for words in ("alloc 3 20", "split 5", "dump", "free 20", "pairs 6 50", "irq 7 20")
)

# Enough for segments to be full, and for what is held to be kept of them.
HELD_PAIRS = 1000 * (2 * FULL_HELD // 1000 + 1)

# What the guest does at pagedbg's prompt. A `!` line is sh's, so the module is driven
# by a program of that name.
SCRIPT = f"""
trace set --orders 3 --comm sh
trace start --output $OUT/exact
!echo alloc 3 20 >{CHURN}
!echo free 5 >{CHURN}
!echo split 2 >{CHURN}
!echo free 3 >{CHURN}
!cp {CHURN} $OUT/held
trace show --format jsonl -o $OUT/exact.jsonl
trace show --format classic -o $OUT/exact.classic
correlate --format jsonl -o $OUT/correlated.jsonl
correlate --leaked --by module --format jsonl -o $OUT/leaked.jsonl
memory --by kind --kind pagedbg,slab --format jsonl -o $OUT/kinds.jsonl
trace status
trace save $OUT/saved
trace stop
!echo free 12 >{CHURN}

trace set --all --orders 1:20,2:20 --comm sh
trace start --output $OUT/changing
!echo pairs 1 3000 >{CHURN}; echo alloc 2 200 >{CHURN}; echo split 200 >{CHURN}; echo free 200 >{CHURN}
trace status --format jsonl -o $OUT/share.status
!mkdir {TRACEFS}/instances/check
!cd {TRACEFS}/instances/check/events/kmem; for e in alloc free; do echo 'order == 5' >mm_page_$e/filter; echo 1 >mm_page_$e/enable; done
trace set --all --orders 5
!echo pairs 5 200 >{CHURN}
!cp {TRACEFS}/instances/check/trace $OUT/tracefs.text
!rmdir {TRACEFS}/instances/check
trace set --all --orders 6
!echo pairs 6 10 >{CHURN}
trace set --orders 7
!echo pairs 6 10 >{CHURN}; echo pairs 7 10 >{CHURN}; echo irq 7 10 >{CHURN}
trace stop

trace set --all --events split,copy,migrate,dump,read
trace start --output $OUT/others
!echo alloc 2 4 >{CHURN}; echo dump >{CHURN}; echo split 4 >{CHURN}; echo free 4 >{CHURN}
!dd if=/sys/kernel/debug/page_owner of=/dev/null bs=64k count=3 status=none
!echo 1 >/proc/sys/vm/compact_memory
!dd if=/dev/zero bs=16M count=1 status=none | {{ sleep 3; cat >/dev/null; }} & sleep 2; echo 1 >/sys/kernel/debug/split_huge_pages; wait
trace stop

trace set --all --orders 6
trace start --slots 64 --output $OUT/overrun
!kill -STOP $(sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' $OUT/overrun/meta.json); echo pairs 6 500 >{CHURN}
!kill -CONT $(sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' $OUT/overrun/meta.json)
trace stop

trace set --all --orders 6 --comm sh
trace start --output $OUT/first
!$PAGEDBG record --orders 7 --comm sh -o $OUT/second -- sh -c 'echo pairs 6 10 >{CHURN}; echo pairs 7 10 >{CHURN}' 2>$OUT/second.said
!echo pairs 6 10 >{CHURN}; echo pairs 7 10 >{CHURN}
trace stop

!$PAGEDBG record --backend kmod --comm sh -o $OUT/by-kmod -- $PAGEDBG record --backend bpf --comm sh -o $OUT/by-bpf -- sh -c '{BOTH}'

!$PAGEDBG record --held --orders 6 --comm sh -o $OUT/by-held -- $PAGEDBG record --orders 6 --comm sh -o $OUT/by-whole -- sh -c 'echo alloc 6 20 >{CHURN}; for i in $(seq {HELD_PAIRS // 1000}); do echo pairs 6 1000 >{CHURN}; done; echo free 5 >{CHURN}; cp {CHURN} $OUT/still-held'
!echo free 15 >{CHURN}

trace set --all --orders 3 --comm sh
trace start --attach kprobe --output $OUT/kprobe
!echo alloc 3 20 >{CHURN}; echo split 2 >{CHURN}; echo free 20 >{CHURN}
trace stop

trace set --all --orders 3 --comm sh
trace start --attach tracepoint --output $OUT/tracepoint
!echo alloc 3 20 >{CHURN}; echo split 2 >{CHURN}; echo free 20 >{CHURN}
trace stop

trace set --all --orders 6
trace start --ring --slots 64 --output $OUT/ring
!echo pairs 6 100 >{CHURN}
!dd if=/sys/kernel/debug/page_owner of=/dev/null bs=4k count=200 status=none
trace show --no-stack --format jsonl -o $OUT/ring.jsonl
trace stop
exit
"""  # noqa: E501


@dataclasses.dataclass(frozen=True)
class Traced:
    """
    What one guest left behind: the directory ``out``, what pagedbg printed, and what
    was attached after each way to end it.
    """

    out: Path
    printed: str
    attached: dict[str, str]
    dmesg: str

    def capture(self, name: str) -> Capture:
        return Capture(self.out / name)

    def changing(self, *orders: int) -> NDArray[Any]:
        """
        Events of these orders, which are recorded only in a part of the capture whose
        filter changes.
        """
        events = self.capture("changing").events()
        return events[np.isin(events["order"], orders)]

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / name).read_text().splitlines()]


@pytest.fixture(scope="module", params=KERNELS)
def traced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Traced:
    out, pagedbg = tmp_path_factory.mktemp("traced"), forkserver.programs() / "pagedbg"
    attached = {}
    with boot(request.param, "traced", memory="896M", out=out) as machine:
        machine.load_churn()
        machine.serve()
        machine.sh("echo always >/sys/kernel/mm/transparent_hugepage/enabled")
        machine.write(
            OUT / "script",
            SCRIPT.replace("$OUT", str(OUT)).replace("$PAGEDBG", str(pagedbg)),
        )
        done = machine.run([pagedbg, "--no-pager", "-x", OUT / "script"])
        assert done.status == 0, done.text + done.stderr.decode()
        attached["stopped"] = machine.sh(f"{ATTACHED}; true")
        for victim in ("prompt", "recorder"):
            attached[f"before {victim}-killed"], attached[f"{victim}-killed"] = _kill(
                machine, victim
            ).split()
        dmesg = machine.sh("dmesg")
    return Traced(out, done.text, attached, dmesg)


def _kill(machine: Machine, victim: str) -> str:
    """
    Start a trace, kill -9 somebody, and say how many functions had probes before and
    have some afterwards.
    """
    directory = OUT / f"{victim}-killed"
    pid = {
        "prompt": f"$(cat /tmp/{victim})",
        "recorder": (
            f"$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' {directory}/meta.json)"
        ),
    }[victim]
    return machine.sh(f"""
        {{ echo 'trace start --slots {KILLED_SLOTS} --output {directory}'; echo '!echo $PPID >/tmp/{victim}'; echo '!sleep 60'; }} >/tmp/{victim}.script
        {forkserver.programs()}/pagedbg -x /tmp/{victim}.script >/dev/null 2>&1 &
        while [ ! -s /tmp/{victim} ]; do sleep 0.2; done
        {ATTACHED}
        for i in $(seq 100); do echo pairs {KILLED_ORDER} {KILLED_PAIRS // 100} >{CHURN}; done
        while :; do echo pairs {KILLED_ORDER} 10 >{CHURN}; done &
        sleep {random.uniform(0.1, 2):.3f}
        kill -9 {pid}
        kill $!
        for i in $(seq 100); do {ATTACHED} >/tmp/count || break; sleep 0.2; done
        cat /tmp/count
        kill -9 $(cat /tmp/{victim}) 2>/dev/null
        true
    """)  # noqa: E501


# What is recorded by one that is killed in the midst of it, and how much of that its
# rings hold at most: of two CPUs.
KILLED_ORDER, KILLED_PAIRS, KILLED_SLOTS = 6, 5000, 1024


def of(rows: Iterable[dict[str, Any]], *events: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["event"] in events]


def churned(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the module did: sh itself allocates a few blocks of order 3, too."""
    return [
        row for row in rows if any("pagedbg_churn" in frame for frame in row["stack"])
    ]


def test_exactly_the_known_allocations_and_frees_are_recorded_in_order(
    traced: Traced,
) -> None:
    rows = churned(traced.rows("exact.jsonl"))
    sets = of(rows, "set")
    assert len(sets) == 20
    assert all(
        row["order"] == 3 and "pagedbg_churn_alloc" in str(row["stack"]) for row in sets
    )
    # Five blocks were freed whole, two page by page, one whole again.
    pfns = [row["pfn"] for row in sets]
    resets = of(rows, "reset")
    expected = [(pfn, 3) for pfn in pfns[:5]]
    expected += [(pfn + i, 0) for pfn in pfns[5:7] for i in range(8)]
    expected += [(pfns[7], 3)]
    assert [(row["pfn"], row["order"]) for row in resets] == expected


def test_a_free_names_its_allocation(traced: Traced) -> None:
    rows = churned(traced.rows("exact.jsonl"))
    sets = {row["pfn"]: row for row in of(rows, "set")}
    for row in of(rows, "reset"):
        allocation = (
            sets[row["pfn"] & ~7] if row["pfn"] & ~7 in sets else sets[row["pfn"]]
        )
        assert (row["ts_ns"], row["handle"], row["owner_pid"]) == (
            allocation["ts_ns"],
            allocation["handle"],
            allocation["pid"],
        )
        assert row["time_ns"] > row["ts_ns"]


def test_whole_blocks_are_followed_on_every_kernel(traced: Traced) -> None:
    rows = churned(traced.rows("exact.jsonl"))
    pfns = [row["pfn"] for row in of(rows, "set")]
    assert len(pfns) == 20
    assert [row["pfn"] for row in of(rows, "reset") if row["order"] == 3] == [
        *pfns[:5],
        pfns[7],
    ]
    correlated = churned(traced.rows("correlated.jsonl"))
    assert {row["pfn"] for row in correlated if row["state"] == "live"} == set(pfns[8:])


def test_a_split_is_recorded_with_its_orders(traced: Traced) -> None:
    splits = of(traced.rows("exact.jsonl"), "split")
    sets = of(churned(traced.rows("exact.jsonl")), "set")
    assert [(row["pfn"], row["order"], row["new_order"]) for row in splits] == [
        (row["pfn"], 3, 0) for row in sets[5:7]
    ]


def test_its_rings_are_told_from_other_memory(traced: Traced) -> None:
    meta = traced.capture("exact").meta
    size = len(meta.counts.cpus) * meta.slots * event_record.RECORD.itemsize
    pages = {row["kind"]: row["pages"] for row in traced.rows("kinds.jsonl")}
    # Beside the slots there are counters, filters and the header.
    assert size < pages["pagedbg"] * 4096 < size + (1 << 20)


def test_correlate_says_exactly_which_are_still_held(traced: Traced) -> None:
    held = {
        int(line.split()[0])
        for line in (traced.out / "held").read_text().splitlines()
        if not line.startswith("#")
    }
    rows = churned(traced.rows("correlated.jsonl"))
    assert {row["pfn"] for row in rows if row["state"] == "live"} == held
    # What was freed may be in use again.
    assert {row["state"] for row in rows if row["pfn"] not in held} <= {
        "freed",
        "reused",
    }
    assert len(rows) == 20
    assert not [row for row in rows if row["contradiction"]]
    (leaked,) = [
        row for row in traced.rows("leaked.jsonl") if row["module"] == "pagedbg_churn"
    ]
    assert (leaked["blocks"], leaked["pages"]) == (12, 96)


def without_missed(capture: Capture, to: Path) -> Capture:
    """A capture that says of none of its events that it was missed."""
    assert {loss.kind for loss in capture.losses} <= {LossKind.MISSED}
    shutil.copytree(capture.path, to)
    said = json.loads((to / META).read_bytes())
    said["counts"]["missed"] = 0
    (to / META).write_text(json.dumps(said))
    return Capture(to)


def test_what_is_held_is_kept_as_a_whole_recording_tells_it(
    traced: Traced, tmp_path: Path
) -> None:
    # What an interrupt allocates while a program runs is missed, and counted. That has
    # other orders: both have all events of this one.
    held, whole = (
        without_missed(traced.capture(name), tmp_path / name)
        for name in ("by-held", "by-whole")
    )
    assert held.contents.records == whole.contents.records > 2 * HELD_PAIRS
    told, lasting = [], []
    for capture in (held, whole):
        rows, states, sums = (
            [json.loads(line) for line in done.stdout.splitlines()]
            for done in (
                pagedbg(
                    "--capture", capture.path, "correlate", *words, "--format", "jsonl"
                )
                for words in (
                    ["--state", "live", "--no-stack"],
                    ["--by", "state"],
                    ["--lifetimes", "--by", "module,order"],
                )
            )
        )
        told.append(
            (
                [(row["pfn"], row["ts_ns"], row["pid"]) for row in rows],
                {row["state"]: row["blocks"] for row in states},
                [(row["module"], row["order"], row["count"]) for row in sums],
            )
        )
        (lasted,) = [row for row in sums if row["module"] == "pagedbg_churn"]
        lasting.append((lasted["min"], lasted["max"]))
    # Each recorder has its own time of a free, one after the other: an emulated machine
    # may stand still in between.
    assert np.abs(np.subtract(*lasting)).max() < 2 * 10**9
    assert told[0] == told[1]
    alive, states, sums = told[0]
    # Where an emulated clock stands still, some cannot be told apart.
    unknown = states.get("unknown", 0)
    assert ("pagedbg_churn", 6, HELD_PAIRS + 5 - unknown) in sums
    # Segments are kept no more: how many of them depends on when they were drained, for
    # a full one stays until two more rounds have ended.
    assert held.held is not None
    folded = held.held.head.summary.records
    assert folded >= FULL_HELD
    assert sum(each.records for each in held.summaries()) < (
        whole.summary.records - folded + 100 + 2 * unknown
    )
    assert {pfn for pfn, _, _ in alive} >= {
        int(line.split()[0])
        for line in (traced.out / "still-held").read_text().splitlines()
        if not line.startswith("#")
    }


def test_the_classic_lines_are_letter_for_letter(traced: Traced) -> None:
    lines = (traced.out / "exact.classic").read_text().splitlines()
    rows = traced.rows("exact.jsonl")
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert (
            line == f"page_owner info {{{row['event']}}}: timestamp={row['time_ns']}"
            f" pid={row['pid']} proc_name={row['comm']}"
        )


def test_a_saved_capture_tells_the_same_without_a_kernel(traced: Traced) -> None:
    done = pagedbg("--capture", traced.out / "saved", "correlate", "--format", "jsonl")
    assert done.status == 0, done.stderr
    here = churned(map(json.loads, done.stdout.splitlines()))
    there = churned(traced.rows("correlated.jsonl"))
    assert [
        (row["pfn"], row["ts_ns"], row["state"], row["stack"])
        for row in here
        if row["state"] == "live"
    ] == [
        (row["pfn"], row["ts_ns"], row["state"], row["stack"])
        for row in there
        if row["state"] == "live"
    ]
    assert len(here) == 20


def test_tracefs_has_seen_the_same_allocations_and_frees(traced: Traced) -> None:
    told: Counter[tuple[str, int]] = Counter()
    for line in (traced.out / "tracefs.text").read_text().splitlines():
        match = re.search(
            r"^\s*sh-\d+ .*: mm_page_(alloc|free): .*pfn=(0x[0-9a-f]+|\d+) order=5",
            line,
        )
        if match:
            told[{"alloc": "set", "free": "reset"}[match[1]], int(match[2], 0)] += 1
    events = traced.changing(5)
    events = events[events["comm"][:, 0] == int.from_bytes(b"sh", "little")]
    recorded = Counter(
        (event_record.EVENT_NAMES[e], p)
        for e, p in zip(events["event"].tolist(), events["pfn"].tolist(), strict=True)
    )
    assert recorded == told
    assert sum(told.values()) == 400


@pytest.mark.parametrize(
    "event",
    [
        event_record.SPLIT,
        event_record.COPY,
        event_record.SET_MIGRATE,
        event_record.DUMP,
        event_record.READ,
    ],
)
def test_every_other_event_is_recorded(traced: Traced, event: int) -> None:
    events = traced.capture("others").events()
    chosen = events[events["event"] == event]
    assert len(chosen)
    if event == event_record.SPLIT:
        assert {(2, 0)} <= set(
            zip(chosen["order"].tolist(), chosen["new_order"].tolist(), strict=True)
        )
        assert 9 in chosen["order"]
    if event == event_record.READ:
        assert len(chosen) >= 3
        assert (chosen["pfn"] == event_record.NO_PFN).all()
    if event == event_record.COPY:
        assert (chosen["other_pfn"] != chosen["pfn"]).all()


def times_of(sets: NDArray[Any], order: int) -> set[int]:
    """When blocks of an order were allocated."""
    return set(sets[sets["order"] == order]["ts_nsec"].tolist())


def apart(sets: NDArray[Any], order: int) -> float:
    """
    How many of the allocations of an order have a time of their own, as a share: where
    an emulated clock stands still, several have one, and chance is thrown for all.
    """
    return len(times_of(sets, order)) / np.count_nonzero(sets["order"] == order)


def test_a_percentage_is_kept_and_what_belongs_together_stays_together(
    traced: Traced,
) -> None:
    # Of what is split, pages are freed one by one.
    events = traced.changing(0, 1, 2)
    sets, resets = (
        events[events["event"] == event_record.SET],
        events[events["event"] == event_record.RESET],
    )
    # Within five standard deviations of chance, which is thrown for each time. Of order
    # 2 there are so few that the clock may have stood still for most of them.
    assert 490 * apart(sets, 1) < len(times_of(sets, 1)) < 710
    assert len(times_of(sets, 2)) < 68
    freed: Counter[int] = Counter()
    for ts, order in zip(
        resets["ts_nsec"].tolist(), resets["order"].tolist(), strict=True
    ):
        freed[ts] += 1 << order
    allocated: Counter[int] = Counter()
    for ts, order in zip(sets["ts_nsec"].tolist(), sets["order"].tolist(), strict=True):
        allocated[ts] += 1 << order
    whole = sum(freed[ts] == pages for ts, pages in allocated.items())
    assert whole >= len(allocated) - 5, "what sh holds itself may be left"
    # No free without its allocation, but of what was allocated before.
    begun = min(sets["ts_nsec"])
    assert not [ts for ts in freed if ts >= begun and ts not in allocated]
    splits = events[events["event"] == event_record.SPLIT]
    split = set(splits["ts_nsec"].tolist())
    assert split <= times_of(sets, 2)
    assert len(times_of(sets, 2) - split) <= 5, "what sh allocates itself stays whole"


def test_the_table_says_what_was_seen_and_what_recorded(traced: Traced) -> None:
    (status,) = traced.rows("share.status")
    assert status["state"] == "recording"
    assert status["filter"] == "--orders 1-2:20 --comm sh"
    rows = {row["order"]: row for row in status["orders"]}
    events = traced.changing(1)
    sets = events[events["event"] == event_record.SET]
    assert rows[1]["seen"] >= 3000
    recorded, again = rows[1]["recorded"], len(sets) - len(times_of(sets, 1))
    assert rows[1]["share"] == pytest.approx(100 * recorded / rows[1]["seen"], abs=0.1)
    assert 16 * apart(sets, 1) < 100 * (recorded - again) / rows[1]["seen"] < 24
    assert rows[0]["recorded"] == 0


def test_overruns_are_counted_to_the_last_event(traced: Traced) -> None:
    capture = traced.capture("overrun")
    counts = capture.meta.counts
    assert counts.recorded >= 1000
    assert counts.lost > 0
    assert counts.recorded == counts.read + counts.lost
    assert len(capture.events()) == counts.read
    assert counts.recorded == sum(map(sum, counts.recorded_by))
    assert Loss(LossKind.OVERWRITTEN, counts.lost) in capture.losses
    assert {loss.kind for loss in capture.losses} <= {
        LossKind.OVERWRITTEN,
        LossKind.MISSED,
    }


def test_a_filter_takes_effect_while_a_trace_runs(traced: Traced) -> None:
    events = traced.changing(6, 7)
    sets = Counter(events[events["event"] == event_record.SET]["order"].tolist())
    assert sets[6] == 10
    # Ten of them in an interrupt.
    assert sets[7] == 20


def test_two_at_once_do_not_disturb_each_other(traced: Traced) -> None:
    of_six, of_seven = (
        Counter((event, order) for event, order in events[["event", "order"]].tolist())
        for events in (traced.capture(name).events() for name in ("first", "second"))
    )
    assert of_six == {(event_record.SET, 6): 20, (event_record.RESET, 6): 20}
    assert of_seven == {(event_record.SET, 7): 10, (event_record.RESET, 7): 10}
    said = (traced.out / "second.said").read_text()
    assert "20 events" in said


def test_both_back_ends_record_the_same(traced: Traced) -> None:
    """
    But for what the kernel kept from one of them, as it does in an interrupt that comes
    while a probe runs: that is counted.
    """

    def told(name: str) -> tuple[Counter[str], int]:
        capture = traced.capture(name)
        missed = capture.meta.counts.missed
        assert capture.losses == ([Loss(LossKind.MISSED, missed)] if missed else [])
        events = capture.in_order(capture.events())
        # What the module did: before it and after it one of the two may not have been
        # attached.
        large = events["ts_nsec"][
            (events["event"] == event_record.SET)
            & (events["order"] >= 3)
            & (events["order"] != 9)
        ]
        churned = [
            handle
            for handle in set(events["handle"].tolist())
            if "pagedbg_churn" in str(capture.stack(handle))
        ]
        events = events[
            np.isin(events["handle"], churned) & (events["ts_nsec"] >= large.min())
        ]
        same = [
            name
            for name in event_record.RECORD.names or ()
            if name not in ("seq", "check", "time_nsec", "mono_nsec")
        ]
        return Counter(str((*each,)) for each in events[same].tolist()), missed

    by_kmod, missed_by_kmod = told("by-kmod")
    by_bpf, missed_by_bpf = told("by-bpf")
    assert by_bpf.total() + missed_by_bpf >= 20 + 5 + 1 + 5 * 8 + 15 + 2 * 70
    assert (by_bpf - by_kmod).total() <= missed_by_kmod
    assert (by_kmod - by_bpf).total() <= missed_by_bpf


@pytest.mark.parametrize("attach", ["kprobe", "tracepoint"])
def test_every_way_to_attach_records_the_same(traced: Traced, attach: str) -> None:
    capture = traced.capture(attach)
    assert capture.meta.attach == attach
    events = capture.events()
    blocks = {
        handle: events[
            (events["event"] == event_record.SET) & (events["handle"] == handle)
        ]
        for handle in set(events["handle"].tolist())
        if "pagedbg_churn_alloc" in str(capture.stack(handle))
    }
    sets = [each for found in blocks.values() for each in found]
    assert len(sets) == 20
    times = {int(each["ts_nsec"]) for each in sets}
    resets = [
        each
        for each in events
        if each["event"] == event_record.RESET and int(each["ts_nsec"]) in times
    ]
    whole = [each for each in resets if each["order"] == 3]
    assert len(whole) == 18
    assert sum(1 << int(each["order"]) for each in resets) == 160
    assert len([each for each in events if each["event"] == event_record.SPLIT]) == 2


def test_a_flight_recorder_keeps_the_last_events(traced: Traced) -> None:
    rows = traced.rows("ring.jsonl")
    assert 0 < len(rows) <= 64 * 2
    assert of(rows, "reset")
    # Not that its text was read, 200 times, which nobody has asked for.
    assert not of(rows, "read")
    counts = traced.capture("ring").meta.counts
    assert counts.recorded == counts.read + counts.lost


def test_nothing_stays_attached(traced: Traced) -> None:
    assert traced.attached["stopped"].strip() == "0"
    for victim in ("prompt", "recorder"):
        assert int(traced.attached[f"before {victim}-killed"]) >= 4
        assert traced.attached[f"{victim}-killed"] == "0"


def test_programs_come_and_go_a_hundred_times_while_pages_do() -> None:
    with boot("6.12", "attached again", memory="768M") as machine:
        machine.load_churn()
        machine.run(
            [sys.executable, Path(__file__).with_name("attach_again.py"), "100"]
        ).check()
        assert machine.sh(f"{ATTACHED}; true").strip() == "0"
        assert not re.search(r"WARNING:|BUG:|Oops|RIP:", machine.sh("dmesg"))


def test_a_capture_survives_the_death_of_the_prompt(traced: Traced) -> None:
    capture = traced.capture("prompt-killed")
    assert capture.meta.ended is not None and capture.meta.ended.by == "prompt gone"
    assert len(capture.events()) == capture.meta.counts.read


def test_a_killed_recorder_costs_what_the_rings_hold_and_that_is_said(
    traced: Traced,
) -> None:
    capture = traced.capture("recorder-killed")
    assert capture.abandoned
    lost = {loss.kind: loss.count for loss in capture.losses}
    assert lost.keys() <= {
        LossKind.KILLED,
        LossKind.OVERWRITTEN,
        LossKind.DAMAGED,
        LossKind.MISSED,
    }
    assert LossKind.KILLED in lost
    events = capture.events()
    assert np.count_nonzero(
        events["order"] == KILLED_ORDER
    ) >= 2 * KILLED_PAIRS - 2 * KILLED_SLOTS - (lost.get(LossKind.OVERWRITTEN) or 0)


def test_the_kernel_has_nothing_to_complain_of(traced: Traced) -> None:
    assert not re.search(r"WARNING:|BUG:|Oops|RIP:", traced.dmesg)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Machines that die while they are recorded: what a dump's rings tell has to be what a
live reader had got out of them up to that moment.

Both back ends record the same at the same time, with recorders that drain their rings
into captures outside of the guest. QEMU dumps it as it stands; then it panics, and its
crash kernel dumps it as the field does.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from booted import KERNELS, crash_in, dump, pagedbg
from drgn import FaultError
from drgn.helpers.linux.mm import follow_phys

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import EVENTS
from pagedbg.capture.recovery.recover import find_recorders
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.mm.lost_slabs import LOST_SLABS
from pagedbg.mm.page_state import page_states
from pagedbg.mm.vmalloc import for_each_vmalloc_area
from pagedbg.schema import event_record, freezing
from pagedbg.schema.event_record import RECORD
from pagedbg.schema.loss import LossKind
from pagedbg.target.dump_header import USER_DATA
from pagedbg.target.opening import open_target

SHOW = "trace", "show", "--no-stack"
CHURN, REQUEST = "/proc/pagedbg_churn", "/proc/pagedbg_request"

# The kernel reports one failure in ten seconds.
WAIT_FOR_REPORTS = "sleep 11"
BACKENDS = ("bpf", "kmod")

# What is recorded; it ends with a program that stays, so that the recorders do.
SCENARIO = "; ".join(
    [
        *(
            f"echo {words} >{CHURN}"
            for words in (
                "alloc 3 20",
                "free 5",
                "split 2",
                "free 3",
                "pairs 6 200",
                "irq 7 20",
                "alloc 3 4",
            )
        ),
        f"cp {CHURN} $OUT/held",
        "exec sleep 100000",
    ]
)
# What is done at pagedbg's prompt with each back end: rings are frozen, and taken over.
# An allocation of a smaller order that fails does not freeze them, nor does one that
# the kernel keeps quiet about.
FROZEN = f"""
trace set --orders 3 --comm sh
trace start --flight --backend $BACKEND --freeze-on failure:9
!echo alloc 3 5 >{CHURN}
!echo hold 9 0x2cc0 100000 >{REQUEST}; echo drop >{REQUEST}
!echo hold 8 0xcc0 100000 >{REQUEST}; echo drop >{REQUEST}
!echo alloc 3 2 >{CHURN}; {WAIT_FOR_REPORTS}
!echo hold 9 0xcc0 100000 >{REQUEST}; echo drop >{REQUEST}
!echo alloc 3 4 >{CHURN}; echo free 11 >{CHURN}
trace status --format json -o $OUT/unattended-$BACKEND.json
trace attach --output /run/frozen-$BACKEND
trace status --format json -o $OUT/attached-$BACKEND.json
explain --format jsonl -o $OUT/reports-$BACKEND.jsonl
trace stop
"""
# The rings that are left for the dump an OOM kill freezes.
OOM_KILL = f"""
trace set --orders 3 --comm sh
trace start --flight --backend bpf --freeze-on oom
!echo alloc 3 5 >{CHURN}
!sh -c 'echo 1000 >/proc/self/oom_score_adj; exec sleep 1000' & sleep 1; echo f >/proc/sysrq-trigger; wait $!; true
!echo alloc 3 4 >{CHURN}; echo free 9 >{CHURN}
"""  # noqa: E501

# Of the captures, that of BPF has a ring that overflows.
WORKLOAD = f"""
set -e
insmod $LAB_CHURN
insmod $LAB_REQUEST
mount -t bpf bpf /sys/fs/bpf
for BACKEND in bpf kmod; do
    cat >/run/script <<END
{FROZEN}
END
    $PAGEDBG --no-pager -x /run/script >$OUT/said-$BACKEND 2>&1 || {{ cat $OUT/said-$BACKEND; exit 1; }}
    cp -r /run/frozen-$BACKEND $OUT
done
cat >/run/script <<END
{OOM_KILL}
END
$PAGEDBG --no-pager -x /run/script >$OUT/said-oom 2>&1 || {{ cat $OUT/said-oom; exit 1; }}
filter="--comm sh --orders 3,6-7"
$PAGEDBG record --backend kmod $filter -o $OUT/kmod -- \
    $PAGEDBG record --backend bpf --slots 256 $filter -o $OUT/bpf -- sh -c {shlex.quote(SCENARIO)} >$OUT/said 2>&1 </dev/null &
until [ -s $OUT/held ] && [ -s $OUT/kmod/stacks.jsonl ] && [ -s $OUT/bpf/stacks.jsonl ]; do
    kill -0 $! || {{ cat $OUT/said; exit 1; }}
    sleep 1
done
sleep 5
"""  # noqa: E501


@dataclasses.dataclass(frozen=True)
class Died:
    """A guest's two dumps, and the captures that had been drained from it."""

    kernel: str
    out: Path
    cores: dict[str, Path]
    drained: dict[str, Capture]
    recorders: dict[str, dict[str, RecoveredRecorder]]

    def rows(self, *arguments: str | Path) -> list[dict[str, Any]]:
        answer = pagedbg(*arguments, "--format", "jsonl")
        assert answer.status == 0, answer.stderr
        return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.fixture(scope="module", params=KERNELS)
def died(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Died:
    out = tmp_path_factory.mktemp("died")
    cores = {"kdump": out / "vmcore", "QEMU": out / "raw"}
    crash_in(request.param, "died", out, WORKLOAD, raw=cores["QEMU"], memory="640M")
    recorders = {}
    for name, core in cores.items():
        found, said = find_recorders(open_target(str(core)))
        assert said == []
        recorders[name] = by_name(found)
    return Died(
        request.param,
        out,
        cores,
        {backend: Capture(out / backend) for backend in BACKENDS},
        recorders,
    )


def by_name(found: list[RecoveredRecorder]) -> dict[str, RecoveredRecorder]:
    """By back end, but for the one whose rings are frozen."""
    return {"frozen" if each.frozen else each.backend: each for each in found}


def in_rings(recorder: RecoveredRecorder) -> np.ndarray:
    return np.concatenate([ring.records for _, ring in recorder.rings()])


def by_number(events: np.ndarray) -> np.ndarray:
    return events[np.lexsort((events["seq"], events["cpu"]))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("of", ["kdump", "QEMU"])
def test_the_rings_in_a_dump_hold_what_a_live_reader_had_got(
    died: Died, of: str, backend: str
) -> None:
    drained = np.concatenate(list(died.drained[backend].pieces()))
    recorder = died.recorders[of][backend]
    found = by_number(in_rings(recorder))
    assert len(found) > 200
    # All that was recorded, but for what was overwritten in the ring.
    oldest = {cpu: ring.newest - recorder.slots for cpu, ring in recorder.rings()}
    expected = by_number(drained)
    expected = expected[
        [int(record["seq"]) > oldest[int(record["cpu"])] for record in expected]
    ]
    assert found.dtype == RECORD
    assert found.tobytes() == expected.tobytes()


def test_the_rings_are_told_from_other_memory(died: Died) -> None:
    prog = open_target(str(died.cores["kdump"])).prog
    found = {
        pfn
        for area in for_each_vmalloc_area(prog)
        if area.kind == "pagedbg"
        for pfn in area.pfns.tolist()
    }
    kernel, size = prog["init_mm"].address_of_(), prog["PAGE_SIZE"].value_()
    for recorder in died.recorders["kdump"].values():
        first, _ = recorder._address(RECORD)
        end = first + recorder.cpus * recorder.slots * RECORD.itemsize
        of_slots = {
            follow_phys(kernel, address).value_() // size
            for address in range(first, end, size)
        }
        assert len(of_slots) > 1 and of_slots <= found
        found -= of_slots
    # There are counters, filters and headers beside them.
    assert len(found) * size < len(died.recorders["kdump"]) << 20


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_dumps_of_a_moment_agree(died: Died, backend: str) -> None:
    kdump, qemu = (died.recorders[name][backend] for name in ("kdump", "QEMU"))
    assert in_rings(kdump).tobytes() == in_rings(qemu).tobytes()
    assert (kdump.attach, kdump.functions, kdump.filters) == (
        qemu.attach,
        qemu.functions,
        qemu.filters,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_recorder_in_a_dump_is_described_as_it_was(died: Died, backend: str) -> None:
    recorder, meta = died.recorders["kdump"][backend], died.drained[backend].meta
    assert (recorder.attach, recorder.functions) == (meta.attach, meta.functions)
    assert recorder.filters == [meta.filters[-1].filter]
    # Its last reader was done before the end came.
    assert (
        meta.counts.missed <= died.recorders["QEMU"][backend].missed <= recorder.missed
    )
    # As far as the recorder had come to write it down.
    counters, known = recorder.counters
    assert known.all()
    assert counters["recorded"].sum(axis=0).tolist() == meta.counts.recorded_by


def without_trampoline(stack: list[str]) -> list[str]:
    """
    A stack without a BPF trampoline on its top, which has a name only as long as the
    programs are attached that it calls: those of another recorder.
    """
    top = stack[0].startswith(("bpf_trampoline_", "0x"))
    return stack[1:] if top else stack


@pytest.mark.parametrize("backend", BACKENDS)
def test_recovered_events_are_shown_as_captured_ones_are(
    died: Died, backend: str
) -> None:
    number = 1 + list(died.recorders["kdump"]).index(backend)
    out = died.out / f"shown-{backend}"
    show = (
        "-e",
        f"trace recover {number}",
        "-e",
        f"trace show --format jsonl -o {out}",
    )
    answer = pagedbg("-c", died.cores["kdump"], *show)
    assert answer.status == 0, answer.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    captured = {
        (row["cpu"], row["seq"]): row
        for row in died.rows("--capture", died.out / backend, "trace", "show")
    }
    assert len(rows) > 200
    for row in rows:
        theirs = captured[row["cpu"], row["seq"]]
        if theirs["stack"] != row["stack"]:
            of_stack = ("stack", "stack_id", "stack_shape")
            if "was not saved" in str(theirs["stack"]):
                # The recorder had not come to write it down.
                assert [theirs[name] for name in of_stack[1:]] == [None, None]
            else:
                assert without_trampoline(theirs["stack"]) == without_trampoline(
                    row["stack"]
                )
            theirs = {**theirs, **{name: row[name] for name in of_stack}}
        if backend == "bpf":
            # Its clock is converted by what other events tell, of which fewer are left.
            assert abs((row["time_ns"] or 0) - (theirs["time_ns"] or 0)) < 10**8
            theirs = {**theirs, "time_ns": row["time_ns"]}
        assert row == theirs


@pytest.mark.parametrize("backend", BACKENDS)
def test_correlate_tells_what_the_dead_machine_held(died: Died, backend: str) -> None:
    held = [
        int(line.split()[0])
        for line in (died.out / "held").read_text().splitlines()
        if not line.startswith("#")
    ]
    number = 1 + list(died.recorders["kdump"]).index(backend)
    out, saved = died.out / f"correlated-{backend}", died.out / f"saved-{backend}"
    commands = (
        f"trace recover {number}",
        f"correlate --format jsonl -o {out}",
        f"trace save {saved}",
    )
    answer = pagedbg(
        "-c",
        died.cores["kdump"],
        *(word for command in commands for word in ("-e", command)),
    )
    assert answer.status == 0, answer.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    live = {
        row["pfn"]
        for row in rows
        if row["state"] == "live" and "pagedbg_churn" in str(row["stack"])
    }
    # Of the ring that has overflowed, the oldest allocations are gone.
    assert set(held[-4:] if backend == "bpf" else held) <= live <= set(held)
    # The same elsewhere, without the dump.
    again = died.rows("--capture", saved, "correlate")
    assert {
        row["pfn"]
        for row in again
        if row["state"] == "live" and "pagedbg_churn" in str(row["stack"])
    } == live


def test_of_three_recorders_one_has_to_be_chosen(died: Died) -> None:
    answer = pagedbg("-c", died.cores["kdump"], "trace", "show")
    assert answer.status == 1
    assert "3 recorders were at work" in answer.stderr
    rows = died.rows("-c", died.cores["kdump"], "trace", "recover")
    assert {row["backend"] for row in rows} == set(BACKENDS)


def test_of_a_dump_that_was_filtered_as_hard_as_can_be_nothing_is_left_out_in_silence(
    died: Died,
) -> None:
    core = died.out / "filtered"
    dump.filter_dump(died.cores["QEMU"], core, level=31)
    found, said = find_recorders(open_target(str(core)))
    recorders = by_name(found)
    assert (
        in_rings(recorders["kmod"]).tobytes()
        == in_rings(died.recorders["QEMU"]["kmod"]).tobytes()
    )
    # makedumpfile 1.7.2 takes slab pages of 6.10 and later for user data, and the index
    # of BPF programs is in such pages: then maps are looked for by their names, which
    # in 7.3 takes the list of vmalloc areas, in such pages, too.
    assert said == [] or [sentence for sentence in said if LOST_SLABS in sentence]
    if "bpf" in recorders or not said or died.kernel != "newest":
        assert (
            in_rings(recorders["bpf"]).tobytes()
            == in_rings(died.recorders["QEMU"]["bpf"]).tobytes()
        )
    answer = pagedbg("-c", core, "-e", "doctor", "-e", "memory --section kinds")
    assert answer.status == 0, answer.stderr
    assert (LOST_SLABS in " ".join(answer.stdout.split())) == bool(lost_slabs(core))
    # Whichever level keeps user data keeps them.
    dump.filter_dump(died.cores["QEMU"], core, level=31 - USER_DATA)
    assert not lost_slabs(core)
    found, said = find_recorders(open_target(str(core)))
    assert (len(found), said) == (3, [])


def lost_slabs(core: Path) -> int:
    """How many pages of slabs are not in a dump."""
    prog = open_target(str(core)).prog
    lost = 0
    for state in page_states(prog, 0, prog["max_pfn"].value_()):
        if state.kind == "slab":
            try:
                prog.read_u8(state.pfn << 12, physical=True)
            except FaultError:
                lost += 1
    return lost


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_had_not_reached_the_disk_is_joined_out_of_the_rings(
    died: Died, backend: str, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(died.out / backend, cut)
    size = (cut / EVENTS).stat().st_size
    os.truncate(cut / EVENTS, size - 100 * RECORD.itemsize - 50)
    both = "-c", died.cores["kdump"], "--capture", cut
    of_event = ("cpu", "seq", "event", "pfn", "order", "ts_ns")
    shown, expected = (
        {tuple(row[name] for name in of_event) for row in died.rows(*words, *SHOW)}
        for words in (both, ("--capture", died.out / backend))
    )
    assert shown == expected
    (status,) = died.rows(*both, "trace", "status")
    assert (status["state"], status["directory"]) == ("recovered", str(cut))
    assert status["kept"] == len(expected)
    overwritten = LossKind.OVERWRITTEN
    assert [
        each["lost"] for each in status["losses"] if each["loss"] == "overwritten"
    ] == [
        loss.count for loss in died.drained[backend].losses if loss.kind is overwritten
    ]
    assert not {"gone", "damaged", "killed"} & {
        each["loss"] for each in status["losses"]
    }


# ---- rings that were frozen ----------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_allocation_freezes_the_rings_and_is_told_with_its_report(
    died: Died, backend: str
) -> None:
    (left,), (attached,) = (
        json.loads((died.out / f"{name}-{backend}.json").read_text())
        for name in ("unattended", "attached")
    )
    reports = [
        json.loads(line)
        for line in (died.out / f"reports-{backend}.jsonl").read_text().splitlines()
    ]
    report = next(each for each in reversed(reports) if each["order"] == 9)
    for status in (left, attached):
        (frozen,) = status["frozen"]
        # local_clock() is known to within a tick, where only the other clock tells; and
        # an emulated machine may stand still before it prints.
        assert abs(frozen.pop("time_ns") - report["time_ns"]) < 10**9
        assert frozen == {
            name: report[name]
            for name in ("failure", "order", "gfp", "pid", "comm", "report")
        }
    assert (left["state"], attached["ended_by"]) == ("unattended", "frozen")
    # What came before the failure is there, and nothing of what came then.
    meta = Capture(died.out / f"frozen-{backend}").meta
    events = Capture(died.out / f"frozen-{backend}").events()
    assert meta.frozen is not None and meta.frozen.order == 9
    churned = {
        handle
        for handle, stack in Capture(died.out / f"frozen-{backend}").stacks()
        if "pagedbg_churn_alloc" in str(stack)
    }
    of_churn = events[np.isin(events["handle"], list(churned))]
    assert of_churn["event"].tolist() == [event_record.SET] * 7
    assert int(events["time_nsec"].max()) <= report["time_ns"]


@pytest.mark.parametrize("of", ["kdump", "QEMU"])
def test_a_dump_has_the_rings_that_an_oom_kill_has_frozen(died: Died, of: str) -> None:
    recorder = died.recorders[of]["frozen"]
    assert recorder.frozen is not None
    assert recorder.frozen.reason == freezing.OOM_KILL
    assert recorder.frozen.order == -1
    number = 1 + list(died.recorders[of]).index("frozen")
    out = died.out / f"oom-{of}.json"
    commands = (f"trace recover {number}", f"trace status --format json -o {out}")
    words = (word for command in commands for word in ("-e", command))
    answer = pagedbg("-c", died.cores[of], *words)
    assert answer.status == 0, answer.stderr
    ((frozen,),) = (each["frozen"] for each in json.loads(out.read_text()))
    (report,) = (
        row
        for row in died.rows("-c", died.cores[of], "explain")
        if row["failure"] == "OOM kill"
    )
    assert (frozen["report"], frozen["comm"]) == (report["report"], report["comm"])
    assert abs(frozen["time_ns"] - report["time_ns"]) < 10**9
    sets = in_rings(recorder)["event"] == event_record.SET
    assert np.count_nonzero(sets) >= 5


WITHOUT_PAGE_OWNER = f"""
set -e
insmod $LAB_CHURN
$PAGEDBG record --backend kmod --orders 6 -o $OUT/kmod -- \
    $PAGEDBG record --backend bpf --orders 6 -o $OUT/bpf -- \
    sh -c 'echo alloc 6 4 >{CHURN}; echo pairs 6 10 >{CHURN}; cp {CHURN} $OUT/held; exec sleep 100000' >$OUT/said 2>&1 </dev/null &
until [ -s $OUT/held ]; do
    kill -0 $! || {{ cat $OUT/said; exit 1; }}
    sleep 1
done
sleep 2
"""  # noqa: E501


def test_without_page_owner_the_dump_has_the_stacks_of_the_tracepoints(
    tmp_path: Path,
) -> None:
    crash_in(
        "6.12",
        "died without page_owner",
        tmp_path,
        WITHOUT_PAGE_OWNER,
        memory="768M",
        page_owner=False,
    )
    core = tmp_path / "vmcore"
    held = {
        int(line.split()[0])
        for line in (tmp_path / "held").read_text().splitlines()
        if not line.startswith("#")
    }
    found = pagedbg("-c", core, "trace", "recover", "--format", "json")
    assert {row["backend"] for row in json.loads(found.stdout)} == set(BACKENDS)
    for number in (1, 2):
        out = tmp_path / f"owners-{number}"
        owners = f"owners --orders 6 --module pagedbg_churn --format jsonl -o {out}"
        answer = pagedbg("-c", core, "-e", f"trace recover {number}", "-e", owners)
        assert answer.status == 0, answer.stderr
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert {row["pfn"] for row in rows} == held
        assert all("pagedbg_churn_alloc" in str(row["stack"]) for row in rows)

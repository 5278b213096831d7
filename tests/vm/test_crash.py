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
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from booted import KERNELS, crash_in, dump, pagedbg

from pagedbg.capture.directory import Capture
from pagedbg.capture.recovery.recover import find_recorders
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.schema.event_record import RECORD
from pagedbg.target.opening import open_target

CHURN = "/proc/pagedbg_churn"
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
# Of the captures, that of BPF has a ring that overflows.
WORKLOAD = f"""
set -e
insmod $LAB_CHURN
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
        recorders[name] = {each.backend: each for each in found}
    return Died(
        out, cores, {backend: Capture(out / backend) for backend in BACKENDS}, recorders
    )


def in_rings(recorder: RecoveredRecorder) -> np.ndarray:
    return np.concatenate([ring.records for _, ring in recorder.rings()])


def by_number(events: np.ndarray) -> np.ndarray:
    return events[np.lexsort((events["seq"], events["cpu"]))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("of", ["kdump", "QEMU"])
def test_the_rings_in_a_dump_hold_what_a_live_reader_had_got(
    died: Died, of: str, backend: str
) -> None:
    drained, _ = died.drained[backend].read_from(0)
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
            # The recorder had not come to write it down.
            assert "was not saved" in str(theirs["stack"])
            theirs = {**theirs, "stack": row["stack"]}
        if backend == "bpf":
            # Its clock is converted by what other events tell, of which fewer are left.
            assert abs((row["time_ns"] or 0) - (theirs["time_ns"] or 0)) < 10**7
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


def test_of_two_recorders_one_has_to_be_chosen(died: Died) -> None:
    answer = pagedbg("-c", died.cores["kdump"], "trace", "show")
    assert answer.status == 1
    assert "2 recorders were at work" in answer.stderr
    rows = died.rows("-c", died.cores["kdump"], "trace", "recover")
    assert {row["backend"] for row in rows} == set(BACKENDS)


def test_of_a_dump_that_was_filtered_as_hard_as_can_be_nothing_is_left_out_in_silence(
    died: Died,
) -> None:
    core = died.out / "filtered"
    dump.filter_dump(died.cores["QEMU"], core, level=31)
    found, said = find_recorders(open_target(str(core)))
    recorders = {each.backend: each for each in found}
    assert (
        in_rings(recorders["kmod"]).tobytes()
        == in_rings(died.recorders["QEMU"]["kmod"]).tobytes()
    )
    # makedumpfile 1.7.2 takes slab pages of 6.10 and later for page cache, and the
    # index of BPF programs is in such pages.
    if "bpf" in recorders:
        assert (
            in_rings(recorders["bpf"]).tobytes()
            == in_rings(died.recorders["QEMU"]["bpf"]).tobytes()
        )
    else:
        assert any("BPF" in sentence for sentence in said)


WITHOUT_PAGE_OWNER = f"""
set -e
insmod $LAB_CHURN
$PAGEDBG record --orders 6 -o $OUT/capture -- \
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
        memory="512M",
        page_owner=False,
    )
    core = tmp_path / "vmcore"
    held = {
        int(line.split()[0])
        for line in (tmp_path / "held").read_text().splitlines()
        if not line.startswith("#")
    }
    answer = pagedbg(
        "-c",
        core,
        "owners",
        "--orders",
        "6",
        "--module",
        "pagedbg_churn",
        "--format",
        "jsonl",
    )
    assert answer.status == 0, answer.stderr
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    assert {row["pfn"] for row in rows} == held
    assert all("pagedbg_churn_alloc" in str(row["stack"]) for row in rows)

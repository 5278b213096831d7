# SPDX-License-Identifier: GPL-2.0-or-later
"""
A kernel of another machine: an arm64 guest, what its dumps say beside what it has said
itself, and the module in it.

Of pagedbg only what attaches BPF programs runs in the guest, where there is no drgn.
What they and the module have to be told is asked from outside.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from arm64 import PYTHON
from booted import LAB, Answer, boot, crash_in, dump, kernels, modules, pagedbg
from debugfs_text import Record, parse
from drgn.helpers.linux.pid import for_each_task
from prebuilt import module

from pagedbg.capture.backends.bpf import BPF
from pagedbg.capture.backends.hooks import _record_constants
from pagedbg.capture.backends.kmod import _LAYOUT as MEMBERS
from pagedbg.capture.recording.recording import Plan, _asked
from pagedbg.mm.page_tables import page_table_pfns
from pagedbg.schema.event_filter import EventFilter, OrderShare
from pagedbg.target.opening import open_target

pytestmark = pytest.mark.rare

COMMANDS = (
    "status",
    "memory",
    "owners",
    "owners --by stack",
    "owners --by module",
    "blocks",
    "explain order 4",
    "map",
    "trace recover",
    "trace show",
)

# What is asked of a guest that has died, and what it did.
OF_DUMP = ("status", "owners", "memory", "blocks", "explain order 4", "map")
DIES = "insmod $LAB_BLOCKS; cat /proc/pagedbg_blocks >$OUT/blocks"

# What the module records: blocks of the churn module, and little else.
ALLOCATED, FREED, ORDERS = 20, 5, (3, 4)
TABLE = "Order\tParticipation\n"


class Asked(NamedTuple):
    """
    What the guest said: page_owner's text, when it was asked for it in nanoseconds of
    the kernel's clock, what the test modules hold, and the table of orders as it began,
    was written and was not. And its dump.
    """

    records: list[Record]
    asked_ns: int
    blocks: dict[str, tuple[int, int, int]]
    tables: list[str]
    functions: dict[str, str]
    core: Path


class Told(NamedTuple):
    """What pagedbg says of the dump, without debug info."""

    directory: Path
    answer: Answer

    def rows(self, line: str) -> list[dict[str, Any]]:
        """The table that a command has written."""
        path = self.directory / f"{COMMANDS.index(line)}.json"
        found: list[dict[str, Any]] = json.loads(path.read_text())
        return found


def layout(monitor: Path) -> str:
    """What the module is told of page_owner of the guest behind a monitor."""
    target = open_target(qemu=str(monitor), pause=True)
    try:
        constants = _record_constants(target.prog)
        numbers = [constants[name] for name in MEMBERS]
        numbers.append(target.prog["dummy_handle"].value_())
    finally:
        target.close()
    return ",".join(map(str, numbers))


def of_churn(row: dict[str, Any]) -> bool:
    """Whether a page was allocated, or an event is of one, because it was told to."""
    return any("pagedbg_churn_alloc+0x" in frame for frame in row["stack"] or ())


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """One guest, asked for all that the tests look at, and then dumped."""
    directory = tmp_path_factory.mktemp("arm64")
    monitor, core = directory / "monitor", directory / "core"
    options = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    try:
        kernels.build("arm64-6.12", say=print)
    except kernels.LabError as error:
        pytest.skip(f"no arm64-6.12 here: {error}")
    with boot("arm64-6.12", "arm64", memory="512M", qemu_opts=options) as machine:
        blocks = str(modules.blocks_module(machine.kernel))
        machine.run(
            ["sh", LAB / "workloads" / "ordinary.sh"], env={"LAB_BLOCKS": blocks}
        ).check()
        machine.load_churn()
        machine.run(
            [
                *("insmod", module(machine.kernel), f"layout={layout(monitor)}"),
                *("hooks=kprobe", "events=set,reset", "orders=3,4:50"),
            ]
        ).check()
        read = "cat /proc/page_order"
        tables = [
            machine.sh(read),
            machine.sh(f"echo '4 100' >/proc/page_order; {read}"),
        ]
        refused = machine.run(["sh", "-c", "echo '4 101' >/proc/page_order"])
        assert refused.status and b"Invalid argument" in refused.stderr
        tables.append(machine.sh(read))
        for order in ORDERS:
            machine.sh(f"echo alloc {order} {ALLOCATED} >/proc/pagedbg_churn")
        machine.sh(f"echo free {FREED} >/proc/pagedbg_churn")
        functions = machine.sh("cat /sys/module/pagedbg/parameters/functions")
        held = machine.sh("cat /proc/pagedbg_blocks")
        machine.sh("echo asked >/dev/kmsg; cat /sys/kernel/debug/page_owner >/run/text")
        log, text = machine.sh("dmesg"), machine.run(["cat", "/run/text"]).check()
        assert not re.search(r"WARNING:|BUG:|Oops", log)
        dump.dump(machine.guest, core)
    (seconds,) = re.findall(r"^\[ *([\d.]+)\] asked$", log, re.MULTILINE)
    lines = [line.split() for line in held.splitlines()]
    return Asked(
        parse(text.stdout.decode(errors="backslashreplace")),
        int(float(seconds) * 1e9),
        {name: (int(order), int(pfn), int(pages)) for name, order, pfn, pages in lines},
        tables,
        dict(line.split() for line in functions.splitlines()),
        core,
    )


@pytest.fixture(scope="module")
def told(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Told:
    out = tmp_path_factory.mktemp("told")
    lines = [f"{line} -o {out}/{number}.json" for number, line in enumerate(COMMANDS)]
    words = (
        word for line in (*lines, f"report {out}/report.html") for word in ("-e", line)
    )
    return Told(out, pagedbg("-c", asked.core, *words))


def test_every_command_answers(told: Told) -> None:
    assert told.answer.status == 0, told.answer
    (status,) = told.rows("status")
    assert (status["machine"], status["page_size"]) == ("aarch64", 4096)
    assert status["page_owner"]
    for line in COMMANDS:
        assert told.rows(line), line
    assert "</html>" in (told.directory / "report.html").read_text()


def test_stacks_that_vmalloc_has_not_made_are_their_tasks(asked: Asked) -> None:
    command = "memory --by holder,function --kind kernel"
    done = pagedbg("-c", asked.core, "--format", "jsonl", "-e", command)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    stacks = [row for row in rows if row["holder"].startswith("stack of ")]
    assert len(stacks) > 20
    assert {(row["function"], row["pages"]) for row in stacks} == {("copy_process", 4)}


def test_memory_sums_up_to_the_last_page(told: Told) -> None:
    rows = told.rows("memory")
    assert sum(row["pages"] for row in rows) == 512 << 20 >> 12
    free = [row for row in rows if row["kind"] == "free"]
    assert free and {row["difference"] for row in free} == {0}


def test_what_is_on_record_is_what_the_kernel_has_said(
    asked: Asked, told: Told
) -> None:
    rows = {row["pfn"]: row for row in told.rows("owners")}
    said = {record.pfn: record for record in asked.records}
    assert len(said) > 5000
    # What was allocated before the kernel was asked and is still there, it has said.
    before = {pfn for pfn, row in rows.items() if row["ts_ns"] < asked.asked_ns}
    assert before <= said.keys()
    same = [pfn for pfn in rows.keys() & said if rows[pfn]["ts_ns"] == said[pfn].ts]
    assert before <= set(same)
    assert len(same) > 0.9 * len(said)
    for pfn in same:
        row, record = rows[pfn], said[pfn]
        assert (
            *(row["order"], row["gfp_mask"], row["gfp"], row["pid"], row["tgid"]),
            *(row["comm"], row["migratetype"], row["node"], tuple(row["stack"])),
        ) == (
            *(record.order, record.gfp_mask, record.gfp, record.pid, record.tgid),
            *(record.comm, record.migratetype, record.node, record.stack),
        ), f"page frame {pfn:#x}"


def test_the_test_modules_blocks_are_where_they_say(asked: Asked, told: Told) -> None:
    rows = {row["pfn"]: row for row in told.rows("owners")}
    for name, (order, pfn, pages) in asked.blocks.items():
        if name not in ("freed", "split"):
            assert (rows[pfn]["order"], rows[pfn]["pages"]) == (order, pages), name
            assert any("[pagedbg_blocks]" in frame for frame in rows[pfn]["stack"])
    churned = [row for row in rows.values() if of_churn(row)]
    assert len(churned) == ALLOCATED * len(ORDERS) - FREED
    by_module = {
        row["module"]: row["blocks"] for row in told.rows("owners --by module")
    }
    # And what the kernel has allocated for them.
    assert by_module["pagedbg_churn"] >= len(churned)
    assert by_module["pagedbg_blocks"] >= len(asked.blocks) - 1
    _, pfn, _ = asked.blocks["order4"]
    inspected = pagedbg("-c", asked.core, "inspect", "pfn", hex(pfn))
    assert "pagedbg_alloc_order4+0x" in inspected.stdout, inspected


def test_page_tables_are_as_many_as_the_kernel_has_counted(asked: Asked) -> None:
    prog = open_target(str(asked.core)).prog
    seen = 0
    for task in for_each_task(prog):
        if mm := task.mm.read_():
            levels = [len(tables) for tables in page_table_pfns(prog, mm)]
            # The uppermost one is neither counted nor marked.
            assert len(levels) == 4
            assert sum(levels[1:]) == mm.pgtables_bytes.counter.value_() // 4096
            seen += 1
    assert seen > 3
    of_kernel = list(page_table_pfns(prog, prog["init_mm"].address_of_()))
    assert sum(map(len, of_kernel)) > 0


def test_the_table_of_orders_is_read_and_written(asked: Asked) -> None:
    half, whole = f"{TABLE}3\t100\n4\t50\n", f"{TABLE}3\t100\n4\t100\n"
    assert asked.tables == [half, whole, whole]


def test_what_was_recorded_is_found_with_its_order(asked: Asked, told: Told) -> None:
    assert asked.functions["set"] == "__set_page_owner"
    (recorder,) = told.rows("trace recover")
    assert recorder["backend"] == "kmod"
    churned = [
        (row["event"], row["order"]) for row in told.rows("trace show") if of_churn(row)
    ]
    for order in ORDERS:
        assert churned.count(("set", order)) == ALLOCATED
    assert churned.count(("reset", ORDERS[0])) == FREED


def test_what_its_crash_kernel_dumps_says_the_same(tmp_path: Path) -> None:
    elf, kdump = tmp_path / "elf", tmp_path / "vmcore"
    crash_in("arm64-6.12", "arm64 crashed", tmp_path, DIES, memory="512M", raw=elf)
    lines = [line.split() for line in (tmp_path / "blocks").read_text().splitlines()]
    owners: list[dict[int, dict[str, Any]]] = []
    for core in (elf, kdump):
        answers = [tmp_path / f"{core.name}-{number}" for number in range(len(OF_DUMP))]
        asked = [
            ("-e", f"{line} --format json -o {path}")
            for line, path in zip(OF_DUMP, answers, strict=True)
        ]
        told = pagedbg("-c", core, *(word for words in asked for word in words))
        assert told.status == 0, told
        status, rows, *_ = (json.loads(path.read_text()) for path in answers)
        assert status[0]["page_owner"]
        owners.append({row["pfn"]: row for row in rows})
        for name, order, pfn, pages in lines:
            if name not in ("freed", "split"):
                row = owners[-1][int(pfn)]
                assert (row["order"], row["pages"]) == (int(order), int(pages)), name
    before, after = owners
    same = [
        pfn
        for pfn in before.keys() & after
        if before[pfn]["ts_ns"] == after[pfn]["ts_ns"]
    ]
    # Little happens between the two dumps.
    assert len(same) > 0.9 * len(before)
    for pfn in same:
        assert before[pfn] == after[pfn], f"page frame {pfn:#x}"


@pytest.mark.parametrize("attach", ["combined", "tracepoint"])
def test_bpf_programs_record_exactly_what_was_allocated_and_freed(
    attach: str, tmp_path: Path
) -> None:
    monitor, core = tmp_path / "monitor", tmp_path / "core"
    options = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    # The compiler takes much.
    with boot(
        "arm64-6.12", f"arm64 {attach}", memory="768M", qemu_opts=options
    ) as machine:
        machine.load_churn()
        target = open_target(qemu=str(monitor), pause=True)
        try:
            plan = Plan(
                filter=EventFilter(orders=(OrderShare(*ORDERS),)),
                attach=attach,
                backends=(BPF,),
            )
            asked = _asked(target, plan)
        finally:
            target.close()
        # What is our own is of the guest.
        asked |= {"flight": True, "own": []}
        left = machine.run(
            [PYTHON, Path(__file__).with_name("leave_recording.py")],
            stdin=json.dumps(asked).encode(),
            env={"PYTHONPATH": str(LAB.parents[1])},
        ).check()
        said = json.loads(left.text)
        assert (said["backend"], said["attach"], said["cast"]) == (BPF, attach, 1)
        for order in ORDERS:
            machine.sh(f"echo alloc {order} {ALLOCATED} >/proc/pagedbg_churn")
        machine.sh(f"echo free {FREED} >/proc/pagedbg_churn")
        assert not re.search(r"WARNING:|BUG:|Oops", machine.sh("dmesg"))
        dump.dump(machine.guest, core)
    lines = [
        f"{line} -o {tmp_path}/{name}.jsonl --format jsonl"
        for name, line in (
            ("recorders", "trace recover"),
            ("events", "trace show"),
            ("live", "correlate --leaked"),
        )
    ]
    told = pagedbg("-c", core, *(word for line in lines for word in ("-e", line)))
    assert told.status == 0, told
    recorders, events, live = (
        [
            json.loads(line)
            for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()
        ]
        for name in ("recorders", "events", "live")
    )
    assert [recorder["backend"] for recorder in recorders] == [BPF]
    churned = [(row["event"], row["order"]) for row in events if of_churn(row)]
    for order in ORDERS:
        assert churned.count(("set", order)) == ALLOCATED
    assert churned.count(("reset", ORDERS[0])) == FREED
    held = sum(row["blocks"] for row in live if of_churn(row))
    assert held == ALLOCATED * len(ORDERS) - FREED

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel module on booted kernels: from its own side (kmod_guest.py), and as pagedbg
uses it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forkserver
import numpy as np
import pytest
from booted import ATTACHED, KERNELS, OUT, PAGEDBG, Machine, boot, pagedbg
from prebuilt import module

from pagedbg.capture.directory import Capture
from pagedbg.schema import event_record
from pagedbg.schema.event_record import TRACEPOINTS

BACKENDS = ("kmod", "bpf")
WAYS = ("tracepoint", "kprobe", "kmem")
GUEST = Path(__file__).with_name("kmod_guest.py")
COMPLAINTS = (
    r"WARNING:|BUG:|Oops|RIP: 0010:|possible recursive|unsafe locking|KASAN|sleeping"
    r" function"
)


class Kmod:
    """A guest with the churn module, and what its kernel's log must not say."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.load_churn()

    def scenario(self, *words: str | int) -> dict[str, Any]:
        done = self.machine.run(
            [self.python, GUEST, module(self.machine.kernel), *map(str, words)]
        ).check()
        told: dict[str, Any] = json.loads(done.text)
        return told

    def check_log(self) -> None:
        assert not re.search(COMPLAINTS, self.machine.sh("dmesg"))

    @functools.cached_property
    def python(self) -> Path:
        self.machine.serve(
            "pagedbg.capture.backends.hooks",
            "pagedbg.capture.backends.kmod",
            "pagedbg.target.opening",
        )
        return forkserver.programs() / "python"


@pytest.fixture(scope="module", params=KERNELS)
def kmod(request: pytest.FixtureRequest) -> Iterator[Kmod]:
    with boot(request.param, "kmod", memory="640M") as machine:
        made = Kmod(machine)
        yield made
        made.check_log()


@pytest.fixture(scope="module")
def hooked(kmod: Kmod) -> dict[str, Any]:
    return kmod.scenario("hooks")


def test_the_table_of_orders_is_read_and_written_as_a_whole_or_not_at_all(
    kmod: Kmod,
) -> None:
    told = kmod.scenario("table")
    assert (told["loaded"], told["begins"], told["mode"]) == (
        "ok",
        "Order\tParticipation\n0\t20\n4\t100\n",
        "0o600",
    )
    changed = "Order\tParticipation\n0\t12.5\n9\t100\n"
    assert told["written"] == ["ok", changed]
    assert set(told["refused"].values()) == {"EINVAL"}
    assert told["after"] == changed
    assert {tuple(set(each.split())) for each in told["concurrent"]} <= {
        ("10",),
        ("20",),
        ("30",),
    }
    assert told["unloaded"] == "ok"


def test_it_does_not_load_with_a_wrong_value(kmod: Kmod) -> None:
    told = kmod.scenario("layout")
    assert len(told["wrong"]) > 40
    assert {
        name: status for name, status in told["wrong"].items() if status != "EINVAL"
    } == {}
    assert (told["none"], told["few"], told["right"]) == (
        "EINVAL",
        "EINVAL",
        ["ok", "ok"],
    )


def test_its_memory_is_only_to_be_read_and_holds_it(kmod: Kmod) -> None:
    told = kmod.scenario("device")
    assert told["too large"] == "EINVAL"
    assert (
        "ring_slots=1048576 for 2 CPUs would take more than a sixteenth of this"
        " machine's memory" in kmod.machine.sh("dmesg")
    )
    assert (told["mode"], told["whole"]) == ("0o600", "ok")
    assert told["beyond"] == ["EINVAL", "EINVAL"]
    assert (*told["writable"], told["made writable"]) == ("EACCES",) * 3
    table = "Order\tParticipation\n0\t20\n4\t100\n9\t12.5\n"
    assert told["whole filter"] == ["ok", table]
    assert told["more than all"] == ["EINVAL", table]
    assert (told["short filter"], told["bad filter"]) == ("EINVAL", "EINVAL")
    assert (
        told["unloaded while open"],
        told["unloaded while mapped"],
        told["unloaded"],
    ) == ("EAGAIN", "EAGAIN", "ok")


@pytest.mark.parametrize(
    ("way", "functions"),
    [
        ("tracepoint", {"set": "__set_page_owner", "reset": "mm_page_free"}),
        ("kprobe", {"set": "__set_page_owner", "reset": "__reset_page_owner"}),
        ("kmem", TRACEPOINTS),
    ],
)
def test_in_each_way_every_allocation_and_free_is_recorded_once(
    hooked: dict[str, Any], way: str, functions: dict[str, str]
) -> None:
    told = hooked[way]
    assert hooked["wrong"] == "EINVAL"
    assert (told["loaded"], told["unloaded"], told["missed"]) == ("ok", "ok", 0)
    assert functions.items() <= told["functions"].items()
    assert len(told["made"]) == 7
    of_churn = [pair for pair in told["recorded"] if pair[1] in told["made"]]
    assert sorted(of_churn) == sorted(
        [event, pfn]
        for event in (event_record.SET, event_record.RESET)
        for pfn in told["made"]
    )


def test_reads_of_page_owners_text_are_recorded_only_where_that_is_asked_for(
    kmod: Kmod,
) -> None:
    told = kmod.scenario("reads")
    for name, recorded in (("usual", 0), ("asked", 20)):
        assert (told[name]["loaded"], told[name]["unloaded"]) == ("ok", "ok")
        assert told[name]["read"] == 20
        assert told[name]["recorded"].count(event_record.READ) == recorded


@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_loaded_and_unloaded_again_and_again_while_pages_come_and_go(
    kmod: Kmod, way: str
) -> None:
    often = kmod.machine.kernel.series == "6.12" and way != "kmem"
    times = 500 if often else 25
    told = kmod.scenario("storm", way, times)
    assert told["wrong"] == []
    assert told["recorded"] > 0
    # A stack with something of ours in it would be a new one each time.
    assert told["stacks"] is None or told["stacks"] < times // 2


# Nested, so that both record the same.
WITHOUT_RECORDS = (
    f"{PAGEDBG} record --backend kmod --orders 6 --comm sh -o {OUT}/kmod -- {PAGEDBG}"
    f" record --backend bpf --orders 6 --comm sh -o {OUT}/bpf -- sh -c '"
    "echo alloc 6 4 >/proc/pagedbg_churn; echo pairs 6 10 >/proc/pagedbg_churn;"
    f" cp /proc/pagedbg_churn {OUT}/held'"
)


def test_without_page_owner_both_back_ends_record_the_same(tmp_path: Path) -> None:
    with boot(
        "6.12",
        "kmod without page_owner",
        memory="640M",
        page_owner=False,
        out=tmp_path,
    ) as machine:
        done = machine.run(["insmod", module(machine.kernel)])
        assert b"Operation not supported" in done.stderr
        assert "pagedbg: page_owner is off: boot with page_owner=on" in machine.sh(
            "dmesg"
        )
        done = machine.run(
            [PAGEDBG, "-e", "trace start --backend kmod --attach kprobe"]
        )
        assert done.status == 1
        assert "--attach kprobe needs page_owner: where it is off" in (
            done.stderr.decode()
        )
        assert len(done.stderr.decode().splitlines()) == 1
        kmod = Kmod(machine)
        said = machine.sh(f"{WITHOUT_RECORDS} 2>&1")
        assert "page_owner is off: with the kernel module, from the tracepoints" in said
        kmod.check_log()
    held = [
        int(line.split()[0])
        for line in (tmp_path / "held").read_text().splitlines()
        if not line.startswith("#")
    ]
    told = []
    for backend in BACKENDS:
        words = "--capture", tmp_path / backend, "trace", "show", "--format", "jsonl"
        shown = pagedbg(*words)
        rows = [json.loads(line) for line in shown.stdout.splitlines()]
        told.append([(row["event"], row["pfn"], row["stack"]) for row in rows])
    assert told[0] == told[1]
    sets = [(pfn, stack) for event, pfn, stack in told[0] if event == "set"]
    assert len(told[0]) == 24
    assert [pfn for pfn, _ in sets[:4]] == held
    # The kernel's own function is innermost, and nothing of what has recorded it.
    assert {stack[0].partition("+")[0] for _, stack in sets} == {"__alloc_pages_noprof"}
    assert all("[pagedbg_churn]" in str(stack) for _, stack in sets)


FLIGHT = """
trace status
trace attach --output $OUT/attached-$BACKEND
!echo free 4 >/proc/pagedbg_churn
correlate --leaked --by module --format jsonl -o $OUT/leaked-$BACKEND.jsonl
trace stop
"""


def test_a_flight_recorder_records_on_with_no_pagedbg_and_is_taken_over(
    tmp_path: Path,
) -> None:
    # Caches of their own: the module and the BPF programs are built in the guest.
    with boot("6.12", "flight", memory="768M", out=tmp_path) as machine:
        kmod = Kmod(machine)
        machine.sh("mount -t bpf bpf /sys/fs/bpf")
        machine.run(["insmod", module(machine.kernel), "hooks=kmem"]).check()
        refused = machine.run([PAGEDBG, "-e", "trace attach"])
        assert refused.status == 1
        assert "which is for where page_owner is off: rmmod pagedbg removes it" in (
            refused.stderr.decode()
        )
        machine.sh("rmmod pagedbg")
        for backend in BACKENDS:
            environment = f"XDG_CACHE_HOME=/run/cache-{backend}"
            said = machine.sh(
                f"{environment} {PAGEDBG} -e 'trace set --orders 3 --comm sh' -e 'trace"
                f" start --flight --backend {backend}';echo alloc 3 20"
                " >/proc/pagedbg_churn; echo free 5 >/proc/pagedbg_churn"
            )
            assert "until trace attach" in said
            assert int(machine.sh(f"{ATTACHED}; true")) >= 5
            machine.write(
                OUT / "script",
                FLIGHT.replace("$OUT", str(OUT)).replace("$BACKEND", backend),
            )
            said = machine.sh(f"{PAGEDBG} --no-pager -x {OUT}/script")
            assert "records --orders 3 --comm sh since" in said
            assert "Recording --orders 3 --comm sh into" in said
            assert machine.sh(f"{ATTACHED}; true").strip() == "0"
            assert "No such file" in machine.sh(
                "ls /sys/fs/bpf/pagedbg /proc/page_order /run/pagedbg.json 2>&1; true"
            )
            machine.sh("echo free 11 >/proc/pagedbg_churn")
        kmod.check_log()
    for backend in BACKENDS:
        events = Capture(tmp_path / f"attached-{backend}").events()
        made = events[(events["event"] == event_record.SET) & (events["order"] == 3)]
        freed = events[events["event"] == event_record.RESET]
        assert len(set(made["pfn"].tolist())) >= 20
        assert len(freed[np.isin(freed["ts_nsec"], made["ts_nsec"])]) == 9
        held = [
            json.loads(line)
            for line in (tmp_path / f"leaked-{backend}.jsonl").read_text().splitlines()
        ]
        assert [row["blocks"] for row in held if row["module"] == "pagedbg_churn"] == [
            11
        ]


def test_the_module_of_a_killed_recorder_is_taken_over(tmp_path: Path) -> None:
    with boot("6.12", "kmod taken over", memory="768M", out=tmp_path) as machine:
        kmod = Kmod(machine)
        pid = f"$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' {OUT}/killed/meta.json)"
        machine.write(
            OUT / "script",
            f"trace start --backend kmod --output {OUT}/killed\n!kill -9 {pid}\n!sleep"
            " 1\n!echo alloc 3 7 >/proc/pagedbg_churn\ntrace stop\ntrace attach"
            f" --output {OUT}/after\n!lsmod >{OUT}/lsmod\ntrace stop\n",
        )
        machine.sh(f"{PAGEDBG} --no-pager -x {OUT}/script")
        assert "pagedbg " not in machine.sh("lsmod").replace("pagedbg_churn", "")
        kmod.check_log()
    assert "pagedbg " in (tmp_path / "lsmod").read_text()
    assert Capture(tmp_path / "killed").abandoned
    after = Capture(tmp_path / "after")
    stacks = [str(after.stack(handle)) for handle in after.events()["handle"].tolist()]
    assert sum("pagedbg_churn_alloc" in stack for stack in stacks) == 7
    # page_owner's stacks are as they are without it.
    assert not any(
        "trampoline" in stack or "__set_page_owner" in stack for stack in stacks
    )


def test_a_kernel_that_watches_it_has_nothing_to_complain_of() -> None:
    with boot("6.12-debug", "kmod watched", memory="1G") as machine:
        kmod = Kmod(machine)
        assert kmod.scenario("table")["unloaded"] == "ok"
        assert kmod.scenario("device")["unloaded"] == "ok"
        for way in WAYS:
            assert kmod.scenario("storm", way, 20)["wrong"] == []
        # Each allocation fails once that the module makes, or the kernel for it: none
        # may leave anything behind, nor have more functions call it than it means.
        for failed in kmod.scenario("fail").values():
            assert {"ENOMEM", "ok"} == set(failed["told"])
            assert (failed["left"], failed["told"][-1]) == ([], "ok")
        kmod.check_log()

# SPDX-License-Identifier: GPL-2.0-or-later
"""
A dump, opened without debug info: its symbols, its types, and what ``status`` and
``doctor`` say of it.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from drgn import FaultError, ProgramFlags
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms
from drgn.helpers.linux.kernfs import kernfs_root
from known import ORDINARY, SAMPLE, Oracle, Run

from pagedbg.mm.page_owner import (
    page_owner_compiled,
    page_owner_inited,
    special_handles,
)
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.target.declarations import GLOBALS
from pagedbg.target.dumpfile import recognize
from pagedbg.target.globals import UndeclaredGlobal
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

# ---- types and variables ----------


def test_types_come_from_btf_and_symbols_from_kallsyms(
    sample: Target, oracle: Oracle
) -> None:
    assert sample.types == "BTF"
    assert sample.has_kallsyms
    assert not sample.live
    assert sample.prog.flags & ProgramFlags.IS_LINUX_KERNEL
    assert sample.release == oracle.release
    assert sample.name == f"{ORDINARY.name} ({oracle.release})"
    assert not sample.notes


@pytest.mark.parametrize(
    "name",
    [
        "struct page",
        "struct page_owner",
        "struct page_ext",
        "struct stack_record",
        "struct task_struct",
        "struct zone",
    ],
)
@pytest.mark.once
def test_bpftool_reads_the_same_structs_out_of_the_dump(
    sample: Target, tmp_path: Path, name: str
) -> None:
    start, stop = (
        sample.prog.symbol(symbol).address for symbol in ("__start_BTF", "__stop_BTF")
    )
    (tmp_path / "btf").write_bytes(sample.prog.read(start, stop - start))
    command = [
        "bpftool",
        "-j",
        "btf",
        "dump",
        "file",
        tmp_path / "btf",
        "format",
        "raw",
    ]
    types = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[
        "types"
    ]
    entry = next(
        entry
        for entry in types
        if entry["kind"] == "STRUCT" and f"struct {entry['name']}" == name
    )
    type_ = sample.prog.type(name)
    assert type_.size == entry["size"]
    members = [
        (None if m["name"] == "(anon)" else m["name"], m["bits_offset"])
        for m in entry["members"]
    ]
    assert [(m.name, m.bit_offset) for m in type_.members or ()] == members


def test_every_declared_variable_that_the_kernel_has_is_one(sample: Target) -> None:
    index = load_vmlinux_kallsyms(sample.prog)
    known = {
        symbol.name: symbol.address for symbol in index(sample.prog, None, None, False)
    }
    there = [name for name in GLOBALS if name in known]
    assert len(there) > 50
    for name in there:
        assert sample.prog[name].address_ == known[name]


def test_a_variable_that_nobody_declared_is_refused_and_not_taken_for_missing(
    sample: Target,
) -> None:
    # A LookupError would tell drgn's helpers that this kernel has no such thing, and
    # they would do something else.
    for name in ("sysctl_oom_dump_tasks", "vm_swappiness"):
        assert sample.has_symbol(name)
        with pytest.raises(UndeclaredGlobal) as refusal:
            sample.prog[name]
        assert not isinstance(refusal.value, LookupError)
        assert name in str(refusal.value)


def test_a_variable_is_found_by_its_file_where_its_name_is_ambiguous(
    sample: Target,
) -> None:
    prog = sample.prog
    root = kernfs_root(prog["sysfs_root_kn"])
    for filename in ("mount.c", "sysfs/mount.c", "fs/sysfs/mount.c"):
        assert prog.object("sysfs_root", filename=filename) == root
    for filename in ("unt.c", "fs/kernfs/mount.c"):
        with pytest.raises(LookupError):
            prog.object("sysfs_root", filename=filename)


def test_what_the_kernel_has_not_is_a_lookup_error(sample: Target) -> None:
    assert not sample.has_symbol("no_such_variable")
    with pytest.raises(LookupError):
        sample.prog["no_such_variable"]


def test_functions_constants_and_per_cpu_variables_are_found(sample: Target) -> None:
    prog = sample.prog
    assert prog.function("vfs_read").address_ == prog.symbol("vfs_read").address
    assert [parameter.name for parameter in prog["vfs_read"].type_.parameters] == [
        "file",
        "buf",
        "count",
        "pos",
    ]
    assert prog["PAGE_EXT_OWNER"].value_() == 0
    assert prog["PAGE_SIZE"].value_() == 4096
    assert prog["runqueues"].type_.type_name() == "struct rq"


def test_page_owner_is_on_and_its_special_handles_are_the_oracles(
    sample: Target, oracle: Oracle
) -> None:
    assert page_owner_compiled(sample.prog)
    assert page_owner_inited(sample.prog)
    handles = {
        name.removesuffix("_handle"): handle
        for name, handle in oracle.special.items()
        if handle
    }
    assert special_handles(sample.prog) == {
        handle: name for name, handle in handles.items()
    }


def test_the_current_task_of_each_cpu_is_not_that_of_cpu_0s_template(
    sample: Target,
) -> None:
    # drgn's per_cpu() silently uses CPU 0's initial data where it does not find
    # __per_cpu_offset.
    from drgn.helpers.linux.cpumask import for_each_online_cpu
    from drgn.helpers.linux.percpu import per_cpu

    addresses = [
        per_cpu(sample.prog["runqueues"], cpu).address_
        for cpu in for_each_online_cpu(sample.prog)
    ]
    assert len(addresses) == len(set(addresses)) == 2
    assert [
        per_cpu(sample.prog["runqueues"], cpu).cpu.value_()
        for cpu in for_each_online_cpu(sample.prog)
    ] == [0, 1]


# ---- the file ----------


def test_the_dump_is_what_its_header_says() -> None:
    dump = recognize(str(ORDINARY))
    assert (dump.format, dump.machine, dump.missing, dump.holes) == (
        "kdump",
        "x86_64",
        0,
        (),
    )
    assert dump.level is not None
    assert "free pages" in dump.left_out()


def test_what_was_left_out_is_a_fault_and_not_zeroes(
    sample: Target, oracle: Oracle
) -> None:
    free = next(
        pfn for pfn, record in oracle.pages.items() if record["state"] == "freed"
    )
    with pytest.raises(FaultError):
        sample.prog.read(free * 4096, 4096, True)


# ---- capabilities ----------


def test_a_dump_is_asked_nothing_that_only_a_running_kernel_could_answer(
    sample: Target,
) -> None:
    capabilities = capabilities_of(sample)
    absent = (
        *("allocation tags", "slab tracks", "zsmalloc pools", "DMA buffers"),
        *("balloon", "CMA areas", "complete dump"),
    )
    assert list(capabilities) == [
        "types",
        "kallsyms",
        "kallsyms_all",
        "page_owner",
        "allocation tags",
        "slab tracks",
        "vmalloc areas",
        "kernel stacks",
        "page tables",
        "page pools",
        "structures",
        *absent[2:],
    ]
    assert len(capabilities) == 16
    for name in ("root", "bcc", "kernel headers", "nonsense"):
        with pytest.raises(KeyError):
            capabilities[name]
    assert {name: capability.state for name, capability in capabilities.items()} == {
        **dict.fromkeys(capabilities, True),
        **dict.fromkeys(absent, False),
    }


def test_only_what_is_missing_has_a_cost_and_a_remedy(sample: Target) -> None:
    for capability in capabilities_of(sample).values():
        assert capability.detail
        assert (
            bool(capability.cost) == bool(capability.remedy) == (not capability.state)
        )


def test_each_thing_is_asked_once(sample: Target) -> None:
    first, again = capabilities_of(sample), capabilities_of(sample)
    assert first is again
    assert first["page_owner"] is again["page_owner"]


def test_doctor_names_each_thing_and_what_to_do_about_it(
    pagedbg: Run, sample: Target
) -> None:
    rows = pagedbg.json("doctor")
    assert [list(row) for row in rows] == [
        ["capability", "state", "detail", "cost", "remedy"]
    ] * len(rows)
    assert {row["capability"]: row["state"] for row in rows} == {
        c.name: "yes" if c.state else "no" for c in capabilities_of(sample).values()
    }
    text = pagedbg("-c", ORDINARY, "doctor").stdout.splitlines()
    assert [line[:2] for line in text if line[:2].strip()] == [
        "ok" if row["state"] == "yes" else "NO" for row in rows
    ]
    assert any("without it:" in line for line in text)
    assert any("to get it:" in line and "makedumpfile" in line for line in text)


def test_status_says_it_in_five_lines(pagedbg: Run, oracle: Oracle) -> None:
    done = pagedbg("-c", ORDINARY, "status")
    assert (done.returncode, done.stderr) == (0, "")
    kernel, target, memory, owner, missing = done.stdout.splitlines()
    assert re.fullmatch(
        rf"kernel: +Linux {re.escape(oracle.release)} on lab, x86_64, 2 CPUs,"
        r" up 0:0\d:\d\d",
        kernel,
    )
    assert str(ORDINARY) in target
    assert target.endswith("types from BTF")
    assert re.fullmatch(
        r"memory: +\d+ MiB in [\d,]+ pages of 4 KiB, 1 node, zones DMA, DMA32", memory
    )
    assert re.fullmatch(r"page_owner: +on since boot", owner)
    assert re.fullmatch(r"missing: +complete dump \(doctor says more\)", missing)


def test_status_knows_how_much_memory_the_guest_had(pagedbg: Run) -> None:
    (total,) = re.findall(
        r"MemTotal: +(\d+) kB",
        (Path(__file__).parent / "data/ordinary.meminfo").read_text(),
    )
    (row,) = pagedbg.json("status")
    assert row["pages"] * row["page_size"] == int(total) << 10
    text = pagedbg("-c", ORDINARY, "status").stdout
    assert f" in {row['pages']:,} pages of 4 KiB" in text


def test_status_tells_a_program_what_it_tells_people(
    pagedbg: Run, sample: Target
) -> None:
    (row,) = pagedbg.json("status")
    assert row["release"] == sample.release
    assert row["build_id"] == sample.vmcoreinfo["BUILD-ID"]
    assert row["host"] == "lab"
    assert (row["live"], row["path"]) == (False, str(ORDINARY))
    assert [zone["zone"] for zone in row["zones"]] == ["DMA", "DMA32"]
    assert row["zones"] == pagedbg.json("zones")
    assert (row["page_owner"], row["missing"]) == (True, ["complete dump"])


# ---- opening ----------


def test_the_sample_needs_no_path(pagedbg: Run) -> None:
    assert (
        pagedbg("--sample", "status").stdout == pagedbg("-c", SAMPLE, "status").stdout
    )


def test_a_dump_can_be_opened_again_and_by_a_relative_path(
    sample: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ORDINARY.parent)
    again = open_target(ORDINARY.name)
    assert again.release == sample.release
    assert again.prog["page_ext_size"].value_() == sample.prog["page_ext_size"].value_()

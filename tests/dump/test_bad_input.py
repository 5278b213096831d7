# SPDX-License-Identifier: GPL-2.0-or-later
"""
Damaged dumps, wrong symbols, a garbage page, an unwritable home: one sentence on
standard error, the right exit status, no traceback.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drgn import Object, Program, TypeKind, container_of
from drgn.helpers.linux import kallsyms
from drgn.helpers.linux.mm import follow_phys
from known import ORDINARY, Oracle, Run, check, look_at
from make_elf import PAGE, ElfCore

from pagedbg.errors import PagedbgError
from pagedbg.mm.page_ext import pfn_to_page_ext
from pagedbg.mm.page_state import page_states
from pagedbg.target.kallsyms import load_hidden_symbols
from pagedbg.target.target import Target

COMMANDS = (
    "status",
    "doctor",
    "owners --by stack",
    "owners --by comm,order,zone,age",
    "owners --orders '>=3'",
    "inspect pfn 0x2b80",
)
OF_MEMORY = (
    "zones",
    "free",
    "free --by migratetype",
    "blocks",
    "stacks",
    "explain",
    "explain order 10",
)


def refused(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The one sentence with which pagedbg ended."""
    assert done.returncode == status, done
    assert done.stdout == ""
    assert done.stderr.startswith("pagedbg: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("pagedbg: ").rstrip("\n")


# ---- the file itself ----------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the dump, to be damaged."""
    return Path(shutil.copy(ORDINARY, tmp_path / "vmcore"))


@pytest.mark.parametrize(
    "keep",
    [
        0,
        7,
        100,
        4096,
        4200,
        8192,
        12_000,
        16_000,
        17_000,
        20_000,
        0.05,
        0.5,
        0.9,
        0.99,
        0.9999,
    ],
)
@pytest.mark.once
def test_a_dump_that_is_cut_short_says_so(
    copy: Path, pagedbg: Run, keep: float
) -> None:
    size = copy.stat().st_size
    os.truncate(copy, int(keep if keep > 1 or not keep else size * keep))
    done = pagedbg("-c", copy, "-e", "owners --by order")
    said = done.stderr + done.stdout
    assert (
        "is cut short" in said
        or "is empty" in said
        or "is no dump" in said
        or "cannot be read" in said
    )
    if done.returncode:
        assert done.returncode == 1
        assert done.stdout == ""
        # What was said on opening, and what failed then.
        assert done.stderr.count("\n") <= 2
    else:
        assert keep > 0.5


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.once
def test_flipped_bytes_in_the_headers(copy: Path, seed: int) -> None:
    choice = random.Random(seed)
    with copy.open("r+b") as file:
        for _ in range(choice.choice((1, 4, 32))):
            file.seek(choice.randrange(20_000))
            file.write(bytes([choice.randrange(256)]))
    for result in look_at(copy, "status", "owners --by order"):
        check(result)


@pytest.mark.parametrize("seed", range(4))
def test_garbage_in_the_page_data(copy: Path, seed: int) -> None:
    choice = random.Random(seed)
    size = copy.stat().st_size
    with copy.open("r+b") as file:
        for _ in range(choice.choice((1, 10, 200))):
            file.seek(choice.randrange(size // 10, size - 4096))
            file.write(choice.randbytes(choice.choice((1, 64, 4096))))
    for result in look_at(copy, *COMMANDS):
        check(result)


def test_what_is_no_dump(tmp_path: Path, pagedbg: Run) -> None:
    for name, sentence in (
        (sys.executable, "no core dump"),
        (__file__, "is no dump"),
        (tmp_path, "directory"),
        (tmp_path / "x", "No such file"),
    ):
        said = refused(pagedbg("-c", name, "-e", "status"))
        assert sentence in said
        assert said.startswith(str(name))


# ---- what is in it ----------


@pytest.fixture(scope="module")
def elf(sample: Target, tmp_path_factory: pytest.TempPathFactory) -> ElfCore:
    """The dump as an uncompressed ELF core, of which tests change what lies where."""
    return ElfCore(sample.prog, tmp_path_factory.mktemp("elf") / "vmcore")


@pytest.fixture
def damage(elf: ElfCore) -> Iterator[Callable[[int, bytes], None]]:
    """Overwrites kernel memory in the ELF core until the test is over."""
    undo: list[Any] = []

    def write(address: int, data: bytes) -> None:
        before = elf.write(address, data)
        assert before, f"the dump does not hold {address:#x}"
        undo.append(before)

    yield write
    for before in reversed(undo):
        elf.restore(before)


Damage = Callable[[int, bytes], None]


def symbol(sample: Target, name: str) -> int:
    """The address of a symbol."""
    return int(sample.prog.symbol(name).address)


def pools(sample: Target) -> list[int]:
    """The addresses of the stack depot's pools."""
    prog = sample.prog
    array = prog["stack_pools"]
    assert array.type_.kind in (TypeKind.ARRAY, TypeKind.POINTER)
    return [array[i].value_() for i in range(prog["pools_num"].value_())]


def test_a_copy_in_another_format_says_the_same(elf: ElfCore, pagedbg: Run) -> None:
    done = pagedbg("-c", elf.path, "--format", "json", "owners", "--by", "stack,order")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pagedbg.json("owners", "--by", "stack,order")


def test_stacks_of_a_zeroed_depot_are_missing_and_counted(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    (_, whole, _), _ = look_at(elf.path, "owners --by order", "status")
    for pool in pools(sample):
        damage(pool, bytes(1 << 14))
    sums, by_stack, block = look_at(
        elf.path,
        "owners --by order",
        "owners --by stack --format json",
        "owners --orders 9 --format json",
    )
    assert sums == (0, whole, "")
    status, out, said = by_stack
    assert status == 0
    assert "stacks could not be read; the first: handle 0x" in said
    assert "not its own" in said
    assert len(json.loads(out)) < 5
    assert [row["stack"] for row in json.loads(block[1])] == [[], [], []]


def test_a_depot_pool_that_points_nowhere(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    damage(symbol(sample, "stack_pools"), struct.pack("<Q", 0xDEAD_BEEF_0000_0000))
    (result,) = look_at(elf.path, "owners --by stack")
    check(result)
    assert result[0] == 0
    assert "stacks could not be read" in result[1]


def test_more_pools_than_memory_holds(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    damage(symbol(sample, "pools_num"), struct.pack("<i", 0x7FFFFFFF))
    for result in look_at(elf.path, *COMMANDS):
        check(result)


@pytest.mark.parametrize(
    "pattern", [b"\xff", b"\0", None], ids=["ones", "zeroes", "noise"]
)
def test_page_ext_overwritten(
    sample: Target, elf: ElfCore, damage: Damage, pattern: bytes | None
) -> None:
    size = 64 * PAGE
    damage(
        pfn_to_page_ext(sample.prog, 0x2800).value_(),
        pattern * size if pattern else random.Random(1).randbytes(size),
    )
    results = look_at(elf.path, *COMMANDS)
    for result in results:
        check(result)
    assert results[2][0] == 0
    if pattern == b"\xff":
        assert re.search(r"The records of \d+ pages are damaged", results[2][1])


def test_records_that_the_dump_left_out_are_counted_and_not_taken_for_free_pages(
    sample: Target, oracle: Oracle, tmp_path: Path
) -> None:
    start = pfn_to_page_ext(sample.prog, 0x2800).value_()
    first = start // PAGE * PAGE
    end = first + 4 * PAGE
    gone = {
        follow_phys(sample.prog["init_mm"].address_of_(), address).value_() // PAGE
        for address in range(first, end, PAGE)
    }
    core = ElfCore(sample.prog, tmp_path / "vmcore", gone.__contains__)
    stride = sample.prog["page_ext_size"].value_()
    lost = [
        pfn
        for pfn in range(0x2000, 0x3000)
        if (record := pfn_to_page_ext(sample.prog, pfn).value_()) < end
        and record + stride > first
    ]
    assert len(lost) > 200
    sums, rows, inside = look_at(
        core.path,
        "owners --by order",
        "owners --format json",
        f"inspect pfn {lost[100]:#x}",
    )
    assert (
        f"The records of {len(lost)} pages could not be read: they are not counted."
        in sums[1]
    )
    assert sum(row["pages"] for row in json.loads(rows[1])) == sum(
        record["state"] == "allocated" and pfn not in lost
        for pfn, record in oracle.pages.items()
    )
    check(inside)
    assert "never" not in inside[1]


@pytest.mark.parametrize(
    "name, data, sentence",
    [
        ("__start_BTF", bytes(64), "BTF"),
        ("kallsyms_token_index", b"\xff" * 512, ""),
        ("kallsyms_num_syms", b"\xff" * 4, ""),
        ("kallsyms_offsets", bytes(4096), ""),
        ("init_task", bytes(4096), ""),
        ("node_data", b"\x55" * 64, ""),
        ("node_states", bytes(64), ""),
        ("page_ext_size", b"\xff" * 8, ""),
        ("page_ext_size", bytes(8), ""),
        ("page_owner_ops", b"\xff" * 32, ""),
        ("mem_section", b"\xff" * 8, ""),
        ("mem_section", bytes(8), ""),
        ("__highest_present_section_nr", b"\xff" * 4 + bytes(4), ""),
        ("gfpflag_names", b"\xff" * 256, ""),
        ("migratetype_names", b"\xff" * 48, ""),
        ("zone_names", b"\xff" * 32, ""),
        ("modules", b"\xff" * 16, ""),
        ("bpf_kallsyms", b"\x11" * 16, ""),
        ("__per_cpu_offset", b"\x11" * 64, ""),
        ("nr_cpu_ids", b"\xff" * 4, ""),
        ("__cpu_online_mask", b"\xff" * 8, ""),
        ("vmemmap_base", b"\xff" * 8, ""),
        ("dummy_handle", b"\xff" * 4, ""),
    ],
)
@pytest.mark.once
def test_a_kernel_variable_overwritten(
    sample: Target, elf: ElfCore, damage: Damage, name: str, data: bytes, sentence: str
) -> None:
    damage(symbol(sample, name), data)
    results = look_at(elf.path, *COMMANDS, *OF_MEMORY)
    for result in results:
        check(result)
    if sentence:
        assert results[0][0] == 1
        assert sentence in results[0][2]


@pytest.mark.parametrize("seed", range(6))
def test_noise_all_over_memory(elf: ElfCore, seed: int) -> None:
    before = elf.noise(seed, 2000)
    try:
        for result in look_at(elf.path, *COMMANDS, *OF_MEMORY):
            check(result)
    finally:
        elf.restore(before)


def test_a_kernel_booted_without_page_owner(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    damage(symbol(sample, "page_owner_inited"), bytes(4))
    status, doctor, *owners, inspect = look_at(elf.path, *COMMANDS)
    assert status[0] == 0
    assert "page_owner is off" in status[1]
    assert "page_owner=on" in status[1]
    assert doctor[0] == 0
    assert "NO  page_owner " in doctor[1]
    for result in owners:
        assert result == (1, "", owners[0][2])
    assert "page_owner is off" in owners[0][2]
    assert "page_owner=on" in owners[0][2]
    assert owners[0][2].count("\n") == 1
    assert inspect[0] == 0


# ---- what has no end ----------


def file_page(sample: Target) -> tuple[int, Any]:
    """A page of a file, and the dentry of the file."""
    prog = sample.prog
    for state in page_states(prog, 0, prog["max_pfn"].value_()):
        if (
            state.kind == "file"
            and state.mapping
            and (state.detail or "").startswith("/")
        ):
            inode = Object(prog, "struct address_space *", state.mapping).host
            member = (
                "d_alias"
                if prog.type("struct dentry").has_member("d_alias")
                else "d_u.d_alias"
            )
            return state.pfn, container_of(
                inode.i_dentry.first, "struct dentry", member
            )
    raise AssertionError("no page of this dump is a file's")


def test_a_directory_that_is_in_itself_has_no_path(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    pfn, dentry = file_page(sample)
    directory = dentry.d_parent
    damage(directory.d_parent.address_, struct.pack("<Q", dentry.value_()))
    (result,) = look_at(elf.path, f"inspect pfn {pfn:#x}")
    check(result)
    assert result[0] == 0


def test_a_cgroup_that_is_in_itself_has_no_path(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    prog = sample.prog
    node = prog["cgrp_dfl_root"].cgrp.kn
    parent = (
        "__parent"
        if prog.type("struct kernfs_node").has_member("__parent")
        else "parent"
    )
    pfn = next(
        state.pfn
        for state in page_states(prog, 0, prog["max_pfn"].value_())
        if state.memcg == "/"
    )
    # Not the root any more, and its own parent.
    damage(node.dir.root.kn.address_, struct.pack("<Q", node.value_() + 8))
    damage(node.member_(parent).address_, struct.pack("<Q", node.value_()))
    (result,) = look_at(elf.path, f"inspect pfn {pfn:#x}")
    check(result)
    assert result[0] == 0


def test_a_tree_of_process_ids_that_leads_back_to_its_root_is_refused(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    head = sample.prog["init_pid_ns"].idr.idr_rt.xa_head.value_()
    node = Object(sample.prog, "struct xa_node *", head - 2)
    assert node.shift.value_() > 0
    damage(node.slots[0].address_, struct.pack("<Q", head))
    ((status, out, said),) = look_at(elf.path, "inspect task 1 0x1000")
    assert (status, out) == (1, "")
    assert (
        said
        == "inspect: task 1 cannot be looked for: the memory of this kernel is damaged:"
        " the tree of process ids has no end\n"
    )


def test_resources_that_go_round_in_circles_are_no_trap(
    sample: Target, elf: ElfCore, damage: Damage
) -> None:
    first = sample.prog["iomem_resource"].child
    damage(first.sibling.address_, struct.pack("<Q", first.value_()))
    (result,) = look_at(elf.path, "inspect pfn 0+512")
    check(result)
    assert result[0] == 0


@pytest.mark.parametrize(
    "table, data, why",
    [
        ("num_syms", struct.pack("<I", 0xFFFF_FFFF), "there would be 4,294,967,295"),
        ("num_syms", struct.pack("<I", 200_000), "behind their place"),
        ("token_table", b"a" * 1000, ""),
        ("token_table", b"\x9d" * 3, "no text"),
        ("names", b"\xff" * 4096, ""),
    ],
)
def test_a_table_of_symbols_that_no_kernel_has_is_refused(
    sample: Target, elf: ElfCore, damage: Damage, table: str, data: bytes, why: str
) -> None:
    damage(int(sample.vmcoreinfo[f"SYMBOL(kallsyms_{table})"], 16), data)
    ((status, out, said),) = look_at(elf.path, "status")
    assert (status, out, said.count("\n")) == (1, "", 1)
    assert "its kallsyms cannot be read" in said
    assert why in said


def test_symbols_hidden_from_a_drgn_that_cannot_find_them_are_said_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(kallsyms, "_load_builtin_kallsyms")
    with pytest.raises(PagedbgError, match=r"sysctl kernel.kptr_restrict=1"):
        load_hidden_symbols(Program())


# ---- symbols ----------


def test_symbols_that_cannot_be_used_are_refused(tmp_path: Path, pagedbg: Run) -> None:
    text = tmp_path / "text"
    text.write_text("no ELF\n")
    for path, sentence in (
        (sys.executable, "build id"),
        (text, "build id"),
        (tmp_path / "nothing", "No such file"),
        (tmp_path, "directory"),
    ):
        said = refused(pagedbg("-c", ORDINARY, "-s", path, "-e", "status"))
        assert said.startswith(str(path))
        assert sentence.lower() in said.lower()


# ---- who runs it, and where ----------


@pytest.mark.parametrize("home", ["/proc/self", "/nonexistent", None])
def test_a_home_that_cannot_be_written_to_keeps_nothing_from_working(
    pagedbg: Run, home: str | None
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    }
    if home is not None:
        environment["HOME"] = home
    done = pagedbg(
        "-c", ORDINARY, "owners", "--by", "order", "--top", "1", env=environment
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("order")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_who_is_not_root_is_told_how_to_look_at_the_running_kernel(
    tmp_path: Path,
) -> None:
    # An interpreter in root's own directory is out of reach for others: it is imported
    # first.
    code = """
import os, sys
import drgn, pagedbg.cli, pagedbg.target, pagedbg.shell.execute, pagedbg.commands.status
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(pagedbg.cli.main(["-e", "status"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = refused(done)
    if os.path.exists("/proc/kcore"):
        assert said.startswith("Only root can read the memory of the running kernel")
        assert "sudo pagedbg" in said
    else:
        assert "no /proc/kcore" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_dump_needs_no_privilege_to_be_looked_at() -> None:
    code = """
import os, sys
import duckdb, drgn, rich.table, pagedbg.cli, pagedbg.target, pagedbg.shell.execute
pagedbg.shell.command.load_commands()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir("/")
sys.exit(pagedbg.cli.main(["-c", sys.argv[1], "-e", "status", "-e", "owners --by stack --top 1", "-e", "inspect pfn 0x2b80"]))
"""  # noqa: E501
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        core = shutil.copy(ORDINARY, directory)
        os.chmod(core, 0o444)
        done = subprocess.run(
            [sys.executable, "-c", code, core],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "page_owner" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "inspect pfn x",
        "inspect pfn",
        "inspect pfn -1",
        "inspect nonsense 5",
        "owners --pfns x",
        "ownres",
        "owners |",
        "owners 'x",
    ],
)
def test_what_is_mistyped_is_a_usage_error(pagedbg: Run, line: str) -> None:
    done = pagedbg("-c", ORDINARY, "-e", line)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_a_page_that_is_not_there_is_an_answer_or_one_sentence(pagedbg: Run) -> None:
    for pfn in ("0xffffffffffffffff", "0x10000000000", "99999999999999999999999", "0"):
        done = pagedbg("-c", ORDINARY, "-e", f"inspect pfn {pfn}")
        assert done.returncode in (0, 1, 2), done
        assert (done.stdout and not done.stderr) or (
            done.stderr.count("\n") == 1 and not done.stdout
        )


@pytest.mark.long
def test_pages_whose_address_space_the_dump_left_out_are_unknown_and_counted(
    sample: Target, tmp_path: Path
) -> None:
    prog = sample.prog
    kernel = prog["init_mm"].address_of_()
    end = prog["max_pfn"].value_()
    frames = {
        state.pfn: int(follow_phys(kernel, state.mapping).value_()) // PAGE
        for state in page_states(prog, 0, end)
        if state.kind in ("file", "shmem")
    }
    ((gone, count),) = Counter(frames.values()).most_common(1)
    lost = {pfn for pfn, frame in frames.items() if frame == gone}
    assert count == len(lost) > 10
    core = ElfCore(prog, tmp_path / "vmcore", lambda pfn: pfn == gone)

    def kinds(path: Path) -> tuple[dict[int, str], str]:
        ((_, out, said),) = look_at(path, f"inspect pfn 0+{end} --format json")
        return {row["pfn"]: row["kind"] for row in json.loads(out)}, said

    (before, _), (after, said) = kinds(ORDINARY), kinds(core.path)
    unknown = {pfn for pfn, kind in after.items() if kind == "unknown"}
    assert lost <= unknown <= set(frames)
    # No other page is taken for something else.
    assert {pfn: before[pfn] for pfn in before.keys() - unknown} == {
        pfn: after[pfn] for pfn in after.keys() - unknown
    }
    assert f"What {len(unknown)} pages are is unknown" in said
    ((_, out, _),) = look_at(core.path, f"inspect pfn {min(lost):#x}")
    assert "not known: its address_space at 0x" in out

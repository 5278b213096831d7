# SPDX-License-Identifier: GPL-2.0-or-later
"""
Debian's own kernels, which have no page_owner: what answers there does, what does not
says what can be had in its place.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from booted import (
    OUT,
    PAGEDBG,
    PATIENCE,
    boot,
    dump,
    give_back,
    kernels,
    pagedbg,
)

# The first of them is asked in every run, the others by `make test-all`.
KERNELS = (
    "stock-6.12",
    *(
        pytest.param(kernel, marks=pytest.mark.rare)
        for kernel in ("stock-6.1", "stock-newest", "stock-6.12-rt", "stock-6.12-cloud")
    ),
)

# The recorder names a stack when it has loaded what that takes.
NAMED = "until grep -qs hugetlb_sysctl_handler"

# Huge pages come and go where nobody else wants blocks of their order. The last command
# fails, and a script ends there.
SCRIPT = f"""
status --format json -o {OUT}/status
doctor --format json -o {OUT}/doctor
memory --format json -o {OUT}/memory
explain order 4
blocks --top 3
map --cell 16M
trace set --orders 0:20,9
trace start --output {OUT}/capture
!echo 6 >/proc/sys/vm/nr_hugepages; cat /proc/sys/vm/nr_hugepages >{OUT}/held
!{NAMED} {OUT}/capture/stacks.jsonl; do sleep 0.1; done
owners --orders 9 --by function --format json -o {OUT}/owners
correlate --orders 9 --leaked --by function --format json -o {OUT}/leaked
trace status --format json -o {OUT}/trace
trace stop
!echo 0 >/proc/sys/vm/nr_hugepages
correlate --orders 9 --by function,state --format json -o {OUT}/later
"""
# On Debian 12 only this one's headers find the compiler that they ask for.
BUILT_HERE = "stock-6.1"
WITH_MODULE = f"""
trace start --backend kmod --output {OUT}/module
!echo 5 >/proc/sys/vm/nr_hugepages; cat /proc/sys/vm/nr_hugepages >{OUT}/held-then
!{NAMED} {OUT}/module/stacks.jsonl; do sleep 0.1; done
owners --orders 9 --by function --format json -o {OUT}/by-module
trace stop
"""
REFUSED = "trace start --attach kprobe\n"
# What zram keeps of a file whose text can be made smaller by a quarter, and how many
# pages a guest is asked to give back.
COMPRESSED = """
modprobe zram
echo 16M >/sys/block/zram0/disksize
head -c 3M /dev/urandom | base64 >/dev/zram0
sync
"""
BALLOON = 1024
MEMORY = 640 << 20

# Memory of a virtual machine, which that of QEMU's processors can have; kernels before
# give it to confidential machines only.
HAS_GUEST_MEMFD = "stock-newest"
GUEST_MEMFD = f"""
modprobe kvm-amd
{sys.executable} -I {Path(__file__).with_name("guest_memfd.py")} {OUT}/gmem </dev/null >{OUT}/said 2>&1 &
until [ -s {OUT}/gmem ]; do kill -0 $! || {{ cat {OUT}/said >&2; exit 1; }}; sleep 0.1; done
"""  # noqa: E501
# A real-time kernel has none.
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
NO_THP = f"test ! -e {THP} || echo never >{THP}"


class Asked:
    """What pagedbg said on a kernel, and the dump that it ended as."""

    def __init__(self, out: Path, status: int, stdout: str, stderr: str) -> None:
        self.out, self.status = out, status
        self.stdout, self.stderr = stdout, stderr

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table that it has written."""
        found: list[dict[str, Any]] = json.loads((self.out / name).read_text())
        return found


@pytest.fixture(scope="module", params=KERNELS)
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    """One guest of a kernel, asked for all that the tests look at."""
    try:
        kernels.build(request.param, say=print)
    except kernels.LabError as error:
        pytest.skip(f"no {request.param} here: {error}")
    out = tmp_path_factory.mktemp("stock")
    with boot(
        request.param,
        "asked",
        memory=f"{MEMORY >> 20}M",
        rw=[out],
        qemu_opts=["-device", "virtio-balloon-pci"],
    ) as machine:
        machine.sh(NO_THP)
        script = SCRIPT + WITH_MODULE * (request.param == BUILT_HERE) + REFUSED
        done = machine.run([PAGEDBG, "--no-pager"], stdin=script.encode())
        machine.sh(COMPRESSED)
        machine.sh("modprobe virtio_balloon")
        give_back(machine.guest, MEMORY, BALLOON)
        machine.sh(f"cat /sys/block/zram0/mm_stat >{OUT}/zram")
        machine.sh(f"grep -H . /sys/kernel/debug/dma_pools/* >{OUT}/dma_pools || :")
        if request.param == HAS_GUEST_MEMFD:
            machine.sh(GUEST_MEMFD)
        machine.run(["cp", "-r", f"{OUT}/.", out]).check()
        dump.dump(machine.guest, out / "vmcore", timeout=PATIENCE)
    yield Asked(out, done.status, done.text, done.stderr.decode())


def test_it_is_said_what_a_kernel_without_page_owner_can_have(asked: Asked) -> None:
    (status,) = asked.rows("status")
    assert not status["page_owner"]
    doctor = {row["capability"]: row for row in asked.rows("doctor")}
    assert doctor["tracepoints"]["state"] == "yes"
    assert doctor["page_owner"]["state"] == "no"
    remedy = doctor["page_owner"]["remedy"]
    assert "trace start" in remedy
    assert "memory, blocks, explain and map" in remedy
    assert "page_owner=on" not in remedy
    assert asked.status == 1
    assert "--attach kprobe needs page_owner" in asked.stderr.splitlines()[-1]
    assert "Traceback" not in asked.stderr


def test_memory_and_explain_answer_without_page_owner(asked: Asked) -> None:
    assert sum(row["pages"] or 0 for row in asked.rows("memory")) > 0
    assert "order 4" in asked.stdout


def test_owners_and_correlate_answer_from_tracepoints(asked: Asked) -> None:
    held = int((asked.out / "held").read_text())
    assert held > 0
    for name in ("owners", "leaked"):
        blocks = [row for row in asked.rows(name) if hugetlb(row)]
        assert sum(row["blocks"] for row in blocks) == held, name


def test_owners_answers_from_what_the_module_has_recorded(asked: Asked) -> None:
    if not (asked.out / "module").exists():
        pytest.skip(f"only the module for {BUILT_HERE} can be built on Debian 12")
    held = int((asked.out / "held-then").read_text())
    assert held > 0
    blocks = [row for row in asked.rows("by-module") if hugetlb(row)]
    assert sum(row["blocks"] for row in blocks) == held


def test_own_allocations_are_counted_apart(asked: Asked) -> None:
    (trace,) = asked.rows("trace")
    orders = {row["order"]: row for row in trace["orders"]}
    assert orders[0]["own"] > 0
    assert orders[9]["recorded"] + orders[9]["own"] == orders[9]["seen"]
    assert orders[9]["share"] == 100


def test_what_was_freed_unseen_is_not_live(asked: Asked) -> None:
    states = {row["state"] for row in asked.rows("later") if hugetlb(row)}
    assert "live" not in states
    assert states <= {"freed", "reused"}
    assert "were not seen to be freed" in asked.stderr


def test_what_zram_and_a_balloon_hold_is_theirs(asked: Asked) -> None:
    done = pagedbg(
        *("--no-pager", "-c", asked.out / "vmcore", "--format", "jsonl"),
        *("-e", "memory --by holder,kind,witness"),
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = {row["holder"]: (row["kind"], row["witness"], row["pages"]) for row in rows}
    assert found["balloon"] == ("offline", "balloon_dev_info", BALLOON)
    # mem_used_total
    used = int((asked.out / "zram").read_text().split()[2])
    assert used > 2 << 20
    assert found["zsmalloc pool zram0"] == ("zsmalloc", "zs_pool", used // 4096)


def test_memory_of_a_virtual_machine_is_its(asked: Asked) -> None:
    if not (asked.out / "gmem").exists():
        pytest.skip(f"only {HAS_GUEST_MEMFD} gives it to any machine")
    done = pagedbg(
        *("--no-pager", "-c", asked.out / "vmcore", "--format", "jsonl"),
        *("-e", "memory --by file,witness"),
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    (found,) = (row for row in rows if "[kvm-gmem]" in str(row["file"]))
    assert found["witness"] == "address_space"
    assert found["pages"] == int((asked.out / "gmem").read_text())


def test_what_the_kernel_keeps_for_itself_is_named(asked: Asked) -> None:
    done = pagedbg(
        *("--no-pager", "-c", asked.out / "vmcore", "--format", "jsonl"),
        *("-e", "memory --by holder,witness"),
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    pages = {row["holder"]: row["pages"] for row in rows}
    # What debugfs has of each pool for DMA, in bytes.
    found = re.findall(r"pool_size_(\w+):(\d+)", (asked.out / "dma_pools").read_text())
    for name, size in found:
        assert pages.get(f"DMA pool atomic_pool_{name}", 0) == int(size) // 4096, name
    assert "DMA pool atomic_pool_dma" in pages
    if "memory pool integrity_buf_pool" in pages:
        # BIO_POOL_SIZE blocks of BLK_INTEGRITY_MAX_SIZE.
        assert pages["memory pool integrity_buf_pool"] == 2 * 512
    assert {"BTF vmlinux", "names of traced tasks"} <= pages.keys()
    # Not each device has a driver, and so rings.
    assert any(name.startswith("virtio rings of virtio") for name in pages)
    witnesses = {row["witness"] for row in rows}
    assert {"btf", "virtqueue", "ftrace_page", "trace_array", "gen_pool"} <= witnesses


def test_hardly_a_page_is_nobodys(asked: Asked) -> None:
    done = pagedbg("--no-pager", "-c", asked.out / "vmcore", "-e", "memory")
    share = re.search(r"Nobody names [\d,]+ pages, ([\d.]+)%", done.stdout)
    assert share and float(share[1]) < 2, share
    assert "could not be read" not in done.stderr


def test_its_dump_opens(asked: Asked) -> None:
    core = asked.out / "vmcore"
    done = pagedbg("-c", core, "-e", "status", "-e", "memory", "-e", "blocks --top 3")
    assert done.status == 0, done.stderr
    assert "built without CONFIG_PAGE_OWNER" in done.stdout
    assert "trace start" not in done.stdout
    owners = pagedbg("-c", core, "-e", "owners")
    assert owners.status == 1
    assert "memory, blocks, explain and map" in owners.stderr
    assert "page_owner=on" not in owners.stderr


def hugetlb(row: dict[str, Any]) -> bool:
    """Whether a row is of huge pages of hugetlbfs."""
    return "huge" in str(row["function"])

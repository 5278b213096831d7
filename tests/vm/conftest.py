# SPDX-License-Identifier: GPL-2.0-or-later
"""
Booted kernels of the lab, each asked once for all that its tests look at.

Emulated without KVM a guest takes its time, so one script asks pagedbg and then the
kernel itself, and the guest ends as a dump.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forkserver
import pytest
from booted import KERNELS, LAB, PAGEDBG, PATIENCE, Answer, Live, boot, dump, modules
from debugfs_text import parse
from polluted import Piece

SCRIPT = r"""
ask() {
    name=$1
    shift
    "$@" >$OUT/$name.out 2>$OUT/$name.err
    echo $? >$OUT/$name.status
}
heads=$(awk '{ print "-e"; print "inspect pfn " $3 " --format jsonl -o '$OUT'/inspect-" $3 }' /proc/pagedbg_blocks)
IFS='
'
ask owners $FORKED -e "owners --format jsonl -o $OUT/owners" -e status -e '!uname -n' -e doctor $heads
cat /sys/kernel/debug/page_owner >$OUT/text
cat /proc/pagedbg_blocks >$OUT/blocks
cat /proc/pagedbg_pollute >$OUT/polluted

# A pipe has references to some pages of a program that waits.
$PYTHON $BUSY $OUT/busy </dev/null >/dev/null 2>&1 &
until [ -s $OUT/busy ]; do sleep 0.1; done
ask blocks $FORKED --format jsonl -e 'blocks --by function' -e 'blocks --pinned'

# The kernel right before and after: to start pagedbg takes memory, to have it look takes little.
ask memory $FORKED --format jsonl -e '!cat /proc/zoneinfo /proc/pagetypeinfo' \
    -e zones -e 'free --by migratetype' -e blocks -e '!cat /proc/zoneinfo /proc/pagetypeinfo'

ask kinds $PYTHON $PAGE_KINDS $OUT/kinds.npz
find /sys/fs/cgroup -type d -printf '%i %P\n' >$OUT/cgroups
ask where $FORKED --format jsonl -e '!cat /proc/meminfo' -e memory -e '!cat /proc/meminfo'
truncate -s 8M /run/swap.img
swap=$(losetup --find --show /run/swap.img)
mkswap $swap >/dev/null
swapon $swap
ask pools $FORKED --format jsonl -e 'memory --section pools' -e '!cat /proc/swaps'
ask events $FORKED --format jsonl -e '!cat /proc/vmstat' -e 'memory --section events' -e '!cat /proc/vmstat'
ask slab $FORKED --format jsonl -e '!cat /proc/slabinfo' -e 'memory --by cache' -e '!cat /proc/slabinfo'
ask vmalloc $FORKED --format jsonl -e '!cat /proc/vmallocinfo' -e 'memory --by vmalloc' -e '!cat /proc/vmallocinfo'
ask report $FORKED report $OUT/report.html

# Symbols hidden even from root.
echo 2 >/proc/sys/kernel/kptr_restrict
ask hidden $FORKED owners --module pagedbg_blocks --format json
echo 0 >/proc/sys/kernel/kptr_restrict

# As root in an unprivileged container is.
ask powerless setpriv --bounding-set=-all --inh-caps=-all $PAGEDBG status

# Nobody else may be allowed to read the checkout: what is needed of it is imported first.
ask nobody $PYTHON -c '
import os, sys
import pagedbg.cli, pagedbg.shell.execute, pagedbg.commands.status, pagedbg.target
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(pagedbg.cli.main(["status"]))
'

# More than the log holds: messages of all lengths, one over its end.
dmesg -n 1
echo on >/proc/sys/kernel/printk_devkmsg
padding=$(printf '%0200d' 0)
i=0
while [ $i -lt 4000 ]; do
    printf '<%d>filling %d\\\n%.*s\n' $((i % 8)) $i $((i * 7 % 200)) $padding >&3
    i=$((i + 1))
done 3>/dev/kmsg
ask log $FORKED log --format jsonl
dd if=/dev/kmsg of=$OUT/kmsg bs=16k iflag=nonblock 2>/dev/null
ask "bad log" $FORKED log --level crit --format jsonl

# A ring buffer of a BPF program's, and a buffer of the tracer that is not the only one.
bpftool map create /sys/fs/bpf/pagedbg_test type ringbuf key 0 value 0 entries 65536 name pagedbg_test
mkdir /sys/kernel/tracing/instances/pagedbg_test
echo 64 >/sys/kernel/tracing/instances/pagedbg_test/buffer_size_kb

# What has just ended is given back after RCU's grace periods: wait for some, by
# membarrier(MEMBARRIER_CMD_GLOBAL).
$PYTHON -c '
import ctypes
for _ in range(3):
    assert ctypes.CDLL(None).syscall(324, 1, 0) == 0
'
"""  # noqa: E501


@pytest.fixture(scope="session", params=KERNELS)
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Live:
    """A guest with an ordinary load, asked and then dumped."""
    out = tmp_path_factory.mktemp("live")
    with boot(request.param, "live", memory="640M", rw=[out]) as machine:
        where = {
            "OUT": out,
            "PAGEDBG": PAGEDBG,
            "FORKED": forkserver.programs() / "pagedbg",
            "PYTHON": sys.executable,
            "PAGE_KINDS": Path(__file__).with_name("page_kinds.py"),
            "BUSY": Path(__file__).with_name("busy.py"),
        }
        script = (
            "".join(
                f"{name}={shlex.quote(str(path))}\n" for name, path in where.items()
            )
            + SCRIPT
        )
        blocks = str(modules.blocks_module(machine.kernel))
        machine.run(
            ["sh", str(LAB / "workloads" / "ordinary.sh")], env={"LAB_BLOCKS": blocks}
        ).check()
        machine.serve()
        # Late, so that little of what it gives back is taken by others.
        machine.run(["insmod", modules.pollute_module(machine.kernel)]).check()
        machine.sh(script)
        core = dump.dump(machine.guest, out / "vmcore", timeout=PATIENCE).core
    rows = map(json.loads, (out / "owners").read_text().splitlines())
    polluted = [line.split() for line in (out / "polluted").read_text().splitlines()]
    held = [line.split() for line in (out / "blocks").read_text().splitlines()]
    return Live(
        machine.kernel,
        {row["pfn"]: row for row in rows},
        parse((out / "text").read_text(errors="backslashreplace")),
        {name: (int(order), int(pfn), int(pages)) for name, order, pfn, pages in held},
        {
            int(path.name.partition("-")[2]): json.loads(path.read_text())
            for path in out.glob("inspect-*")
        },
        [Piece(owner, int(pfn), int(pages)) for owner, pfn, pages in polluted],
        set(map(int, (out / "busy").read_text().split())),
        (out / "kmsg").read_text(),
        {path.stem: _answer(path) for path in out.glob("*.status")},
        core,
    )


def _answer(status: Path) -> Answer:
    return Answer(
        int(status.read_text()),
        status.with_suffix(".out").read_text(),
        status.with_suffix(".err").read_text(),
    )


@pytest.fixture
def in_a_guest(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Run commands of pagedbg in a guest that is booted in some way for them."""

    def run(*commands: str, **options: Any) -> list[Answer]:
        with boot("6.12", request.node.name, memory="512M", **options) as machine:
            asked = [machine.run([PAGEDBG, "-e", command]) for command in commands]
            return [
                Answer(done.status, done.text, done.stderr.decode()) for done in asked
            ]

    yield run

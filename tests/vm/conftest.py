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
from booted import KERNELS, LAB, PAGEDBG, PATIENCE, Answer, Live, boot, dump, guest
from debugfs_text import parse

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
ask owners $FORKED -e "owners --format jsonl -o $OUT/owners" -e status -e doctor $heads
cat /sys/kernel/debug/page_owner >$OUT/text
cat /proc/pagedbg_blocks >$OUT/blocks

# The kernel right before and after: to start pagedbg takes memory, to have it look takes little.
ask memory $FORKED --format jsonl -e '!cat /proc/zoneinfo /proc/pagetypeinfo' \
    -e zones -e 'free --by migratetype' -e pageblocks -e '!cat /proc/zoneinfo /proc/pagetypeinfo'

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
        }
        script = (
            "".join(
                f"{name}={shlex.quote(str(path))}\n" for name, path in where.items()
            )
            + SCRIPT
        )
        blocks = str(guest.blocks_module(machine.kernel))
        machine.run(
            ["sh", str(LAB / "workloads" / "ordinary.sh")], env={"LAB_BLOCKS": blocks}
        ).check()
        machine.serve()
        machine.sh(script)
        core = dump.dump(machine.guest, out / "vmcore", timeout=PATIENCE).core
    rows = map(json.loads, (out / "owners").read_text().splitlines())
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

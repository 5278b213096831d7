# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``contrib/bench/trace`` runs: in a guest whose clocks count instructions, what
watching allocations costs; anywhere, how fast a ring is drained. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from trace_case import ORDERS, Case, Unavailable
from trace_ours import backend, cases, describe, filter_of
from trace_peers import peers, settled

from pagedbg.capture.backends.bpf_programs import COMBINED
from pagedbg.capture.rings import Ring
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Begun, Kernel, Meta, Process, Since
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.recorded_names import RecordedNames

CHURN = Path("/proc/pagedbg_churn")
PAIRS = 100  # in a round; no more, so that some rounds meet no tick

SLOTS = 1 << 16  # of the ring that is drained in the guest
HOST_SLOTS = 1 << 20
BEFORE, AFTER = (
    1000,
    10000,
)  # pairs of the test of the loss counter, before the reader stops and after


# ---- the module that allocates ----


def churn(command: str) -> None:
    CHURN.write_text(command)


def pair(order: int) -> float:
    """Instructions of an allocation and its free."""
    churn(f"time {order} {PAIRS}")
    timing = CHURN.read_text().splitlines()[1]
    return int(timing.split()[3]) / PAIRS


# ---- what they cost ----


def kernel_side(case: Case) -> dict[str, Any]:
    bases = {order: pair(order) for order in case.orders}
    row: dict[str, Any] = {"name": case.name, "pairs": {}}
    print(case.name, file=sys.stderr, flush=True)
    try:
        with case.start() as pid:
            for order in case.orders:
                row["pairs"][order] = {"base": bases[order], "watched": pair(order)}
            if pid is not None:
                # In parts, so that its buffer does not overflow.
                before, count, part = settled(pid), 2000, 50
                for _ in range(0, count, part):
                    churn(f"pairs 0 {part}")
                    time.sleep(0.01)
                row["user"] = (settled(pid) - before) / count
    except (Unavailable, PagedbgError) as error:
        row["error"] = str(error)
    for order, costs in row["pairs"].items():
        costs["base"] = min(costs["base"], pair(order))
    return row


def instructions(
    ring: Ring,
    fill: Callable[[], None],
    use: Callable[[Any], object],
    clock: Callable[[], int],
) -> float:
    """What an event costs that is drained, by a clock: the least of some full rings."""
    costs = []
    for _ in range(4):
        fill()
        begun, read = clock(), ring.read
        for piece in ring.drain():
            use(piece)
        costs.append((clock() - begun) / (ring.read - read))
    return min(costs)


@contextlib.contextmanager
def tmpfs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["mount", "-t", "tmpfs", "bench", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


def uses(directory: Path) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """What is done with records that were drained."""
    yield "drained", lambda piece: None
    writer = CaptureWriter(directory / "capture")
    yield "drained and appended to a capture", writer.append
    writer.abandon()
    with open(directory / "file", "xb", buffering=0) as file:
        # Of memory that the file has already.
        yield (
            "drained and written over a file",
            lambda piece: os.pwrite(file.fileno(), piece.view(np.uint8), 0),
        )


def on_a_disk(directory: Path) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """
    The same as a recorder does it, on a disk: what is appended is brought there all the
    while, and what is counted is written down.
    """
    writer = CaptureWriter(directory / "capture")
    writer.begin(
        Meta(
            kernel=Kernel("", "", "", 4096, True),
            backend="bpf",
            attach=COMBINED,
            functions={},
            failed={},
            slots=HOST_SLOTS,
            ring=False,
            filters=[Since(0, EventFilter())],
            begun=Begun(0, ""),
            names=RecordedNames(),
            recorder=Process(0, 0),
        )
    )

    appended = itertools.count(1)

    def use(piece: Any) -> None:
        writer.append(piece)
        # A recorder does so every two seconds: with fewer than 5 million records a
        # second this is more often.
        if next(appended) % 256 == 0:
            writer.write_meta()
            writer.sync()

    yield "drained, appended and brought to the disk", use
    writer.close()


def user_side(kernel: dict[str, Any]) -> dict[str, float]:
    def fill() -> None:
        churn(f"pairs 0 {SLOTS}")

    with (
        tmpfs() as directory,
        backend(kernel, filter_of(0), COMBINED, SLOTS) as opened,
    ):
        return {
            name: instructions(opened.rings[0], fill, use, time.process_time_ns)
            for name, use in uses(directory)
        }


def loss(kernel: dict[str, Any]) -> dict[str, int]:
    """
    Overrun a small ring, of whose events the number is known: those of one process at
    an order that is its own.
    """
    script = f"while read pairs; do echo pairs 5 $pairs > {CHURN}; echo; done"
    with subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as child:
        assert child.stdin and child.stdout
        filter_ = filter_of(5)
        filter_["pid"][0] = child.pid, child.pid
        filter_["pids"] = filter_["more"] = 1
        with backend(kernel, filter_, COMBINED) as opened:
            for pairs in (BEFORE, AFTER):
                child.stdin.write(f"{pairs}\n")
                child.stdout.readline()
                for ring in opened.rings:
                    for _ in ring.drain():
                        pass
            return {
                "made": 2 * (BEFORE + AFTER),
                "recorded": int(opened.counts()["recorded"].sum()),
                "read": sum(ring.read for ring in opened.rings),
                "lost": sum(ring.lost for ring in opened.rings),
                "missed": opened.missed(),
            }


# ---- a ring without a kernel ----


def host() -> dict[str, float]:
    """
    Seconds that a record takes which is drained from a full ring: the least of some.
    """
    slots = np.zeros(HOST_SLOTS, event_record.RECORD)
    head = np.zeros(1, np.uint64)
    ring = Ring(slots, head)

    def fill() -> None:
        slots["seq"] = np.arange(
            int(head[0]) + 1, int(head[0]) + 1 + HOST_SLOTS, dtype=np.uint64
        )
        slots["check"] = event_record.check_of(slots)
        head[0] += HOST_SLOTS

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
        tempfile.TemporaryDirectory(dir="/var/tmp") as disk,
    ):
        return {
            name: 1e-9 * instructions(ring, fill, use, time.perf_counter_ns)
            for name, use in itertools.chain(uses(Path(memory)), on_a_disk(Path(disk)))
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--host", action="store_true", help="only how fast a ring is drained"
    )
    parser.add_argument("--ours", action="store_true", help="leave out the peers")
    args = parser.parse_args()
    if args.host:
        json.dump(host(), sys.stdout)
        return
    kernel = describe()
    result: dict[str, Any] = {
        "kernel": Path("/proc/sys/kernel/osrelease").read_text().strip(),
        "page_owner": kernel["page_owner"],
        "cases": [
            kernel_side(case)
            for case in itertools.chain(
                cases(kernel), [] if args.ours else peers(kernel)
            )
        ],
    }
    # Blocks that have to be split and merged cost more: the least is without.
    result["alone"] = {
        order: min(
            row["pairs"][order]["base"]
            for row in result["cases"]
            if order in row["pairs"]
        )
        for order in ORDERS
    }
    if kernel["page_owner"]:
        result.update(user=user_side(kernel), loss=loss(kernel))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()

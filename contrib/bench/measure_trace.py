# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``contrib/bench/trace`` runs: in a guest whose clocks count instructions, what
watching allocations costs; anywhere, how fast a ring is drained. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
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

from pagedbg.capture.backends.bpf import BpfBackend
from pagedbg.capture.backends.bpf_image import sources
from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    TRACEPOINT,
    TRAMPOLINE,
)
from pagedbg.capture.backends.kmod import KmodBackend
from pagedbg.capture.rings import Ring
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import MODULE, Begun, Kernel, Meta, Process, Since
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.filter_record import FILTER
from pagedbg.schema.freezing import UNFROZEN
from pagedbg.schema.recorded_names import RecordedNames

KMOD = "kmod"

CHURN = Path("/proc/pagedbg_churn")
ORDERS = 0, 4
PAIRS = 100  # in a round; no more, so that some rounds meet no tick

SLOTS = 1 << 16  # of the ring that is drained in the guest
HOST_SLOTS = 1 << 20
SMALL = 1 << 12  # slots of the ring that is overrun
BEFORE, AFTER = (
    1000,
    10000,
)  # pairs of the test of the loss counter, before the reader stops and after

# The original project's, of the one hook whose cost is compared.
LINE = (
    r'printf("page_owner info {set}: timestamp=%llu pid=%d proc_name=%s\n", nsecs, pid,'
    r" comm)"
)
LINE_STACK = LINE.replace(r"\n", r"%s\n").replace("comm)", "comm, kstack)")

EMPTY = "int kretfunc__{}(void *ctx) {{ return 0; }}\n"

# What memleak of bcc does on kernel pages: the functions that its tracepoints call,
# without their workarounds and its sampling.
MEMLEAK = """
struct alloc_info_t { u64 size; u64 timestamp_ns; int stack_id; };
struct combined_alloc_info_t { u64 total_size; u64 number_of_allocs; };

BPF_HASH(sizes, u64);
BPF_HASH(allocs, u64, struct alloc_info_t, 100000);
BPF_STACK_TRACE(stack_traces, 10240);
BPF_HASH(combined_allocs, u64, struct combined_alloc_info_t, 10240);

int raw_tracepoint__mm_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	struct combined_alloc_info_t none = {}, *sum;
	struct alloc_info_t info = {};
	u64 page = ctx->args[0], pid = bpf_get_current_pid_tgid(), size = 4096ULL << ctx->args[1], *size64;
	u64 stack;

	sizes.update(&pid, &size);
	size64 = sizes.lookup(&pid);
	if (!size64)
		return 0;
	info.size = *size64;
	sizes.delete(&pid);
	if (!page)
		return 0;
	info.timestamp_ns = bpf_ktime_get_ns();
	info.stack_id = stack_traces.get_stackid(ctx, 0);
	allocs.update(&page, &info);
	stack = info.stack_id;
	sum = combined_allocs.lookup_or_try_init(&stack, &none);
	if (sum) {
		__sync_fetch_and_add(&sum->total_size, info.size);
		__sync_fetch_and_add(&sum->number_of_allocs, 1);
	}
	return 0;
}

int raw_tracepoint__mm_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	u64 page = ctx->args[0], stack;
	struct alloc_info_t *info = allocs.lookup(&page), copy;
	struct combined_alloc_info_t *sum;

	if (!info)
		return 0;
	copy = *info;
	allocs.delete(&page);
	stack = copy.stack_id;
	sum = combined_allocs.lookup(&stack);
	if (sum) {
		__sync_fetch_and_sub(&sum->total_size, copy.size);
		__sync_fetch_and_sub(&sum->number_of_allocs, 1);
	}
	return 0;
}
"""  # noqa: E501

# drgn and bcc cannot be in one process.
DESCRIBE = """
import dataclasses, json
from pagedbg.capture.backends.hooks import describe_kernel
from pagedbg.target.opening import open_target
print(json.dumps(dataclasses.asdict(describe_kernel(open_target()))))
"""


class Unavailable(Exception):
    """Why a peer cannot be measured, in a sentence."""


@dataclasses.dataclass
class Case:
    """
    Something that watches allocations while the context that ``start`` makes is open;
    of its process, if it is another one, the pid.
    """

    name: str
    start: Callable[[], contextlib.AbstractContextManager[int | None]]
    orders: tuple[int, ...] = ORDERS


# ---- the module that allocates ----


def churn(command: str) -> None:
    CHURN.write_text(command)


def pair(order: int) -> float:
    """Instructions of an allocation and its free."""
    churn(f"time {order} {PAIRS}")
    timing = CHURN.read_text().splitlines()[1]
    return int(timing.split()[3]) / PAIRS


# ---- ours ----


def describe() -> dict[str, Any]:
    described = subprocess.run(
        [sys.executable, "-c", DESCRIBE], stdout=subprocess.PIPE, check=True
    )
    return json.loads(described.stdout)  # type: ignore[no-any-return]


def filter_of(*orders: int, events: int = 0xFF) -> Any:
    made = np.zeros(1, FILTER)[0]
    made["threshold"][list(orders)] = 1 << 32
    made["events"] = events
    made["orders"] = max(orders, default=-1) + 1
    return made


@contextlib.contextmanager
def backend(
    kernel: dict[str, Any], filter_: Any, attach: str, slots: int = SMALL
) -> Iterator[BpfBackend | KmodBackend]:
    known = kernel["functions"], kernel["constants"], kernel["addresses"]
    options: Any = {"slots": slots, "filter_": filter_, "freeze_on": UNFROZEN}
    opened: BpfBackend | KmodBackend
    if attach == KMOD:
        opened = KmodBackend.load(*known, **options, attach=MODULE)
    else:
        opened = BpfBackend.load(
            *known, **options, attach=attach, untold=kernel["untold"]
        )
    try:
        yield opened
    finally:
        opened.close()


def ours(
    kernel: dict[str, Any], filter_: Any, attach: str
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def start() -> Iterator[None]:
        with backend(kernel, filter_, attach):
            yield

    return start


def cases(kernel: dict[str, Any]) -> Iterator[Case]:
    if not kernel["page_owner"]:
        yield Case(
            "ours on tracepoints, filtered out", ours(kernel, filter_of(9), TRACEPOINT)
        )
        yield Case(
            "ours on tracepoints, recorded with a BPF stack id",
            ours(kernel, filter_of(*range(11)), TRACEPOINT),
        )
        return
    for attach in (COMBINED, TRACEPOINT, TRAMPOLINE, KPROBE, KMOD):
        by = {
            COMBINED: "",
            TRACEPOINT: " by tracepoints",
            TRAMPOLINE: " by trampolines",
            KPROBE: " by kprobes",
            KMOD: ", the module",
        }[attach]
        yield Case(
            f"ours{by}, filtered out: order 9 asked for",
            ours(kernel, filter_of(9), attach),
        )
        yield Case(
            f"ours{by}, filtered out: order 0 asked for",
            ours(kernel, filter_of(0), attach),
            (4,),
        )
        yield Case(
            f"ours{by}, allocations recorded",
            ours(kernel, filter_of(*range(11), events=1 << event_record.SET), attach),
        )
        yield Case(f"ours{by}, recorded", ours(kernel, filter_of(*range(11)), attach))


# ---- the peers ----


def compiled(text: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def start() -> Iterator[None]:
        from bcc import BPF

        os.environ["BCC_KERNEL_SOURCE"] = str(sources() / "headers")
        try:
            program = BPF(text=text)
        except Exception as error:
            raise Unavailable(f"bcc could not load it: {error}".strip()) from None
        try:
            yield
        finally:
            program.cleanup()

    return start


def reading(
    command: list[str], attached: Callable[[int], bool]
) -> Callable[[], contextlib.AbstractContextManager[int]]:
    """A process that watches, and reads what it is told of."""

    @contextlib.contextmanager
    def start() -> Iterator[int]:
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise Unavailable(f"{command[0]} is not installed.") from None
        try:
            # It says that it attaches before it has.
            while not attached(process.pid):
                if process.poll() is not None:
                    assert process.stderr
                    said = process.stderr.read().decode().strip().splitlines()
                    why = said[-1] if said else process.returncode
                    raise Unavailable(f"{command[0]} ended: {why}")
                time.sleep(0.05)
            settled(process.pid)
            yield process.pid
        finally:
            process.kill()
            process.wait()

    return start


def bpftrace(script: str) -> Callable[[], contextlib.AbstractContextManager[int]]:
    probes = Path("/sys/kernel/debug/kprobes/list")
    return reading(
        ["bpftrace", "-e", script],
        lambda _: "__set_page_owner" in probes.read_text(),
    )


def perf(*options: str) -> Callable[[], contextlib.AbstractContextManager[int]]:
    events = ",".join(f"kmem:{name}" for name in event_record.TRACEPOINTS.values())

    def attached(pid: int) -> bool:
        opened = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
        return opened.count("anon_inode:[perf_event]") >= 2

    return reading(
        ["perf", "record", "-q", "-a", *options, "-e", events, "-o", "/dev/null"],
        attached,
    )


@contextlib.contextmanager
def trace_pipe() -> Iterator[int]:
    """ftrace's text of the same tracepoints."""
    instance = Path("/sys/kernel/tracing/instances/bench")
    try:
        instance.mkdir()
    except OSError as error:
        raise Unavailable(f"{instance}: {error.strerror}") from None
    try:
        for name in event_record.TRACEPOINTS.values():
            (instance / f"events/kmem/{name}/enable").write_text("1")
        cat = reading(["cat", str(instance / "trace_pipe")], lambda _: True)
        with cat() as pid:
            yield pid
    finally:
        instance.rmdir()


def empty_functions(*functions: str) -> str:
    return "".join(EMPTY.format(name) for name in functions)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """The original project's module, which prints what it matches."""
    subprocess.run(["insmod", os.environ["PAGEDBG_PRINTK"], "order=4"], check=True)
    try:
        yield
    finally:
        subprocess.run(["rmmod", "pagedbg_printk"], check=True)


def peers(kernel: dict[str, Any]) -> Iterator[Case]:
    if kernel["page_owner"]:
        yield Case("a kprobe that prints order 4 (the original's module)", printing)
        yield Case(
            "empty fexit on set", compiled(empty_functions(kernel["functions"]["set"]))
        )
        yield Case(
            "empty fexit on set and reset",
            compiled(empty_functions(*map(kernel["functions"].get, ("set", "reset")))),
        )
        yield Case(
            "bpftrace, the original's line (set)",
            bpftrace(f"kprobe:__set_page_owner {{ {LINE} }}"),
        )
        yield Case(
            "bpftrace, the same with kstack (set)",
            bpftrace(f"kprobe:__set_page_owner {{ {LINE_STACK} }}"),
        )
    yield Case("bcc, memleak's way", compiled(MEMLEAK))
    yield Case("ftrace, kmem events as text", trace_pipe)
    yield Case("perf, kmem events", perf())
    yield Case("perf, kmem events with stacks", perf("-g"))


# ---- what they cost ----


def cpu_ns(pid: int) -> int:
    """
    CPU time of a process (kernel/time/posix-cpu-timers.c: CPUCLOCK_SCHED); where clocks
    count instructions, its instructions.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def settled(pid: int) -> int:
    """CPU time of a process once it does nothing more than to wake up now and then."""
    before = -(1 << 62)
    while (now := cpu_ns(pid)) - before > 100_000:
        before = now
        time.sleep(0.3)
    return now


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

# SPDX-License-Identifier: GPL-2.0-or-later
"""What others watch allocations with, for ``measure_trace.py``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trace_case import Case, Unavailable

from pagedbg.capture.backends.bpf_image import sources
from pagedbg.schema import event_record

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

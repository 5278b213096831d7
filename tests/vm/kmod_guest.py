# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: try the kernel module from its own side, and print what came of it as
JSON.

    kmod_guest.py MODULE SCENARIO [ARGUMENT]
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import json
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from churn import churn
from depot import SETTLED, stacks

from pagedbg.capture.backends.hooks import describe_kernel
from pagedbg.capture.backends.kmod import _LAYOUT as MEMBERS
from pagedbg.schema.event_record import CPU, HEADER, RECORD, check_of
from pagedbg.schema.filter_record import FILTER
from pagedbg.target.opening import open_target

PAGE_ORDER, DEVICE = "/proc/page_order", "/dev/pagedbg"
CHURN = Path("/proc/pagedbg_churn")
ENABLED = "/sys/kernel/tracing/enabled_functions"

WAYS = ("tracepoint", "kprobe", "kmem")

# What is read out of the kernel for the first scenario, for those that follow: it takes
# seconds.
NUMBERS = Path("/run/numbers.json")

libc = ctypes.CDLL(None, use_errno=True)
FINIT_MODULE, DELETE_MODULE = 313, 176  # x86-64


class Module:
    """Loads and unloads it, with system calls of this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY)
        if not NUMBERS.exists():
            kernel = describe_kernel(open_target())
            numbers = [int(kernel.constants[name]) for name in MEMBERS]
            numbers.append(kernel.addresses["dummy_handle"])
            NUMBERS.write_text(json.dumps(numbers))
        self.numbers: list[int] = json.loads(NUMBERS.read_text())

    def load(self, *parameters: str, numbers: list[int] | None = None) -> str:
        """Returns ``ok`` or the name of the error."""
        layout = ",".join(map(str, self.numbers if numbers is None else numbers))
        words = " ".join([*([f"layout={layout}"] if layout else []), *parameters])
        return self._told(libc.syscall(FINIT_MODULE, self._file, words.encode(), 0))

    def unload(self) -> str:
        return self._told(libc.syscall(DELETE_MODULE, b"pagedbg", os.O_NONBLOCK))

    @staticmethod
    def _told(status: int) -> str:
        return "ok" if status == 0 else errno.errorcode[ctypes.get_errno()]


def attempt(do: Any, *arguments: Any) -> str:
    try:
        do(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def write(text: bytes) -> str:
    """One write to /proc/page_order."""
    descriptor = os.open(PAGE_ORDER, os.O_WRONLY)
    try:
        return attempt(os.write, descriptor, text)
    finally:
        os.close(descriptor)


def read() -> str:
    return Path(PAGE_ORDER).read_text()


def table(module: Module) -> dict[str, Any]:
    """The table of orders: as it begins, written, refused, by several at once."""
    told: dict[str, Any] = {
        "loaded": module.load("orders=0:20,4", "events=none"),
        "begins": read(),
    }
    told["mode"] = oct(os.stat(PAGE_ORDER).st_mode & 0o777)
    told["written"] = write(b"4 0\n9 100\n 0\t12.5\n"), read()
    refused = [
        b"",
        b"\n",
        b"4",
        b"4 101",
        b"21 5",
        b"-1 5",
        b"4 -1",
        b"4 5 6",
        b"x 1",
        b"0x4 1",
        b"4 1e1",
        b"5 5\nx",
        b"5 5\n\n6 6",
        b"4 5\0",
        b"4 1.",
        b"4 .5",
    ]
    refused += [b"4 1.0000001", b"4 99999999999999999999", b"5 5\n" * 2000]
    told["refused"] = {repr(text)[:40]: write(text) for text in refused}
    told["after"] = read()
    whole = [f"1 {n}\n2 {n}\n3 {n}\n".encode() for n in (10, 20, 30)]
    seen: set[str] = set()
    until = time.monotonic() + 2

    def writer(text: bytes) -> None:
        while time.monotonic() < until:
            write(text)

    threads = [threading.Thread(target=writer, args=(text,)) for text in whole]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        seen.add(" ".join(line.split()[1] for line in read().splitlines()[2:5]))
    for thread in threads:
        thread.join()
    told["concurrent"] = sorted(seen)
    told["unloaded"] = module.unload()
    return told


def layout(module: Module) -> dict[str, Any]:
    """Whether it believes what is not true."""
    wrong: dict[str, str] = {}
    for index, name in enumerate(MEMBERS):
        # A smaller record that has all of its members is none the worse.
        for by in {"SIZEOF_OWNER": (1 << 20,), "TAIL_TIMES": (1, -1, 2)}.get(
            name, (4, -4, 8, -8, 1 << 20, -(1 << 20))
        ):
            numbers = list(module.numbers)
            numbers[index] = (numbers[index] + by) % (1 << 32)
            wrong[f"{name} {by:+}"] = module.load(numbers=numbers)
            module.unload()
    return {
        "wrong": wrong,
        "none": module.load(numbers=[]),
        "few": module.load(numbers=module.numbers[:4]),
        "right": (module.load(), module.unload()),
    }


def device(module: Module) -> dict[str, Any]:
    """What may be done with /dev/pagedbg."""
    told: dict[str, Any] = {"too large": module.load("ring_slots=1048576")}
    told |= {
        "loaded": module.load("ring_slots=64"),
        "mode": oct(os.stat(DEVICE).st_mode & 0o777),
    }
    descriptor = os.open(DEVICE, os.O_RDWR)
    with mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ) as first:
        size = int(np.frombuffer(first, HEADER, 1)[0]["size"])

    def map_(
        length: int, protection: int, flags: int = mmap.MAP_SHARED, offset: int = 0
    ) -> str:
        return attempt(
            lambda: mmap.mmap(
                descriptor, length, flags, protection, offset=offset
            ).close()
        )

    told["whole"] = map_(size, mmap.PROT_READ)
    told["beyond"] = (
        map_(size + mmap.PAGESIZE, mmap.PROT_READ),
        map_(size, mmap.PROT_READ, offset=mmap.PAGESIZE),
    )
    told["writable"] = (
        map_(size, mmap.PROT_READ | mmap.PROT_WRITE),
        map_(size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE),
    )
    memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
    address = ctypes.c_void_p(np.frombuffer(memory, np.uint8).ctypes.data)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    told["made writable"] = Module._told(
        libc.mprotect(address, size, mmap.PROT_READ | mmap.PROT_WRITE)
    )
    filter_ = np.zeros((), FILTER)
    filter_["threshold"][[0, 4, 9, 25]] = 858993459, 1 << 32, 1 << 29, 1 << 32
    told["whole filter"] = attempt(os.write, descriptor, filter_.tobytes()), read()
    filter_["threshold"][4] += 1
    told["more than all"] = attempt(os.write, descriptor, filter_.tobytes()), read()
    told["short filter"] = attempt(os.write, descriptor, b"x" * 10)
    told["bad filter"] = attempt(os.write, descriptor, b"\xff" * 4096)
    told["unloaded while open"] = module.unload()
    os.close(descriptor)
    told["unloaded while mapped"] = module.unload()
    memory.close()
    told["unloaded"] = module.unload()
    return told


def hooks(module: Module) -> dict[str, Any]:
    """
    Each way of hearing of allocations and frees: what it is attached to, and what it
    has recorded of blocks of which the test module says which they were.
    """
    told: dict[str, Any] = {"wrong": module.load("hooks=uprobe")}
    for way in WAYS:
        told[way] = {
            "loaded": module.load(f"hooks={way}", "orders=3", "events=set,reset")
        }
        parameters = Path("/sys/module/pagedbg/parameters")
        functions = (parameters / "functions").read_text()
        CHURN.write_text("alloc 3 7")
        held = [line.split() for line in CHURN.read_text().splitlines()[2:]]
        CHURN.write_text("free 7")
        told[way] |= {
            "functions": dict(line.split() for line in functions.splitlines()),
            "made": [int(pfn) for pfn, order, _ in held if order == "3"],
            "recorded": own_records(),
            "missed": int((parameters / "missed").read_text()),
            "unloaded": module.unload(),
        }
    return told


def reads(module: Module) -> dict[str, Any]:
    """
    What is recorded of page_owner's text being read: as it is loaded, and where that is
    asked for.
    """
    told: dict[str, Any] = {}
    for name, asked in (("usual", ()), ("asked", ("events=read",))):
        told[name] = {"loaded": module.load("orders=3", *asked)}
        with open("/sys/kernel/debug/page_owner", "rb", buffering=0) as text:
            told[name]["read"] = sum(bool(text.read(4096)) for _ in range(20))
        told[name]["recorded"] = [event for event, _ in own_records()]
        told[name]["unloaded"] = module.unload()
    return told


def rings(descriptor: int) -> tuple[Any, bytes]:
    """The header of the module's memory, and a copy of it all."""
    with mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ) as first:
        header = np.frombuffer(first, HEADER, 1)[0].copy()
    with mmap.mmap(descriptor, int(header["size"]), prot=mmap.PROT_READ) as memory:
        return header, bytes(memory)


def own_records() -> list[tuple[int, int]]:
    """Of this process, the events and pages in the rings, of each CPU in its order."""
    descriptor = os.open(DEVICE, os.O_RDWR)
    try:
        header, memory = rings(descriptor)
    finally:
        os.close(descriptor)
    slots = np.frombuffer(
        memory,
        RECORD,
        int(header["cpus"]) * int(header["slots"]),
        int(header["slots_at"]),
    )
    whole = slots[(slots["check"] == check_of(slots)) & (slots["pid"] == os.getpid())]
    return [tuple(each) for each in whole[["event", "pfn"]].tolist()]


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Have pages come and go meanwhile, in interrupts, too."""
    load = [churn("pairs 0 50", "irq 1 20") for _ in range(2)]
    try:
        yield
    finally:
        for each in load:
            os.kill(each, signal.SIGKILL)
            os.waitpid(each, 0)


def written(descriptor: int) -> int:
    """How many records the rings of all CPUs have had."""
    header, memory = rings(descriptor)
    counters = np.ndarray(
        (int(header["cpus"]),),
        CPU,
        memory,
        int(header["cpus_at"]),
        (int(header["cpu_stride"]),),
    )
    return int(counters["head"].sum())


def storm(module: Module, way: str, times: str) -> dict[str, Any]:
    """
    Load it with ``hooks=way`` and unload it so often while pages come and go, now and
    then with the device open. By the end, nothing of it may be in page_owner's stacks.
    """
    wrong: list[Any] = []
    recorded = 0
    with busy():
        for turn in range(int(times)):
            if turn == SETTLED:
                before = stacks()
            loaded = module.load(f"hooks={way}", "ring_slots=64")
            if loaded != "ok":
                wrong.append((turn, loaded))
                continue
            descriptor = os.open(DEVICE, os.O_RDWR)
            held = None
            if turn % 10 == 0:
                held = module.unload()
                # What there is to record, whether or not the others run meanwhile.
                with mmap.mmap(-1, 1 << 20) as own:
                    own.write(bytes(1 << 20))
                recorded += written(descriptor)
            os.close(descriptor)
            unloaded = module.unload()
            if held not in (None, "EAGAIN") or unloaded != "ok":
                wrong.append((turn, held, unloaded))
        after = stacks()
    filed = None if before is None or after is None else after - before
    return {"wrong": wrong, "recorded": recorded, "stacks": filed}


def fail(module: Module) -> dict[str, Any]:
    """
    Have each allocation fail that the module makes when it is loaded, in each way, one
    after the other, until none is left to fail: first those of slabs, then those of
    pages. Together they would be numbered anew each time, by how full the slabs are.
    """
    told: dict[str, Any] = {}
    # Kept open: to open it takes memory, too.
    failing = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    with busy():
        for what in ("failslab", "fail_page_alloc"):
            _let_fail(what)
            for way in WAYS:
                told[f"{what} {way}"] = _fail(module, way, failing)
    return told


def _let_fail(what: str) -> None:
    for who in ("failslab", "fail_page_alloc"):
        values = {
            "ignore-gfp-wait": "N" if who == what else "Y",
            "ignore-gfp-highmem": "N",
            "min-order": "0",
            "verbose": "0",
        }
        for setting in Path("/sys/kernel/debug", who).iterdir():
            if setting.name in values:
                setting.write_text(values[setting.name])


# Of the allocations that precede the module's own as many as may be counted too much.
SPARE = 20


def _fail(module: Module, way: str, failing: int) -> dict[str, Any]:
    statuses: list[str] = []
    left: list[str] = []
    for nth in itertools.count(max(_made_before(module, failing) - SPARE, 1)):
        status, missed = _load_with(
            module, failing, nth, f"hooks={way}", "orders=0:20,4", "ring_slots=64"
        )
        statuses.append(status)
        if status == "ok":
            assert module.unload() == "ok"
        left += (
            path
            for path in (PAGE_ORDER, DEVICE, "/sys/module/pagedbg")
            if os.path.exists(path)
        )
        # In the kernel that it is tried in nobody else traces functions.
        for attached in ("/sys/kernel/debug/kprobes/list", ENABLED):
            left += Path(attached).read_text().splitlines()
        if missed:
            break
    return {"told": statuses, "left": left}


def _load_with(
    module: Module, failing: int, nth: int, *parameters: str
) -> tuple[str, int]:
    """
    Load it with that allocation failing: what became of it, and how many more there had
    to be for it.
    """
    os.pwrite(failing, b"%d" % nth, 0)
    status = module.load(*parameters)
    missed = int(os.pread(failing, 20, 0))
    os.pwrite(failing, b"0", 0)
    return status, missed


def _made_before(module: Module, failing: int) -> int:
    """How many allocations loading makes until the module says no to its parameters."""
    many = 100_000
    status, missed = _load_with(module, failing, many, "hooks=uprobe")
    assert status == "EINVAL"
    return many - missed


def main() -> None:
    path, scenario, *rest = sys.argv[1:]
    told = {
        "table": table,
        "layout": layout,
        "device": device,
        "hooks": hooks,
        "reads": reads,
        "storm": storm,
        "fail": fail,
    }[scenario](Module(path), *rest)  # type: ignore[operator]
    print(json.dumps(told))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: try the kernel module from its own side, and print what came of it as
JSON.

    kmod_guest.py MODULE SCENARIO [ARGUMENT]
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from churn import churn

from pagedbg.capture.backends.hooks import describe_kernel
from pagedbg.capture.backends.kmod import _LAYOUT as MEMBERS
from pagedbg.schema.event_record import FILTER, HEADER
from pagedbg.target.opening import open_target

PAGE_ORDER, DEVICE = "/proc/page_order", "/dev/pagedbg"

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


def storm(module: Module, times: int) -> dict[str, Any]:
    """
    Load and unload so often while pages come and go, now and then with the device open.
    """
    load = [churn("pairs 0 50", "irq 1 20") for _ in range(2)]
    wrong: list[Any] = []
    recorded = 0
    try:
        for turn in range(times):
            loaded = module.load("ring_slots=64")
            if loaded != "ok":
                wrong.append((turn, loaded))
                continue
            descriptor = os.open(DEVICE, os.O_RDWR)
            busy = None
            if turn % 10 == 0:
                busy = module.unload()
                with mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ) as first:
                    header = np.frombuffer(first, HEADER, 1)[0].copy()
                with mmap.mmap(
                    descriptor, int(header["size"]), prot=mmap.PROT_READ
                ) as memory:
                    recorded += int.from_bytes(
                        memory[int(header["cpus_at"]) :][:8], "little"
                    )
            os.close(descriptor)
            unloaded = module.unload()
            if busy not in (None, "EAGAIN") or unloaded != "ok":
                wrong.append((turn, busy, unloaded))
    finally:
        for each in load:
            os.kill(each, signal.SIGKILL)
            os.waitpid(each, 0)
    return {"wrong": wrong, "recorded": recorded}


def fail(module: Module, most: int) -> dict[str, Any]:
    """
    Have each allocation fail that loading makes, one after the other, until none is
    left to fail.
    """
    for who in ("failslab", "fail_page_alloc"):
        for name, value in (
            ("ignore-gfp-wait", "N"),
            ("ignore-gfp-highmem", "N"),
            ("min-order", "0"),
            ("verbose", "0"),
        ):
            setting = Path("/sys/kernel/debug", who, name)
            if setting.exists():
                setting.write_text(value)
    told: list[str] = []
    left: list[str] = []
    # Kept open: to open it takes memory, too.
    failing = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    for nth in range(1, most):
        os.pwrite(failing, b"%d" % nth, 0)
        status = module.load("orders=0:20,4", "events=set,reset", "ring_slots=64")
        missed = int(os.pread(failing, 20, 0))
        os.pwrite(failing, b"0", 0)
        told.append(status)
        if status == "ok":
            assert module.unload() == "ok"
        present = [
            path
            for path in (PAGE_ORDER, DEVICE, "/sys/module/pagedbg")
            if os.path.exists(path)
        ]
        probed = [
            line
            for line in Path("/sys/kernel/debug/kprobes/list").read_text().splitlines()
            if "page_owner" in line or "copy_owner" in line
        ]
        left += present + probed
        if missed:
            break
    return {"told": told, "left": left, "last": told[-1]}


def main() -> None:
    path, scenario, *rest = sys.argv[1:]
    told = {
        "table": table,
        "layout": layout,
        "device": device,
        "storm": storm,
        "fail": fail,
    }[scenario](Module(path), *map(int, rest))  # type: ignore[operator]
    print(json.dumps(told))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The BPF back end: compiles ``bpf/capture.bpf.c`` with bcc, attaches it, and maps its rings.

bcc comes from the distribution and brings a compiler along, so it is imported when a trace starts. It compiles against the few headers in
``bpf/headers`` in place of the kernel's: no headers package is needed, and it takes a third of the time.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture import layout
from pagedbg.capture.layout import CPU, FILTER, HEADER, RECORD
from pagedbg.capture.rings import Ring
from pagedbg.errors import PagedbgError

TRAMPOLINE, KPROBE, TRACEPOINT = "trampoline", "kprobe", "tracepoint"
"""How programs are attached."""

_SPLITS = 4096
_CALLS = 4096
_STACKS = 16384

# A return probe finds the stack pointer where the function's caller has it: above the return address, which a probe at entry points to.
_SP_AT_RETURN = 8 if platform.machine() == "x86_64" else 0

# The events whose program runs when the function begins: of these there is nothing to wait for.
_AT_ENTRY = ("dump", "read")


def sources() -> Path:
    """The directory of the C sources: in a checkout beside the package, in a wheel inside it."""
    inside = Path(__file__).parents[1] / "bpf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "bpf"


class BpfBackend:
    """
    Programs that are attached, until :meth:`close`; the kernel detaches them when this process ends, however it does.

    ``functions`` are those that are attached, by event; ``failed`` says why others are not. ``rings`` are the CPUs' rings.
    """

    def __init__(
        self,
        functions: Mapping[str, str],
        constants: Mapping[str, int | str],
        addresses: Mapping[str, int],
        *,
        slots: int,
        attach: str,
        filter_: NDArray[Any],
    ) -> None:
        """
        :param functions: name of the function (or, for tracepoints, of the tracepoint) by event
        :param constants: what the source asks for, see :mod:`pagedbg.capture.hooks`
        :param addresses: members of ``struct pagedbg_header``
        :param slots: records in a CPU's ring, a power of two
        :param attach: :data:`TRAMPOLINE`, :data:`KPROBE` or :data:`TRACEPOINT`
        :param filter_: an element of :data:`~pagedbg.capture.layout.FILTER`, in force from the first event
        :raises PagedbgError: if nothing can be attached this way
        """
        self.attach = attach
        self.functions: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._maps: list[mmap.mmap] = []
        cpus = _possible_cpus()
        self._bpf = _compile(functions, constants, cpus, slots, attach)
        self._lib = _library()
        try:
            self._header = self._map("pagedbg_header", HEADER, 1)
            self._filters = self._map("pagedbg_filter", FILTER, 2)
            self._cpus = self._map("pagedbg_cpu", CPU, cpus)
            slot = self._map("pagedbg_slot", RECORD, cpus * slots)
            self.rings = [Ring(slot[i * slots : (i + 1) * slots], self._cpus["head"][i : i + 1]) for i in range(cpus)]
            self._filters[0] = filter_
            known = {"magic": layout.MAGIC, "version": layout.VERSION, "record_size": RECORD.itemsize, "cpus": cpus, "slots": slots}
            for member, value in {**known, **addresses}.items():
                self._header[member] = value
            self._attach_all(functions)
        except BaseException:
            self.close()
            raise

    def _map(self, name: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        size = dtype.itemsize * count
        # bcc's own table object would want to know every C type in it.
        descriptor = self._lib.bpf_table_fd(self._bpf.module, name.encode())
        mapped = mmap.mmap(descriptor, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype, count)

    # ---- attaching ----

    def _attach_all(self, functions: Mapping[str, str]) -> None:
        # Frees first: of no allocation that was seen may the free be missed.
        for event in sorted(functions, key=("reset", "split", "copy", "set migrate", "dump", "read", "set").index):
            try:
                with _quiet() as said:
                    self._attach(event, functions[event])
            except Exception as error:
                # bcc raises plain Exceptions, and writes the verifier's words to standard error.
                self.failed[event] = _reason(error, said())
            else:
                self.functions[event] = functions[event]
        missing = [event for event in ("reset", "set") if event not in self.functions]
        if missing:
            raise PagedbgError(
                f"{functions.get(missing[0], missing[0])}: {self.failed.get(missing[0], 'this kernel has no such function')}"
            )

    def _attach(self, event: str, function: str) -> None:
        bpf, name = self._bpf, function.encode()
        if self.attach == TRAMPOLINE:
            if event in _AT_ENTRY:
                bpf.attach_kfunc(fn_name=b"kfunc__" + name)
            else:
                bpf.attach_kretfunc(fn_name=b"kretfunc__" + name)
        elif self.attach == KPROBE:
            word = event.replace(" ", "_").encode()
            if event not in _AT_ENTRY:
                bpf.attach_kretprobe(event=name, fn_name=word + b"_return", maxactive=_maxactive())
            bpf.attach_kprobe(event=name, fn_name=word + b"_entry")
        else:
            bpf.attach_raw_tracepoint(tp=name, fn_name=b"raw_tracepoint__" + name)

    # ---- what the recorder asks ----

    def set_filter(self, filter_: NDArray[Any]) -> None:
        """Put a filter in force: from one event to the next."""
        header = self._header
        spare = 1 - int(header["active"][0])
        self._filters[spare] = filter_
        header["active"][0] = spare

    def counts(self) -> NDArray[Any]:
        """What each CPU has counted, an element of :data:`~pagedbg.capture.layout.CPU` each."""
        return self._cpus.copy()

    def missed(self) -> int:
        """How often the kernel did not run a program because one was running on that CPU already (``recursion_misses``)."""
        total = 0
        for function in self._bpf.funcs.values():
            with contextlib.suppress(OSError):
                info = Path(f"/proc/self/fdinfo/{function.fd}").read_text()
                found = re.search(r"recursion_misses:\s*(\d+)", info)
                total += int(found[1]) if found else 0
        return total

    def stack(self, number: int) -> list[int]:
        """The return addresses of a BPF stack id, innermost first; empty if there is none (tracepoints only)."""
        if number >= 1 << 31:
            return []
        try:
            return list(self._bpf[b"pagedbg_stack"].walk(number))
        except KeyError:
            return []

    def close(self) -> None:
        """Detach everything."""
        bpf, self._bpf = self._bpf, None
        if bpf is not None:
            with _quiet():
                bpf.cleanup()


def _possible_cpus() -> int:
    last = re.split("[,-]", Path("/sys/devices/system/cpu/possible").read_text().strip())[-1]
    return int(last) + 1


def _maxactive() -> int:
    # As many return probes may be waiting: a task on each CPU and the interrupts on top of it, and those that sleep in the function.
    return max(64, 8 * _possible_cpus())


def _compile(functions: Mapping[str, str], constants: Mapping[str, int | str], cpus: int, slots: int, attach: str) -> Any:
    bpf_class = _import()
    defines = {
        "CPUS": cpus,
        "SLOTS": slots,
        "HOOKS": attach.upper(),
        "SPLITS": _SPLITS,
        "CALLS": _CALLS,
        "STACKS": _STACKS,
        "SP_AT_RETURN": _SP_AT_RETURN,
        **{"HOOK_" + event.upper().replace(" ", "_"): name for event, name in functions.items()},
        **constants,
    }
    flags = [f"-D{name}={value:#x}ULL" if isinstance(value, int) else f"-D{name}={value}" for name, value in defines.items()]
    flags += [f"-I{sources()}"]
    os.environ["BCC_KERNEL_SOURCE"] = str(sources() / "headers")
    with _quiet() as said:
        try:
            return bpf_class(text=(sources() / "capture.bpf.c").read_bytes(), cflags=flags)
        except Exception as error:
            raise PagedbgError(f"bcc could not compile the BPF program: {_reason(error, said())}") from None


def _import() -> Any:
    try:
        from bcc import BPF
    except ImportError as error:
        raise PagedbgError(f"bcc cannot be used ({error}): apt install python3-bpfcc (the bcc on PyPI is something else).") from None

    class Quiet(BPF):  # type: ignore[misc]
        def _trace_autoload(self) -> None:
            # By its name a program is attached as soon as it is compiled. We attach one by one, and may do without some.
            pass

    return Quiet


def _library() -> Any:
    from bcc import lib

    return lib


def _reason(error: Exception, said: str) -> str:
    """One sentence of what bcc, the compiler or the verifier said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in lines:
        if "error:" in line:
            return line.partition("error:")[2].strip()
    told = [line for line in lines if not re.match(r"processed \d+ insns|\d+:|;|R\d|HINT", line)]
    return f"{error}".strip() + (f" ({told[-1]})" if told else "")


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Keep what C libraries write to standard error; the value is a function that returns it."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:

            def said() -> str:
                file.seek(0)
                return file.read().decode(errors="replace")

            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


__all__: Sequence[str] = ("KPROBE", "TRACEPOINT", "TRAMPOLINE", "BpfBackend", "sources")

# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that is open: its drgn program, and what is known of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from drgn import (
    BadDataError,
    FaultError,
    Program,
    ProgramFlags,
    Symbol,
    SymbolIndex,
)

from pagedbg.errors import PagedbgError
from pagedbg.target.btf import Btf
from pagedbg.target.dump_header import DumpFile
from pagedbg.target.dumpfile import recognize
from pagedbg.target.globals import GlobalFinder
from pagedbg.target.kallsyms import (
    load_dumped_symbols,
    load_hidden_symbols,
    load_symbols,
)
from pagedbg.target.symbols import Symbolizer

_LIVE_BTF = Path("/sys/kernel/btf/vmlinux")


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


# A distribution's kernel has 5 to 10 MiB.
_MOST_BTF = 64 << 20


class TargetError(PagedbgError):
    """The kernel cannot be looked at."""


class Target:
    """
    A kernel, open: ``prog`` is its drgn program, ``dump`` the file it came from,
    ``notes`` what was found amiss on opening.
    """

    def __init__(self, prog: Program, dump: DumpFile | None = None) -> None:
        self.prog = prog
        self.dump = dump
        self.notes: list[str] = []
        self.types = "debug info"
        self._index: SymbolIndex | None = None

    @classmethod
    def of(cls, prog: Program) -> Target:
        """
        Take over a program that drgn's own command line opened, with the debug info
        that it found or without.
        """
        path = prog.core_dump_path
        dump = recognize(path) if path and not path.startswith("/proc/") else None
        target = cls(prog, dump)
        target.describe()
        return target

    @property
    def has_kernel(self) -> bool:
        """Whether there is a kernel at all: a capture can be looked at without one."""
        return bool(self.prog.flags & ProgramFlags.IS_LINUX_KERNEL)

    @property
    def live(self) -> bool:
        """Whether this is a running kernel."""
        return bool(self.prog.flags & ProgramFlags.IS_LIVE)

    @functools.cached_property
    def vmcoreinfo(self) -> Mapping[str, str]:
        """
        What the kernel says of itself for dump tools, by key (``OSRELEASE``,
        ``BUILD-ID``, ``SYMBOL(_stext)``, …).
        """
        try:
            text = self.prog["VMCOREINFO"].string_().decode(errors="replace")
        except (LookupError, FaultError):
            return {}
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    @property
    def release(self) -> str:
        """``uname -r`` of the kernel."""
        return self.vmcoreinfo.get("OSRELEASE", "unknown release")

    @functools.cached_property
    def boot_id(self) -> str:
        """
        What tells this boot from every other; empty if it is not known: a kernel makes
        it up when somebody first asks.
        """
        if self.live:
            return _BOOT_ID.read_text().strip()
        try:
            made = bytes(self.prog["sysctl_bootid"].value_())
        except (LookupError, FaultError):
            return ""
        if not any(made):
            return ""
        import uuid

        return str(uuid.UUID(bytes=made))

    @property
    def name(self) -> str:
        """What the bottom line of the prompt says."""
        if not self.has_kernel:
            return "no kernel"
        return (
            f"{self.release} live"
            if self.dump is None
            else f"{Path(self.dump.path).name} ({self.release})"
        )

    @functools.cached_property
    def symbolize(self) -> Symbolizer:
        """Turns addresses into ``symbol+0x10/0x80 [module]``."""
        return Symbolizer(self.prog, self._image_symbols())

    def has_symbol(self, name: str) -> bool:
        """Whether the kernel has a symbol of this name."""
        try:
            self.prog.symbol(name)
        except LookupError:
            return False
        return True

    @property
    def has_kallsyms(self) -> bool:
        """Whether the kernel's own symbol table was found."""
        return self._index is not None

    # ---- opening ----

    def describe(self, advance: Callable[[int], None] | None = None) -> None:
        """
        Give the program symbols and, unless debug info has them, types.

        :param advance: called with 1 when it has the symbols, and the types
        :raises TargetError: if the kernel carries neither
        """
        self._index, damage = self._kallsyms()
        if advance is not None:
            advance(1)
        if has_types(self.prog):
            return
        if self._index is None:
            raise TargetError(
                f"The symbols of {self.name} cannot be found: {damage}. Give its"
                " vmlinux with -s."
            )
        self.prog.register_symbol_finder(
            "pagedbg kallsyms", self._index, enable_index=-1
        )
        btf = Btf(self.prog, self._btf())
        if advance is not None:
            advance(1)
        self.types = "BTF"
        self.prog.register_type_finder("pagedbg BTF", btf.find_type, enable_index=-1)
        self.prog.register_object_finder(
            "pagedbg globals", GlobalFinder(btf), enable_index=-1
        )
        # Without a range for the main module drgn's ORC unwinder goes astray after a
        # few frames.
        module = self.prog.main_module("kernel", create=True)
        if (
            module.address_range is None
            and self.has_symbol("_text")
            and self.has_symbol("_end")
        ):
            module.address_range = (
                self.prog.symbol("_text").address,
                self.prog.symbol("_end").address,
            )

    def _image_symbols(self) -> Iterable[Symbol]:
        symbols: Iterable[Symbol] = (
            self._index(self.prog, None, None, False)
            if self._index is not None
            else self.prog.symbols()
        )
        return symbols

    def _kallsyms(self) -> tuple[SymbolIndex | None, str]:
        """The kernel's symbol table, or None and why there is none."""
        if not self.live and "SYMBOL(kallsyms_names)" not in self.vmcoreinfo:
            return None, "it has no kallsyms in its vmcoreinfo (Linux 6.0 and later do)"
        try:
            if not self.live:
                return load_dumped_symbols(self.prog, self.vmcoreinfo), ""
            index = load_symbols(self.prog)
            if not any(s.address for s in index(self.prog, "_stext", None, False)):
                # kernel.kptr_restrict=2 blanks /proc/kallsyms even for root; kernel
                # memory has the table all the same.
                index = load_hidden_symbols(self.prog)
                self.notes.append(
                    "kernel.kptr_restrict hides /proc/kallsyms: symbols were read from"
                    " kernel memory."
                )
            return index, ""
        except (
            BadDataError,
            LookupError,
            FaultError,
            OverflowError,
            ValueError,
            OSError,
        ) as error:
            return None, f"its kallsyms cannot be read ({error})"

    def _btf(self) -> bytes:
        if self.live and _LIVE_BTF.exists():
            return _LIVE_BTF.read_bytes()
        try:
            start, stop = (
                self.prog.symbol(name).address for name in ("__start_BTF", "__stop_BTF")
            )
        except LookupError:
            raise TargetError(
                f"{self.name} carries no type information (CONFIG_DEBUG_INFO_BTF, and"
                " CONFIG_KALLSYMS_ALL to find it in a dump). Give its vmlinux with -s."
            ) from None
        if not 0 < stop - start < _MOST_BTF:
            raise TargetError(
                f"The symbols of {self.name} are damaged: its type information would"
                f" have {stop - start} bytes. Give its vmlinux with -s."
            )
        try:
            data: bytes = self.prog.read(start, stop - start)
            return data
        except FaultError as error:
            raise TargetError(
                f"The type information of {self.name} is not in the dump ({error})."
                " Give its vmlinux with -s."
            ) from None


def has_types(prog: Program) -> bool:
    try:
        prog.type("struct page")
    except LookupError:
        return False
    return True

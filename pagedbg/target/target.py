# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that is open: its drgn program, and what is known of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from drgn import FaultError, Program, ProgramFlags, Symbol, SymbolIndex

from pagedbg.errors import PagedbgError
from pagedbg.target.description import (
    Description,
    NoDescription,
    has_debug_info,
    is_running_kernel,
)
from pagedbg.target.dump_header import DumpFile
from pagedbg.target.dumpfile import recognize
from pagedbg.target.links import UNREADABLE
from pagedbg.target.qemu import QemuGuest
from pagedbg.target.symbols import Symbolizer

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class TargetError(PagedbgError):
    """The kernel cannot be looked at."""


class Target:
    """
    A kernel, open: ``prog`` is its drgn program, ``dump`` the file it came from,
    ``guest`` the virtual machine that it runs in, ``notes`` what was found amiss on
    opening.
    """

    def __init__(
        self,
        prog: Program,
        dump: DumpFile | None = None,
        guest: QemuGuest | None = None,
    ) -> None:
        self.prog = prog
        self.dump = dump
        self.guest = guest
        self.notes: list[str] = []
        self.types = "debug info"
        self._description = Description.of(prog)
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
        """Whether this is the kernel that we run on."""
        return is_running_kernel(self.prog)

    @property
    def changes(self) -> bool:
        """Whether its memory changes while it is read."""
        if self.guest is not None:
            return not self.guest.stopped
        return bool(self.prog.flags & ProgramFlags.IS_LIVE)

    @property
    def elsewhere(self) -> bool:
        """Whether it is a kernel that we do not run on: of a dump, or a guest's."""
        return self.has_kernel and not self.live

    @property
    def vmcoreinfo(self) -> Mapping[str, str]:
        """
        What the kernel says of itself for dump tools, by key (``OSRELEASE``,
        ``BUILD-ID``, ``SYMBOL(_stext)``, …).
        """
        return self._description.vmcoreinfo

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
    def host(self) -> str | None:
        """
        The name of the machine (``uname -n``, outside of containers that have their
        own); None if it is not known.
        """
        try:
            name: bytes = self.prog["init_uts_ns"].name.nodename.string_()
        except UNREADABLE:
            return None
        return name.decode(errors="backslashreplace") or None

    @property
    def name(self) -> str:
        """What the bottom line of the prompt says."""
        if not self.has_kernel:
            return "no kernel"
        if self.dump is not None:
            return f"{Path(self.dump.path).name} ({self.release})"
        if self.live:
            return f"{self.release} live"
        where = "QEMU" if self.guest is None else Path(self.guest.path).name
        return f"{self.release} in {where}"

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

    def close(self) -> None:
        """Let go of a guest, which goes on if it had to wait for us."""
        if self.guest is not None:
            self.guest.release()

    # ---- opening ----

    def describe(self, advance: Callable[[int], None] | None = None) -> None:
        """
        Give the program symbols and, unless debug info has them, types.

        :param advance: called with 1 when it has the symbols, and the types
        :raises TargetError: if the kernel carries neither
        """
        description = self._description
        try:
            self._index = description.symbols
        except NoDescription as error:
            if has_debug_info(self.prog):
                return
            raise TargetError(
                f"The symbols of {self.name} cannot be found: {error}. Give its"
                " vmlinux with -s."
            ) from None
        self.notes += description.notes
        if advance is not None:
            advance(1)
        if has_debug_info(self.prog):
            return
        try:
            description.register()
        except NoDescription as error:
            raise TargetError(
                f"The types of {self.name} cannot be found: {error}. Give its vmlinux"
                " with -s."
            ) from None
        self.types = "BTF"
        if advance is not None:
            advance(1)

    def _image_symbols(self) -> Iterable[Symbol]:
        symbols: Iterable[Symbol] = (
            self._index(self.prog, None, None, False)
            if self._index is not None
            else self.prog.symbols()
        )
        return symbols

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Open a kernel for drgn: this machine's or a dump's.

Where no debug info is given, symbols come from kallsyms and types from BTF, both of
which the kernel carries in its own memory (:mod:`pagedbg.target.btf`,
:mod:`pagedbg.target.globals`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import resource
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from drgn import (
    BadDataError,
    FaultError,
    MissingDebugInfoError,
    Program,
    ProgramFlags,
    Symbol,
    SymbolIndex,
)

from pagedbg.errors import PagedbgError
from pagedbg.target.btf import Btf
from pagedbg.target.dump_header import DumpFile
from pagedbg.target.dumpfile import open_file, recognize, recognize_open
from pagedbg.target.globals import GlobalFinder
from pagedbg.target.kallsyms import (
    load_dumped_symbols,
    load_hidden_symbols,
    load_symbols,
)
from pagedbg.target.symbols import Symbolizer

_LIVE_BTF = Path("/sys/kernel/btf/vmlinux")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# Has drgn look up virtual addresses, and not libkdumpfile.
_BY_PAGE_TABLES = "DRGN_PREFER_PGTABLE_READER"

# Which of drgn's plugins it is not to load when it opens a kernel. These define
# commands of drgn's own prompt, which takes a quarter of the time that opening a dump
# takes; others may know where there is debug info.
_WITHOUT_PLUGINS = "DRGN_DISABLE_PLUGINS"
_COMMANDS = ("builtin_commands", "crash_commands", "pagedbg")

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
        return str(uuid.UUID(bytes=made)) if any(made) else ""

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

    def describe(self) -> None:
        """
        Give the program symbols and, unless debug info has them, types.

        :raises TargetError: if the kernel carries neither
        """
        self._index, damage = self._kallsyms()
        if _has_types(self.prog):
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


def open_target(core: str | None = None, symbols: Sequence[str] = ()) -> Target:
    """
    Open a kernel.

    :param core: path of a dump; None for the running kernel
    :param symbols: files with debug info, preferred over what the kernel carries
    :raises PagedbgError: with a sentence for the user
    """
    # What drgn warns of while it looks for modules' debug info is nothing that was
    # asked for here.
    logging.getLogger("drgn").setLevel(logging.ERROR)
    target = _open_live() if core is None else _open_dump(core)
    if symbols:
        _load(target, symbols)
    try:
        target.describe()
    except TargetError as error:
        if target.dump is None or not target.dump.missing:
            raise
        raise TargetError(f"{target.dump.cut_short()} {error}") from None
    return target


def _open_live() -> Target:
    prog = Program()
    try:
        with _environment(_few_plugins()):
            prog.set_kernel()
    except PermissionError:
        if os.geteuid():
            raise TargetError(
                "Only root can read the memory of the running kernel: try `sudo"
                " pagedbg`, or open a dump with -c."
            ) from None
        raise TargetError(
            "The kernel refuses /proc/kcore: it is locked down (see"
            " /sys/kernel/security/lockdown) or this is an unprivileged container."
        ) from None
    except FileNotFoundError:
        raise TargetError(
            "This kernel has no /proc/kcore (CONFIG_PROC_KCORE): open a dump with -c."
        ) from None
    except (OSError, ValueError, Exception) as error:
        if not isinstance(error, (OSError, ValueError)) and type(
            error
        ).__module__ not in ("_drgn", "drgn", "builtins"):
            raise
        raise TargetError(
            f"The memory of the running kernel cannot be read: {error}."
        ) from None
    return Target(prog)


def _open_dump(path: str) -> Target:
    fd = open_file(path)
    try:
        dump = recognize_open(fd, path)
    except BaseException:
        os.close(fd)
        raise
    if dump.torn and not _survives(fd, dump):
        os.close(fd)
        raise TargetError(f"{dump.cut_short()} What is left cannot be read.")
    prog = _program(fd, dump)
    target = Target(prog, dump)
    if dump.missing:
        target.notes.append(dump.cut_short())
    return target


def _program(fd: int, dump: DumpFile) -> Program:
    """Have drgn open a dump; the descriptor is drgn's from here on."""
    prog = Program(dump.platform)
    settings = _few_plugins()
    if dump.torn:
        settings[_BY_PAGE_TABLES] = "1"
    try:
        with _environment(settings):
            # What was looked at, not whatever has that name by now.
            prog.set_core_dump(fd)
    except OSError as error:
        raise TargetError(
            f"{dump.path} cannot be read: {error.strerror or error}."
        ) from None
    except Exception as error:
        raise TargetError(f"{dump.path} is damaged or cut short: {error}.") from None
    if not prog.flags & ProgramFlags.IS_LINUX_KERNEL:
        raise TargetError(
            f"{dump.path} is not a dump of a Linux kernel: it has no vmcoreinfo."
        )
    dump.guard(prog)
    return prog


def _few_plugins() -> dict[str, str]:
    chosen = os.environ.get(_WITHOUT_PLUGINS)
    return {
        _WITHOUT_PLUGINS: (
            ",".join([*([chosen] if chosen else []), *_COMMANDS])
            if chosen != "*"
            else chosen
        )
    }


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Have variables of the environment set for as long as drgn reads them."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _survives(fd: int, dump: DumpFile) -> bool:
    """
    Whether a dump that ends in a page can be opened without reading that page, which
    libkdumpfile does not survive; another process tries.

    What it reads for itself, page tables of the kernel's, it has read when it has read
    anything.
    """
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _program(os.dup(fd), dump).read(0, 1, True)
    except Exception:
        # It was said: the first process will hear the same.
        pass
    finally:
        os._exit(0)


def _load(target: Target, symbols: Sequence[str]) -> None:
    """Load debug info from files, refusing those of another build."""
    for path in symbols:
        os.close(open_file(path, "debug info is in a file"))
    prog = target.prog
    try:
        prog.load_debug_info(symbols)
    except MissingDebugInfoError:
        pass
    except Exception as error:
        raise TargetError(
            f"{', '.join(symbols)} cannot be taken as debug info: {error}."
        ) from None
    if not _has_types(prog):
        wanted = target.vmcoreinfo.get("BUILD-ID", "unknown")
        raise TargetError(
            f"{', '.join(symbols)} has no debug info for {target.name}, whose build id"
            f" is {wanted}: give that kernel's own vmlinux, or leave -s out."
        )


def _has_types(prog: Program) -> bool:
    try:
        prog.type("struct page")
    except LookupError:
        return False
    return True


__all__ = ("Target", "TargetError", "open_target")

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a kernel says of itself: symbols by its kallsyms, types by its BTF. It carries both
in its own memory; where kallsyms are, a dump tells since Linux 6.0.

:class:`Description` gives them to drgn, which asks its finders in turn: debug info,
where somebody has loaded it, has answered before these are asked.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from drgn import (
    BadDataError,
    FaultError,
    Program,
    ProgramFlags,
    Symbol,
    SymbolIndex,
    SymbolKind,
    Type,
    TypeKind,
    TypeKindSet,
)
from drgn.helpers.linux.module import for_each_module

from pagedbg.errors import PagedbgError
from pagedbg.target import FINDER
from pagedbg.target.btf import Btf
from pagedbg.target.globals import GlobalFinder
from pagedbg.target.kallsyms import (
    load_dumped_symbols,
    load_hidden_symbols,
    load_symbols,
)
from pagedbg.target.links import UNREADABLE, bounded
from pagedbg.target.module_types import ModuleTypes
from pagedbg.target.symbols import module_symbols

_LIVE_BTF = Path("/sys/kernel/btf/vmlinux")

# A distribution's kernel has 5 to 10 MiB.
_MOST_BTF = 64 << 20

_KEY = "pagedbg description"

_UNREADABLE = (
    BadDataError,
    LookupError,
    FaultError,
    OverflowError,
    ValueError,
    OSError,
)


class NoDescription(PagedbgError):
    """The kernel carries no symbols or no types, or they cannot be read; why."""


def is_running_kernel(prog: Program) -> bool:
    """Whether a program is the kernel that we run on, and not one of a guest."""
    local = ProgramFlags.IS_LIVE | ProgramFlags.IS_LOCAL
    return bool(prog.flags & local == local)


class Description:
    """A program's description of itself. Each part is read when it is first needed."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._live = is_running_kernel(prog)
        self.notes: list[str] = []

    @classmethod
    def of(cls, prog: Program) -> Description:
        """The description of a program, made on first use."""
        found = prog.config.get(_KEY)
        if found is None:
            found = prog.config[_KEY] = cls(prog)
        assert isinstance(found, Description)
        return found

    @functools.cached_property
    def vmcoreinfo(self) -> Mapping[str, str]:
        """
        What the kernel says of itself for dump tools, by key (``OSRELEASE``,
        ``BUILD-ID``, ``SYMBOL(_stext)``, …).
        """
        try:
            text = self._prog["VMCOREINFO"].string_().decode(errors="replace")
        except (LookupError, FaultError):
            return {}
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    @functools.cached_property
    def symbols(self) -> SymbolIndex:
        """
        The kernel's symbol table, without its modules'.

        :raises NoDescription: if there is none
        """
        if not self._live and "SYMBOL(kallsyms_names)" not in self.vmcoreinfo:
            raise NoDescription(
                "it has no kallsyms in its vmcoreinfo (Linux 6.0 and later do)"
            )
        try:
            if not self._live:
                return load_dumped_symbols(self._prog, self.vmcoreinfo)
            index = load_symbols(self._prog)
            if not any(s.address for s in index(self._prog, "_stext", None, False)):
                # kernel.kptr_restrict=2 blanks /proc/kallsyms even for root; kernel
                # memory has the table all the same.
                index = load_hidden_symbols(self._prog)
                self.notes.append(
                    "kernel.kptr_restrict hides /proc/kallsyms: symbols were read from"
                    " kernel memory."
                )
            return index
        except _UNREADABLE as error:
            raise NoDescription(f"its kallsyms cannot be read ({error})") from None

    @functools.cached_property
    def types(self) -> Btf:
        """
        The kernel's types.

        :raises NoDescription: if there are none
        """
        return Btf(self._prog, self._btf())

    def _btf(self) -> bytes:
        if self._live and _LIVE_BTF.exists():
            return _LIVE_BTF.read_bytes()
        start, stop = self._address("__start_BTF"), self._address("__stop_BTF")
        if start is None or stop is None:
            raise NoDescription(
                "it carries no type information (CONFIG_DEBUG_INFO_BTF, and"
                " CONFIG_KALLSYMS_ALL to find it in a dump)"
            )
        if not 0 < stop - start < _MOST_BTF:
            raise NoDescription(
                "its symbols are damaged: its type information would have"
                f" {stop - start} bytes"
            )
        try:
            data: bytes = self._prog.read(start, stop - start)
            return data
        except FaultError as error:
            raise NoDescription(
                f"its type information is not in the dump ({error})"
            ) from None

    # ---- for drgn ----

    def find_symbol(
        self, prog: Program, name: str | None, address: int | None, one: bool
    ) -> Sequence[Symbol]:
        """
        A drgn symbol finder. Modules' symbols are found by address: to look for each
        name that the kernel has not in all modules would be slow.
        """
        if address is not None:
            start, end = self._image
            # Offsets of per-CPU variables are symbols, too, and small numbers.
            if not start <= address < end:
                in_modules: Sequence[Symbol] = self._modules(prog, name, address, one)
                return in_modules
        found: Sequence[Symbol] = self.symbols(prog, name, address, one)
        if name is None and address is None:
            # All of them: it would take as long as to open a dump.
            return found
        return [self._of_its_kind(symbol) for symbol in found]

    def _of_its_kind(self, symbol: Symbol) -> Symbol:
        """
        A symbol as a variable, if it is one: where .data has some code, as in 7.3, all
        that is in it is on the list as a function ("T").
        """
        start, end = self._data
        if symbol.kind != SymbolKind.FUNC or not start <= symbol.address < end:
            return symbol
        return Symbol(
            symbol.name, symbol.address, symbol.size, symbol.binding, SymbolKind.OBJECT
        )

    @functools.cached_property
    def _data(self) -> tuple[int, int]:
        """Where .data lies."""
        return self._address("_sdata") or 0, self._address("_edata") or 0

    @functools.cached_property
    def _image(self) -> tuple[int, int]:
        """Where the kernel image lies, as far as its symbols tell."""
        return self._address("_text") or 0, self._address("_end") or 0

    @functools.cached_property
    def _modules(self) -> SymbolIndex:
        found: list[Symbol] = []
        with contextlib.suppress(*UNREADABLE):
            for module in bounded(for_each_module(self._prog)):
                found += module_symbols(module)
        return SymbolIndex(found)

    def find_type(
        self, prog: Program, kinds: TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        """A drgn type finder."""
        return self.types.find_type(prog, kinds, name, filename)

    @functools.cached_property
    def module_types(self) -> ModuleTypes:
        """
        The types of modules, for whoever looks in drgn for one that the kernel has not.
        Where we open it, the kernel alone is asked: what one of its versions lacks, by
        which they are told apart, a module may have.
        """
        return ModuleTypes(self._prog, self.types)

    @functools.cached_property
    def find_object(self) -> GlobalFinder:
        """A drgn object finder."""
        return GlobalFinder(self.types)

    def register(self) -> None:
        """
        Have drgn ask these finders after those that it has; where drgn opened the
        program, it asks them already.

        :raises NoDescription: if one of them would find nothing
        """
        prog = self._prog
        self.complete()
        if FINDER not in prog.registered_type_finders():
            prog.register_symbol_finder(FINDER, self.find_symbol, enable_index=-1)
            prog.register_type_finder(FINDER, self.find_type, enable_index=-1)
            prog.register_object_finder(FINDER, self.find_object, enable_index=-1)

    def complete(self) -> None:
        """
        Read all of it, and say where the kernel image lies.

        :raises NoDescription: if there is no such thing as a part of it
        """
        _ = self.symbols, self.types
        # Without that drgn's ORC unwinder goes astray after a few frames.
        module = self._prog.main_module("kernel", create=True)
        if module.address_range is None and all(self._image):
            module.address_range = self._image

    def _address(self, name: str) -> int | None:
        found = self.symbols(self._prog, name, None, True)
        return found[0].address if found else None


def has_debug_info(prog: Program) -> bool:
    """Whether somebody else than a :class:`Description` gives this program types."""
    enabled = prog.enabled_type_finders()
    prog.set_enabled_type_finders([name for name in enabled if name != FINDER])
    try:
        prog.type("struct page")
    except LookupError:
        return False
    else:
        return True
    finally:
        prog.set_enabled_type_finders(enabled)


def module_struct(prog: Program, name: str) -> Type:
    """
    Return a structure of the kernel's, or else of one of its modules.

    :param name: without ``struct``
    :raises LookupError: if none of them has one of this name
    """
    try:
        return prog.type(f"struct {name}")
    except LookupError:
        pass
    try:
        types = Description.of(prog).module_types
    except NoDescription as error:
        raise LookupError(str(error)) from None
    found = types.find_type(prog, TypeKindSet({TypeKind.STRUCT}), name, None)
    if found is None:
        raise LookupError(f"there is no struct {name}")
    return found

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Addresses to names, as the kernel itself prints them (``%pS``), and names to addresses,
from kallsyms.

drgn's own symbol look-up keeps one of several aliases and has no sizes for large
symbols; a stack that is compared with the kernel's text has to follow
``kernel/kallsyms.c`` (``get_symbol_pos()``) and ``kernel/module/kallsyms.c``
(``find_kallsyms_symbol()``) instead.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Iterable, Sequence

import numpy as np
from drgn import Object, ObjectNotFoundError, Program, Symbol, SymbolBinding, cast
from drgn.helpers.linux.kallsyms import module_kallsyms
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.module import for_each_module

from pagedbg.target.links import UNREADABLE, Damaged, bounded

_MOST_SYMBOLS = 1 << 20
_MOST_NAMES = 64 << 20

# scripts/kallsyms.c, may_be_linker_script_provide_symbol(): sorted behind the others at
# one address.
_LINKER_PROVIDED = re.compile(r"__((start|stop|end)_.*|.*_(start|end))", re.DOTALL)


_ADDRESS, _NAME = operator.attrgetter("address"), operator.attrgetter("name")


@dataclasses.dataclass(frozen=True)
class SymbolTable:
    """
    Symbols of one piece of address space: the kernel image, a module's text, a BPF
    program.
    """

    start: int
    end: int
    addresses: np.ndarray  # uint64, sorted, each once
    names: Sequence[str]
    suffix: str = ""

    @classmethod
    def of(
        cls, start: int, end: int, symbols: Iterable[tuple[int, str]], suffix: str = ""
    ) -> SymbolTable:
        """
        Build a table of ``(address, name)`` pairs, of which the first at each address
        counts.
        """
        first: dict[int, str] = {}
        for address, name in symbols:
            first.setdefault(address, name)
        addresses = np.array(sorted(first), np.uint64)
        return cls(
            start, end, addresses, [first[a] for a in addresses.tolist()], suffix
        )

    def name(self, address: int) -> str | None:
        """``symbol+0x10/0x80 [module]`` for an address within the table."""
        index = int(np.searchsorted(self.addresses, np.uint64(address), "right")) - 1
        if index < 0:
            return None
        symbol = int(self.addresses[index])
        following = (
            int(self.addresses[index + 1])
            if index + 1 < len(self.addresses)
            else self.end
        )
        size = min(following, self.end) - symbol
        return f"{self.names[index]}+{address - symbol:#x}/{size:#x}{self.suffix}"


class Symbolizer:
    """
    Turns return addresses into the lines that the kernel prints for them.

    Modules and BPF programs are read when an address lies in one of them, and
    remembered.
    """

    def __init__(self, prog: Program, symbols: Iterable[Symbol]) -> None:
        """:param symbols: the kernel image's, as kallsyms has them"""
        self._prog = prog
        self._image = _image_table(prog, symbols)
        self._others: list[SymbolTable] | None = None
        self._names: dict[int, str] = {}
        self.notes: list[str] = []

    def __call__(self, pcs: Iterable[int]) -> list[str]:
        """Name each address, ``0x…`` where nothing is known to be there."""
        names = self._names
        return [
            names[pc] if pc in names else names.setdefault(pc, self._name(pc))
            for pc in pcs
        ]

    def forget_modules(self) -> None:
        """
        Read modules and BPF programs anew when next asked: a running kernel loads some,
        and others in their place.
        """
        if self._others:
            self._names = {
                pc: name
                for pc, name in self._names.items()
                if self._image.start <= pc < self._image.end
            }
        self._others = None

    def _name(self, pc: int) -> str:
        table = (
            self._image
            if self._image.start <= pc < self._image.end
            else self._other(pc)
        )
        return (table.name(pc) if table else None) or f"0x{pc:x}"

    def _other(self, pc: int) -> SymbolTable | None:
        if self._others is None:
            self._others = [
                *self._read(_module_tables, "modules"),
                *self._read(_bpf_tables, "BPF programs"),
            ]
        return next(
            (table for table in self._others if table.start <= pc < table.end), None
        )

    def _read(self, read: object, what: str) -> list[SymbolTable]:
        assert callable(read)
        try:
            return list(read(self._prog))
        except UNREADABLE as error:
            self.notes.append(
                f"The symbols of {what} could not be read ({error}): their frames are"
                " shown as addresses."
            )
            return []


def _image_table(prog: Program, symbols: Iterable[Symbol]) -> SymbolTable:
    found = list(symbols)
    # Of a hundred thousand symbols each look is a few milliseconds of the start.
    addresses = np.fromiter(map(_ADDRESS, found), np.uint64, len(found))
    names = list(map(_NAME, found))
    start, end = (
        found[names.index(bound)].address if bound in names else 0
        for bound in ("_stext", "_end")
    )
    inside = np.flatnonzero((addresses >= start) & (addresses < end))
    inside = inside[np.argsort(addresses[inside], kind="stable")]
    unique, first, count = np.unique(
        addresses[inside], return_index=True, return_counts=True
    )
    chosen = inside[first]
    for at in np.flatnonzero(count > 1):
        aliases = inside[first[at] : first[at] + count[at]].tolist()
        chosen[at] = min(aliases, key=lambda index: _rank(found[index]))
    return SymbolTable(
        start, end, unique, list(map(names.__getitem__, chosen.tolist()))
    )


def _rank(symbol: Symbol) -> tuple[bool, bool, int]:
    """
    The order in which scripts/kallsyms.c, compare_symbols(), puts symbols of one
    address; the kernel takes the first.
    """
    name = symbol.name
    return (
        symbol.binding == SymbolBinding.WEAK,
        bool(_LINKER_PROVIDED.fullmatch(name)),
        len(name) - len(name.lstrip("_")),
    )


def module_symbols(module: Object) -> list[Symbol]:
    """
    The symbols of a module, as its own kallsyms has them.

    :raises Damaged: if there would be more, or longer names of them, than a module can
        have
    """
    table = module.kallsyms
    count = table.num_symtab.value_()
    if not count:
        return []
    # drgn reads all names up to that of the last symbol.
    if count >= _MOST_SYMBOLS or table.symtab[count - 1].st_name.value_() > _MOST_NAMES:
        raise Damaged(
            "the memory of this kernel is damaged: a module would have more symbols"
            " than any"
        )
    return module_kallsyms(module)


def symbols_of_module(prog: Program, name: bytes) -> dict[str, int] | None:
    """The addresses of a module's symbols, by name; None if it is not loaded."""
    for module in bounded(for_each_module(prog)):
        if module.name.string_() == name:
            return {each.name: each.address for each in module_symbols(module)}
    return None


def _module_tables(prog: Program) -> Iterable[SymbolTable]:
    for module in bounded(for_each_module(prog)):
        name = module.name.string_().decode()
        start, size = _module_text(prog, module)
        inside = (
            (symbol.address, symbol.name)
            for symbol in module_symbols(module)
            # kernel/module/kallsyms.c passes over unnamed and mapping symbols.
            if symbol.name
            and not symbol.name.startswith((".L", "L0", "$"))
            and start <= symbol.address < start + size
        )
        yield SymbolTable.of(start, start + size, inside, f" [{name}]")


def _module_text(prog: Program, module: Object) -> tuple[int, int]:
    # Since Linux kernel commit ac3b43283923 ("module: replace module_layout with
    # module_memory") (in v6.4), a module has an array of struct module_memory.
    try:
        text = module.mem[prog.constant("MOD_TEXT")]
        return text.base.value_(), text.size.value_()
    except AttributeError:
        layout = module.core_layout
        return layout.base.value_(), layout.text_size.value_()


def _bpf_tables(prog: Program) -> Iterable[SymbolTable]:
    try:
        head = prog["bpf_kallsyms"]
    except ObjectNotFoundError:
        return
    for ksym in bounded(
        list_for_each_entry("struct bpf_ksym", head.address_of_(), "lnode")
    ):
        start, end = ksym.start.value_(), ksym.end.value_()
        yield SymbolTable.of(
            start,
            end,
            [(start, cast("char *", ksym.name).string_().decode())],
            " [bpf]",
        )

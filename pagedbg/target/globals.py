# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel's global variables, which BTF does not describe: their C types from
:mod:`pagedbg.target.declarations`, their addresses from kallsyms.

drgn's helpers ask for a variable and take ``LookupError`` for "this kernel has no such
thing", then do something else. A variable that the kernel has and nobody declared would
thus give *wrong data*: CPU 0's template for every CPU where ``__per_cpu_offset`` is not
known. So the finder here raises :class:`UndeclaredGlobal`, which is no ``LookupError``,
for a name that kallsyms has as data and that has not.
"""

from __future__ import annotations

import re

from drgn import (
    FindObjectFlags,
    Object,
    Program,
    Symbol,
    SymbolKind,
    Type,
    sizeof,
)

from pagedbg.errors import PagedbgError
from pagedbg.target.btf import Btf
from pagedbg.target.declarations import (
    DECLARED,
    FILES,
    GLOBALS,
    MADE,
    find_symbol,
)


class UndeclaredGlobal(PagedbgError):
    """The kernel has this variable, but without debug info its type is not known."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the type of the kernel's variable {name} is not known without debug info:"
            " give a vmlinux with -s."
        )


class GlobalFinder:
    """
    drgn object finder for a program whose types come from BTF and whose symbols come
    from kallsyms.
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._text: list[tuple[int, int]] | None = None
        self._found: dict[tuple[str, FindObjectFlags], Object | None] = {}

    def __call__(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        # Symbols do not say which file they are of.
        if filename is not None and not _names_file(filename, FILES.get(name)):
            return None
        # Helpers look up the same few names for every page, and to find that there is
        # no such constant takes a search of all strings.
        key = (name, flags)
        if key not in self._found:
            self._found[key] = self._find(prog, name, flags)
        return self._found[key]

    def _find(self, prog: Program, name: str, flags: FindObjectFlags) -> Object | None:
        # That there is no such constant takes a search of all strings: not for what is
        # known to be a variable.
        if (
            flags & FindObjectFlags.CONSTANT
            and name not in DECLARED
            and (constant := self._btf.enumerator(name)) is not None
        ):
            return constant
        symbol = find_symbol(prog, name)
        if symbol is not None and name in FILES:
            symbol = self._only_data(prog, name)
        if symbol is None:
            return None
        if flags & FindObjectFlags.VARIABLE:
            kind = self._variable_type(prog, name)
            if kind is not None:
                return Object(prog, kind, address=symbol.address)
        if not self._is_text(prog, symbol):
            if flags & FindObjectFlags.VARIABLE and symbol.kind in (
                SymbolKind.OBJECT,
                SymbolKind.FUNC,
            ):
                raise UndeclaredGlobal(name)
            return None
        if flags & FindObjectFlags.FUNCTION:
            kind = self._btf.function_type(name) or prog.function_type(
                prog.void_type(), ()
            )
            return Object(prog, kind, address=symbol.address)
        return None

    def _only_data(self, prog: Program, name: str) -> Symbol:
        """The variable of a name that functions may have, too."""
        data = [each for each in prog.symbols(name) if not self._is_text(prog, each)]
        if len(data) != 1:
            raise UndeclaredGlobal(name)
        return data[0]

    def _variable_type(self, prog: Program, name: str) -> Type | None:
        # Kernels whose BTF was made with pahole's "global_var" describe all of them.
        if self._btf.has_globals and (found := self._btf.variable_type(name)):
            return found
        if name in MADE:
            return MADE[name](prog)
        declaration = GLOBALS.get(name)
        if declaration is None:
            return self._btf.variable_type(name)
        lengths = {
            constant: self._length(name, constant)
            for constant in re.findall(r"\{(\w+)\}", declaration)
        }
        if "[*]" in declaration:
            return _nonzero(prog, name, declaration)
        return prog.type(declaration.format(**lengths))

    def _length(self, name: str, constant: str) -> int:
        found = self._btf.enumerator(constant)
        if found is None:
            raise UndeclaredGlobal(name)
        length: int = found.value_()
        return length

    def _is_text(self, prog: Program, symbol: Symbol) -> bool:
        """
        Whether a symbol is a function's. Its letter in kallsyms does not tell: in 7.3
        much of .data is "T".
        """
        if self._text is None:
            bounds = (("_stext", "_etext"), ("_sinittext", "_einittext"))
            pairs = [
                (find_symbol(prog, start), find_symbol(prog, end))
                for start, end in bounds
            ]
            self._text = [
                (start.address, end.address) for start, end in pairs if start and end
            ]
        if not self._text:
            return bool(symbol.kind == SymbolKind.FUNC)
        return any(start <= symbol.address < end for start, end in self._text)


def _nonzero(prog: Program, name: str, declaration: str) -> Type:
    element = prog.type(declaration.removesuffix(" [*]"))
    symbol = prog.symbol(name)
    size = sizeof(element)
    room = prog.read(symbol.address, symbol.size // size * size)
    length = next(
        (
            at // size
            for at in range(0, len(room), size)
            if not any(room[at : at + size])
        ),
        len(room) // size,
    )
    return prog.array_type(element, length)


def _names_file(filename: str, path: str | None) -> bool:
    """Whether a file's name, or the last parts of its path, are those of a path."""
    return path is not None and f"/{path}".endswith(f"/{filename}")

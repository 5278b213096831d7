# SPDX-License-Identifier: GPL-2.0-or-later
"""
The types of the kernel's modules, by the BTF of each, which refers to the kernel's own:
its types are numbered on from the kernel's, and so are its strings.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from drgn import Object, Program, Type, TypeKindSet
from drgn.helpers.linux.list import list_for_each_entry

from pagedbg.target.btf import Btf
from pagedbg.target.links import UNREADABLE, bounded

# A driver has some hundred KiB.
_MOST_BTF = 16 << 20


class ModuleTypes:
    """
    The types of all modules. Nothing is read before one is looked for.

    :param kernel: the kernel's own
    """

    def __init__(self, prog: Program, kernel: Btf) -> None:
        self._prog = prog
        self._kernel = kernel
        # drgn asks again and again.
        self._unknown: set[tuple[TypeKindSet, str]] = set()

    def find_type(
        self, prog: Program, kinds: TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        """A drgn type finder; of several modules, that first loaded has the word."""
        if (kinds, name) in self._unknown:
            return None
        for module in self._modules:
            if found := module.find_type(prog, kinds, name, filename):
                return found
        self._unknown.add((kinds, name))
        return None

    @functools.cached_property
    def _modules(self) -> list[ModuleBtf]:
        found = []
        # The newest is first in the list.
        for data in reversed([*self._blobs()]):
            with contextlib.suppress(*UNREADABLE):
                found.append(ModuleBtf(self._prog, data, self._kernel))
        return found

    def _blobs(self) -> Iterator[bytes]:
        """
        What ``btf_modules`` of ``kernel/bpf/btf.c`` lists, as far as it can be read and
        refers to the kernel's types.
        """
        prog = self._prog
        with contextlib.suppress(*UNREADABLE):
            head = Object(
                prog, "struct list_head", address=prog.symbol("btf_modules").address
            )
            for module in bounded(
                list_for_each_entry("struct btf_module", head.address_of_(), "list")
            ):
                btf, size = module.btf, module.btf.data_size.value_()
                if size < _MOST_BTF and btf.start_id == len(self._kernel):
                    with contextlib.suppress(*UNREADABLE):
                        yield prog.read(btf.data.value_(), size)


class ModuleBtf(Btf):
    """
    The types in a module's BTF (split BTF).

    :param kernel: the BTF that it refers to
    :raises BtfError: if it is damaged or has a record that is not known
    """

    def __init__(self, prog: Program, data: bytes, kernel: Btf) -> None:
        super().__init__(prog, data)
        self._kernel, self._first = kernel, len(kernel._strings)
        # Nor is there but one empty string: ours need not begin with it.
        self._strings = b"\0" + self._strings

    def type(self, index: int) -> Type:
        """Return the type with this id, the kernel's or one of ours."""
        own = index - len(self._kernel)
        # There is but one void: here, records begin at 1.
        return self._kernel.type(index) if own < 0 else super().type(own + 1)

    def _id(self, record: int) -> int:
        return len(self._kernel) + record - 1

    def _string(self, offset: int) -> str:
        own = offset - self._first
        return self._kernel._string(offset) if own < 0 else super()._string(own + 1)

    def _string_offsets(self, name: str) -> tuple[int, ...]:
        # Of a module that was not built with the kernel (.BTF.base) a string may be
        # both among the kernel's and its own.
        own = super()._string_offsets(name)
        return *self._kernel._string_offsets(name), *(
            self._first + at - 1 for at in own
        )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
A list of DMA buffers on a kernel made by hand: where it is damaged, what comes before
still has a name. Those of real kernels are found in tests/vm/test_tags.py.
"""

from __future__ import annotations

import struct

import pytest
from drgn import Symbol, SymbolBinding, SymbolKind, TypeMember
from fake_kernel import BASE, FakeKernel

from pagedbg.mm.dma_buf import for_each_dma_buf
from pagedbg.target.links import UNREADABLE

# The head of the list lies at the beginning, and buffers behind it, each with its file
# and its inode.
BUFFER, NODE, FILE, INODE, SIZE = 0, 40, 64, 80, 96


def at(number: int) -> int:
    """Where a buffer is."""
    return BASE + 16 + number * SIZE


class DmaKernel(FakeKernel):
    """A kernel with two buffers."""

    def __init__(self, *, last: int = BASE, owner: int = at(1)) -> None:
        """
        :param last: what the last node of the list leads to
        :param owner: of whom the second buffer's file is
        """
        super().__init__()
        members = [
            # It points to its like.
            TypeMember(lambda: self.prog.type("struct list_head *"), name, bit)
            for name, bit in (("next", 0), ("prev", 64))
        ]
        self._types["list_head"] = self.prog.struct_type("list_head", 16, members)
        self.struct("inode", (("unsigned long", "i_ino"),))
        self.struct("file", (("void *", "private_data"), ("struct inode *", "f_inode")))
        self.struct(
            "dma_buf",
            (
                *(("struct file *", "file"), ("void *", "ops"), ("char *", "exp_name")),
                *(("char *", "name"), ("void *", "priv")),
                ("struct list_head", "list_node"),
            ),
        )
        names = BASE + 16 + 2 * SIZE
        data = struct.pack("<QQ", at(0) + NODE, 0)
        for number, (following, private, name) in enumerate(
            ((at(1) + NODE, at(0), 0), (last, owner, names + 8))
        ):
            data += struct.pack(
                "<QQQQQQQxxxxxxxxQQQxxxxxxxx",
                *(at(number) + FILE, 0, names, name, 0, following, 0),
                *(private, at(number) + INODE, 7 + number),
            )
        self.allocate(data + b"gpu\0\0\0\0\0frame\0".ljust(600, b"\0"))
        self.prog.register_symbol_finder("fake", self._find_symbol, enable_index=0)

    def _find_symbol(
        self, prog: object, name: str | None, address: int | None, one: bool
    ) -> list[Symbol]:
        if name != "dmabuf_list":
            return []
        return [Symbol(name, BASE, 0, SymbolBinding.GLOBAL, SymbolKind.OBJECT)]


def test_buffers_have_number_exporter_and_name() -> None:
    found = list(for_each_dma_buf(DmaKernel().prog))
    assert [each.name for each in found] == [
        "DMA buffer 7 of gpu",
        "DMA buffer 8 of gpu (frame)",
    ]
    assert all(len(each.pfns) == 0 for each in found)
    assert list(for_each_dma_buf(FakeKernel().prog)) == []


@pytest.mark.parametrize(
    "wrong", [{"last": at(0) + NODE}, {"owner": at(0)}, {"last": 16}]
)
def test_a_list_that_is_damaged_ends_there(wrong: dict[str, int]) -> None:
    found = []
    with pytest.raises(UNREADABLE):
        found.extend(each.name for each in for_each_dma_buf(DmaKernel(**wrong).prog))
    assert found[0] == "DMA buffer 7 of gpu"

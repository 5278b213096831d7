# SPDX-License-Identifier: GPL-2.0-or-later
"""
How arm64's page tables are made, by the size of pages and the length of addresses: what
stands in the kernel's Documentation/arch/arm64/memory.rst, and in pgtable-hwdef.h.
"""

from __future__ import annotations

import numpy as np
import pytest
from fake_kernel import FakeKernel

from pagedbg.mm import page_tables
from pagedbg.target.links import Damaged


def kernel(page_size: int, vmcoreinfo: bytes) -> FakeKernel:
    fake = FakeKernel()
    fake.constant("PAGE_SHIFT", page_size.bit_length() - 1)
    kind = fake.prog.array_type(fake.prog.type("char"), len(vmcoreinfo))
    fake.variable("VMCOREINFO", kind, vmcoreinfo)
    return fake


def of_addresses(page_size: int, bits: int) -> FakeKernel:
    return kernel(
        page_size, b"NUMBER(VA_BITS)=52\nNUMBER(TCR_EL1_T1SZ)=%#x\n" % (64 - bits)
    )


@pytest.mark.parametrize(
    ("page_size", "bits", "levels", "top"),
    [
        (4096, 39, 3, 512),
        (4096, 48, 4, 512),
        (4096, 52, 5, 16),
        (16384, 47, 3, 2048),
        (16384, 48, 4, 2),
        (16384, 52, 4, 32),
        (65536, 42, 2, 8192),
        (65536, 48, 3, 64),
        (65536, 52, 3, 1024),
    ],
)
def test_levels_and_the_uppermost_table(
    page_size: int, bits: int, levels: int, top: int
) -> None:
    form = page_tables._arm64(of_addresses(page_size, bits).prog)
    assert (1 << form.page_shift, form.levels, form.top) == (page_size, levels, top)


@pytest.mark.parametrize(
    ("page_size", "descriptor", "address"),
    [
        (4096, 0x10000000_48001003, 0x48001000),
        (4096, 0x0003_FFFF_FFFF_F303, 0xF_FFFF_FFFF_F000),
        (16384, 0x0003_0000_4800_4203, 0xB_0000_4800_4000),
        (65536, 0x0000_FFFF_FFFF_A003, 0xA_FFFF_FFFF_0000),
    ],
)
def test_only_descriptors_of_tables_lead_to_one(
    page_size: int, descriptor: int, address: int
) -> None:
    form = page_tables._arm64(of_addresses(page_size, 48).prog)
    # None, a block of memory, a table, what is not valid.
    entries = np.array([0, descriptor ^ 2, descriptor, descriptor ^ 1], np.uint64)
    assert form.tables(entries, 2).tolist() == [address]


@pytest.mark.parametrize(
    "vmcoreinfo",
    [
        b"OSRELEASE=6.12\n",
        b"NUMBER(TCR_EL1_T1SZ)=0x0\n",
        b"NUMBER(TCR_EL1_T1SZ)=0x3f\n",
    ],
)
def test_an_impossible_length_is_refused(vmcoreinfo: bytes) -> None:
    with pytest.raises(Damaged):
        page_tables._arm64(kernel(4096, vmcoreinfo).prog)

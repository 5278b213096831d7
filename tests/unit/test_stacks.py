# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which function and which module a stack is put down to; the stacks are what the lab's
kernels printed.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.sources.stack_frames import function_of, module_of

LINUX_6_1 = (
    (
        "copy_process",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
__alloc_pages_bulk+0x3cd/0x610
__vmalloc_node_range+0x250/0x840
copy_process+0x276/0x1740
kernel_clone+0xaf/0x370
""",
    ),
    (
        "copy_process",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
slob_new_pages+0x81/0xa0
slob_alloc_node+0x41/0xd0
copy_process+0x1cd/0x1740
kernel_clone+0xaf/0x370
""",
    ),
    (
        "p9_virtio_probe",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
__kmalloc_large_node+0x62/0xd0
kmalloc_large+0x19/0x90
p9_virtio_probe+0x36/0x2f0
virtio_dev_probe+0x19a/0x2c0
""",
    ),
    (
        "pcpu_balance_workfn",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
__vmalloc_node_range+0x3e8/0x840
__vmalloc_node+0x44/0x60
pcpu_create_chunk+0x4e/0x150
pcpu_balance_workfn+0x2d1/0x4f0
process_one_work+0x1c9/0x390
""",
    ),
    (
        "load_module",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
__vmalloc_node_range+0x3e8/0x840
module_alloc+0x7a/0xd0
load_module+0x9cf/0x1dd0
__do_sys_finit_module+0x8d/0xc0
""",
    ),
    (
        "__handle_mm_fault",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
__folio_alloc+0x17/0x40
vma_alloc_folio+0x88/0x320
__handle_mm_fault+0x9ad/0x1280
handle_mm_fault+0xbd/0x290
""",
    ),
    (
        "alloc_buddy_huge_page.isra.0",
        """
get_page_from_freelist+0x1255/0x1290
__alloc_pages+0x14a/0x260
alloc_buddy_huge_page.isra.0+0x62/0xf0
alloc_fresh_huge_page+0x10d/0x1c0
alloc_pool_huge_page+0x85/0x100
""",
    ),
    (
        "kernel_init_freeable",
        """
register_early_stack+0x28/0x43
init_page_owner+0x2f/0x30a
kernel_init_freeable+0xc6/0x1d1
kernel_init+0x16/0x120
""",
    ),
)

LINUX_6_12 = (
    (
        "copy_process",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_bulk_noprof+0x3c0/0x580
alloc_pages_bulk_array_mempolicy_noprof+0xb0/0x570
__vmalloc_node_range_noprof+0x22d/0x7b0
copy_process+0x9db/0x16e0
kernel_clone+0xb2/0x370
""",
    ),
    (
        "bucket_table_alloc.isra.0",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
allocate_slab+0x28d/0x3f0
___slab_alloc+0x61f/0x9f0
__kmalloc_node_noprof+0x101/0x3a0
bucket_table_alloc.isra.0+0x47/0x140
rhashtable_init_noprof+0x15f/0x220
""",
    ),
    (
        "alloc_buf.constprop.0",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
allocate_slab+0x28d/0x3f0
___slab_alloc+0x61f/0x9f0
__kmalloc_noprof+0x27b/0x350
alloc_buf.constprop.0+0x40/0xb0
fill_queue+0x26/0x110
""",
    ),
    (
        "alloc_vfsmnt",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
allocate_slab+0x28d/0x3f0
___slab_alloc+0x61f/0x9f0
__kmalloc_node_track_caller_noprof+0x100/0x3a0
kstrdup+0x36/0x70
alloc_vfsmnt+0x78/0x1c0
""",
    ),
    (
        "alloc_buddy_hugetlb_folio.isra.0",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
__folio_alloc_noprof+0x14/0x30
alloc_buddy_hugetlb_folio.isra.0+0x60/0xf0
alloc_pool_huge_folio+0xf3/0x100
set_max_huge_pages+0x18e/0x360
""",
    ),
    (
        "pcpu_balance_workfn",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
__vmalloc_node_range_noprof+0x379/0x7b0
__vmalloc_node_noprof+0x48/0x60
pcpu_create_chunk+0x158/0x1a0
pcpu_balance_workfn+0x3a6/0x4e0
process_one_work+0x14d/0x2f0
""",
    ),
    (
        "gen_pool_add_owner",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_bulk_noprof+0x3c0/0x580
alloc_pages_bulk_array_mempolicy_noprof+0x1e1/0x570
__vmalloc_node_range_noprof+0x22d/0x7b0
__vmalloc_node_noprof+0x48/0x60
gen_pool_add_owner+0x3e/0xa0
mce_gen_pool_init+0x8a/0xd0
""",
    ),
    (
        "mas_alloc_nodes",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
allocate_slab+0x28d/0x3f0
___slab_alloc+0x61f/0x9f0
kmem_cache_alloc_bulk_noprof+0xba/0x360
mas_alloc_nodes+0x107/0x1f0
""",
    ),
    (
        "__handle_mm_fault",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
vma_alloc_folio_noprof+0x61/0xb0
__handle_mm_fault+0x1057/0x1590
handle_mm_fault+0x163/0x2a0
""",
    ),
    (
        "ovl_alloc_inode",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
allocate_slab+0x28d/0x3f0
___slab_alloc+0x61f/0x9f0
kmem_cache_alloc_lru_noprof+0x176/0x260
ovl_alloc_inode+0x22/0x90
""",
    ),
    (
        "bioset_init",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
allocate_slab+0x28d/0x3f0
___slab_alloc+0x61f/0x9f0
kmem_cache_alloc_noprof+0x16f/0x250
mempool_init_node+0x90/0xc0
mempool_init_noprof+0x16/0x20
bioset_init+0xf0/0x2b0
""",
    ),
    (
        "tcp_metrics_init",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
___kmalloc_large_node+0xa6/0xc0
__kmalloc_large_node_noprof+0x1d/0x90
__kmalloc_node_noprof+0x1e1/0x3a0
__kvmalloc_node_noprof+0x43/0xc0
tcp_metrics_init+0x58/0xc0
""",
    ),
    (
        "__pud_alloc",
        """
get_page_from_freelist+0x141d/0x15a0
__alloc_pages_noprof+0x13a/0x2a0
alloc_pages_mpol_noprof+0xd6/0x1a0
__pud_alloc+0x30/0x1b0
vmap_small_pages_range_noflush+0x4f4/0x580
vmap+0x78/0xc0
""",
    ),
    (
        "mm_core_init",
        """
register_early_stack+0x3b/0x60
init_page_owner+0x30/0x2e0
mm_core_init+0xf9/0x2d0
start_kernel+0x2a7/0x7c0
""",
    ),
)

LINUX_7_3 = (
    (
        "copy_process",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
alloc_pages_node_noprof+0x53/0x90
__vmalloc_node_range_noprof+0x6c2/0x8c0
__vmalloc_node_noprof+0x48/0x60
copy_process+0x3f0/0x2280
kernel_clone+0xd0/0x420
""",
    ),
    (
        "__kernfs_new_node",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
allocate_slab+0x92/0x570
refill_objects+0xb7/0x230
__pcs_replace_empty_main+0x1e9/0x350
kmem_cache_alloc_noprof+0x37a/0x3d0
__kernfs_new_node+0x4e/0x230
kernfs_create_dir_ns+0x5c/0xe0
""",
    ),
    (
        "mas_alloc_cyclic",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
allocate_slab+0x92/0x570
refill_objects+0xb7/0x230
__prefill_sheaf_pfmemalloc+0x60/0xb0
kmem_cache_prefill_sheaf+0xb0/0x250
mas_alloc_cyclic+0x50a/0x630
mtree_alloc_cyclic+0x95/0xc0
""",
    ),
    (
        "bucket_table_alloc.isra.0",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
allocate_slab+0x92/0x570
refill_objects+0xb7/0x230
__pcs_replace_empty_main+0x1e9/0x350
__kvmalloc_node_noprof+0x50f/0x660
bucket_table_alloc.isra.0+0x4c/0x140
__rhashtable_init_noprof+0x158/0x240
""",
    ),
    (
        "pcpu_balance_workfn",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
alloc_pages_node_noprof+0x53/0x90
pcpu_populate_chunk+0xc6/0x470
pcpu_balance_workfn+0x1a7/0x4b0
process_one_work+0x18f/0x360
""",
    ),
    (
        "load_module",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
alloc_pages_mpol+0xaa/0x180
alloc_pages_noprof+0x3b/0x90
__vmalloc_node_range_noprof+0x27e/0x8c0
execmem_vmalloc+0x42/0xc0
execmem_alloc+0xc2/0x190
execmem_alloc_rw+0x13/0x60
load_module+0x798/0x2070
init_module_from_file+0xa2/0xc0
""",
    ),
    (
        "__filemap_get_folio_mpol",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
alloc_pages_mpol+0xaa/0x180
folio_alloc_noprof+0x45/0xa0
__filemap_get_folio_mpol+0x1d1/0x4d0
__getblk_slow+0x86/0x220
""",
    ),
    (
        "only_alloc_fresh_hugetlb_folio.isra.0",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
only_alloc_fresh_hugetlb_folio.isra.0+0xb4/0x130
alloc_pool_huge_folio+0x9e/0x1b0
__nr_hugepages_store_common+0x297/0x630
""",
    ),
    (
        "__handle_mm_fault",
        """
prep_new_page+0x96/0xb0
get_page_from_freelist+0x96d/0x1be0
__alloc_frozen_pages_noprof+0x186/0x340
alloc_pages_mpol+0xaa/0x180
vma_alloc_folio_noprof+0x61/0xb0
__handle_mm_fault+0x1557/0x1de0
handle_mm_fault+0xb1/0x310
""",
    ),
)

ALLOCATOR_ALONE = [
    "get_page_from_freelist+0x141d/0x15a0",
    "__alloc_pages_noprof+0x13a/0x2a0",
    "alloc_pages_mpol_noprof+0xd6/0x1a0",
]
MODULE = [
    *ALLOCATOR_ALONE,
    "pagedbg_alloc_order9+0x15/0x20 [pagedbg_blocks]",
    "0xffffffffc0228017",
    "do_one_initcall+0x53/0x1c0",
]


STACKS = {"6.1": LINUX_6_1, "6.12": LINUX_6_12, "7.3": LINUX_7_3}


@pytest.mark.parametrize(
    "name, stack",
    [
        pytest.param(name, stack.strip().split("\n"), id=f"{release}-{name}")
        for release, stacks in STACKS.items()
        for name, stack in stacks
    ],
)
def test_the_function_is_the_innermost_that_is_not_the_allocators_own(
    name: str, stack: list[str]
) -> None:
    assert function_of(stack) == name
    assert module_of(stack) is None


def test_the_module_is_that_of_the_innermost_frame_that_belongs_to_one() -> None:
    assert module_of(MODULE) == "pagedbg_blocks"
    assert function_of(MODULE) == "pagedbg_alloc_order9"
    outer = "nvme_probe+0x1/0x2 [nvme]"
    assert (
        module_of(
            ["kmalloc_noprof+0x1/0x2", "nvme_core_alloc+0x1/0x2 [nvme_core]", outer]
        )
        == "nvme_core"
    )
    assert module_of(["kmalloc_noprof+0x1/0x2", outer]) == "nvme"


def test_a_build_id_behind_a_modules_name_is_not_part_of_it() -> None:
    assert module_of(["f+0x1/0x2 [nvme_core 0123abc]"]) == "nvme_core"


def test_of_a_stack_that_is_all_allocator_the_outermost_frame_is_named() -> None:
    assert function_of(ALLOCATOR_ALONE) == "alloc_pages_mpol_noprof"


def test_an_empty_stack_has_neither() -> None:
    assert function_of([]) is None
    assert module_of([]) is None


def test_an_address_without_a_name_is_its_own_function() -> None:
    assert (
        function_of(
            [*ALLOCATOR_ALONE, "0xffffffffc0228017", "do_one_initcall+0x53/0x1c0"]
        )
        == "0xffffffffc0228017"
    )
    assert module_of(["0xffffffffc0228017"]) is None


def test_a_frame_without_an_offset_has_its_function_and_module() -> None:
    stack = ["alloc_pages", "rx_refill.isra.0 [leaky]", "process_one_work"]
    assert (function_of(stack), module_of(stack)) == ("rx_refill.isra.0", "leaky")


def test_what_stands_in_place_of_a_stack_is_its_own_function() -> None:
    note = "(the stack depot was full: no stack)"
    assert function_of([note]) == note
    assert module_of([note]) is None


@pytest.mark.parametrize(
    "suffix",
    [
        "",
        "_noprof",
        ".isra.0",
        ".part.0",
        ".constprop.0",
        ".isra.0.cold",
        "_noprof.constprop.0",
        ".llvm.1234",
    ],
)
def test_what_compilers_and_profiling_append_does_not_hide_an_allocator(
    suffix: str,
) -> None:
    assert (
        function_of(
            [
                f"__alloc_pages{suffix}+0x1/0x2",
                f"kmem_cache_alloc{suffix}+0x1/0x2",
                "caller+0x1/0x2",
            ]
        )
        == "caller"
    )


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_text_is_taken_for_a_frame(stack: list[str]) -> None:
    function, module = function_of(stack), module_of(stack)
    assert (function is None) == (not stack)
    assert module is None or any(f"[{module}" in frame for frame in stack)

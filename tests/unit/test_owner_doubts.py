# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said against an owner on record; of real pages in tests/vm/test_tags.py."""

from __future__ import annotations

import pytest

from pagedbg.mm.alloc_tag import TagPlace
from pagedbg.sources.owner_doubts import owner_doubts

FAULT = ["alloc_pages_noprof+0x1/0x2", "handle_mm_fault+0x1/0x2"]
SWAP = ["__read_swap_cache_async+0x1/0x2", "do_swap_page.isra.0+0x1/0x2"]
DRIVER = ["alloc_pages_noprof+0x1/0x2", "nic_poll+0x1/0x2 [nic]"]
GONE = ["alloc_pages_noprof+0x1/0x2", "0xffffffffc03190dc"]
WORKER = ["kvmalloc_noprof+0x1/0x2", "rht_deferred_worker+0x1/0x2"]


def place(function: str, module: str | None = None) -> TagPlace:
    return TagPlace("some.c", 7, function, module)


@pytest.mark.parametrize(
    ("kind", "stack", "tag", "reason", "said"),
    [
        ("anon", FAULT, None, None, []),
        ("anon", FAULT, None, "compaction", ["moved here (compaction)"]),
        ("anon", SWAP, None, None, ["read back from swap"]),
        ("anon", SWAP, None, "compaction", ["moved here", "read back from swap"]),
        ("page table", SWAP, None, None, []),
        ("shmem", [], place("__read_swap_cache_async"), None, ["read back from swap"]),
        # Only inlined, which its absence tells nothing of.
        ("anon", FAULT, place("folio_prealloc"), None, []),
        ("anon", FAULT, place("handle_mm_fault"), None, []),
        ("anon", FAULT, place("alloc_pages"), None, []),
        ("kernel", FAULT, place("other"), None, ["does not have other"]),
        ("kernel", [], place("other"), None, []),
        ("kernel", DRIVER, place("inlined", "nic"), None, []),
        ("kernel", WORKER, place("nic_init", "nic"), None, ["does not have nic_init"]),
        ("kernel", GONE, place("nic_init", "nic"), None, []),
    ],
)
def test_doubts(
    kind: str,
    stack: list[str],
    tag: TagPlace | None,
    reason: str | None,
    said: list[str],
) -> None:
    found = list(owner_doubts(kind, stack, tag, reason, lambda name: name == "other"))
    assert len(found) == len(said)
    assert all(part in doubt for part, doubt in zip(said, found, strict=True))

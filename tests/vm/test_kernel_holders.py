# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the kernel's own structures have for themselves, against who has allocated it by
page_owner's records.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import defaultdict

import pytest
from booted import Live, pagedbg

EARLY = "(before page_owner was ready)"

# Whose pages which functions allocate, by what the holders are called.
ALLOCATED_BY = {
    r"BTF \S+": {"btf_check_all_metas", "btf_parse_module", "btf_parse_base"},
    r"BPF ring buffer \w+": {"bpf_ringbuf_area_alloc", "ringbuf_map_alloc"},
    r"virtio rings of virtio\d+": {"vring_alloc_queue"},
    r"hash table \w+(\.\w+)?": {
        *("alloc_large_system_hash", "tcp_metrics_init", "tcp_net_metrics_init", EARLY),
    },
    r"functions that can be traced": {"ftrace_process_locs", EARLY},
    r"names of traced tasks": {"allocate_cmdlines_buffer", EARLY},
    r"trace buffers( of pagedbg_test)?": {
        *("__rb_allocate_pages", "rb_allocate_cpu_buffer", "alloc_cpu_data", EARLY),
    },
    r"pipe \d+": {"pipe_write", "anon_pipe_write", "anon_pipe_prefill_and_lock"},
    r"requests of \w+": {"blk_mq_alloc_map_and_rqs", "blk_mq_alloc_rqs"},
}
# Those that allocate for nobody else.
ONLY = {
    *("vring_alloc_queue", "ftrace_process_locs", "allocate_cmdlines_buffer"),
    *("__rb_allocate_pages", "rb_allocate_cpu_buffer", "alloc_cpu_data"),
    *("blk_mq_alloc_map_and_rqs", "blk_mq_alloc_rqs", "btf_check_all_metas"),
    *("bpf_ringbuf_area_alloc", "ringbuf_map_alloc"),
}

Sums = dict[str, dict[str, int]]


@dataclasses.dataclass(frozen=True)
class Held:
    """
    Pages by the function that has allocated them: of each holder, and all that are the
    kernel's own.
    """

    by_holder: Sums
    by_function: dict[str, int]


@pytest.fixture(scope="module")
def held(live: Live) -> Held:
    """What is said of a dump."""
    done = pagedbg(
        *("--no-pager", "-c", live.core, "--format", "jsonl"),
        *("-e", "memory --by holder,function"),
        # A slab may have been allocated for the first of its objects.
        *("-e", "memory --by function --kind kernel,'large kmalloc'"),
    )
    assert done.status == 0 and done.stderr == ""
    found = Held(defaultdict(dict), {})
    for row in map(json.loads, done.stdout.splitlines()):
        of = found.by_holder[row["holder"]] if "holder" in row else found.by_function
        of[row["function"]] = row["pages"]
    return found


@pytest.mark.parametrize("words", ALLOCATED_BY)
def test_each_was_allocated_for_what_names_it(held: Held, words: str) -> None:
    holders = [name for name in held.by_holder if re.fullmatch(words, name)]
    assert holders
    for name in holders:
        assert held.by_holder[name].keys() <= ALLOCATED_BY[words], name


def test_all_that_was_allocated_for_them_is_named(held: Held) -> None:
    named: dict[str, int] = defaultdict(int)
    for functions in held.by_holder.values():
        for function, pages in functions.items():
            named[function] += pages
    there = ONLY & held.by_function.keys()
    assert {"vring_alloc_queue", "blk_mq_alloc_map_and_rqs"} <= there
    for function in there:
        assert named[function] == held.by_function[function], function


def test_buffers_of_an_instance_of_the_tracer_are_its(held: Held) -> None:
    # 64 KiB for each of two CPUs, of pages that begin with 16 bytes, and what is kept
    # for who reads them.
    instance = held.by_holder["trace buffers of pagedbg_test"]
    assert sum(instance.values()) >= 2 * 18

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The C types of the kernel's global variables, which BTF does not describe: by hand, as
far as helpers of drgn's, its commands or ours ask for them. ``contrib/drgn-globals``
lists what a new release of drgn asks for besides.
"""

from __future__ import annotations

from drgn import Program, Symbol, Type, TypeMember, alignof, sizeof

__all__ = ("DECLARED", "FILES", "GLOBALS", "MADE", "find_symbol")

# ``{NAME}`` is the value of an enumerator. ``[*]`` is as long as its elements are not
# zero: a table whose length is a macro, and behind which there is room up to the next
# variable. ``[]`` where no helper asks for the length: none is better than a wrong one.
GLOBALS = {
    "__cpu_online_mask": "struct cpumask",
    "__cpu_possible_mask": "struct cpumask",
    "__cpu_present_mask": "struct cpumask",
    "__highest_present_section_nr": "unsigned long",
    "__per_cpu_offset": "unsigned long []",
    "_brk_end": "unsigned long",
    "_totalram_pages": "atomic_long_t",
    "alloc_tag_cttype": "struct codetag_type *",
    "alloc_tag_ref_mask": "unsigned long",
    "alloc_tag_ref_offs": "int",
    "arp_tbl": "struct neigh_table",
    "avenrun": "unsigned long [3]",
    "blk_crypto_bounce_page_pool": "mempool_t *",
    "block_class": "struct class",
    "blockdev_superblock": "struct super_block *",
    "bpf_kallsyms": "struct list_head",
    "btf_idr": "struct idr",
    "bus_kset": "struct kset *",
    "bus_ktype": "const struct kobj_type",
    "cdev_map": "struct kobj_map *",
    "cgrp_dfl_root": "struct cgroup_root",
    "chrdevs": "struct char_device_struct *[255]",
    "class_kset": "struct kset *",
    "class_ktype": "const struct kobj_type",
    "cma_area_count": "unsigned int",
    "cma_areas": "struct cma []",
    "contig_page_data": "struct pglist_data",
    "cpu_subsys": "const struct bus_type",
    "crash_notes": "note_buf_t *",
    "crashing_cpu": "int",
    "defrag_mode": "int",
    "depot_index": "int",
    "device_ktype": "const struct kobj_type",
    "driver_ktype": "const struct kobj_type",
    "dummy_handle": "depot_stack_handle_t",
    "early_handle": "depot_stack_handle_t",
    "failure_handle": "depot_stack_handle_t",
    "fault_around_bytes": "unsigned long",
    "fscrypt_bounce_page_pool": "mempool_t *",
    "ftrace_pages_start": "struct ftrace_page *",
    "ftrace_trace_arrays": "struct list_head",
    "gfpflag_names": "const struct trace_print_flags []",
    "high_memory": "void *",
    "hstates": "struct hstate []",
    "huge_zero_pfn": "unsigned long",
    "hugetlb_max_hstate": "int",
    "idt_table": "gate_desc [256]",
    "init_cred": "struct cred",
    "init_fs": "struct fs_struct",
    "init_ipc_ns": "struct ipc_namespace",
    "init_mm": "struct mm_struct",
    "init_net": "struct net",
    "init_pid_ns": "struct pid_namespace",
    "init_task": "struct task_struct",
    "init_time_ns": "struct time_namespace",
    "init_uts_ns": "struct uts_namespace",
    "integrity_buf_pool": "mempool_t",
    "io_tlb_default_mem": "struct io_tlb_mem",
    "iomem_resource": "struct resource",
    "ioport_resource": "struct resource",
    "ip_idents": "atomic_t *",
    "ip_idents_mask": "u32",
    "ip_tstamps": "u32 *",
    "ipc_mni_shift": "int",
    "irq_desc_tree": "struct xarray",
    "jiffies_64": "u64",
    "kernel_kobj": "struct kobject *",
    "kernel_tags": "struct alloc_tag_kernel_section",
    "kprobe_table": "struct hlist_head [64]",
    "link_idr": "struct idr",
    "linux_banner": "const char []",
    "log_buf": "char *",
    "m_hash_mask": "unsigned int",
    "major_names": "struct blk_major_name *[255]",
    "map_idr": "struct idr",
    "max_low_pfn": "unsigned long",
    "max_mapnr": "unsigned long",
    "max_pfn": "unsigned long",
    "mem_alloc_profiling_key": "struct static_key_false",
    "mem_map": "struct page *",
    "mem_profiling_compressed": "struct static_key_false",
    "mem_section": "struct mem_section **",
    "memblock": "struct memblock",
    "memory_subsys": "const struct bus_type",
    "memstart_addr": "s64",
    "migrate_reason_names": "const char * const [{MR_TYPES}]",
    "migratetype_names": "char * const [{MIGRATE_TYPES}]",
    "min_free_kbytes": "int",
    "min_low_pfn": "unsigned long",
    "mm_cachep": "struct kmem_cache *",
    "mnt_cache": "struct kmem_cache *",
    "mod_tree": "struct mod_tree_root",
    "module_ktype": "const struct kobj_type",
    "module_tags": "struct alloc_tag_module_section",
    "modules": "struct list_head",
    "mount_hashtable": "struct hlist_head *",
    "mountpoint_hashtable": "struct hlist_head *",
    "mp_hash_mask": "unsigned int",
    "net_namespace_list": "struct list_head",
    "node_data": "struct pglist_data *[]",
    "node_states": "nodemask_t [{NR_NODE_STATES}]",
    "nr_cpu_ids": "unsigned int",
    "nr_irqs": "int",
    "nr_node_ids": "unsigned int",
    "nr_swap_pages": "atomic_long_t",
    "nr_swapfiles": "unsigned int",
    "nr_vmalloc_pages": "atomic_long_t",
    "nr_vmap_nodes": "unsigned int",
    "ns_file_operations": "const struct file_operations",
    "num_poisoned_pages": "atomic_long_t",
    "page_alloc_tagging_ops": "struct page_ext_operations",
    "page_ext_size": "unsigned long",
    "page_group_by_mobility_disabled": "int",
    "page_offset_base": "unsigned long",
    "page_owner_inited": "struct static_key_false",
    "page_owner_ops": "struct page_ext_operations",
    "pageblock_order": "unsigned int",
    "pageflag_names": "const struct trace_print_flags []",
    "panic_cpu": "atomic_t",
    "pci_bus_type": "const struct bus_type",
    "pci_root_buses": "struct list_head",
    "pcpu_chunk_lists": "struct list_head *",
    "pcpu_nr_populated": "unsigned long",
    "pcpu_nr_slots": "int",
    "pcpu_nr_units": "int",
    "percpu_counter_batch": "int",
    "pgdir_shift": "unsigned int",
    "phys_base": "unsigned long",
    "poking_mm": "struct mm_struct *",
    "poll_spurious_irq_timer": "struct timer_list",
    "pools_num": "int",
    "prb": "struct printk_ringbuffer *",
    "prog_idr": "struct idr",
    "root_mem_cgroup": "struct mem_cgroup *",
    "root_task_group": "struct task_group",
    "saved_command_line": "char *",
    "savedcmd": "struct saved_cmdlines_buffer *",
    "sections_per_block": "int",
    "slab_caches": "struct list_head",
    "slab_kset": "struct kset *",
    "softirq_vec": "struct softirq_action [{NR_SOFTIRQS}]",
    "sparse_irqs": "struct maple_tree",
    "stack_max_pools": "unsigned int",
    "stack_slabs": "void *[]",
    "swap_info": "struct swap_info_struct *[]",
    "swapper_pg_dir": "pgd_t []",
    "sysctl_bootid": "u8 [16]",
    "sysctl_extfrag_threshold": "int",
    "sysctl_overcommit_kbytes": "unsigned long",
    "sysctl_overcommit_ratio": "int",
    "sysfs_root": "struct kernfs_root *",
    "sysfs_root_kn": "struct kernfs_node *",
    "taint_flags": "const struct taint_flag [*]",
    "tainted_mask": "unsigned long",
    "task_state_array": "const char * const [*]",
    "task_struct_cachep": "struct kmem_cache *",
    "tcp_hashinfo": "struct inet_hashinfo",
    "tcp_metrics_hash": "struct tcpm_hash_bucket *",
    "text_poke_mm": "struct mm_struct *",
    "temp_buffer": "struct trace_buffer *",
    "thread_stack_cache": "struct kmem_cache *",
    "timekeeper_data": "struct tk_data [{TIMEKEEPERS_MAX}]",
    "token_hash": "struct token_bucket *",
    "token_mask": "unsigned int",
    "total_nr_irqs": "unsigned int",
    "total_swap_pages": "long",
    "udp_table": "struct udp_table",
    "udplite_table": "struct udp_table",
    "uid_cachep": "struct kmem_cache *",
    "uprobes_tree": "struct rb_root",
    "userspace_init_fs": "struct fs_struct *",
    "vermagic": "const char []",
    "vm_committed_as": "struct percpu_counter",
    "vm_event_states": "struct vm_event_state",
    "vm_node_stat": "atomic_long_t [{NR_VM_NODE_STAT_ITEMS}]",
    "vm_numa_event": "atomic_long_t [{NR_VM_NUMA_EVENT_ITEMS}]",
    "vm_zone_stat": "atomic_long_t [{NR_VM_ZONE_STAT_ITEMS}]",
    "vmalloc_base": "unsigned long",
    "vmap_area_list": "struct list_head",
    "vmap_area_root": "struct rb_root",
    "vmap_nodes": "struct vmap_node *",
    "vmap_zone_size": "unsigned int",
    "vmcoreinfo_note": "u32 *",
    "vmcoreinfo_size": "size_t",
    "vmemmap_base": "unsigned long",
    "watermark_scale_factor": "int",
    "zero_page_pfn": "unsigned long",
    "zero_pfn": "unsigned long",
}

FILES = {"sysfs_root": "fs/sysfs/mount.c"}
"""Where variables are whose names are ambiguous, so that they are asked for with it."""


def _dma_pool(prog: Program) -> Type:
    # In 7.x a structure has the pool.
    try:
        return prog.type("struct dma_gen_pool")
    except LookupError:
        return prog.type("struct gen_pool *")


def _stack_pools(prog: Program) -> Type:
    # Where the greatest number of pools is a boot parameter (7.x), and so a variable,
    # the array is allocated and this is a pointer.
    return prog.type("void **" if find_symbol(prog, "stack_max_pools") else "void *[]")


def _tk_core(prog: Program) -> Type:
    # Newer kernels (6.12 has none, 7.3 has) give its type a name.
    try:
        return prog.type("struct tk_data")
    except LookupError:
        pass
    members = []
    end = 0
    for name, kind in (
        ("seq", prog.type("seqcount_raw_spinlock_t")),
        ("timekeeper", prog.type("struct timekeeper")),
    ):
        start = -(-end // alignof(kind)) * alignof(kind)
        members.append(TypeMember(kind, name, 8 * start))
        end = start + sizeof(kind)
    return prog.struct_type(None, end, members)


def _cpu_bit_bitmap(prog: Program) -> Type:
    word = prog.type("const unsigned long")
    words = prog.type("struct cpumask").size // word.size
    return prog.array_type(prog.array_type(word, words), 8 * word.size + 1)


def _uidhash_table(prog: Program) -> Type:
    # kernel/user.c, UIDHASH_BITS: 3 with CONFIG_BASE_SMALL, else 7.
    head = prog.type("struct hlist_head")
    large = prog.symbol("uidhash_table").size >= 128 * head.size
    return prog.array_type(head, 128 if large else 8)


def _mem_class(prog: Program) -> Type:
    # Since Linux kernel commit 7671284b6c77 ("/dev/mem: make mem_class a static const
    # structure") (in v6.5), it is no pointer.
    kind = prog.type("const struct class")
    if prog.symbol("mem_class").size >= sizeof(kind):
        return kind
    return prog.pointer_type(kind.unqualified())


# Those whose type depends on more than an enumerator.
MADE = {
    "atomic_pool_dma": _dma_pool,
    "atomic_pool_dma32": _dma_pool,
    "atomic_pool_kernel": _dma_pool,
    "cpu_bit_bitmap": _cpu_bit_bitmap,
    "mem_class": _mem_class,
    "stack_pools": _stack_pools,
    "tk_core": _tk_core,
    "uidhash_table": _uidhash_table,
}

# The names of all variables whose types are known here.
DECLARED = frozenset({*GLOBALS, *MADE})


def find_symbol(prog: Program, name: str) -> Symbol | None:
    """The symbol of a name, if there is one."""
    try:
        return prog.symbol(name)
    except LookupError:
        return None

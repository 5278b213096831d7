// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Record what happens to page_owner's records, in the rings of ring.h. What is done with an event
 * is events.h's, which the module shares.
 *
 * page_owner has walked the stack and taken the time already: its record of the page is read once
 * it is written. To wait for that where __set_page_owner() returns costs more than all the rest: the
 * function runs inside a trampoline then, through which its walk of the stack has to get, and which
 * it files with the stack. So HOOKS is one of
 *
 *	COMBINED	The tracepoint mm_page_alloc says that a set is done. What compaction and
 *			alloc_contig_range() allocate, and what cannot be charged, does not come by
 *			there: a kprobe where each calls page_owner (untold.py) notes that it begins.
 *			The next that happens to such a page completes it or, at the latest, whoever
 *			drains the rings (complete). A free is the tracepoint mm_page_free: the record
 *			still is the allocation's then.
 *	TRACEPOINT	Both tracepoints alone: all that is missed.
 *	TRAMPOLINE	set when it returns, all others when they begin.
 *	KPROBE		The same without BTF.
 *
 * All but set and reset are rare. Together, as kprobes, they cost a third of what they do as
 * trampolines: each of those is one more that every walk of a stack asks whether an address is its.
 *
 * Compiled by bcc on the machine itself (pagedbg/capture/backends/bpf_image.py), with what drgn
 * knows of the kernel, the same at every boot of it:
 *
 *	CPUS, SLOTS			sizes of the rings
 *	HOOKS				how programs are attached, see above
 *	PAGE_OWNER			0 where it is off: there are no records, and what
 *					happens to pages tracepoints tell
 *	HOOK_SET, HOOK_RESET, ...	the name of each function that this kernel has
 *	SIZEOF_PAGE			a page's number from its address
 *	SECTION_SHIFT, ...		where page_ext of a section is (see owner.h)
 *	OWNER_ts_nsec, ...		offsets in struct page_owner
 *	CAST, TYPE_...			1 where there is bpf_rdonly_cast(), and BTF ids of types
 *	TAIL_TIMES			1 where each page of a block has a time of its own
 *	STORES_IN_ORDER			1 where all CPUs see what one writes in that order
 *	GFP_NOWARN			what freeze.h asks for
 *	OOM_gfp_mask, OOM_order		offsets in struct oom_control
 */
#include <uapi/linux/ptrace.h>

#if !PAGE_OWNER
#define TAIL_TIMES 0
#endif

#define TRAMPOLINE 1
#define KPROBE	   2
#define TRACEPOINT 3
#define COMBINED   4

#include "bpf_operations.h"
#include "events.h"
#include "here.h"

/* Of one element each: its address is known when the program is loaded, and not looked up. */
BPF_F_TABLE("array", u32, struct pagedbg_header, pagedbg_header, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_filters, pagedbg_filter, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct cpus, pagedbg_cpu, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_record, pagedbg_slot, (CPUS) * (SLOTS), BPF_F_MMAPABLE);

/* ---- what events.h asks for ---- */

static __always_inline struct pagedbg_record *slot(struct pagedbg_header *h, u32 cpu, u64 seq)
{
	u32 index = cpu * (SLOTS) + ((seq - 1) & (SLOTS - 1));

	return pagedbg_slot.lookup(&index);
}

#if PAGE_OWNER

BPF_F_TABLE("hash", u64, struct pagedbg_split, pagedbg_split, SPLITS, 0);

static __always_inline struct pagedbg_split *find_split(u64 *key)
{
	return pagedbg_split.lookup(key);
}

static __always_inline bool add_split(u64 *key, struct pagedbg_split *split)
{
	return !pagedbg_split.insert(key, split);
}

static __always_inline bool drop_split(u64 *key)
{
	return !pagedbg_split.delete(key);
}

/* The roots of mem_section that were met so far. */
BPF_F_TABLE("array", u32, u64, pagedbg_root, 256, 0);

static __always_inline u64 *known_root(u32 nr)
{
	return pagedbg_root.lookup(&nr);
}

#include "owner.h"

#else

BPF_STACK_TRACE(pagedbg_stack, STACKS);

static __always_inline u32 stack_id(void *ctx)
{
	return pagedbg_stack.get_stackid(ctx, 0);
}

#include "kmem.h"

#endif

#if PAGE_OWNER

#if HOOKS == COMBINED
/* Allocations that have begun, of those that no tracepoint tells of. */
BPF_F_TABLE("array", u32, u64, pagedbg_pending, PENDING, BPF_F_MMAPABLE);

static __always_inline u64 *pending_place(u32 index)
{
	return pagedbg_pending.lookup(&index);
}

/*
 * How many there are, and how many found no room, since what was in their places had not been
 * written yet.
 */
struct waiting {
	u64 pages;
	u64 no_room;
};

BPF_F_TABLE("array", u32, struct waiting, pagedbg_waiting, 1, BPF_F_MMAPABLE);

static __always_inline struct waiting *waiting(void)
{
	return VALUE(WAITING_VALUE);
}

#include "pending.h"
#endif

/*
 * @other: for a copy, the page that it comes from; for a migration its reason
 */
static __always_inline int on_page(u32 event, u64 page, u32 order, u32 new_order, u64 other)
{
	struct here at;
	s32 reason = OF_RECORD;
	u64 pfn;

	if (!find_here(&at))
		return 0;
	if ((event == PAGEDBG_SET || event == PAGEDBG_RESET) &&
	    !begins(at.h, at.f, at.c, event, order))
		return 0;
	pfn = page_to_pfn(at.h, page);
#if HOOKS == COMBINED
	complete_before(&at, event, pfn);
#endif
	if (event == PAGEDBG_SET_MIGRATE)
		reason = other;
	on_event_for(at.h, at.f, at.c, at.cpu, event, order, new_order, pfn,
		     event == PAGEDBG_COPY ? page_to_pfn(at.h, other) : 0, reason);
	return 0;
}

static __always_inline int on_read_entry(void)
{
	struct here at;

	if (find_here(&at))
		on_read(at.h, at.f, at.c, at.cpu);
	return 0;
}

#endif

/* ---- the hooks ---- */

#if !PAGE_OWNER

static __always_inline int on_tracepoint(u32 event, void *ctx, u64 page, u32 order, u32 gfp)
{
	struct here at;

	/* mm_page_alloc tells of failures, too. */
	if (page && find_here(&at))
		on_kmem(&at, event, page_to_pfn(at.h, page), order, gfp, ctx);
	return 0;
}

int raw_tracepoint__mm_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	return on_tracepoint(PAGEDBG_SET, ctx, ctx->args[0], ctx->args[1], ctx->args[2]);
}

int raw_tracepoint__mm_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	return on_tracepoint(PAGEDBG_RESET, ctx, ctx->args[0], ctx->args[1], 0);
}

#else /* PAGE_OWNER */

#include "hook_arguments.h"

/* ---- set ---- */

#if HOOKS == TRAMPOLINE

FEXIT(HOOK_SET)
{
	return on_page(PAGEDBG_SET, number(ctx[0]), (u16)ctx[1], 0, 0);
}

#elif HOOKS == TRACEPOINT || HOOKS == COMBINED

int raw_tracepoint__mm_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	/* It tells of failures, too. */
	return ctx->args[0] ? on_page(PAGEDBG_SET, ctx->args[0], ctx->args[1], 0, 0) : 0;
}

#if HOOKS == COMBINED
/* Where a function is called with a page and its order that is allocated untold. */
int untold(struct pt_regs *ctx)
{
	return on_untold(PT_REGS_PARM1(ctx), (u16)PT_REGS_PARM2(ctx));
}

/* Run by whoever drains the rings: the place in the table, and whether all of it is done. */
int complete(struct bpf_raw_tracepoint_args *ctx)
{
	return complete_at(ctx->args[0], ctx->args[1]);
}
#endif

#elif HOOKS == KPROBE

/*
 * A return probe does not see the arguments: they are kept meanwhile, by task and place of the
 * return address on its stack. An interrupt in between has another place, and CPUs that idle share
 * task 0.
 */
struct call {
	u64 task;
	u64 sp;
};

struct arguments {
	u64 page;
	u64 order;
};

BPF_F_TABLE("lru_hash", struct call, struct arguments, pagedbg_call, CALLS, 0);

static __always_inline struct call call_at(u64 sp)
{
	struct call call = { (u32)bpf_get_current_pid_tgid(), sp };

	if (!call.task)
		call.task = ~(u64)bpf_get_smp_processor_id();
	return call;
}

int set_entry(struct pt_regs *ctx)
{
	struct call call = call_at(PT_REGS_SP(ctx));
	struct arguments a = { PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx) };

	pagedbg_call.update(&call, &a);
	return 0;
}

int set_return(struct pt_regs *ctx)
{
	struct call call = call_at(PT_REGS_SP(ctx) - SP_AT_RETURN);
	struct arguments *found = pagedbg_call.lookup(&call), a;

	if (!found)
		return 0;
	a = *found;
	pagedbg_call.delete(&call);
	return on_page(PAGEDBG_SET, a.page, (u16)a.order, 0, 0);
}

#endif

/* ---- reset: the record still is the allocation's ---- */

#if HOOKS == TRACEPOINT || HOOKS == COMBINED
int raw_tracepoint__mm_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	return on_page(PAGEDBG_RESET, ctx->args[0], ctx->args[1], 0, 0);
}
#else
ENTRY(reset, HOOK_RESET)
{
	return on_page(PAGEDBG_RESET, ARGUMENT(0), (u16)ARGUMENT(1), 0, 0);
}
#endif

/* ---- the others: their arguments say what the record will ---- */

#ifdef HOOK_SPLIT
ENTRY(split, HOOK_SPLIT)
{
	return on_page(PAGEDBG_SPLIT, ARGUMENT(0), SPLIT_ORDER((u32)ARGUMENT(1)),
		       SPLIT_NEW_ORDER((u32)ARGUMENT(2)), 0);
}
#endif

#ifdef HOOK_COPY
ENTRY(copy, HOOK_COPY)
{
	u64 arg[] = { ARGUMENT(0), ARGUMENT(1) };

	return on_page(PAGEDBG_COPY, arg[COPY_NEW], 0, 0, arg[COPY_OLD]);
}
#endif

#ifdef HOOK_SET_MIGRATE
ENTRY(set_migrate, HOOK_SET_MIGRATE)
{
	return on_page(PAGEDBG_SET_MIGRATE, ARGUMENT(0), 0, 0, ARGUMENT(1));
}
#endif

#ifdef HOOK_DUMP
ENTRY(dump, HOOK_DUMP)
{
	return on_page(PAGEDBG_DUMP, ARGUMENT(0), 0, 0, 0);
}
#endif

#ifdef HOOK_READ
ENTRY(read, HOOK_READ)
{
	return on_read_entry();
}
#endif

#endif /* PAGE_OWNER */

/* ---- what stops the rings, if that is asked for ---- */

#include "freeze.h"

/* mm/page_alloc.c: warn_alloc(gfp_mask, nodemask, fmt, ...) */
int freeze_failure(struct pt_regs *ctx)
{
	u64 format[3] = {};

	bpf_probe_read_kernel(format, sizeof(format), (void *)PT_REGS_PARM3(ctx));
	/* FAILURE_FORMAT, for which there is no memcmp() here. */
	if (format[0] == 0x6c6c612065676170 /* page all */ &&
	    format[1] == 0x206e6f697461636f /* ocation */ &&
	    format[2] == 0x3a6572756c696166 /* failure: */)
		freeze_at_failure(VALUE(HEADER_VALUE), VALUE(FILTERS_VALUE), PT_REGS_PARM4(ctx),
				  PT_REGS_PARM1(ctx));
	return 0;
}

#ifdef OOM_order
/* mm/oom_kill.c: oom_kill_process(oc, message) */
int freeze_oom(struct pt_regs *ctx)
{
	void *oc = (void *)PT_REGS_PARM1(ctx);
	u32 gfp_mask = 0, order = 0;

	bpf_probe_read_kernel(&gfp_mask, sizeof(gfp_mask), oc + OOM_gfp_mask);
	bpf_probe_read_kernel(&order, sizeof(order), oc + OOM_order);
	freeze_rings(VALUE(HEADER_VALUE), VALUE(FILTERS_VALUE), PAGEDBG_OOM_KILL, order, gfp_mask);
	return 0;
}

#endif

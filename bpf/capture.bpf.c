// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Record what happens to page_owner's records, in the rings of ring.h. What is done with an event
 * is events.h's, which the module shares.
 *
 * page_owner has walked the stack and taken the time already: its record of the page is read once
 * it is written. So set is recorded when __set_page_owner() returns, and reset when
 * __reset_page_owner() begins: the record still is the allocation's then. To wait for the end of
 * reset, too, would tell from where the page is freed, but cost as much as all the rest:
 * page_owner's walk of the stack has to get through the trampoline that waits, and files it with
 * the stack.
 *
 * Compiled by bcc on the machine itself (pagedbg/capture/backends/bpf_image.py), with what drgn
 * knows of the kernel, the same at every boot of it:
 *
 *	CPUS, SLOTS			sizes of the rings
 *	HOOKS				how programs are attached: TRAMPOLINE, KPROBE or TRACEPOINT
 *	PAGE_OWNER			0 where it is off: there are no records, and what
 *					happens to pages tracepoints tell
 *	HOOK_SET, HOOK_RESET, ...	the name of each function that this kernel has
 *	SIZEOF_PAGE			a page's number from its address
 *	SECTION_SHIFT, ...		where page_ext of a section is (see read_owner())
 *	OWNER_ts_nsec, ...		offsets in struct page_owner
 *	TAIL_TIMES			1 where each page of a block has a time of its own
 */
#include <uapi/linux/ptrace.h>

#if !PAGE_OWNER
#define TAIL_TIMES 0
#endif
#define KEEP_LOOP      _Pragma("clang loop unroll(disable)")
#define count(counter) __sync_fetch_and_add(counter, 1)
#define add(number, n) __sync_fetch_and_add(number, n)
/* No helper tells local_clock(). */
#define local_nsec()	0ULL
#define mono_nsec()	bpf_ktime_get_ns()
#define write_barrier() asm volatile("" ::: "memory")

#include "events.h"

#define TRAMPOLINE 1
#define KPROBE	   2
#define TRACEPOINT 3

BPF_F_TABLE("array", u32, struct pagedbg_header, pagedbg_header, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_filter, pagedbg_filter, 2, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_cpu, pagedbg_cpu, CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_record, pagedbg_slot, (CPUS) * (SLOTS), BPF_F_MMAPABLE);

/* ---- what events.h asks for ---- */

static __always_inline struct pagedbg_record *slot(struct pagedbg_header *h, u32 cpu, u64 seq)
{
	u32 index = cpu * (SLOTS) + ((seq - 1) & (SLOTS - 1));

	return pagedbg_slot.lookup(&index);
}

static __always_inline void describe_current(u32 *pid, u32 *tgid, char *comm)
{
	u64 id = bpf_get_current_pid_tgid();

	*pid = id;
	*tgid = id >> 32;
	bpf_get_current_comm(comm, PAGEDBG_COMM);
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

/* Where the memory section is that a page belongs to; 0 if nowhere. */
static __always_inline u64 section_of(struct pagedbg_header *h, u64 section)
{
#ifdef SECTIONS_PER_ROOT /* CONFIG_SPARSEMEM_EXTREME */
	u32 nr = section / SECTIONS_PER_ROOT;
	u64 *cached = pagedbg_root.lookup(&nr);
	u64 root = cached ? *cached : 0;

	if (!root) {
		if (bpf_probe_read_kernel(&root, sizeof(root),
					  (void *)(h->mem_section + 8 * (u64)nr)) ||
		    !root)
			return 0;
		/* Never freed, see mm/sparse.c. */
		if (cached)
			*cached = root;
	}
	return root + (section % SECTIONS_PER_ROOT) * SIZEOF_SECTION;
#else
	return h->mem_section + section * SIZEOF_SECTION;
#endif
}

/*
 * Where the record of a page is, 0 if nowhere; mm/page_ext.c: lookup_page_ext(), get_entry(). The
 * page is its caller's, and is not unplugged meanwhile.
 */
static __always_inline u64 owner_of(struct pagedbg_header *h, u64 pfn)
{
	u64 base, section = section_of(h, pfn >> SECTION_SHIFT);

	if (!section ||
	    bpf_probe_read_kernel(&base, sizeof(base), (void *)(section + SECTION_PAGE_EXT)))
		return 0;
	/* PAGE_EXT_INVALID */
	if (!base || base & 1)
		return 0;
	return base + SIZEOF_PAGE_EXT * pfn + OWNER_OFFSET;
}

static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec)
{
	u64 address = owner_of(h, pfn);

	return address &&
	       !bpf_probe_read_kernel(ts_nsec, sizeof(*ts_nsec), (void *)(address + OWNER_ts_nsec));
}

static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o)
{
	u64 address = owner_of(h, pfn);
	u64 raw[(SIZEOF_OWNER + 7) / 8];

	o->known = false;
	if (!address || bpf_probe_read_kernel(raw, SIZEOF_OWNER, (void *)address))
		return false;
#define FIELD(type, member) (*(type *)((char *)raw + OWNER_##member))
	o->order = FIELD(u16, order);
	o->reason = FIELD(s16, last_migrate_reason);
	o->gfp_mask = FIELD(u32, gfp_mask);
	o->handle = FIELD(u32, handle);
	o->ts_nsec = FIELD(u64, ts_nsec);
	o->comm[0] = FIELD(u64, comm);
	o->comm[1] = *(u64 *)((char *)raw + OWNER_comm + 8);
	o->pid = FIELD(u32, pid);
	o->tgid = FIELD(u32, tgid);
	o->known = true;
	return true;
#undef FIELD
}

#else

BPF_STACK_TRACE(pagedbg_stack, STACKS);

/* There are no records: nobody asks. */
static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o)
{
	return false;
}

static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec)
{
	return false;
}

static __always_inline struct pagedbg_split *find_split(u64 *key)
{
	return NULL;
}

static __always_inline bool add_split(u64 *key, struct pagedbg_split *split)
{
	return false;
}

static __always_inline bool drop_split(u64 *key)
{
	return false;
}

#endif

static __always_inline bool find_here(struct here *at)
{
	u32 index = 0;

	at->cpu = bpf_get_smp_processor_id();
	at->c = pagedbg_cpu.lookup(&at->cpu);
	at->h = pagedbg_header.lookup(&index);
	if (!at->c || !at->h)
		return false;
	index = at->h->active;
	at->f = pagedbg_filter.lookup(&index);
	return at->f;
}

static __always_inline u64 page_to_pfn(struct pagedbg_header *h, u64 page)
{
	return (page - h->memmap) / SIZEOF_PAGE;
}

#if PAGE_OWNER

static __always_inline int on_page(u32 event, u64 page, u32 order, u32 new_order, u64 other)
{
	struct here at;

	if (!find_here(&at))
		return 0;
	if ((event == PAGEDBG_SET || event == PAGEDBG_RESET) &&
	    !begins(at.h, at.f, at.c, event, order))
		return 0;
	on_event(at.h, at.f, at.c, at.cpu, event, order, new_order, page_to_pfn(at.h, page),
		 other ? page_to_pfn(at.h, other) : 0);
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

#ifdef HOOK_SPLIT
/* Of a number of pages, a power of two: __split_page_owner() is told that or an order. */
static __always_inline u32 order_of(u32 pages)
{
	u32 order = 0;

	for (; pages > 1 && order < PAGEDBG_ORDERS - 1; pages >>= 1)
		order++;
	return order;
}
#endif

#if !PAGE_OWNER

static __always_inline int on_tracepoint(u32 event, void *ctx, u64 page, u32 order, u32 gfp)
{
	struct owner o = {};
	struct here at;
	u64 pfn, id;

	/* mm_page_alloc tells of failures, too. */
	if (!page || !find_here(&at))
		return 0;
	count(&at.c->seen[event][order % PAGEDBG_ORDERS]);
	if (!(at.f->events & (1 << event)))
		return 0;
	pfn = page_to_pfn(at.h, page);
	if (pagedbg_hash(pfn) >= at.f->threshold[order % PAGEDBG_ORDERS])
		return 0;
	if (event == PAGEDBG_SET) {
		id = bpf_get_current_pid_tgid();
		o.pid = id;
		o.tgid = id >> 32;
		o.gfp_mask = gfp;
		bpf_get_current_comm(o.comm, sizeof(o.comm));
		/*
		 * Of a free it is not known whose page it was: whoever reads the records leaves out
		 * those without an allocation.
		 */
		if (!wanted(at.f, pfn, &o))
			return 0;
		o.known = true;
		o.ts_nsec = bpf_ktime_get_ns();
		o.handle = pagedbg_stack.get_stackid(ctx, 0);
	}
	record(at.h, at.c, at.cpu, event, order, 0, pfn, 0, &o,
	       PAGEDBG_NO_RECORD | PAGEDBG_TRACEPOINT);
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

#if HOOKS == TRAMPOLINE || HOOKS == TRACEPOINT

/*
 * The verifier allows no arithmetic on a pointer that it knows the type of. Swapped twice it is
 * what it was, and a number.
 */
static __always_inline u64 number(u64 pointer)
{
	asm volatile("%0 = be64 %0; %0 = be64 %0" : "+r"(pointer));
	return pointer;
}

#define NAME_(prefix, function) prefix##function
#define NAME(prefix, function)	NAME_(prefix, function)
#define ENTRY(function)		int NAME(kfunc__, function)(unsigned long long *ctx)
#define RETURN(function)	int NAME(kretfunc__, function)(unsigned long long *ctx)

#if HOOKS == TRACEPOINT
/*
 * When the record is written, and far outside of the function that walks the stack: this takes a
 * fraction of the time. But not all that is allocated comes by: neither what is allocated in bulk
 * (alloc_pages_bulk(), of order 0) nor contiguous ranges (alloc_contig_range()).
 */
int raw_tracepoint__mm_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	/* It tells of failures, too. */
	return ctx->args[0] ? on_page(PAGEDBG_SET, ctx->args[0], ctx->args[1], 0, 0) : 0;
}
#else
RETURN(HOOK_SET)
{
	return on_page(PAGEDBG_SET, number(ctx[0]), (u16)ctx[1], 0, 0);
}
#endif

ENTRY(HOOK_RESET)
{
	return on_page(PAGEDBG_RESET, number(ctx[0]), (u16)ctx[1], 0, 0);
}

#ifdef HOOK_SPLIT
RETURN(HOOK_SPLIT)
{
	return on_page(PAGEDBG_SPLIT, number(ctx[0]), SPLIT_ORDER((u32)ctx[1]),
		       SPLIT_NEW_ORDER((u32)ctx[2]), 0);
}
#endif

#ifdef HOOK_COPY
ENTRY(HOOK_COPY)
{
	return on_page(PAGEDBG_COPY, number(ctx[COPY_NEW]), 0, 0, number(ctx[COPY_OLD]));
}
#endif

#ifdef HOOK_SET_MIGRATE
RETURN(HOOK_SET_MIGRATE)
{
	return on_page(PAGEDBG_SET_MIGRATE, number(ctx[0]), 0, 0, 0);
}
#endif

#ifdef HOOK_DUMP
ENTRY(HOOK_DUMP)
{
	return on_page(PAGEDBG_DUMP, number(ctx[0]), 0, 0, 0);
}
#endif

#ifdef HOOK_READ
ENTRY(HOOK_READ)
{
	return on_read_entry();
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
	u64 arg[3];
};

BPF_F_TABLE("lru_hash", struct call, struct arguments, pagedbg_call, CALLS, 0);

static __always_inline void keep(struct pt_regs *ctx)
{
	struct call call = { (u32)bpf_get_current_pid_tgid(), PT_REGS_SP(ctx) };
	struct arguments a = { { PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx) } };

	if (!call.task)
		call.task = ~(u64)bpf_get_smp_processor_id();
	pagedbg_call.update(&call, &a);
}

static __always_inline bool kept(struct pt_regs *ctx, struct arguments *a)
{
	struct call call = { (u32)bpf_get_current_pid_tgid(), PT_REGS_SP(ctx) - SP_AT_RETURN };
	struct arguments *found;

	if (!call.task)
		call.task = ~(u64)bpf_get_smp_processor_id();
	found = pagedbg_call.lookup(&call);
	if (!found)
		return false;
	*a = *found;
	pagedbg_call.delete(&call);
	return true;
}

#define BOTH(name, ...)                                          \
	int name##_entry(struct pt_regs *ctx)                    \
	{                                                        \
		keep(ctx);                                       \
		return 0;                                        \
	}                                                        \
	int name##_return(struct pt_regs *ctx)                   \
	{                                                        \
		struct arguments a;                              \
                                                                 \
		return kept(ctx, &a) ? on_page(__VA_ARGS__) : 0; \
	}

BOTH(set, PAGEDBG_SET, a.arg[0], (u16)a.arg[1], 0, 0)

int reset_entry(struct pt_regs *ctx)
{
	return on_page(PAGEDBG_RESET, PT_REGS_PARM1(ctx), (u16)PT_REGS_PARM2(ctx), 0, 0);
}

#ifdef HOOK_SPLIT
BOTH(split, PAGEDBG_SPLIT, a.arg[0], SPLIT_ORDER((u32)a.arg[1]), SPLIT_NEW_ORDER((u32)a.arg[2]), 0)
#endif
#ifdef HOOK_COPY
int copy_entry(struct pt_regs *ctx)
{
	u64 arg[] = { PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx) };

	return on_page(PAGEDBG_COPY, arg[COPY_NEW], 0, 0, arg[COPY_OLD]);
}
#endif
#ifdef HOOK_SET_MIGRATE
BOTH(set_migrate, PAGEDBG_SET_MIGRATE, a.arg[0], 0, 0, 0)
#endif
#ifdef HOOK_DUMP
int dump_entry(struct pt_regs *ctx)
{
	return on_page(PAGEDBG_DUMP, PT_REGS_PARM1(ctx), 0, 0, 0);
}
#endif
#ifdef HOOK_READ
int read_entry(struct pt_regs *ctx)
{
	return on_read_entry();
}
#endif

#endif /* HOOKS */

#endif /* PAGE_OWNER */

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Record what happens to page_owner's records, in the rings of ring.h.
 *
 * page_owner has walked the stack and taken the time already: its record of the page is read once it is written. So set is recorded
 * when __set_page_owner() returns, and reset when __reset_page_owner() begins: the record still is the allocation's then. To wait for
 * the end of reset, too, would tell from where the page is freed, but cost as much as all the rest: page_owner's walk of the stack has
 * to get through the trampoline that waits, and files it with the stack.
 *
 * Compiled by bcc on the machine itself (pagedbg/capture/bpf_image.py), with what drgn knows of the kernel, the same at every boot of it:
 *
 *	CPUS, SLOTS			sizes of the rings
 *	HOOKS				how programs are attached: TRAMPOLINE, KPROBE or TRACEPOINT
 *	PAGE_OWNER			0 where it is off: there are no records, and what happens to pages tracepoints tell
 *	HOOK_SET, HOOK_RESET, ...	the name of each function that this kernel has
 *	SIZEOF_PAGE			a page's number from its address
 *	SECTION_SHIFT, ...		where page_ext of a section is (see read_owner())
 *	OWNER_ts_nsec, ...		offsets in struct page_owner
 *	TAIL_TIMES			1 where each page of a block has a time of its own
 */
#include <uapi/linux/ptrace.h>

#include "ring.h"

#define TRAMPOLINE 1
#define KPROBE 2
#define TRACEPOINT 3

BPF_F_TABLE("array", u32, struct pagedbg_header, pagedbg_header, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_filter, pagedbg_filter, 2, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_cpu, pagedbg_cpu, CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct pagedbg_record, pagedbg_slot, (CPUS) * (SLOTS), BPF_F_MMAPABLE);


/* What every program begins with. */
static __always_inline bool look_up(u32 *cpu, struct pagedbg_cpu **c, struct pagedbg_header **h, struct pagedbg_filter **f)
{
	u32 index = 0;

	*cpu = bpf_get_smp_processor_id();
	*c = pagedbg_cpu.lookup(cpu);
	*h = pagedbg_header.lookup(&index);
	if (!*c || !*h)
		return false;
	index = (*h)->active;
	*f = pagedbg_filter.lookup(&index);
	return *f;
}

static __always_inline u64 page_to_pfn(struct pagedbg_header *h, u64 page)
{
	return (page - h->vmemmap) / SIZEOF_PAGE;
}

/* Whose allocation an event is about. */
struct owner {
	u64 comm[2];
	u64 ts_nsec;
	u64 last_nsec;		/* where each page has its own, that of the last one, if it was looked at */
	u32 order;
	u32 gfp_mask;
	u32 handle;
	u32 pid;
	u32 tgid;
	s32 reason;
	bool known;
};

/* Everything but events, orders and participation. */
static __always_inline bool wanted(struct pagedbg_filter *f, u64 pfn, struct owner *o)
{
	bool found;
	u32 i;

	if (o->tgid && (o->tgid == f->own[0] || o->tgid == f->own[1] || o->tgid == f->own[2] || o->tgid == f->own[3]))
		return false;
	if (!f->more)
		return true;
	if ((o->gfp_mask & f->gfp_mask) != f->gfp_mask)
		return false;
	/* include/linux/gfp.h, gfp_migratetype(): GFP_MOVABLE_MASK, GFP_MOVABLE_SHIFT */
	if (f->migratetypes && !(f->migratetypes & (1 << ((o->gfp_mask >> 3) & 3))))
		return false;
	if (f->ranges) {
		found = false;
#pragma clang loop unroll(disable)
		for (i = 0; i < PAGEDBG_RANGES; i++)
			if (i < f->ranges && pfn >= f->range[i].start && pfn <= f->range[i].end)
				found = true;
		if (!found)
			return false;
	}
	if (f->pids) {
		found = false;
#pragma clang loop unroll(disable)
		for (i = 0; i < PAGEDBG_PIDS; i++)
			if (i < f->pids && ((o->pid >= f->pid[i].start && o->pid <= f->pid[i].end) ||
					    (o->tgid >= f->pid[i].start && o->tgid <= f->pid[i].end)))
				found = true;
		if (!found)
			return false;
	}
	if (f->comms) {
		found = false;
#pragma clang loop unroll(disable)
		for (i = 0; i < PAGEDBG_COMMS; i++)
			if (i < f->comms && (o->comm[0] & f->comm[i].mask[0]) == f->comm[i].value[0] &&
			    (o->comm[1] & f->comm[i].mask[1]) == f->comm[i].value[1])
				found = true;
		if (!found)
			return false;
	}
	return true;
}

#if !PAGE_OWNER

BPF_STACK_TRACE(pagedbg_stack, STACKS);

#else

/* The roots of mem_section that were met so far. */
BPF_F_TABLE("array", u32, u64, pagedbg_root, 256, 0);

/* Where the memory section is that a page belongs to; 0 if nowhere. */
static __always_inline u64 section_of(struct pagedbg_header *h, u64 section)
{
#ifdef SECTIONS_PER_ROOT	/* CONFIG_SPARSEMEM_EXTREME */
	u32 nr = section / SECTIONS_PER_ROOT;
	u64 *cached = pagedbg_root.lookup(&nr);
	u64 root = cached ? *cached : 0;

	if (!root) {
		if (bpf_probe_read_kernel(&root, sizeof(root), (void *)(h->mem_section + 8 * (u64)nr)) || !root)
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

/* Where the record of a page is, 0 if nowhere; mm/page_ext.c: lookup_page_ext(), get_entry(). The page is its caller's, and is not unplugged meanwhile. */
static __always_inline u64 owner_of(struct pagedbg_header *h, u64 pfn)
{
	u64 base, section = section_of(h, pfn >> SECTION_SHIFT);

	if (!section || bpf_probe_read_kernel(&base, sizeof(base), (void *)(section + SECTION_PAGE_EXT)))
		return 0;
	/* PAGE_EXT_INVALID */
	if (!base || base & 1)
		return 0;
	return base + SIZEOF_PAGE_EXT * pfn + OWNER_OFFSET;
}

static __always_inline void read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o)
{
	u64 address = owner_of(h, pfn);
	u64 raw[(SIZEOF_OWNER + 7) / 8];

	o->known = false;
	if (!address || bpf_probe_read_kernel(raw, SIZEOF_OWNER, (void *)address))
		return;
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
#undef FIELD
}

/*
 * Allocations that were split into orders for which the filter would decide otherwise than for the whole: what was decided then holds for all
 * of its pieces. By ts_nsec.
 *
 * Where each page has a time of its own, a piece does not tell of what it is one: there it is all that were split, by where they begin and
 * their order. A page of that place which is older than the last page of the allocation is one of its own.
 */
struct split {
	u64 in;
	u64 left;	/* pages */
	u64 ts_nsec;
	u64 last_nsec;
};

BPF_F_TABLE("hash", u64, struct split, pagedbg_split, SPLITS, 0);

static __always_inline void remember(struct pagedbg_header *h, struct pagedbg_cpu *c, u64 key, struct split *split)
{
	if (pagedbg_split.insert(&key, split))
		__sync_fetch_and_add(&c->forgotten, 1);
	else
		__sync_fetch_and_add(&h->splits, 1);
}

static __always_inline void forget(struct pagedbg_header *h, u64 key)
{
	if (!pagedbg_split.delete(&key))
		__sync_fetch_and_add(&h->splits, -1);
}

#if TAIL_TIMES

/* What a block is found by: no page frame has more than 40 bits. */
static __always_inline u64 place(u64 pfn, u32 order)
{
	return (pfn >> order << order) << 8 | order;
}

/* What a page is a piece of: its key in *key. */
static __always_inline struct split *find_split(struct pagedbg_header *h, u64 pfn, struct owner *o, u64 *key)
{
	struct split *s;
	u32 order;

#pragma clang loop unroll(disable)
	for (order = 0; order < PAGEDBG_ORDERS / 2; order++) {
		*key = place(pfn, order);
		s = pagedbg_split.lookup(key);
		if (s && o->ts_nsec >= s->ts_nsec && o->ts_nsec <= s->last_nsec)
			return s;
	}
	return NULL;
}

/* The time of an allocation is that of its first page. */
static __always_inline void find_time(struct pagedbg_header *h, u32 event, u32 order, u64 pfn, struct owner *o)
{
	u32 whole = o->order % PAGEDBG_ORDERS;
	u64 address, head = pfn >> whole << whole;
	struct owner first;

	if (!o->known)
		return;
	if (event == PAGEDBG_SET || event == PAGEDBG_SPLIT) {
		o->last_nsec = o->ts_nsec;
		address = order ? owner_of(h, pfn + (1ULL << (order % PAGEDBG_ORDERS)) - 1) : 0;
		if (address)
			bpf_probe_read_kernel(&o->last_nsec, sizeof(o->last_nsec), (void *)(address + OWNER_ts_nsec));
	} else if (head != pfn) {
		read_owner(h, head, &first);
		/* While one of its pages is there, another block of the same order cannot begin where this did. */
		if (first.known && first.order == o->order && first.ts_nsec <= o->ts_nsec)
			o->ts_nsec = first.ts_nsec;
	}
}

#endif

/* Whether the allocation that an event is about takes part. */
static __always_inline bool takes_part(struct pagedbg_header *h, struct pagedbg_filter *f, struct pagedbg_cpu *c, u32 event, u32 order,
				       u32 new_order, u64 pfn, u64 other_pfn, struct owner *o)
{
	u64 key, hash, left, size = 1ULL << (order % PAGEDBG_ORDERS);
	struct split *s = NULL;
	bool in;

#if TAIL_TIMES
	if (h->splits && o->known && event != PAGEDBG_SET)
		s = find_split(h, event == PAGEDBG_COPY ? other_pfn : pfn, o, &key);
	if (s)
		o->ts_nsec = s->ts_nsec;
	else
		find_time(h, event, order, pfn, o);
#else
	key = o->known ? o->ts_nsec : pfn;
	if (h->splits)
		s = pagedbg_split.lookup(&key);
#endif
	hash = pagedbg_hash(o->known ? o->ts_nsec : pfn);
	if (s) {
		in = s->in;
		if (event == PAGEDBG_COPY) {
#if TAIL_TIMES
			/* From now on a piece of it is elsewhere. */
			struct split split = { in, size, s->ts_nsec, s->last_nsec };

			remember(h, c, place(pfn, order % PAGEDBG_ORDERS), &split);
#else
			/* The page that is left behind is freed, too. */
			__sync_fetch_and_add(&s->left, size);
#endif
		} else if (event == PAGEDBG_RESET) {
			left = __sync_fetch_and_add(&s->left, -size);
			if (left <= size)
				forget(h, key);
		}
		return in;
	}
	/* A page that is freed out of a block keeps the block's order. */
	in = hash < f->threshold[(event == PAGEDBG_RESET && o->known ? o->order : order) % PAGEDBG_ORDERS];
	if (event == PAGEDBG_SPLIT && (TAIL_TIMES ? o->known : in != (hash < f->threshold[new_order % PAGEDBG_ORDERS]))) {
		struct split split = { in, size, o->ts_nsec, o->last_nsec };

#if TAIL_TIMES
		key = place(pfn, order % PAGEDBG_ORDERS);
		/* Another one was there if the free of a piece was missed. */
		forget(h, key);
#endif
		remember(h, c, key, &split);
	}
	return in;
}

#endif

/* Take the next slot of this CPU and fill in what every record has. */
static __always_inline void record(struct pagedbg_cpu *c, u32 cpu, u32 event, u32 order, u32 new_order, u64 pfn, u64 other_pfn,
				   struct owner *o, u32 flags)
{
	u64 nth = __sync_fetch_and_add(&c->recorded[event][order % PAGEDBG_ORDERS], 1);
	u64 seq = __sync_fetch_and_add(&c->head, 1) + 1;
	u32 index = cpu * (SLOTS) + ((seq - 1) & ((SLOTS) - 1));
	struct pagedbg_record *r = pagedbg_slot.lookup(&index);
	u64 id;

	if (!r)
		return;
	r->check = 0;
	asm volatile("" ::: "memory");
	r->pfn = pfn;
	r->ts_nsec = o->ts_nsec;
	r->other_pfn = other_pfn;
	r->gfp_mask = o->gfp_mask;
	r->handle = o->handle;
	r->free_handle = 0;
	r->owner_pid = o->pid;
	r->owner_tgid = o->tgid;
	*(u64 *)r->owner_comm = o->comm[0];
	*(u64 *)(r->owner_comm + 8) = o->comm[1];
	r->cpu = cpu;
	r->event = event;
	r->flags = flags;
	r->order = order;
	r->record_order = o->order;
	r->new_order = new_order;
	r->reason = o->reason;
	r->span_nsec = o->last_nsec <= o->ts_nsec ? 0 : o->last_nsec - o->ts_nsec > ~0U ? ~0U : o->last_nsec - o->ts_nsec;
	if (event == PAGEDBG_SET && o->known) {
		/* Who allocates is who the record names. */
		r->time_nsec = o->ts_nsec;
		r->mono_nsec = nth % 16 ? 0 : bpf_ktime_get_ns();
		r->pid = o->pid;
		r->tgid = o->tgid;
		*(u64 *)r->comm = o->comm[0];
		*(u64 *)(r->comm + 8) = o->comm[1];
	} else {
		r->time_nsec = 0;
		r->mono_nsec = bpf_ktime_get_ns();
		id = bpf_get_current_pid_tgid();
		r->pid = id;
		r->tgid = id >> 32;
		bpf_get_current_comm(r->comm, sizeof(r->comm));
	}
	r->seq = seq;
	asm volatile("" ::: "memory");
	r->check = ~seq;
}

#if PAGE_OWNER

static __always_inline int on_event(u32 event, u64 page, u32 order, u32 new_order, u64 other)
{
	struct owner o = {};
	struct pagedbg_filter *f;
	struct pagedbg_header *h;
	struct pagedbg_cpu *c;
	u64 pfn, other_pfn;
	u32 cpu, flags;

	if (!look_up(&cpu, &c, &h, &f))
		return 0;

	if (event == PAGEDBG_SET || event == PAGEDBG_RESET) {
		__sync_fetch_and_add(&c->seen[event][order % PAGEDBG_ORDERS], 1);
		if (!(f->events & (1 << event)))
			return 0;
		if (!f->threshold[order % PAGEDBG_ORDERS]) {
			/* A page that is freed may be the last of a larger block that took part. */
			if (event == PAGEDBG_SET || (order >= f->orders && !h->splits))
				return 0;
		}
	}

	pfn = page_to_pfn(h, page);
	read_owner(h, pfn, &o);
	flags = o.known ? 0 : PAGEDBG_NO_RECORD;
	if (event != PAGEDBG_SET && event != PAGEDBG_RESET && event != PAGEDBG_SPLIT)
		order = o.order;
	if (event != PAGEDBG_SET && event != PAGEDBG_RESET)
		__sync_fetch_and_add(&c->seen[event][order % PAGEDBG_ORDERS], 1);

	other_pfn = event == PAGEDBG_COPY ? page_to_pfn(h, other) : 0;
	if (!takes_part(h, f, c, event, order, new_order, pfn, other_pfn, &o))
		return 0;
	if (!(f->events & (1 << event)) || !wanted(f, pfn, &o))
		return 0;
	if (o.known && o.handle == h->dummy_handle)
		flags |= PAGEDBG_NESTED;
	record(c, cpu, event, order, new_order, pfn, other_pfn, &o, flags);
	return 0;
}

/* read_page_owner() is about no page. */
static __always_inline int on_read(void)
{
	struct owner o = {};
	struct pagedbg_filter *f;
	struct pagedbg_header *h;
	struct pagedbg_cpu *c;
	u32 cpu;

	if (!look_up(&cpu, &c, &h, &f))
		return 0;
	__sync_fetch_and_add(&c->seen[PAGEDBG_READ][0], 1);
	if (f->events & (1 << PAGEDBG_READ))
		record(c, cpu, PAGEDBG_READ, 0, 0, ~0ULL, 0, &o, PAGEDBG_NO_RECORD);
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

static __always_inline int on_page(u32 event, void *ctx, u64 page, u32 order, u32 gfp)
{
	struct owner o = {};
	struct pagedbg_filter *f;
	struct pagedbg_header *h;
	struct pagedbg_cpu *c;
	u32 cpu;
	u64 pfn, id;

	/* mm_page_alloc tells of failures, too. */
	if (!page)
		return 0;
	if (!look_up(&cpu, &c, &h, &f))
		return 0;
	__sync_fetch_and_add(&c->seen[event][order % PAGEDBG_ORDERS], 1);
	if (!(f->events & (1 << event)) || !f->threshold[order % PAGEDBG_ORDERS])
		return 0;
	pfn = page_to_pfn(h, page);
	if (pagedbg_hash(pfn) >= f->threshold[order % PAGEDBG_ORDERS])
		return 0;
	if (event == PAGEDBG_SET) {
		id = bpf_get_current_pid_tgid();
		o.pid = id;
		o.tgid = id >> 32;
		o.gfp_mask = gfp;
		bpf_get_current_comm(o.comm, sizeof(o.comm));
		/* Of a free it is not known whose page it was: whoever reads the records leaves out those without an allocation. */
		if (!wanted(f, pfn, &o))
			return 0;
		o.known = true;
		o.ts_nsec = bpf_ktime_get_ns();
		o.handle = pagedbg_stack.get_stackid(ctx, 0);
	}
	record(c, cpu, event, order, 0, pfn, 0, &o, PAGEDBG_NO_RECORD | PAGEDBG_TRACEPOINT);
	return 0;
}

int raw_tracepoint__mm_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	return on_page(PAGEDBG_SET, ctx, ctx->args[0], ctx->args[1], ctx->args[2]);
}

int raw_tracepoint__mm_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	return on_page(PAGEDBG_RESET, ctx, ctx->args[0], ctx->args[1], 0);
}

#else /* PAGE_OWNER */

#if HOOKS == TRAMPOLINE || HOOKS == TRACEPOINT

/* The verifier allows no arithmetic on a pointer that it knows the type of. Swapped twice it is what it was, and a number. */
static __always_inline u64 number(u64 pointer)
{
	asm volatile("%0 = be64 %0; %0 = be64 %0" : "+r"(pointer));
	return pointer;
}

#define NAME_(prefix, function) prefix##function
#define NAME(prefix, function) NAME_(prefix, function)
#define ENTRY(function) int NAME(kfunc__, function)(unsigned long long *ctx)
#define RETURN(function) int NAME(kretfunc__, function)(unsigned long long *ctx)

#if HOOKS == TRACEPOINT
/*
 * When the record is written, and far outside of the function that walks the stack: this takes a fraction of the time. But not all that is
 * allocated comes by: neither what is allocated in bulk (alloc_pages_bulk(), of order 0) nor contiguous ranges (alloc_contig_range()).
 */
int raw_tracepoint__mm_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	/* It tells of failures, too. */
	return ctx->args[0] ? on_event(PAGEDBG_SET, ctx->args[0], ctx->args[1], 0, 0) : 0;
}
#else
RETURN(HOOK_SET)
{
	return on_event(PAGEDBG_SET, number(ctx[0]), (u16)ctx[1], 0, 0);
}
#endif

ENTRY(HOOK_RESET)
{
	return on_event(PAGEDBG_RESET, number(ctx[0]), (u16)ctx[1], 0, 0);
}

#ifdef HOOK_SPLIT
RETURN(HOOK_SPLIT)
{
	return on_event(PAGEDBG_SPLIT, number(ctx[0]), SPLIT_ORDER((u32)ctx[1]), SPLIT_NEW_ORDER((u32)ctx[2]), 0);
}
#endif

#ifdef HOOK_COPY
RETURN(HOOK_COPY)
{
	return on_event(PAGEDBG_COPY, number(ctx[COPY_NEW]), 0, 0, number(ctx[COPY_OLD]));
}
#endif

#ifdef HOOK_SET_MIGRATE
RETURN(HOOK_SET_MIGRATE)
{
	return on_event(PAGEDBG_SET_MIGRATE, number(ctx[0]), 0, 0, 0);
}
#endif

#ifdef HOOK_DUMP
ENTRY(HOOK_DUMP)
{
	return on_event(PAGEDBG_DUMP, number(ctx[0]), 0, 0, 0);
}
#endif

#ifdef HOOK_READ
ENTRY(HOOK_READ)
{
	return on_read();
}
#endif

#elif HOOKS == KPROBE

/*
 * A return probe does not see the arguments: they are kept meanwhile, by task and place of the return address on its stack. An interrupt
 * in between has another place, and CPUs that idle share task 0.
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

#define BOTH(name, ...)						\
int name##_entry(struct pt_regs *ctx)				\
{								\
	keep(ctx);						\
	return 0;						\
}								\
int name##_return(struct pt_regs *ctx)				\
{								\
	struct arguments a;					\
								\
	return kept(ctx, &a) ? on_event(__VA_ARGS__) : 0;	\
}

BOTH(set, PAGEDBG_SET, a.arg[0], (u16)a.arg[1], 0, 0)

int reset_entry(struct pt_regs *ctx)
{
	return on_event(PAGEDBG_RESET, PT_REGS_PARM1(ctx), (u16)PT_REGS_PARM2(ctx), 0, 0);
}

#ifdef HOOK_SPLIT
BOTH(split, PAGEDBG_SPLIT, a.arg[0], SPLIT_ORDER((u32)a.arg[1]), SPLIT_NEW_ORDER((u32)a.arg[2]), 0)
#endif
#ifdef HOOK_COPY
BOTH(copy, PAGEDBG_COPY, a.arg[COPY_NEW], 0, 0, a.arg[COPY_OLD])
#endif
#ifdef HOOK_SET_MIGRATE
BOTH(set_migrate, PAGEDBG_SET_MIGRATE, a.arg[0], 0, 0, 0)
#endif
#ifdef HOOK_DUMP
int dump_entry(struct pt_regs *ctx)
{
	return on_event(PAGEDBG_DUMP, PT_REGS_PARM1(ctx), 0, 0, 0);
}
#endif
#ifdef HOOK_READ
int read_entry(struct pt_regs *ctx)
{
	return on_read();
}
#endif

#endif /* HOOKS */

#endif /* PAGE_OWNER */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done with an event of page_owner: filter it, and record it in the ring of its CPU. The
 * BPF programs and the kernel module do the same. Who includes this gives it the types of
 * <linux/types.h>, NULL, and
 *
 *	TAIL_TIMES		whether each page of a block has its own time (before Linux 6.8)
 *	read_owner()		reads the record of a page; sets known to whether it could
 *	read_ts_nsec()		the same of its time alone; whether it could
 *	read_order()		and of its order
 *	find_split(), add_split(), drop_split()
 *				a table of struct pagedbg_split by u64: pointer or NULL, to what may
 *				be another entry by the time it is looked at; whether that went well
 *	swap()			puts one value of a u64 in the place of another, all others seeing
 *				what was written before; whether it did
 *	slot()			where record number seq of a CPU belongs, or NULL
 *	count()			adds 1 to a counter of this CPU's own
 *	fetch_inc()		the same, and returns what it was
 *	add()			adds to a number that all CPUs share
 *	local_nsec(), mono_nsec()	local_clock(), 0 if it cannot be asked; and CLOCK_MONOTONIC
 *	describe_current()		fills in who does it
 *	seal()			writes a record's check, after all that was written before and
 *				before all that is written after it
 *	KEEP_LOOP		stands before loops that a compiler must not unroll
 *
 * It all happens on one CPU. But an interrupt may do the same in between, and with BPF another task,
 * too: a trampoline keeps a task from migrating and not from being preempted, and so do raw
 * tracepoints of newer kernels. So what is counted is counted atomically, each record has a slot
 * of its own, and nothing is taken that anybody would have to wait for. A program that is
 * preempted for so long that its ring is drained twice leaves a record that counts as lost.
 */
#ifndef PAGEDBG_EVENTS_H
#define PAGEDBG_EVENTS_H

#include "ring.h"

/* What this CPU has to do with. */
struct here {
	struct pagedbg_header *h;
	struct pagedbg_filter *f;
	struct pagedbg_cpu *c;
	u32 cpu;
};

/* Whose allocation an event is about. */
struct owner {
	u64 comm[2];
	u64 ts_nsec;
	u64 last_nsec; /* where each page has its own, the last one's, if looked at */
	u32 order;
	u32 gfp_mask;
	u32 handle;
	u32 pid;
	u32 tgid;
	s32 reason;
	bool known;
};

static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o);
static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec);
static __always_inline bool read_order(struct pagedbg_header *h, u64 pfn, u32 *order);
static __always_inline struct pagedbg_record *slot(struct pagedbg_header *h, u32 cpu, u64 seq);
static __always_inline void describe_current(u32 *pid, u32 *tgid, u64 *comm);

#include "participation.h"

/*
 * Whether what was asked for is of pagedbg's own, and left out. A set is counted: it was seen, and
 * would have been recorded.
 */
static __always_inline bool is_own(struct pagedbg_filter *f, struct pagedbg_cpu *c, u32 event,
				   u32 order, struct owner *o)
{
	if (!o->tgid || (o->tgid != f->own[0] && o->tgid != f->own[1] && o->tgid != f->own[2] &&
			 o->tgid != f->own[3]))
		return false;
	if (event == PAGEDBG_SET)
		count(&c->seen[PAGEDBG_OWN_SETS][order % PAGEDBG_ORDERS]);
	return true;
}

/* Everything but events, orders, participation, and whose it is. */
static __always_inline bool wanted(struct pagedbg_filter *f, u64 pfn, struct owner *o)
{
	bool found;
	u32 i;

	if (!f->more)
		return true;
	if ((o->gfp_mask & f->gfp_mask) != f->gfp_mask)
		return false;
	/* include/linux/gfp.h, gfp_migratetype(): GFP_MOVABLE_MASK, GFP_MOVABLE_SHIFT */
	if (f->migratetypes && !(f->migratetypes & (1 << ((o->gfp_mask >> 3) & 3))))
		return false;
	if (f->ranges) {
		found = false;
		KEEP_LOOP
		for (i = 0; i < PAGEDBG_RANGES; i++)
			if (i < f->ranges && pfn >= f->range[i].start && pfn <= f->range[i].end)
				found = true;
		if (!found)
			return false;
	}
	if (f->pids) {
		found = false;
		KEEP_LOOP
		for (i = 0; i < PAGEDBG_PIDS; i++)
			if (i < f->pids &&
			    ((o->pid >= f->pid[i].start && o->pid <= f->pid[i].end) ||
			     (o->tgid >= f->pid[i].start && o->tgid <= f->pid[i].end)))
				found = true;
		if (!found)
			return false;
	}
	if (f->comms) {
		found = false;
		KEEP_LOOP
		for (i = 0; i < PAGEDBG_COMMS; i++)
			if (i < f->comms &&
			    (o->comm[0] & f->comm[i].mask[0]) == f->comm[i].value[0] &&
			    (o->comm[1] & f->comm[i].mask[1]) == f->comm[i].value[1])
				found = true;
		if (!found)
			return false;
	}
	return true;
}

/* Take the next slot of this CPU and fill in what every record has. */
static __always_inline void record(struct pagedbg_header *h, struct pagedbg_cpu *c, u32 cpu,
				   u32 event, u32 order, u32 new_order, u64 pfn, u64 other_pfn,
				   struct owner *o, u32 flags)
{
	u64 nth = fetch_inc(&c->recorded[event][order % PAGEDBG_ORDERS]);
	u64 seq = fetch_inc(&c->head) + 1;
	struct pagedbg_record *r = slot(h, cpu, seq);

	if (!r)
		return;
	seal(&r->check, 0);
	r->pfn = pfn;
	r->ts_nsec = o->ts_nsec;
	r->other_pfn = other_pfn;
	r->gfp_mask = o->gfp_mask;
	r->handle = o->handle;
	r->free_handle = 0;
	r->owner_pid = o->pid;
	r->owner_tgid = o->tgid;
	r->owner_comm[0] = o->comm[0];
	r->owner_comm[1] = o->comm[1];
	r->cpu = cpu;
	r->event = event;
	r->flags = flags;
	r->order = order;
	r->record_order = o->order;
	r->new_order = new_order;
	r->reason = o->reason;
	r->span_nsec = o->last_nsec <= o->ts_nsec      ? 0 :
		       o->last_nsec - o->ts_nsec > ~0U ? ~0U :
							 o->last_nsec - o->ts_nsec;
	if (event == PAGEDBG_SET && o->known) {
		/* Who allocates is who the record names. */
		r->time_nsec = o->ts_nsec;
		r->mono_nsec = nth % 16 ? 0 : mono_nsec();
		r->pid = o->pid;
		r->tgid = o->tgid;
		r->comm[0] = o->comm[0];
		r->comm[1] = o->comm[1];
	} else {
		r->time_nsec = local_nsec();
		r->mono_nsec = r->time_nsec ? 0 : mono_nsec();
		describe_current(&r->pid, &r->tgid, r->comm);
	}
	r->seq = seq;
	seal(&r->check, pagedbg_check(r));
}

/* Count a set or a reset, and say whether there is any need to look at its page. */
static __always_inline bool begins(struct pagedbg_header *h, struct pagedbg_filter *f,
				   struct pagedbg_cpu *c, u32 event, u32 order)
{
	count(&c->seen[event][order % PAGEDBG_ORDERS]);
	if (!(f->events & (1 << event)))
		return event == PAGEDBG_RESET && may_be_piece(h, order);
	/* A page that is freed may be the last of a larger block that took part. */
	return f->threshold[order % PAGEDBG_ORDERS] ||
	       (event == PAGEDBG_RESET && (order < f->orders || may_be_piece(h, order)));
}

/*
 * An event about a page whose record has been read, if it could be.
 * @reason: of a migration, or OF_RECORD
 */
#define OF_RECORD (-(1 << 15))

static __always_inline void on_event_of(struct pagedbg_header *h, struct pagedbg_filter *f,
					struct pagedbg_cpu *c, u32 cpu, u32 event, u32 order,
					u32 new_order, u64 pfn, u64 other_pfn, s32 reason,
					struct owner *o)
{
	/* What is copied is still on record of the page that it comes from alone. */
	u64 at = event == PAGEDBG_COPY ? other_pfn : pfn;
	u32 flags = o->known ? 0 : PAGEDBG_NO_RECORD;
	bool in, whole;

	if (event != PAGEDBG_SET && event != PAGEDBG_RESET) {
		if (event != PAGEDBG_SPLIT)
			order = o->order;
		count(&c->seen[event][order % PAGEDBG_ORDERS]);
	}
	in = takes_part(h, f, c, event, order, pfn, at, o, &whole);
	whole = whole && event == PAGEDBG_SPLIT && o->known;
	if (!in && !whole)
		return;
	/* What nobody wants takes no room in the table of splits, either. */
	if (!wanted(f, pfn, o) || is_own(f, c, event, order, o))
		return;
	if (whole)
		keep_split(h, f, c, order, new_order, pfn, o, in);
	if (!in || !(f->events & (1 << event)))
		return;
	if (o->known && o->handle == h->dummy_handle)
		flags |= PAGEDBG_NESTED;
	if (event == PAGEDBG_SPLIT && o->known)
		o->order = new_order;
	if (reason != OF_RECORD && o->known)
		o->reason = reason;
	record(h, c, cpu, event, order, new_order, pfn, other_pfn, o, flags);
}

/*
 * An event about a page; a set or a reset has passed begins(). A split or a migration may be heard
 * of before or after its record is changed.
 */
static __always_inline void on_event_for(struct pagedbg_header *h, struct pagedbg_filter *f,
					 struct pagedbg_cpu *c, u32 cpu, u32 event, u32 order,
					 u32 new_order, u64 pfn, u64 other_pfn, s32 reason)
{
	struct owner o = {};
	u32 of_record;

	/* What is left out by its order alone, as most is, need not be read as a whole. */
	if (event == PAGEDBG_RESET && !f->threshold[order % PAGEDBG_ORDERS] &&
	    !may_be_piece(h, order) && read_order(h, pfn, &of_record) &&
	    !f->threshold[of_record % PAGEDBG_ORDERS])
		return;
	read_owner(h, event == PAGEDBG_COPY ? other_pfn : pfn, &o);
	on_event_of(h, f, c, cpu, event, order, new_order, pfn, other_pfn, reason, &o);
}

/* The same, heard of when the record is changed. */
static __always_inline void on_event(struct pagedbg_header *h, struct pagedbg_filter *f,
				     struct pagedbg_cpu *c, u32 cpu, u32 event, u32 order,
				     u32 new_order, u64 pfn, u64 other_pfn)
{
	on_event_for(h, f, c, cpu, event, order, new_order, pfn, other_pfn, OF_RECORD);
}

/* read_page_owner() is about no page. */
static __always_inline void on_read(struct pagedbg_header *h, struct pagedbg_filter *f,
				    struct pagedbg_cpu *c, u32 cpu)
{
	struct owner o = {};

	count(&c->seen[PAGEDBG_READ][0]);
	if (f->events & (1 << PAGEDBG_READ))
		record(h, c, cpu, PAGEDBG_READ, 0, 0, ~0ULL, 0, &o, PAGEDBG_NO_RECORD);
}

#endif

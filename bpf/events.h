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
 *	count()			adds 1 to a counter of this CPU's own; returns what it was
 *	add()			adds to a number that all CPUs share; returns what it was
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

/*
 * An allocation that was split into orders for which the filter would decide otherwise than for the
 * whole: what was decided then holds for all of its pieces. Found by ts_nsec.
 *
 * Where each page has a time of its own, a piece does not tell of what it is one: there it is all
 * that were split, found by where they begin and their order. A page of that place which is not
 * younger than the last page of the allocation is one of its own.
 */
struct pagedbg_split {
	/*
	 * Upper half: pagedbg_hash() of its key. Then whether it takes part, and how many of its
	 * pages are left. 0: it is gone, or is not there yet. It changes by swap() alone, which
	 * tells that the rest was this entry's, too, and not another's in the same memory.
	 */
	u64 state;
	u64 ts_nsec;
	u64 last_nsec;
};

#define SPLIT_IN   (1ULL << 31)
#define SPLIT_LEFT (SPLIT_IN - 1)

/* So often it is tried again when somebody else changes it at the same time. */
#define SPLIT_TRIES 8

static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o);
static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec);
static __always_inline bool read_order(struct pagedbg_header *h, u64 pfn, u32 *order);
static __always_inline struct pagedbg_split *find_split(u64 *key);
static __always_inline bool add_split(u64 *key, struct pagedbg_split *split);
static __always_inline bool drop_split(u64 *key);
static __always_inline struct pagedbg_record *slot(struct pagedbg_header *h, u32 cpu, u64 seq);
static __always_inline void describe_current(u32 *pid, u32 *tgid, u64 *comm);

/* Everything but events, orders and participation. */
static __always_inline bool wanted(struct pagedbg_filter *f, u64 pfn, struct owner *o)
{
	bool found;
	u32 i;

	if (o->tgid && (o->tgid == f->own[0] || o->tgid == f->own[1] || o->tgid == f->own[2] ||
			o->tgid == f->own[3]))
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

static __always_inline void remember(struct pagedbg_header *h, struct pagedbg_cpu *c, u64 key,
				     bool in, u64 left, struct pagedbg_split *split)
{
	struct pagedbg_split *s;

	split->state = 0;
	if (!add_split(&key, split)) {
		count(&c->forgotten);
		return;
	}
	s = find_split(&key);
	if (!s)
		return;
	if (TAIL_TIMES)
		h->split_orders[key % PAGEDBG_SPLIT_ORDERS] = 1;
	add(&h->splits, 1);
	swap(&s->state, 0, pagedbg_hash(key) << 32 | (in ? SPLIT_IN : 0) | left);
}

/* Whether a page of this time is one of an allocation's, of which it says no more by its place. */
static __always_inline bool is_piece(u64 ts_nsec, u64 first_nsec, u64 last_nsec)
{
	return !TAIL_TIMES || (ts_nsec >= first_nsec && ts_nsec <= last_nsec);
}

/*
 * Take so many pages of an allocation that was split (or give it some), if it is there, and the
 * page one of its. The last one takes it out of the table.
 * @ts_nsec: of the page; NULL if it is all the same whose it is
 * @found: is filled in
 */
static __always_inline bool use_split(struct pagedbg_header *h, u64 key, const u64 *ts_nsec,
				      s64 pages, struct pagedbg_split *found)
{
	struct pagedbg_split *s = find_split(&key);
	u64 state, left;
	u32 i;

	if (!s)
		return false;
	KEEP_LOOP
	for (i = 0; i < SPLIT_TRIES; i++) {
		state = *(volatile u64 *)&s->state;
		if (state >> 32 != pagedbg_hash(key) || !(state & SPLIT_LEFT))
			return false;
		found->state = state;
		found->ts_nsec = *(volatile u64 *)&s->ts_nsec;
		found->last_nsec = *(volatile u64 *)&s->last_nsec;
		if (ts_nsec && !is_piece(*ts_nsec, found->ts_nsec, found->last_nsec))
			return false;
		left = state & SPLIT_LEFT;
		if (pages >= 0 && left <= (u64)pages) {
			if (!swap(&s->state, state, 0))
				continue;
			if (drop_split(&key))
				add(&h->splits, -1);
			return true;
		}
		if (swap(&s->state, state, state - pages))
			return true;
	}
	return false;
}

/* What a block is found by: no page frame number has more than 40 bits. */
static __always_inline u64 place(u64 pfn, u32 order)
{
	return (pfn >> order << order) << 8 | order;
}

/* A block begins there no more, whatever was missed. */
static __always_inline void forget(struct pagedbg_header *h, u64 key)
{
	struct pagedbg_split found;

	use_split(h, key, NULL, SPLIT_LEFT, &found);
}

/* The key of what a page with a time may be a piece of: only use_split() knows. */
static __always_inline bool find_whole(struct pagedbg_header *h, u64 pfn, u64 ts_nsec, u64 *key)
{
	struct pagedbg_split *s;
	u32 order;

	*key = ts_nsec;
	if (!h->splits)
		return false;
	if (!TAIL_TIMES)
		return true;
	KEEP_LOOP
	for (order = 0; order < PAGEDBG_SPLIT_ORDERS; order++) {
		if (!h->split_orders[order])
			continue;
		*key = place(pfn, order);
		s = find_split(key);
		if (s && is_piece(ts_nsec, s->ts_nsec, s->last_nsec))
			return true;
	}
	return false;
}

/* Where each page has a time of its own, that of an allocation is its first page's. */
static __always_inline void find_time(struct pagedbg_header *h, u32 event, u32 order, u64 pfn,
				      struct owner *o)
{
	u32 whole = o->order % PAGEDBG_ORDERS;
	u64 head = pfn >> whole << whole;
	struct owner first;

	if (!o->known)
		return;
	if (event == PAGEDBG_SET || event == PAGEDBG_SPLIT) {
		if (!order ||
		    !read_ts_nsec(h, pfn + (1ULL << (order % PAGEDBG_ORDERS)) - 1, &o->last_nsec))
			o->last_nsec = o->ts_nsec;
	} else if (head != pfn && read_owner(h, head, &first)) {
		/*
		 * While one of its pages is there, another block of the same order cannot begin
		 * where this did.
		 */
		if (first.order == o->order && first.ts_nsec <= o->ts_nsec)
			o->ts_nsec = first.ts_nsec;
	}
}

/*
 * Whether the filter decides for some smaller order otherwise than it did: a block may be split
 * again and again, by one order each time. Without a branch, of which BPF's verifier would follow
 * both sides each time: the highest bit of a difference says which is less.
 */
static __always_inline bool differs(struct pagedbg_filter *f, u64 hash, u32 order, bool in)
{
	u64 i, found = 0;

	KEEP_LOOP
	for (i = 0; i < PAGEDBG_ORDERS; i++)
		found |= (i - order) & ((hash - f->threshold[i]) ^ (in ? 1ULL << 63 : 0));
	return found >> 63;
}

/* Whether any of the smaller orders is asked for. */
static __always_inline bool wants_less(struct pagedbg_filter *f, u32 order)
{
	u64 i, found = 0;

	KEEP_LOOP
	for (i = 0; i < PAGEDBG_ORDERS; i++)
		found |= (i - order) & -f->threshold[i];
	return found >> 63;
}

/* Remember an allocation that is split for the first time. */
static __always_inline void keep_split(struct pagedbg_header *h, struct pagedbg_filter *f,
				       struct pagedbg_cpu *c, u32 order, u64 pfn, struct owner *o,
				       bool in)
{
	struct pagedbg_split split = { 0, o->ts_nsec, o->last_nsec };
	u64 key = o->ts_nsec;

	if (TAIL_TIMES) {
		/* Each of its pages would be decided by a time of its own. */
		if (!in && !wants_less(f, order))
			return;
		key = place(pfn, order % PAGEDBG_ORDERS);
		forget(h, key);
	} else if (!differs(f, pagedbg_hash(o->ts_nsec), order, in)) {
		return;
	}
	remember(h, c, key, in, 1ULL << (order % PAGEDBG_ORDERS), &split);
}

/*
 * The allocation that made room for a page to be moved to is over. Whether it took part: then the
 * move says so.
 */
static __always_inline bool end_target(struct pagedbg_header *h, struct pagedbg_filter *f,
				       u32 order, u64 pfn)
{
	struct pagedbg_split found;
	u64 key, ts_nsec;

	if (!read_ts_nsec(h, pfn, &ts_nsec))
		return false;
	if (find_whole(h, pfn, ts_nsec, &key) &&
	    use_split(h, key, &ts_nsec, 1ULL << (order % PAGEDBG_ORDERS), &found))
		return found.state & SPLIT_IN;
	return pagedbg_hash(ts_nsec) < f->threshold[order % PAGEDBG_ORDERS];
}

/*
 * Whether the allocation that an event is about takes part.
 * @at: the page that has its record; what is copied has not got there yet
 * @whole: is set to whether it was never split before
 */
static __always_inline bool takes_part(struct pagedbg_header *h, struct pagedbg_filter *f,
				       struct pagedbg_cpu *c, u32 event, u32 order, u64 pfn, u64 at,
				       struct owner *o, bool *whole)
{
	u64 key = at, hash, size = 1ULL << (order % PAGEDBG_ORDERS);
	struct pagedbg_split found;
	bool in, target;
	s64 gone = 0;

	target = event == PAGEDBG_COPY && end_target(h, f, order, pfn);
	if (event == PAGEDBG_RESET)
		gone = size;
	else if (event == PAGEDBG_COPY && !TAIL_TIMES)
		/* The page that is left behind is freed, too. */
		gone = -size;
	if (TAIL_TIMES && event == PAGEDBG_SET && h->splits)
		forget(h, place(pfn, order % PAGEDBG_ORDERS));
	*whole = !(o->known && event != PAGEDBG_SET && find_whole(h, at, o->ts_nsec, &key) &&
		   use_split(h, key, &o->ts_nsec, gone, &found));
	if (!*whole) {
		in = found.state & SPLIT_IN;
		if (TAIL_TIMES)
			o->ts_nsec = found.ts_nsec;
		if (event == PAGEDBG_COPY && TAIL_TIMES) {
			/* From now on a piece of it is elsewhere. */
			key = place(pfn, order % PAGEDBG_ORDERS);
			forget(h, key);
			remember(h, c, key, in, size, &found);
		}
		return in || target;
	}
	if (TAIL_TIMES)
		find_time(h, event, order, at, o);
	hash = pagedbg_hash(o->known ? o->ts_nsec : at);
	/* A page that is freed out of a block keeps the block's order. */
	in = hash <
	     f->threshold[(event == PAGEDBG_RESET && o->known ? o->order : order) % PAGEDBG_ORDERS];
	return in || target;
}

/* Take the next slot of this CPU and fill in what every record has. */
static __always_inline void record(struct pagedbg_header *h, struct pagedbg_cpu *c, u32 cpu,
				   u32 event, u32 order, u32 new_order, u64 pfn, u64 other_pfn,
				   struct owner *o, u32 flags)
{
	u64 nth = count(&c->recorded[event][order % PAGEDBG_ORDERS]);
	u64 seq = count(&c->head) + 1;
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
		return event == PAGEDBG_RESET && h->splits;
	/* A page that is freed may be the last of a larger block that took part. */
	return f->threshold[order % PAGEDBG_ORDERS] ||
	       (event == PAGEDBG_RESET && (order < f->orders || h->splits));
}

/*
 * An event about a page; a set or a reset has passed begins(). A split or a migration may be heard
 * of before or after its record is changed.
 * @reason: of a migration, or OF_RECORD
 */
#define OF_RECORD (-1 << 15)

static __always_inline void on_event_for(struct pagedbg_header *h, struct pagedbg_filter *f,
					 struct pagedbg_cpu *c, u32 cpu, u32 event, u32 order,
					 u32 new_order, u64 pfn, u64 other_pfn, s32 reason)
{
	/* What is copied is still on record of the page that it comes from alone. */
	u64 at = event == PAGEDBG_COPY ? other_pfn : pfn;
	struct owner o = {};
	bool in, whole;
	u32 flags = 0, of_record;

	/* What is left out by its order alone, as most is, need not be read. */
	if (event == PAGEDBG_RESET && !h->splits && read_order(h, pfn, &of_record) &&
	    !f->threshold[of_record % PAGEDBG_ORDERS])
		return;
	if (!read_owner(h, at, &o))
		flags = PAGEDBG_NO_RECORD;
	if (event != PAGEDBG_SET && event != PAGEDBG_RESET) {
		if (event != PAGEDBG_SPLIT)
			order = o.order;
		count(&c->seen[event][order % PAGEDBG_ORDERS]);
	}
	in = takes_part(h, f, c, event, order, pfn, at, &o, &whole);
	whole = whole && event == PAGEDBG_SPLIT && o.known;
	if (!in && !whole)
		return;
	/* What nobody wants takes no room in the table of splits, either. */
	if (!wanted(f, pfn, &o))
		return;
	if (whole)
		keep_split(h, f, c, order, pfn, &o, in);
	if (!in || !(f->events & (1 << event)))
		return;
	if (o.known && o.handle == h->dummy_handle)
		flags |= PAGEDBG_NESTED;
	if (event == PAGEDBG_SPLIT && o.known)
		o.order = new_order;
	if (reason != OF_RECORD && o.known)
		o.reason = reason;
	record(h, c, cpu, event, order, new_order, pfn, other_pfn, &o, flags);
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Allocations that mm_page_alloc does not tell of, by where the page is in a table, so that whoever
 * looks at the page finds them, on any CPU. It is known when they begin (untold.py) and not when
 * their record is written: they stay until the page is split, moved or freed, somebody else wants
 * their place, or `complete` is run. Of rings that are frozen it stays as it is: nothing can be
 * recorded any more, and those that are left are counted (BpfBackend.missed()). The table itself is in
 * capture.bpf.c: pending_place(), waiting().
 */
#ifndef PAGEDBG_PENDING_H
#define PAGEDBG_PENDING_H

#define PENDING_WAYS 2
#define UNROLL	     _Pragma("clang loop unroll(full)")
#define PENDING_BITS 12 /* log2(PENDING) */

/* No page frame number has more than 40 bits, no order more than 5; and it is not 0. */
static __always_inline u64 pending_of(u64 pfn, u32 order)
{
	return pfn << 8 | 0x80 | (order % PAGEDBG_ORDERS);
}

static __always_inline u64 pending_pfn(u64 pending)
{
	return pending >> 8;
}

static __always_inline u32 pending_order(u64 pending)
{
	return pending % PAGEDBG_ORDERS;
}

static __always_inline u64 *pending_slot(u64 pfn, u32 way)
{
	u32 index = (pfn * 0x61C8864680B583EBULL >> (64 - PENDING_BITS)) ^ way;

	return pending_place(index);
}

static __always_inline bool is_frozen(struct here *at)
{
	return at->h->active & PAGEDBG_FROZEN;
}

/* Take a page out of the table; 0 if it is not there. */
static __always_inline u64 take_pending(struct here *at, u64 pfn)
{
	u64 found, *slot;
	u32 way;

	if (!waiting()->pages || is_frozen(at))
		return 0;
	UNROLL
	for (way = 0; way < PENDING_WAYS; way++) {
		slot = pending_slot(pfn, way);
		if (!slot)
			return 0;
		found = *(volatile u64 *)slot;
		if (!found || pending_pfn(found) != pfn)
			continue;
		if (!swap(slot, found, 0))
			return 0;
		add(&waiting()->pages, -1);
		return found;
	}
	return 0;
}

/*
 * Read the record of a page in the table. Whoever changes it takes the page out of the table before:
 * so whoever can do that after reading has read what was written when the page was allocated.
 */
static __always_inline void read_pending(struct here *at, u64 pending, struct owner *o)
{
	u64 pfn = pending_pfn(pending);

	*o = (struct owner){};
	read_owner(at->h, pfn, o);
	if (TAIL_TIMES)
		find_time(at->h, PAGEDBG_SET, pending_order(pending), pfn, o);
}

static __always_inline void complete_pending(struct here *at, u64 pending, struct owner *o)
{
	on_event_of(at->h, at->f, at->c, at->cpu, PAGEDBG_SET, pending_order(pending), 0,
		    pending_pfn(pending), 0, OF_RECORD, o);
}

/*
 * What happens to a page comes after its allocation. If that is another allocation, it was freed
 * since, of which nobody wanted to know.
 */
static __always_inline void complete_before(struct here *at, u32 event, u64 pfn)
{
	u64 pending = take_pending(at, pfn);
	struct owner o;

	if (pending && event != PAGEDBG_SET) {
		/* Nothing has happened to it yet. */
		read_pending(at, pending, &o);
		complete_pending(at, pending, &o);
	}
}

/* Whether all of the record is written: that of the last page is last. */
static __always_inline bool is_written(struct here *at, u64 pending)
{
	return is_allocated(at->h, pending_pfn(pending) + (1ULL << pending_order(pending)) - 1);
}

/* An allocation begins that no tracepoint tells of. */
static __always_inline int on_untold(u64 page, u32 order)
{
	u64 pfn, before = 0, *slot;
	struct owner o;
	bool placed = false;
	struct here at;
	u32 way;

	if (!find_here(&at) || !begins(at.h, at.f, at.c, PAGEDBG_SET, order))
		return 0;
	pfn = page_to_pfn(at.h, page);
	/* Before it is there, so that nobody who looks for it finds that there is nothing. */
	add(&waiting()->pages, 1);
	UNROLL
	for (way = 0; way < PENDING_WAYS && !placed; way++) {
		slot = pending_slot(pfn, way);
		if (!slot)
			return 0;
		before = *(volatile u64 *)slot;
		/* The same page was freed since, of which nobody wanted to know. */
		if (!before || pending_pfn(before) == pfn) {
			placed = swap(slot, before, pending_of(pfn, order));
		} else if (is_written(&at, before)) {
			read_pending(&at, before, &o);
			placed = swap(slot, before, pending_of(pfn, order));
		}
	}
	if (!placed || before)
		add(&waiting()->pages, -1);
	if (!placed)
		count(&waiting()->no_room);
	else if (before && pending_pfn(before) != pfn)
		complete_pending(&at, before, &o);
	return 0;
}

/* @all: nothing begins any more, so that all has been written */
static __always_inline int complete_at(u32 index, bool all)
{
	u64 pending, *slot = pending_place(index);
	struct owner o;
	struct here at;

	if (!slot || !find_here(&at) || is_frozen(&at))
		return 0;
	pending = *(volatile u64 *)slot;
	if (!pending || !(all || is_written(&at, pending)))
		return 0;
	read_pending(&at, pending, &o);
	if (swap(slot, pending, 0)) {
		add(&waiting()->pages, -1);
		complete_pending(&at, pending, &o);
	}
	return 0;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the allocation that an event is about takes part: its order and its time decide, and for
 * what it is split into, what was decided when it was whole. For events.h, which says what is asked
 * for.
 */
#ifndef PAGEDBG_PARTICIPATION_H
#define PAGEDBG_PARTICIPATION_H

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

static __always_inline struct pagedbg_split *find_split(u64 *key);
static __always_inline bool add_split(u64 *key, struct pagedbg_split *split);
static __always_inline bool drop_split(u64 *key);

/* @new_order: of its largest piece */
static __always_inline void remember(struct pagedbg_header *h, struct pagedbg_cpu *c, u64 key,
				     u32 new_order, bool in, u64 left, struct pagedbg_split *split)
{
	struct pagedbg_split *s;
	u32 order;

	split->state = 0;
	if (!add_split(&key, split)) {
		count(&c->forgotten);
		return;
	}
	s = find_split(&key);
	if (!s)
		return;
	if (TAIL_TIMES) {
		h->split_orders[key % PAGEDBG_SPLIT_ORDERS] = 1;
	} else {
		KEEP_LOOP
		for (order = 0; order < PAGEDBG_SPLIT_ORDERS; order++)
			if (order <= new_order)
				h->split_orders[order] = 1;
	}
	add(&h->splits, 1);
	swap(&s->state, 0, pagedbg_hash(key) << 32 | (in ? SPLIT_IN : 0) | left);
}

/*
 * Whether a block of this order may be one of an allocation that is in the table. Those that are
 * split into single pages, as vmalloc's are, are there nearly always, and are no reason to look at
 * larger blocks.
 */
static __always_inline bool may_be_piece(struct pagedbg_header *h, u32 order)
{
	return h->splits && (TAIL_TIMES || h->split_orders[order % PAGEDBG_SPLIT_ORDERS]);
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

/*
 * The key of what a block with a time may be a piece of: only use_split() knows.
 * @order: the block's
 */
static __always_inline bool find_whole(struct pagedbg_header *h, u32 order, u64 pfn, u64 ts_nsec,
				       u64 *key)
{
	struct pagedbg_split *s;
	u32 whole;

	*key = ts_nsec;
	if (!may_be_piece(h, order))
		return false;
	if (!TAIL_TIMES)
		return true;
	KEEP_LOOP
	for (whole = 0; whole < PAGEDBG_SPLIT_ORDERS; whole++) {
		if (!h->split_orders[whole])
			continue;
		*key = place(pfn, whole);
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
		/* read_pending() has looked, before the record could be changed. */
		if (o->last_nsec)
			return;
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
				       struct pagedbg_cpu *c, u32 order, u32 new_order, u64 pfn,
				       struct owner *o, bool in)
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
	remember(h, c, key, new_order, in, 1ULL << (order % PAGEDBG_ORDERS), &split);
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
	if (find_whole(h, order, pfn, ts_nsec, &key) &&
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
	*whole = !(o->known && event != PAGEDBG_SET && find_whole(h, order, at, o->ts_nsec, &key) &&
		   use_split(h, key, &o->ts_nsec, gone, &found));
	if (!*whole) {
		in = found.state & SPLIT_IN;
		if (TAIL_TIMES)
			o->ts_nsec = found.ts_nsec;
		if (event == PAGEDBG_COPY && TAIL_TIMES) {
			/* From now on a piece of it is elsewhere. */
			key = place(pfn, order % PAGEDBG_ORDERS);
			forget(h, key);
			remember(h, c, key, order, in, size, &found);
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

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of allocations that were split, as events.h asks for it: a key may be in any of WINDOW
 * places from where its hash says, so that nothing has to be moved and nobody waits. A place is
 * taken by its key, first TAKEN while it is filled in. For record.c alone.
 */
#ifndef PAGEDBG_SPLITS_H
#define PAGEDBG_SPLITS_H

#define SPLITS 4096
#define WINDOW 16
#define FREE   0ULL
#define TAKEN  (~0ULL)

static struct {
	u64 key;
	struct pagedbg_split split;
} splits[SPLITS + WINDOW];

static u32 split_at(u64 key)
{
	return pagedbg_hash(key) % SPLITS;
}
NOKPROBE_SYMBOL(split_at);

static __always_inline struct pagedbg_split *find_split(u64 *key)
{
	u32 i, at = split_at(*key);

	if (*key == FREE || *key == TAKEN)
		return NULL;
	for (i = at; i < at + WINDOW; i++)
		/* With add_split(): its contents are older than its key. */
		if (smp_load_acquire(&splits[i].key) == *key)
			return &splits[i].split;
	return NULL;
}

static __always_inline bool add_split(u64 *key, struct pagedbg_split *split)
{
	u32 i, at = split_at(*key);

	if (*key == FREE || *key == TAKEN || find_split(key))
		return false;
	for (i = at; i < at + WINDOW; i++) {
		if (READ_ONCE(splits[i].key) != FREE ||
		    cmpxchg(&splits[i].key, FREE, TAKEN) != FREE)
			continue;
		splits[i].split = *split;
		/* With find_split() */
		smp_store_release(&splits[i].key, *key);
		return true;
	}
	return false;
}

static __always_inline bool drop_split(u64 *key)
{
	u32 i, at = split_at(*key);

	if (*key == FREE || *key == TAKEN)
		return false;
	for (i = at; i < at + WINDOW; i++)
		if (READ_ONCE(splits[i].key) == *key && cmpxchg(&splits[i].key, *key, FREE) == *key)
			return true;
	return false;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In the place of owner.h where page_owner is off: there are no records and no splits, and nobody
 * asks.
 */
#ifndef PAGEDBG_NO_OWNER_H
#define PAGEDBG_NO_OWNER_H

static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o)
{
	return false;
}

static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec)
{
	return false;
}

static __always_inline bool read_order(struct pagedbg_header *h, u64 pfn, u32 *order)
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

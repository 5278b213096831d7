/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stopping the rings of all CPUs at once, so that what led to a failure is not overwritten. The BPF
 * programs and the kernel module do the same; who includes this gives it, beside what events.h asks
 * for,
 *
 *	set_bits()		sets bits of a u32 that all CPUs share; returns what it was
 *	GFP_NOWARN		of the kernel
 */
#ifndef PAGEDBG_FREEZE_H
#define PAGEDBG_FREEZE_H

/*
 * mm/page_alloc.c, __alloc_pages_slowpath(): what warn_alloc() is called with for each allocation
 * that has failed, whether it says something then or not, and with the order behind it.
 */
#define FAILURE_FORMAT "page allocation failure:"

_Static_assert(__builtin_offsetof(struct pagedbg_freeze, order) % 8 == 0 &&
		       __builtin_offsetof(struct pagedbg_freeze, reason) ==
			       __builtin_offsetof(struct pagedbg_freeze, order) + 4,
	       "an order and its reason are written at once");

/* The first one that is asked for stops them, and is kept. */
static __always_inline void freeze_rings(struct pagedbg_header *h, struct pagedbg_filters *filters,
					 u32 reason, s32 order, u32 gfp_mask)
{
	struct pagedbg_freeze *z = &filters->freeze;
	u32 tgid;

	if (!(z->on & 1 << reason) || set_bits(&h->active, PAGEDBG_FROZEN) & PAGEDBG_FROZEN)
		return;
	z->time_nsec = local_nsec();
	z->mono_nsec = mono_nsec();
	describe_current(&z->pid, &tgid, z->comm);
	z->gfp_mask = gfp_mask;
	/* With the order: it may be that seal() can write 64 bits only. */
	seal((u64 *)&z->order, (u64)reason << 32 | (u32)order);
}

static __always_inline void freeze_at_failure(struct pagedbg_header *h,
					      struct pagedbg_filters *filters, u32 order,
					      u32 gfp_mask)
{
	if (order >= filters->freeze.least_order)
		freeze_rings(h, filters,
			     gfp_mask & GFP_NOWARN ? PAGEDBG_QUIET_FAILURE : PAGEDBG_FAILURE, order,
			     gfp_mask);
}

#endif

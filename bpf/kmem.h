/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done with what kmem's tracepoints tell where page_owner is off: there are no records, no
 * splits, and who allocates is who runs. Who includes this gives it what events.h asks for, and
 *
 *	stack_id()		files the stack that runs, and returns its number; ~0 if it cannot
 *
 * local_nsec() has to be 0: all times are those of mono_nsec(), which do not differ from CPU to CPU.
 */
#ifndef PAGEDBG_KMEM_H
#define PAGEDBG_KMEM_H

#include "events.h"
#include "no_owner.h"

static __always_inline void on_kmem(struct here *at, u32 event, u64 pfn, u32 order, u32 gfp,
				    void *ctx)
{
	struct owner o = {};

	count(&at->c->seen[event][order % PAGEDBG_ORDERS]);
	if (!(at->f->events & (1 << event)))
		return;
	if (pagedbg_hash(pfn) >= at->f->threshold[order % PAGEDBG_ORDERS])
		return;
	if (event == PAGEDBG_SET) {
		describe_current(&o.pid, &o.tgid, o.comm);
		o.gfp_mask = gfp;
		/*
		 * Of a free it is not known whose page it was: whoever reads the records leaves out
		 * those without an allocation.
		 */
		if (!wanted(at->f, pfn, &o) || is_own(at->f, at->c, event, order, &o))
			return;
		o.known = true;
		o.ts_nsec = mono_nsec();
		o.handle = stack_id(ctx);
	}
	record(at->h, at->c, at->cpu, event, order, 0, pfn, 0, &o,
	       PAGEDBG_NO_RECORD | PAGEDBG_TRACEPOINT);
}

#endif

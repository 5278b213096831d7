// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is recorded where page_owner is off (hooks=kmem): allocations and frees, as the tracepoints
 * tell them, with stacks of our own. What compaction and alloc_contig_range() take passes neither.
 */
#include <linux/mm.h>
#include <linux/preempt.h>

#include "pagedbg.h"

/* As with BPF: all times are CLOCK_MONOTONIC's. */
#define local_nsec() 0ULL
#include "operations.h"

#define stack_id(context) pagedbg_stack_id()
#include "kmem.h"

static __always_inline void on_tracepoint(u32 event, struct page *page, u32 order, u32 gfp)
{
	struct here at;

	preempt_disable_notrace();
	at = here();
	on_kmem(&at, event, page_to_pfn(page), order, gfp, NULL);
	preempt_enable_notrace();
}

static void notrace on_alloc(void *unused, struct page *page, unsigned int order, gfp_t gfp,
			     int migratetype)
{
	/* It tells of failures, too. */
	if (page)
		on_tracepoint(PAGEDBG_SET, page, order, (__force u32)gfp);
}

static void notrace on_free(void *unused, struct page *page, unsigned int order)
{
	on_tracepoint(PAGEDBG_RESET, page, order, 0);
}

int pagedbg_begin_kmem(void)
{
	return pagedbg_register_tracepoints(on_alloc, on_free);
}

void pagedbg_end_kmem(void)
{
	pagedbg_unregister_tracepoints();
}

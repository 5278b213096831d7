// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tracepoints of allocations and frees: mm_page_alloc and mm_page_free. They are not exported,
 * and found by name.
 */
#include <linux/errno.h>
#include <linux/slab.h> /* for trace/events/kmem.h */
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/kmem.h>

#include "pagedbg.h"

#ifdef CONFIG_TRACEPOINTS

static struct tracepoint *mm_page_alloc, *mm_page_free;
static pagedbg_alloc_probe alloc_probe;
static pagedbg_free_probe free_probe;

static void find_tracepoint(struct tracepoint *tracepoint, void *unused)
{
	if (!strcmp(tracepoint->name, "mm_page_alloc"))
		mm_page_alloc = tracepoint;
	if (!strcmp(tracepoint->name, "mm_page_free"))
		mm_page_free = tracepoint;
}

/**
 * pagedbg_register_tracepoints - Have two functions called from now on
 * @on_alloc: when an allocation is over; of one that has failed with NULL
 * @on_free: when pages are about to be freed
 *
 * Return: 0, or an error: then none of them is
 */
int pagedbg_register_tracepoints(pagedbg_alloc_probe on_alloc, pagedbg_free_probe on_free)
{
	int error;

	check_trace_callback_type_mm_page_alloc(on_alloc);
	check_trace_callback_type_mm_page_free(on_free);
	for_each_kernel_tracepoint(find_tracepoint, NULL);
	if (!mm_page_alloc || !mm_page_free)
		return -ENOENT;
	/* Frees first: of no allocation that was seen may the free be missed. */
	error = tracepoint_probe_register(mm_page_free, on_free, NULL);
	if (error)
		return error;
	error = tracepoint_probe_register(mm_page_alloc, on_alloc, NULL);
	if (error) {
		tracepoint_probe_unregister(mm_page_free, on_free, NULL);
		tracepoint_synchronize_unregister();
		return error;
	}
	alloc_probe = on_alloc;
	free_probe = on_free;
	return 0;
}

/* Returns when nobody is in them any more: the rings may be freed next. */
void pagedbg_unregister_tracepoints(void)
{
	tracepoint_probe_unregister(mm_page_alloc, alloc_probe, NULL);
	tracepoint_probe_unregister(mm_page_free, free_probe, NULL);
	tracepoint_synchronize_unregister();
}

#else

int pagedbg_register_tracepoints(pagedbg_alloc_probe on_alloc, pagedbg_free_probe on_free)
{
	return -EOPNOTSUPP;
}

void pagedbg_unregister_tracepoints(void)
{
}

#endif

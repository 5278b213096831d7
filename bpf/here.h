/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a program finds what it has to do with: what all CPUs share, and what is its own CPU's.
 */
#ifndef PAGEDBG_HERE_H
#define PAGEDBG_HERE_H

#include "events.h"

struct cpus {
	struct pagedbg_cpu cpu[CPUS];
};

/* The element of a table, by its place in VALUES of bpf_image.py, which puts in the address. */
#define VALUE(place)                                                                    \
	({                                                                              \
		void *value;                                                            \
		asm("%0 = %1 ll" : "=r"(value) : "i"((u64)VALUE_MARK << 32 | (place))); \
		value;                                                                  \
	})

#define HEADER_VALUE  0
#define FILTERS_VALUE 1
#define CPUS_VALUE    2
#define WAITING_VALUE 3

/* What all CPUs have to do with. */
static __always_inline void find_filter(struct here *at)
{
	struct pagedbg_filters *filters = VALUE(FILTERS_VALUE);

	at->h = VALUE(HEADER_VALUE);
	at->f = &filters->filter[at->h->active % PAGEDBG_FILTERS];
}

static __always_inline bool find_here(struct here *at)
{
	struct cpus *cpus = VALUE(CPUS_VALUE);
	u64 cpu = bpf_get_smp_processor_id();

	if (cpu >= CPUS)
		return false;
	/* What is kept on the stack is the number whose limit 6.1's verifier has seen. */
	asm volatile("" : "+r"(cpu));
	at->cpu = cpu;
	at->c = &cpus->cpu[cpu];
	find_filter(at);
	return true;
}

static __always_inline u64 page_to_pfn(struct pagedbg_header *h, u64 page)
{
	return (page - h->memmap) / SIZEOF_PAGE;
}

#endif

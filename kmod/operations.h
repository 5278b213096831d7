/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What events.h asks for that the kernel has an operation for, and where an event finds what it has
 * to do with. Preemption is off.
 */
#ifndef PAGEDBG_OPERATIONS_H
#define PAGEDBG_OPERATIONS_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <asm/local64.h>

#include "now.h"
#include "pagedbg.h"

#define TAIL_TIMES pagedbg_layout.tail_times
#define KEEP_LOOP
/* With the reads of user space: first of a record, then of its check again. */
#define seal(check, value)                   \
	do {                                 \
		smp_wmb();                   \
		WRITE_ONCE(*(check), value); \
		smp_wmb();                   \
	} while (0)

static __always_inline void count(u64 *counter)
{
	local64_inc((local64_t *)counter);
}

static __always_inline u64 fetch_inc(u64 *counter)
{
	return local64_inc_return((local64_t *)counter) - 1;
}

/* The kernel's exchanges two variables. */
#undef swap
static __always_inline bool swap(u64 *number, u64 from, u64 to)
{
	return cmpxchg(number, from, to) == from;
}

static __always_inline void add(u64 *number, u64 n)
{
	atomic64_add(n, (atomic64_t *)number);
}

#include "events.h"

static __always_inline struct pagedbg_record *slot(struct pagedbg_header *h, u32 cpu, u64 seq)
{
	return raw_cpu_read(pagedbg_place.slots) + ((seq - 1) & (h->slots - 1));
}

static __always_inline struct here here(void)
{
	struct pagedbg_header *h = pagedbg_rings;
	/* With activate() of page_order.c */
	struct pagedbg_filter *f = &pagedbg_filters->filter[smp_load_acquire(&h->active)];

	/* It takes longer to work it out again than to keep it. */
	OPTIMIZER_HIDE_VAR(f);
	return (struct here){ h, f, raw_cpu_read(pagedbg_place.counters), raw_smp_processor_id() };
}

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The stacks of allocations where page_owner is off, each of them once, in a table behind the rings.
 * The kernel's depot would keep for good what it is given, and allocates for it. Nobody waits here,
 * and nothing is taken out: a stack that finds no room is not known.
 */
#include <linux/atomic.h>
#include <linux/jhash.h>
#include <linux/stacktrace.h>
#include <linux/string.h>

#include "pagedbg.h"

/* Somebody is writing it, perhaps what we interrupted. */
#define BUSY (~0ULL)

/* In so many places a stack may be. */
#define PLACES 16

struct pagedbg_stack *pagedbg_stacks;
unsigned int pagedbg_stack_count;

/**
 * pagedbg_stack_id - File the stack that runs
 *
 * Return: its place in the table; ~0 if there is none left for it
 */
noinline u32 pagedbg_stack_id(void)
{
	unsigned long pc[PAGEDBG_STACK_DEPTH];
	/* Not we, nor who has asked. */
	unsigned int depth = stack_trace_save(pc, PAGEDBG_STACK_DEPTH, 2);
	u32 hash = jhash(pc, depth * sizeof(*pc), 0), i, place;
	u64 key = PAGEDBG_STACK_KEY(hash, depth), found;
	struct pagedbg_stack *stack;

	BUILD_BUG_ON(sizeof(*pc) != sizeof(*stack->pc));
	for (i = 0; depth && i < PLACES; i++) {
		place = (hash + i) & (pagedbg_stack_count - 1);
		stack = &pagedbg_stacks[place];
		found = smp_load_acquire(&stack->key);
		if (!found) {
			found = cmpxchg(&stack->key, 0, BUSY);
			if (!found) {
				memcpy(stack->pc, pc, depth * sizeof(*pc));
				smp_store_release(&stack->key, key);
				return place;
			}
		}
		if (found == key && !memcmp(stack->pc, pc, depth * sizeof(*pc)))
			return place;
	}
	return ~0U;
}

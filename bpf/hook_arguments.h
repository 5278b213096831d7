/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a program is attached where a function begins or returns, and what it is told of the
 * function's arguments.
 */
#ifndef PAGEDBG_HOOK_ARGUMENTS_H
#define PAGEDBG_HOOK_ARGUMENTS_H

#define NAME_(prefix, function) prefix##function
#define NAME(prefix, function)	NAME_(prefix, function)
#define FENTRY(function)	int NAME(kfunc__, function)(unsigned long long *ctx)
#define FEXIT(function)		int NAME(kretfunc__, function)(unsigned long long *ctx)

/* Where a function begins. */
#if HOOKS == TRAMPOLINE
#define ENTRY(event, function) FENTRY(function)
#define ARGUMENT(n)	       number(ctx[n])
#else
#define ENTRY(event, function) int event##_entry(struct pt_regs *ctx)
#define ARGUMENT(n)	       argument_##n(ctx)
#define argument_0	       PT_REGS_PARM1
#define argument_1	       PT_REGS_PARM2
#define argument_2	       PT_REGS_PARM3
#endif

#ifdef HOOK_SPLIT
/*
 * Of a number of pages, a power of two: __split_page_owner() is told that or an order. The bits
 * below it are counted without a branch: the verifier would go on with each order by itself.
 */
static __always_inline u32 order_of(u32 pages)
{
	u32 bits = pages - 1;

	bits -= bits >> 1 & 0x55555555;
	bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333);
	bits = (bits + (bits >> 4)) & 0x0f0f0f0f;
	return bits * 0x01010101 >> 24;
}
#endif

#endif

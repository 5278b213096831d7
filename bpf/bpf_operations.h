/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What events.h and freeze.h ask for that BPF has an operation or a helper for.
 */
#ifndef PAGEDBG_BPF_OPERATIONS_H
#define PAGEDBG_BPF_OPERATIONS_H

#include "ring.h"

#define KEEP_LOOP      _Pragma("clang loop unroll(disable)")
#define count(counter) __sync_fetch_and_add(counter, 1)
#define add(number, n) __sync_fetch_and_add(number, n)
/* No helper tells local_clock(). */
#define local_nsec()	       0ULL
#define mono_nsec()	       bpf_ktime_get_ns()
#define swap(number, from, to) __sync_bool_compare_and_swap(number, from, to)
#if STORES_IN_ORDER
#define seal(check, value)                     \
	do {                                   \
		asm volatile("" ::: "memory"); \
		*(check) = value;              \
		asm volatile("" ::: "memory"); \
	} while (0)
#else
/* An exchange that gives back what was there is a full barrier (Linux, atomic_t.txt). */
#define seal(check, value) __sync_lock_test_and_set(check, value)
#endif

/*
 * bcc compiles no atomic operations on 32 bits. `active` is the lower half of 64 that are aligned; the
 * other half stays as it is.
 */
#define set_bits(number, bits) __sync_fetch_and_or((u64 *)(number), bits)

/*
 * The verifier allows no arithmetic on a pointer that it knows the type of. Swapped twice it is
 * what it was, and a number.
 */
static __always_inline u64 number(u64 pointer)
{
	asm volatile("%0 = be64 %0; %0 = be64 %0" : "+r"(pointer));
	return pointer;
}

/*
 * bcc says that it compiles for the machine that it runs on. LLVM takes that for the first version
 * of BPF, of which 20 and newer know no __sync_fetch_and_add() that gives back a value; the
 * assembler of older ones does not know the instruction. Kernels know it since 5.12.
 */
static __always_inline u64 fetch_inc(u64 *counter)
{
#if __clang_major__ >= 20
	u64 n = 1;

	asm volatile("%0 = atomic_fetch_add((u64 *)(%1 + 0), %0)"
		     : "+r"(n)
		     : "r"(counter)
		     : "memory");
	return n;
#else
	return __sync_fetch_and_add(counter, 1);
#endif
}

static __always_inline void describe_current(u32 *pid, u32 *tgid, u64 *comm)
{
	u64 id = bpf_get_current_pid_tgid();

	*pid = id;
	*tgid = id >> 32;
	bpf_get_current_comm(comm, PAGEDBG_COMM);
}

#endif

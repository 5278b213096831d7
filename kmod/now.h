/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When something happens, and who is running: what events.h and freeze.h ask for.
 */
#ifndef PAGEDBG_NOW_H
#define PAGEDBG_NOW_H

#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/string.h>

#include "pagedbg.h"

#ifndef local_nsec
#define local_nsec() local_clock()
#endif
#define mono_nsec() ktime_get_mono_fast_ns()

static __always_inline void describe_current(u32 *pid, u32 *tgid, u64 *comm)
{
	*pid = current->pid;
	*tgid = current->tgid;
	memcpy(comm, current->comm, PAGEDBG_COMM);
}

#endif

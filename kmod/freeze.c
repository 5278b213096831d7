// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What stops the rings (freeze.h), if the parameter freeze_on= asks for it: an allocation that fails,
 * which warn_alloc() is called for, or an OOM kill.
 */
#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/oom.h>
#include <linux/printk.h>
#include <linux/string.h>

#include "now.h"
#include "pagedbg.h"

#define GFP_NOWARN ((__force u32)__GFP_NOWARN)
/* With who finds a reason, and reads the rest. */
#define seal(word, value) smp_store_release(word, value)

static __always_inline u32 set_bits(u32 *number, u32 bits)
{
	/* What has happened by now and waits to be recorded is. */
	if (!(READ_ONCE(*number) & bits))
		pagedbg_settle();
	return atomic_fetch_or(bits, (atomic_t *)number);
}

#include "freeze.h"

/* mm/page_alloc.c: warn_alloc(gfp_mask, nodemask, fmt, ...) */
static int warn_entry(struct kprobe *probe, struct pt_regs *regs)
{
	const char *format = (const char *)regs_get_kernel_argument(regs, 2);

	if (!strncmp(format, FAILURE_FORMAT, strlen(FAILURE_FORMAT)))
		freeze_at_failure(pagedbg_rings, pagedbg_filters, regs_get_kernel_argument(regs, 3),
				  regs_get_kernel_argument(regs, 0));
	return 0;
}
NOKPROBE_SYMBOL(warn_entry);

/* mm/oom_kill.c: oom_kill_process(oc, message) */
static int kill_entry(struct kprobe *probe, struct pt_regs *regs)
{
	const struct oom_control *oc = (void *)regs_get_kernel_argument(regs, 0);

	freeze_rings(pagedbg_rings, pagedbg_filters, PAGEDBG_OOM_KILL, oc->order,
		     (__force u32)oc->gfp_mask);
	return 0;
}
NOKPROBE_SYMBOL(kill_entry);

static struct kprobe warn_probe = { .symbol_name = "warn_alloc", .pre_handler = warn_entry };
static struct kprobe kill_probe = { .symbol_name = "oom_kill_process", .pre_handler = kill_entry };
static struct kprobe *probe;

/**
 * pagedbg_begin_freezing - Have the rings stopped when something happens
 * @on: failure, any-failure (those with __GFP_NOWARN, too), both with an order behind a colon if
 *	none smaller counts, or oom; NULL or panic-only for nothing
 *
 * Return: 0; -EINVAL if it is none of these; what register_kprobe() says
 */
int pagedbg_begin_freezing(const char *on)
{
	struct pagedbg_freeze *z = &pagedbg_filters->freeze;
	const char *order;
	size_t length;
	int error;

	if (!on || !strcmp(on, "panic-only"))
		return 0;
	order = strchrnul(on, ':');
	length = order - on;
	if (!strcmp(on, "oom")) {
		probe = &kill_probe;
		z->on = 1 << PAGEDBG_OOM_KILL;
	} else if (length == strlen("failure") && !strncmp(on, "failure", length)) {
		probe = &warn_probe;
		z->on = 1 << PAGEDBG_FAILURE;
	} else if (length == strlen("any-failure") && !strncmp(on, "any-failure", length)) {
		probe = &warn_probe;
		z->on = 1 << PAGEDBG_FAILURE | 1 << PAGEDBG_QUIET_FAILURE;
	}
	if (!probe || (*order && (kstrtou32(order + 1, 10, &z->least_order) ||
				  z->least_order >= PAGEDBG_ORDERS))) {
		pr_err("freeze_on= takes failure, any-failure (both with :ORDER), oom or panic-only\n");
		probe = NULL;
		return -EINVAL;
	}
	error = register_kprobe(probe);
	if (error) {
		pr_err("%s: no probe (%d), which freeze_on= needs\n", probe->symbol_name, error);
		probe = NULL;
	}
	return error;
}

void pagedbg_end_freezing(void)
{
	if (probe)
		unregister_kprobe(probe);
	probe = NULL;
}

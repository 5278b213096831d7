// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Record what happens to page_owner's records, in rings that user space maps (ring.h), without BPF. What is recorded is chosen by /proc/page_order; /dev/pagedbg is for pagedbg,
 * which loads this module, reads the rings, and removes it.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "pagedbg.h"

static char *orders;
module_param(orders, charp, 0);
MODULE_PARM_DESC(
	orders,
	"what /proc/page_order begins with: ORDER[:PARTICIPATION],... as in 0:20,4 (default: all of every order)");

static char *events = "set,reset,split,copy,migrate,dump";
module_param(events, charp, 0);
MODULE_PARM_DESC(
	events,
	"what to record: all, none, or some of set,reset,split,copy,migrate,dump,read (default: all but read, of which one look at page_owner's text makes thousands)");

static unsigned int ring_slots;
module_param(ring_slots, uint, 0400);
MODULE_PARM_DESC(
	ring_slots,
	"records in the ring of each CPU, 128 bytes each, a power of two (default: 16 MiB for all CPUs, but 4096 at least if that is no more than a 64th of memory)");

static char *hooks = "tracepoint";
module_param(hooks, charp, 0400);
MODULE_PARM_DESC(
	hooks,
	"what allocations and frees are heard from: tracepoint (the default; kprobe where that cannot be), kprobe, as the original project's module does, or kmem, where page_owner is off: tracepoints alone");

static char *freeze_on;
module_param(freeze_on, charp, 0400);
MODULE_PARM_DESC(
	freeze_on,
	"what stops the rings: failure or any-failure, an allocation that the kernel complains of, or with __GFP_NOWARN, too, both with :ORDER if none smaller counts; oom; panic-only (the default)");

struct pagedbg_layout pagedbg_layout;

static unsigned int given;
static unsigned int layout[sizeof(pagedbg_layout) / sizeof(unsigned int)];
module_param_array(layout, uint, &given, 0400);
MODULE_PARM_DESC(
	layout,
	"where page_owner's records are: the members of struct pagedbg_layout; pagedbg knows them");

static int get_missed(char *buffer, const struct kernel_param *unused)
{
	return scnprintf(buffer, PAGE_SIZE, "%lu\n", pagedbg_missed());
}

static const struct kernel_param_ops missed_ops = { .get = get_missed };
module_param_cb(missed, &missed_ops, NULL, 0400);
MODULE_PARM_DESC(
	missed,
	"how many events no probe could run for, or found no room to wait (only to be read)");

/* Without page_owner, allocations and frees are all that is heard of. */
static bool kmem;

static int get_functions(char *buffer, const struct kernel_param *unused)
{
	return kmem ? scnprintf(buffer, PAGE_SIZE, "reset mm_page_free\nset mm_page_alloc\n") :
		      pagedbg_functions(buffer);
}

static const struct kernel_param_ops functions_ops = { .get = get_functions };
module_param_cb(functions, &functions_ops, NULL, 0400);
MODULE_PARM_DESC(functions, "what each event is taken from (only to be read)");

static int begin_recording(bool kprobes)
{
	return kmem ? pagedbg_begin_kmem() : pagedbg_register_probes(kprobes);
}

static void end_recording(void)
{
	if (kmem)
		pagedbg_end_kmem();
	else
		pagedbg_unregister_probes();
}

static int __init pagedbg_init(void)
{
	bool kprobes = !strcmp(hooks, "kprobe");
	int error;

	BUILD_BUG_ON(sizeof(struct pagedbg_record) != 128);
	BUILD_BUG_ON(PAGEDBG_COMM != TASK_COMM_LEN);
	kmem = !strcmp(hooks, "kmem");
	if (!kprobes && !kmem && strcmp(hooks, "tracepoint")) {
		pr_err("hooks= takes tracepoint, kprobe or kmem\n");
		return -EINVAL;
	}
	if (!kmem) {
		memcpy(&pagedbg_layout, layout, sizeof(layout));
		error = pagedbg_check_layout(given);
		if (error)
			return error;
	}
	error = pagedbg_make_rings(ring_slots, kmem);
	if (error)
		return error;
	error = pagedbg_init_filter(orders, events);
	if (error)
		goto free_rings;
	error = begin_recording(kprobes);
	if (error)
		goto free_rings;
	error = pagedbg_begin_freezing(freeze_on);
	if (error)
		goto end_recording;
	error = pagedbg_make_page_order();
	if (error) {
		pr_err("/proc/page_order cannot be made\n");
		goto end_freezing;
	}
	/* Last: once it can be opened, nothing may fail any more. */
	error = pagedbg_make_device();
	if (error) {
		pr_err("/dev/pagedbg cannot be made (%d)\n", error);
		goto remove_page_order;
	}
	return 0;

remove_page_order:
	pagedbg_remove_page_order();
end_freezing:
	pagedbg_end_freezing();
end_recording:
	end_recording();
free_rings:
	pagedbg_free_rings();
	return error;
}

static void __exit pagedbg_exit(void)
{
	pagedbg_remove_device();
	pagedbg_remove_page_order();
	pagedbg_end_freezing();
	end_recording();
	pagedbg_free_rings();
}

module_init(pagedbg_init);
module_exit(pagedbg_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The pagedbg developers");
MODULE_DESCRIPTION("Records what page_owner notes of pages, filtered by order");

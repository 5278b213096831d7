// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What events are heard from. Allocations and frees are many: by default they come from the
 * tracepoints mm_page_alloc and mm_page_free and from ftrace on __set_page_owner(), which cost
 * half of what probes do, and miss nothing. With hooks=kprobe, and where a kernel lacks one of
 * them, they come from kprobes, as all other events do.
 *
 * With kprobes, an allocation is heard of when __set_page_owner() is called, whose order is in a
 * register, and again when it returns, if anybody wants to know.
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/log2.h>
#include <linux/printk.h>
#include <linux/string.h>

#include "pagedbg.h"

#ifndef CONFIG_HAVE_FUNCTION_ARG_ACCESS_API
#error "it is not known how this architecture passes arguments"
#endif

static __always_inline struct page *page_argument(struct pt_regs *regs, int n)
{
	return (struct page *)regs_get_kernel_argument(regs, n);
}

/* ---- tracepoints and ftrace ---- */

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_ARGS

#ifdef HAVE_FTRACE_ARGUMENTS
#define traced_argument(fregs, n) ftrace_regs_get_argument(fregs, n)
#else
#define traced_argument(fregs, n) regs_get_kernel_argument(&(fregs)->regs, n)
#endif

static void notrace on_set(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			   struct ftrace_regs *fregs)
{
	pagedbg_allocating((struct page *)traced_argument(fregs, 0),
			   (u16)traced_argument(fregs, 1));
}
NOKPROBE_SYMBOL(on_set);

static void notrace on_alloc(void *unused, struct page *page, unsigned int order, gfp_t gfp,
			     int migratetype)
{
	/* There was no memory, or the memory cgroup has none left. */
	if (page)
		pagedbg_allocated(page);
}
NOKPROBE_SYMBOL(on_alloc);

static void notrace on_free(void *unused, struct page *page, unsigned int order)
{
	pagedbg_freeing(page, order);
}
NOKPROBE_SYMBOL(on_free);

static struct ftrace_ops set_ops = { .func = on_set };
static bool tracing;

/*
 * Trace __set_page_owner(), and nothing else. It is given by its address, which a probe that is
 * never armed finds out: of a name, ftrace_set_filter() does not say that there was no memory to
 * write it down, and an empty filter lets each function of the kernel through.
 */
static int trace_only_set(void)
{
	struct kprobe set = { .symbol_name = "__set_page_owner", .flags = KPROBE_FLAG_DISABLED };
	int error = register_kprobe(&set);

	if (error)
		return error;
	error = ftrace_set_filter_ip(&set_ops, (unsigned long)set.addr, 0, 1);
	unregister_kprobe(&set);
	return error;
}

static int begin_tracing(void)
{
	int error = trace_only_set();

	if (error)
		return error;
	error = pagedbg_register_tracepoints(on_alloc, on_free);
	if (error)
		goto free_filter;
	error = register_ftrace_function(&set_ops);
	if (error)
		goto unregister_tracepoints;
	pagedbg_begin_settling();
	tracing = true;
	return 0;

unregister_tracepoints:
	pagedbg_unregister_tracepoints();
free_filter:
	ftrace_free_filter(&set_ops);
	return error;
}

static void end_tracing(void)
{
	if (!tracing)
		return;
	tracing = false;
	unregister_ftrace_function(&set_ops);
	pagedbg_unregister_tracepoints();
	pagedbg_end_settling();
	ftrace_free_filter(&set_ops);
}

#else

#define tracing false

static int begin_tracing(void)
{
	return -EOPNOTSUPP;
}

static void end_tracing(void)
{
}

#endif

/* ---- kprobes ---- */

/* What a function was called with, until it returns. */
struct call {
	struct page *page;
	unsigned long arg[2];
};

static int keep_arguments(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct call *call = (void *)instance->data;

	call->page = page_argument(regs, 0);
	call->arg[0] = regs_get_kernel_argument(regs, 1);
	call->arg[1] = regs_get_kernel_argument(regs, 2);
	return 0;
}
NOKPROBE_SYMBOL(keep_arguments);

/* What changes a record comes after the allocation that wrote it. */
static int keep_arguments_of_change(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	pagedbg_allocated(page_argument(regs, 0));
	return keep_arguments(instance, regs);
}
NOKPROBE_SYMBOL(keep_arguments_of_change);

/* Not 0: it need not return through us. */
static int set_entry(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	keep_arguments(instance, regs);
	return !pagedbg_wants_set((u16)regs_get_kernel_argument(regs, 1));
}
NOKPROBE_SYMBOL(set_entry);

static int set_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct call *call = (void *)instance->data;

	pagedbg_on_page(PAGEDBG_SET, call->page, (u16)call->arg[0], 0, NULL);
	return 0;
}
NOKPROBE_SYMBOL(set_return);

static int split_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct call *call = (void *)instance->data;

#ifdef SPLIT_HAS_ORDERS
	pagedbg_on_page(PAGEDBG_SPLIT, call->page, call->arg[0], call->arg[1], NULL);
#else
	/* a number of pages, a power of two */
	pagedbg_on_page(PAGEDBG_SPLIT, call->page, ilog2((u32)call->arg[0] ?: 1), 0, NULL);
#endif
	return 0;
}
NOKPROBE_SYMBOL(split_return);

static int set_migrate_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct call *call = (void *)instance->data;

	pagedbg_on_page(PAGEDBG_SET_MIGRATE, call->page, 0, 0, NULL);
	return 0;
}
NOKPROBE_SYMBOL(set_migrate_return);

static int reset_entry(struct kprobe *probe, struct pt_regs *regs)
{
	pagedbg_freeing(page_argument(regs, 0), (u16)regs_get_kernel_argument(regs, 1));
	return 0;
}
NOKPROBE_SYMBOL(reset_entry);

/* A folio is its first page. */
static int copy_entry(struct kprobe *probe, struct pt_regs *regs)
{
	pagedbg_on_page(PAGEDBG_COPY, page_argument(regs, 0), 0, 0, page_argument(regs, 1));
	return 0;
}
NOKPROBE_SYMBOL(copy_entry);

static int dump_entry(struct kprobe *probe, struct pt_regs *regs)
{
	pagedbg_on_page(PAGEDBG_DUMP, page_argument(regs, 0), 0, 0, NULL);
	return 0;
}
NOKPROBE_SYMBOL(dump_entry);

static int read_entry(struct kprobe *probe, struct pt_regs *regs)
{
	pagedbg_on_read();
	return 0;
}
NOKPROBE_SYMBOL(read_entry);

/* So many tasks may be in the function at once, asleep for memory, before one is missed. */
#define MAXACTIVE(cpus) (64 + 4 * (cpus))

static struct hook {
	const char *event;
	const char *names[2];	    /* the newest first */
	struct kretprobe at_return; /* or, without a handler, */
	struct kprobe at_entry;
	const char *instead; /* what is traced, if that can be */
	const char *name;    /* where it is, if it is */
} hooks[] = {
	/* Frees first: of no allocation that was seen may the free be missed. */
	{ .event = "reset",
	  .names = { "__reset_page_owner" },
	  .at_entry.pre_handler = reset_entry,
	  .instead = "mm_page_free" },
	{ .event = "split",
	  .names = { "__split_page_owner" },
	  .at_return = { .handler = split_return, .entry_handler = keep_arguments_of_change } },
	{ .event = "copy", .names = { "__folio_copy_owner" }, .at_entry.pre_handler = copy_entry },
	{ .event = "migrate",
	  .names = { "__folio_set_owner_migrate_reason", "__set_page_owner_migrate_reason" },
	  .at_return = { .handler = set_migrate_return,
			 .entry_handler = keep_arguments_of_change } },
	{ .event = "dump", .names = { "__dump_page_owner" }, .at_entry.pre_handler = dump_entry },
	{ .event = "read", .names = { "read_page_owner" }, .at_entry.pre_handler = read_entry },
	{ .event = "set",
	  .names = { "__set_page_owner" },
	  .at_return = { .handler = set_return, .entry_handler = set_entry },
	  .instead = "__set_page_owner" },
};

static int register_at(struct hook *hook, const char *name)
{
	struct kretprobe *r = &hook->at_return;
	struct kprobe *p = r->handler ? &r->kp : &hook->at_entry;

	p->symbol_name = name;
	/* From an attempt before. */
	p->addr = NULL;
	p->flags = 0;
	r->maxactive = MAXACTIVE(num_possible_cpus());
	r->data_size = sizeof(struct call);
	return r->handler ? register_kretprobe(r) : register_kprobe(p);
}

static int begin_probing(void)
{
	struct hook *hook;
	int i, error;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++) {
		if (tracing && hook->instead)
			continue;
		error = -ENOENT;
		for (i = 0; i < ARRAY_SIZE(hook->names) && hook->names[i] && error; i++) {
			error = register_at(hook, hook->names[i]);
			if (!error)
				hook->name = hook->names[i];
		}
		if (!error)
			continue;
		if (error == -ENOMEM || hook->instead) {
			pr_err("%s: no probe (%d)\n", hook->names[0], error);
			return error;
		}
		pr_notice("%s: no probe (%d), %s events are left out\n", hook->names[0], error,
			  hook->event);
	}
	return 0;
}

static void end_probing(void)
{
	struct kretprobe *at_return[ARRAY_SIZE(hooks)];
	struct kprobe *at_entry[ARRAY_SIZE(hooks)];
	int returns = 0, entries = 0;
	struct hook *hook;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++) {
		if (!hook->name)
			continue;
		if (hook->at_return.handler)
			at_return[returns++] = &hook->at_return;
		else
			at_entry[entries++] = &hook->at_entry;
		hook->name = NULL;
	}
	/* Together, since each waits for all CPUs. */
	if (returns)
		unregister_kretprobes(at_return, returns);
	if (entries)
		unregister_kprobes(at_entry, entries);
}

/**
 * pagedbg_register_probes - Hear of events from now on
 * @kprobes: of all of them by kprobes
 *
 * Return: 0, or an error: then of none
 */
int pagedbg_register_probes(bool kprobes)
{
	int error = kprobes ? -EOPNOTSUPP : begin_tracing();

	if (error == -ENOMEM)
		return error;
	if (error && !kprobes)
		pr_notice("allocations and frees cannot be traced (%d): by kprobes\n", error);
	error = begin_probing();
	if (error)
		pagedbg_unregister_probes();
	return error;
}

void pagedbg_unregister_probes(void)
{
	end_tracing();
	end_probing();
}

/*
 * How often a probe was hit and not run, since another one was running there, or too many calls had
 * not returned; and what found no room to wait.
 */
unsigned long pagedbg_missed(void)
{
	unsigned long missed = pagedbg_unplaced_events();
	struct hook *hook;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++)
		missed += hook->at_entry.nmissed + hook->at_return.nmissed +
			  hook->at_return.kp.nmissed;
	return missed;
}

/* What each event is taken from, a line each. */
int pagedbg_functions(char *buffer)
{
	const char *name;
	struct hook *hook;
	int at = 0;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++) {
		name = tracing && hook->instead ? hook->instead : hook->name;
		if (name)
			at += scnprintf(buffer + at, PAGE_SIZE - at, "%s %s\n", hook->event, name);
	}
	return at;
}

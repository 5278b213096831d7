// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Probes on page_owner's functions. What they do with an event is events.h's, which the BPF
 * programs share.
 *
 * page_owner has walked the stack and taken the time itself when __set_page_owner() returns.
 * Whether anybody wants to know is asked when it is called, so that it need not return through us
 * if not.
 */
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/string.h>
#include <asm/local64.h>

#include "pagedbg.h"

#define TAIL_TIMES pagedbg_layout.tail_times
#define KEEP_LOOP
#define local_nsec() local_clock()
#define mono_nsec()  ktime_get_mono_fast_ns()
/* With the reads of user space: first of a record, then of its check again. */
#define write_barrier() smp_wmb()

static __always_inline u64 count(u64 *counter)
{
	return local64_inc_return((local64_t *)counter) - 1;
}

static __always_inline u64 add(u64 *number, u64 n)
{
	return atomic64_fetch_add(n, (atomic64_t *)number);
}

#include "events.h"

/* ---- what events.h asks for ---- */

static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec)
{
	void *raw = pagedbg_owner_of(pfn);

	if (raw)
		*ts_nsec = *(u64 *)(raw + pagedbg_layout.ts_nsec);
	return raw;
}

static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o)
{
	const struct pagedbg_layout *l = &pagedbg_layout;
	void *raw = pagedbg_owner_of(pfn);

	o->known = raw;
	if (!raw)
		return false;
	o->order = *(u16 *)(raw + l->order);
	o->reason = *(s16 *)(raw + l->last_migrate_reason);
	o->gfp_mask = *(u32 *)(raw + l->gfp_mask);
	o->handle = *(u32 *)(raw + l->handle);
	o->ts_nsec = *(u64 *)(raw + l->ts_nsec);
	o->comm[0] = *(u64 *)(raw + l->comm);
	o->comm[1] = *(u64 *)(raw + l->comm + 8);
	o->pid = *(u32 *)(raw + l->pid);
	o->tgid = *(u32 *)(raw + l->tgid);
	return true;
}

static __always_inline struct pagedbg_record *slot(struct pagedbg_header *h, u32 cpu, u64 seq)
{
	return &pagedbg_slots[(size_t)cpu * h->slots + ((seq - 1) & (h->slots - 1))];
}

static __always_inline void describe_current(u32 *pid, u32 *tgid, char *comm)
{
	*pid = current->pid;
	*tgid = current->tgid;
	memcpy(comm, current->comm, PAGEDBG_COMM);
}

/*
 * The table of splits: a key may be in any of WINDOW places from where its hash says, so that
 * nothing has to be moved and nobody waits. A place is taken by its key, first TAKEN while it is
 * filled in.
 */
#define SPLITS 4096
#define WINDOW 16
#define FREE   0ULL
#define TAKEN  (~0ULL)

static struct {
	u64 key;
	struct pagedbg_split split;
} splits[SPLITS + WINDOW];

static u32 split_at(u64 key)
{
	return pagedbg_hash(key) % SPLITS;
}
NOKPROBE_SYMBOL(split_at);

static __always_inline struct pagedbg_split *find_split(u64 *key)
{
	u32 i, at = split_at(*key);

	if (*key == FREE || *key == TAKEN)
		return NULL;
	for (i = at; i < at + WINDOW; i++)
		/* With add_split(): its contents are older than its key. */
		if (smp_load_acquire(&splits[i].key) == *key)
			return &splits[i].split;
	return NULL;
}

static __always_inline bool add_split(u64 *key, struct pagedbg_split *split)
{
	u32 i, at = split_at(*key);

	if (*key == FREE || *key == TAKEN || find_split(key))
		return false;
	for (i = at; i < at + WINDOW; i++) {
		if (READ_ONCE(splits[i].key) != FREE ||
		    cmpxchg(&splits[i].key, FREE, TAKEN) != FREE)
			continue;
		splits[i].split = *split;
		/* With find_split() */
		smp_store_release(&splits[i].key, *key);
		return true;
	}
	return false;
}

static __always_inline bool drop_split(u64 *key)
{
	u32 i, at = split_at(*key);

	if (*key == FREE || *key == TAKEN)
		return false;
	for (i = at; i < at + WINDOW; i++)
		if (READ_ONCE(splits[i].key) == *key && cmpxchg(&splits[i].key, *key, FREE) == *key)
			return true;
	return false;
}

/*
 * ---- the handlers; with kprobes, preemption is off, and with what rides on ftrace nothing else is
 * promised ----
 */

#ifdef CONFIG_HAVE_FUNCTION_ARG_ACCESS_API
#define argument(regs, n) regs_get_kernel_argument(regs, n)
#else
#error "it is not known how this architecture passes arguments"
#endif

static __always_inline struct here here(void)
{
	u32 cpu = raw_smp_processor_id();
	struct pagedbg_header *h = pagedbg_rings;
	/* With activate() of page_order.c */
	u32 active = smp_load_acquire(&h->active);

	return (struct here){ h, &pagedbg_filters[active], pagedbg_counters(cpu), cpu };
}

/* What a function was called with, until it returns. */
struct call {
	unsigned long arg[3];
};

static int set_entry(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct call *call = (void *)instance->data;
	struct here at;
	int skip;

	preempt_disable_notrace();
	at = here();
	call->arg[0] = argument(regs, 0);
	call->arg[1] = (u16)argument(regs, 1);
	skip = !begins(at.h, at.f, at.c, PAGEDBG_SET, call->arg[1]);
	preempt_enable_notrace();
	return skip;
}
NOKPROBE_SYMBOL(set_entry);

static int keep_arguments(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct call *call = (void *)instance->data;
	int i;

	for (i = 0; i < ARRAY_SIZE(call->arg); i++)
		call->arg[i] = argument(regs, i);
	return 0;
}
NOKPROBE_SYMBOL(keep_arguments);

static __always_inline void on_page(u32 event, unsigned long page, u32 order, u32 new_order,
				    unsigned long other)
{
	struct here at;

	preempt_disable_notrace();
	at = here();
	if (event != PAGEDBG_RESET || begins(at.h, at.f, at.c, event, order))
		on_event(at.h, at.f, at.c, at.cpu, event, order, new_order,
			 page_to_pfn((struct page *)page),
			 other ? page_to_pfn((struct page *)other) : 0);
	preempt_enable_notrace();
}

#define AT_RETURN(name, ...)                                                                \
	static int name##_return(struct kretprobe_instance *instance, struct pt_regs *regs) \
	{                                                                                   \
		struct call *call = (void *)instance->data;                                 \
                                                                                            \
		on_page(__VA_ARGS__);                                                       \
		return 0;                                                                   \
	}                                                                                   \
	NOKPROBE_SYMBOL(name##_return)

#ifdef SPLIT_HAS_ORDERS
#define OLD_ORDER call->arg[1]
#define NEW_ORDER call->arg[2]
#else
#define OLD_ORDER ilog2((u32)call->arg[1] ?: 1) /* a number of pages, a power of two */
#define NEW_ORDER 0
#endif

AT_RETURN(set, PAGEDBG_SET, call->arg[0], call->arg[1], 0, 0);
AT_RETURN(split, PAGEDBG_SPLIT, call->arg[0], OLD_ORDER, NEW_ORDER, 0);
AT_RETURN(set_migrate, PAGEDBG_SET_MIGRATE, call->arg[0], 0, 0, 0);

static int reset_entry(struct kprobe *probe, struct pt_regs *regs)
{
	on_page(PAGEDBG_RESET, argument(regs, 0), (u16)argument(regs, 1), 0, 0);
	return 0;
}
NOKPROBE_SYMBOL(reset_entry);

/* A folio is its first page. */
static int copy_entry(struct kprobe *probe, struct pt_regs *regs)
{
	on_page(PAGEDBG_COPY, argument(regs, 0), 0, 0, argument(regs, 1));
	return 0;
}
NOKPROBE_SYMBOL(copy_entry);

static int dump_entry(struct kprobe *probe, struct pt_regs *regs)
{
	on_page(PAGEDBG_DUMP, argument(regs, 0), 0, 0, 0);
	return 0;
}
NOKPROBE_SYMBOL(dump_entry);

static int read_entry(struct kprobe *probe, struct pt_regs *regs)
{
	struct here at;

	preempt_disable_notrace();
	at = here();
	on_read(at.h, at.f, at.c, at.cpu);
	preempt_enable_notrace();
	return 0;
}
NOKPROBE_SYMBOL(read_entry);

/* ---- the hooks ---- */

/* So many tasks may be in the function at once, asleep for memory, before one is missed. */
#define MAXACTIVE(cpus) (64 + 4 * (cpus))

static struct hook {
	const char *event;
	const char *names[2];	    /* the newest first */
	struct kretprobe at_return; /* or, without a handler, */
	struct kprobe at_entry;
	const char *name; /* where it is, if it is */
} hooks[] = {
	/* Frees first: of no allocation that was seen may the free be missed. */
	{ "reset", { "__reset_page_owner" }, .at_entry.pre_handler = reset_entry },
	{ "split",
	  { "__split_page_owner" },
	  { .handler = split_return, .entry_handler = keep_arguments } },
	{ "copy", { "__folio_copy_owner" }, .at_entry.pre_handler = copy_entry },
	{ "migrate",
	  { "__folio_set_owner_migrate_reason", "__set_page_owner_migrate_reason" },
	  { .handler = set_migrate_return, .entry_handler = keep_arguments } },
	{ "dump", { "__dump_page_owner" }, .at_entry.pre_handler = dump_entry },
	{ "read", { "read_page_owner" }, .at_entry.pre_handler = read_entry },
	{ "set", { "__set_page_owner" }, { .handler = set_return, .entry_handler = set_entry } },
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

int pagedbg_register_probes(void)
{
	struct hook *hook;
	int i, error;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++) {
		error = -ENOENT;
		for (i = 0; i < ARRAY_SIZE(hook->names) && hook->names[i] && error; i++) {
			error = register_at(hook, hook->names[i]);
			if (!error)
				hook->name = hook->names[i];
		}
		if (!error)
			continue;
		if (error == -ENOMEM || !strcmp(hook->event, "set") ||
		    !strcmp(hook->event, "reset")) {
			pr_err("%s: no probe (%d)\n", hook->names[0], error);
			pagedbg_unregister_probes();
			return error;
		}
		pr_notice("%s: no probe (%d), %s events are left out\n", hook->names[0], error,
			  hook->event);
	}
	return 0;
}

void pagedbg_unregister_probes(void)
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

/*
 * How often a probe was hit and not run, since another one was running there, or too many calls had
 * not returned.
 */
unsigned long pagedbg_missed(void)
{
	unsigned long missed = 0;
	struct hook *hook;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++)
		missed += hook->at_entry.nmissed + hook->at_return.nmissed +
			  hook->at_return.kp.nmissed;
	return missed;
}

/* What each event is taken from, a line each. */
int pagedbg_functions(char *buffer)
{
	struct hook *hook;
	int at = 0;

	for (hook = hooks; hook < hooks + ARRAY_SIZE(hooks); hook++)
		if (hook->name)
			at += scnprintf(buffer + at, PAGE_SIZE - at, "%s %s\n", hook->event,
					hook->name);
	return at;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the module have in common. */
#ifndef PAGEDBG_H
#define PAGEDBG_H

#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/types.h>

#include "ring.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* ---- owner.c: where page_owner keeps what it knows of a page ---- */

/* Offsets are in bytes; the module is told them in this order (parameter layout). */
struct pagedbg_layout {
	unsigned int page_ext_size; /* of a page, from page_ext.c */
	unsigned int offset;	    /* of struct page_owner in it: page_owner_ops.offset */
	unsigned int size;	    /* of struct page_owner, and offsets of its members: */
	unsigned int order;
	unsigned int last_migrate_reason;
	unsigned int gfp_mask;
	unsigned int handle;
	unsigned int ts_nsec;
	unsigned int comm;
	unsigned int pid;
	unsigned int tgid;
	unsigned int tail_times;   /* 1 if each page of a block has a ts_nsec of its own */
	unsigned int dummy_handle; /* what page_owner files for an allocation of its own */
};

extern struct pagedbg_layout pagedbg_layout;

#ifdef CONFIG_PAGE_OWNER
int pagedbg_check_layout(unsigned int given);
#else
static inline int pagedbg_check_layout(unsigned int given)
{
	pr_err("this kernel has no page_owner (CONFIG_PAGE_OWNER): hooks=kmem records without\n");
	return -EOPNOTSUPP;
}
#endif

/*
 * mm/page_ext.c: lookup_page_ext(), get_entry(). Whoever asks has the page: its section is not
 * unplugged meanwhile. NULL if there is none.
 */
static __always_inline struct page_ext *pagedbg_ext_of(unsigned long pfn)
{
#if defined(CONFIG_PAGE_OWNER) && defined(CONFIG_SPARSEMEM)
	struct mem_section *section = __pfn_to_section(pfn);
	unsigned long base = section ? (unsigned long)READ_ONCE(section->page_ext) : 0;

	/* PAGE_EXT_INVALID */
	if (base && !(base & 1))
		return (void *)base + (size_t)pagedbg_layout.page_ext_size * pfn;
#endif
	return NULL;
}

/* What page_owner knows of a page; NULL if it has no place for that. */
static __always_inline void *pagedbg_owner_of(unsigned long pfn)
{
	void *ext = pagedbg_ext_of(pfn);

	return ext ? ext + pagedbg_layout.offset : NULL;
}

/* ---- rings.c: the memory that user space maps ---- */

extern struct pagedbg_header *pagedbg_rings; /* what ring.h says, at the offsets in it */
extern struct pagedbg_filters *pagedbg_filters;

/* Where in it each CPU counts and records. */
struct pagedbg_place {
	struct pagedbg_cpu *counters;
	struct pagedbg_record *slots;
};

DECLARE_PER_CPU(struct pagedbg_place, pagedbg_place);

int pagedbg_make_rings(unsigned int slots, bool stacks);
void pagedbg_free_rings(void);
int pagedbg_make_device(void);
void pagedbg_remove_device(void);

/* ---- page_order.c: the filter, and its table of orders ---- */

int pagedbg_init_filter(const char *orders, const char *events);
int pagedbg_set_filter(struct pagedbg_filter *filter);
int pagedbg_make_page_order(void);
void pagedbg_remove_page_order(void);

/* ---- tracepoints.c: those of allocations and frees ---- */

typedef void (*pagedbg_alloc_probe)(void *unused, struct page *page, unsigned int order, gfp_t gfp,
				    int migratetype);
typedef void (*pagedbg_free_probe)(void *unused, struct page *page, unsigned int order);

int pagedbg_register_tracepoints(pagedbg_alloc_probe on_alloc, pagedbg_free_probe on_free);
void pagedbg_unregister_tracepoints(void);

/* ---- kmem.c, stacks.c: what is recorded where page_owner is off ---- */

extern struct pagedbg_stack *pagedbg_stacks; /* behind the rings */
extern unsigned int pagedbg_stack_count;     /* a power of two */

u32 pagedbg_stack_id(void);
int pagedbg_begin_kmem(void);
void pagedbg_end_kmem(void);

/* ---- record.c: what is done with events, and with allocations that have begun ---- */

#ifdef CONFIG_PAGE_OWNER
void pagedbg_allocating(struct page *page, u32 order);
void pagedbg_allocated(struct page *page);
void pagedbg_freeing(struct page *page, u32 order);
bool pagedbg_wants_set(u32 order);
void pagedbg_on_page(u32 event, struct page *page, u32 order, u32 new_order, struct page *other);
void pagedbg_on_read(void);
void pagedbg_settle(void);
void pagedbg_begin_settling(void);
void pagedbg_end_settling(void);
unsigned long pagedbg_unplaced_events(void);
#else
static inline void pagedbg_settle(void)
{
}
#endif

/* ---- freeze.c: what stops the rings ---- */

int pagedbg_begin_freezing(const char *on);
void pagedbg_end_freezing(void);

/* ---- probes.c: what events are heard from ---- */

#ifdef CONFIG_PAGE_OWNER
int pagedbg_register_probes(bool kprobes);
void pagedbg_unregister_probes(void);
unsigned long pagedbg_missed(void);
int pagedbg_functions(char *buffer);
#else
static inline int pagedbg_register_probes(bool kprobes)
{
	return -EOPNOTSUPP;
}

static inline void pagedbg_unregister_probes(void)
{
}

static inline unsigned long pagedbg_missed(void)
{
	return 0;
}

static inline int pagedbg_functions(char *buffer)
{
	return 0;
}
#endif

#endif

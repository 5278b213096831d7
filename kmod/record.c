// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is done when a hook (probes.c) hears of something. Whether it is recorded, and how, is
 * events.h's, which the BPF programs share; this is what that asks for, and the allocations whose
 * record is not written yet.
 *
 * All of it may run in any context, an interrupt in the middle of another event included. Preemption
 * is switched off here, since nobody else promises it: ftrace and, where a tracepoint is read under
 * SRCU, tracepoints do not.
 */
#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/page_ext.h>
#include <linux/preempt.h>
#include <linux/workqueue.h>

#include "pagedbg.h"
#include "operations.h"

/* ---- what events.h asks for ---- */

static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec)
{
	void *raw = pagedbg_owner_of(pfn);

	if (raw)
		*ts_nsec = *(u64 *)(raw + pagedbg_layout.ts_nsec);
	return raw;
}

static __always_inline bool read_order(struct pagedbg_header *h, u64 pfn, u32 *order)
{
	void *raw = pagedbg_owner_of(pfn);

	if (raw)
		*order = *(u16 *)(raw + pagedbg_layout.order);
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
	/* Both at once would keep all of it in memory. */
	memcpy(&o->comm[0], raw + l->comm, sizeof(o->comm[0]));
	memcpy(&o->comm[1], raw + l->comm + sizeof(o->comm[0]), sizeof(o->comm[1]));
	o->pid = *(u32 *)(raw + l->pid);
	o->tgid = *(u32 *)(raw + l->tgid);
	return true;
}

#include "splits.h"

/*
 * ---- allocations that have begun ----
 *
 * page_owner walks the stack and takes the time in __set_page_owner(), which is heard of when it is
 * called. So the page is noted, and its allocation recorded once the record is there: when
 * mm_page_alloc says that it is over or, of the pages that compaction and alloc_contig_range() take
 * without, when they are split, moved or freed, when their place is wanted, or after a while. Who
 * takes a page out of its place records it: so it is recorded once.
 */

/* A page frame number and an order, in the place that the number says; 0: nothing. */
#define PENDING 4096
static u64 pagedbg_pending[PENDING];

/* What had to leave its place before its record was written: by a preempted task, or around us. */
#define DISPLACED 64
static u64 pagedbg_displaced[DISPLACED];
static atomic_t displaced = ATOMIC_INIT(0);

/* Events that were heard of and found no room there. */
static atomic_long_t pagedbg_unplaced = ATOMIC_LONG_INIT(0);

static __always_inline u64 pending_word(u64 pfn, u32 order)
{
	return pfn << 8 | order;
}

static __always_inline u64 *pending_place(u64 pfn)
{
	return &pagedbg_pending[pfn % PENDING];
}

/*
 * Whether page_owner has written all of it: the last page's bit is the last that it sets, and a free
 * page has none.
 */
static bool is_written(u64 word)
{
	struct page_ext *ext = pagedbg_ext_of((word >> 8) + (1ULL << (u8)word) - 1);

	if (ext && !test_bit(PAGE_EXT_OWNER_ALLOCATED, &ext->flags))
		return false;
	/* The bit, and then what was written before it */
	smp_rmb();
	return true;
}
NOKPROBE_SYMBOL(is_written);

/* Take a page out of those that are displaced; 0 if it is not there. */
static noinline notrace u64 take_displaced(u64 pfn)
{
	u64 word;
	int i;

	for (i = 0; i < DISPLACED; i++) {
		word = READ_ONCE(pagedbg_displaced[i]);
		if (word && word >> 8 == pfn && cmpxchg(&pagedbg_displaced[i], word, 0) == word) {
			atomic_dec(&displaced);
			return word;
		}
	}
	return 0;
}
NOKPROBE_SYMBOL(take_displaced);

/* Take a page out of those whose allocation is still to be recorded; 0 if it is not there. */
static __always_inline u64 take(u64 pfn)
{
	u64 *place = pending_place(pfn), word = READ_ONCE(*place);

	if (word >> 8 == pfn && cmpxchg(place, word, 0) == word)
		return word;
	return unlikely(atomic_read(&displaced)) ? take_displaced(pfn) : 0;
}

static __always_inline void record_set(u64 word)
{
	struct here at = here();

	on_event(at.h, at.f, at.c, at.cpu, PAGEDBG_SET, (u8)word, 0, word >> 8, 0);
}

static noinline notrace void settle_word(u64 word)
{
	record_set(word);
}
NOKPROBE_SYMBOL(settle_word);

/* What happens to a page comes after its allocation: its record is there by now. */
static __always_inline void settle(u64 pfn)
{
	u64 word = take(pfn);

	if (unlikely(word))
		settle_word(word);
}

static noinline notrace void displace(u64 word, u64 by)
{
	int i;

	/* The same page again: what was freed meanwhile says nothing any more. */
	if (word >> 8 == by) {
		atomic_long_inc(&pagedbg_unplaced);
		return;
	}
	if (is_written(word)) {
		settle_word(word);
		return;
	}
	/* First of all, so that who looks for it looks there. */
	atomic_inc(&displaced);
	for (i = 0; i < DISPLACED; i++)
		if (!READ_ONCE(pagedbg_displaced[i]) && !cmpxchg(&pagedbg_displaced[i], 0, word))
			return;
	atomic_dec(&displaced);
	atomic_long_inc(&pagedbg_unplaced);
}
NOKPROBE_SYMBOL(displace);

static void settle_written(u64 *place)
{
	u64 word = READ_ONCE(*place);

	if (!word)
		return;
	preempt_disable();
	if (is_written(word) && cmpxchg(place, word, 0) == word) {
		settle_word(word);
		if (place >= pagedbg_displaced && place < pagedbg_displaced + DISPLACED)
			atomic_dec(&displaced);
	}
	preempt_enable();
}

/* Record all allocations that are still to be recorded, under the filter that is in force. */
void pagedbg_settle(void)
{
	int i;

	for (i = 0; i < PENDING; i++)
		settle_written(&pagedbg_pending[i]);
	for (i = 0; i < DISPLACED; i++)
		settle_written(&pagedbg_displaced[i]);
}

/* How many pages of which no event comes may have to wait, for so long. */
#define WHILE (HZ / 4)

static void settle_now_and_then(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(settling, settle_now_and_then);

static void settle_now_and_then(struct work_struct *work)
{
	pagedbg_settle();
	schedule_delayed_work(&settling, WHILE);
}

void pagedbg_begin_settling(void)
{
	schedule_delayed_work(&settling, WHILE);
}

void pagedbg_end_settling(void)
{
	cancel_delayed_work_sync(&settling);
}

unsigned long pagedbg_unplaced_events(void)
{
	return atomic_long_read(&pagedbg_unplaced);
}

/* ---- what hooks call ---- */

static __always_inline void allocating(u64 pfn, u32 order)
{
	struct here at = here();
	u64 before;

	if (!begins(at.h, at.f, at.c, PAGEDBG_SET, order))
		return;
	before = xchg(pending_place(pfn), pending_word(pfn, order));
	if (unlikely(before))
		displace(before, pfn);
}

/* __set_page_owner() is called, and pagedbg_allocated() may follow. */
void notrace pagedbg_allocating(struct page *page, u32 order)
{
	preempt_disable_notrace();
	allocating(page_to_pfn(page), order);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(pagedbg_allocating);

/* It has returned, or the record is about to be changed. */
void notrace pagedbg_allocated(struct page *page)
{
	u64 word;

	preempt_disable_notrace();
	word = take(page_to_pfn(page));
	if (word)
		record_set(word);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(pagedbg_allocated);

static __always_inline void freeing(u64 pfn, u32 order)
{
	struct here at = here();

	if (begins(at.h, at.f, at.c, PAGEDBG_RESET, order)) {
		settle(pfn);
		on_event(at.h, at.f, at.c, at.cpu, PAGEDBG_RESET, order, 0, pfn, 0);
	} else if (order < at.f->orders) {
		/* Nobody wants to know of it, but its allocation is not lost. */
		settle(pfn);
	}
}

/* A page is about to be freed. */
void notrace pagedbg_freeing(struct page *page, u32 order)
{
	preempt_disable_notrace();
	freeing(page_to_pfn(page), order);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(pagedbg_freeing);

/* Whether anybody wants to know of a set of this order, which is counted. */
bool notrace pagedbg_wants_set(u32 order)
{
	struct here at;
	bool wanted;

	preempt_disable_notrace();
	at = here();
	wanted = begins(at.h, at.f, at.c, PAGEDBG_SET, order);
	preempt_enable_notrace();
	return wanted;
}
NOKPROBE_SYMBOL(pagedbg_wants_set);

/*
 * An event about a page, a set among them if pagedbg_wants_set(); no reset.
 * @other: of a copy, where its contents come from
 */
void notrace pagedbg_on_page(u32 event, struct page *page, u32 order, u32 new_order,
			     struct page *other)
{
	u64 pfn = page_to_pfn(page), other_pfn = other ? page_to_pfn(other) : 0;
	struct here at;

	preempt_disable_notrace();
	at = here();
	if (event != PAGEDBG_SET)
		settle(pfn);
	if (other)
		settle(other_pfn);
	on_event(at.h, at.f, at.c, at.cpu, event, order, new_order, pfn, other_pfn);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(pagedbg_on_page);

/* read_page_owner() is called. */
void notrace pagedbg_on_read(void)
{
	struct here at;

	preempt_disable_notrace();
	at = here();
	on_read(at.h, at.f, at.c, at.cpu);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(pagedbg_on_read);

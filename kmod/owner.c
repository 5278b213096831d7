// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * page_owner tells modules nothing: neither struct page_owner nor where it lies is in a header. So
 * this module is told, and believes it only after it has found what page_owner must have written
 * about pages that it allocates itself.
 */
#include <linux/compiler.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/migrate_mode.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "pagedbg.h"

#ifdef CONFIG_SPARSEMEM

#define GREATEST_SIZE 512

static const gfp_t gfp = GFP_KERNEL;

static bool plausible(void)
{
	const struct pagedbg_layout *l = &pagedbg_layout;

	if (l->size > GREATEST_SIZE || l->page_ext_size > 2 * GREATEST_SIZE ||
	    l->page_ext_size % sizeof(long) || l->offset % sizeof(long) ||
	    l->offset > l->page_ext_size || l->size > l->page_ext_size - l->offset)
		return false;
#define FITS(member, type)                                           \
	(!(l->member % __alignof__(type)) && l->member <= l->size && \
	 sizeof(type) <= l->size - l->member)
	return FITS(order, u16) && FITS(last_migrate_reason, s16) && FITS(gfp_mask, gfp_t) &&
	       FITS(handle, u32) && FITS(ts_nsec, u64) && FITS(pid, pid_t) && FITS(tgid, pid_t) &&
	       l->pid != l->tgid && l->handle != l->gfp_mask && l->handle != l->pid &&
	       l->handle != l->tgid &&
	       (l->handle < l->comm || l->handle >= l->comm + TASK_COMM_LEN) &&
	       l->comm <= l->size && TASK_COMM_LEN <= l->size - l->comm && l->tail_times <= 1;
#undef FITS
}

/* What is written down of a page that was not migrated yet. */
#ifdef HAVE_MR_NEVER
#define NEVER_MIGRATED MR_NEVER
#else
#define NEVER_MIGRATED -1
#endif

/*
 * Whether what is on record of a page is what was just done; its handle goes to *handle, its time
 * to *ts_nsec.
 */
static bool recorded(const struct page *page, unsigned int order, u64 before, u64 after,
		     u32 *handle, u64 *ts_nsec)
{
	const struct pagedbg_layout *l = &pagedbg_layout;
	char raw[GREATEST_SIZE] __aligned(sizeof(u64));
	void *address = pagedbg_owner_of(page_to_pfn(page));

	/* With a wrong size this may be anywhere. */
	if (!address || copy_from_kernel_nofault(raw, address, l->size))
		return false;
	memcpy(ts_nsec, raw + l->ts_nsec, sizeof(*ts_nsec));
	memcpy(handle, raw + l->handle, sizeof(*handle));
#define IS(member, type, value) (*(type *)(raw + l->member) == (type)(value))
	return IS(order, u16, order) && IS(last_migrate_reason, s16, NEVER_MIGRATED) &&
	       (*(gfp_t *)(raw + l->gfp_mask) & gfp) == gfp && IS(pid, pid_t, current->pid) &&
	       IS(tgid, pid_t, current->tgid) &&
	       !strncmp(raw + l->comm, current->comm, TASK_COMM_LEN) && *ts_nsec >= before &&
	       *ts_nsec <= after;
#undef IS
}

/*
 * The size of page_ext is right if several blocks are found. They are of two orders, so that it is
 * seen where the order stands. Two calls allocate them in turn: those of one call have the same
 * stack, and those of the other have another. The stack of the last free lies beside that of the
 * allocation; it is right by chance for two or three blocks that others freed before, and not for
 * all of them. A worker allocates them, which stays on its CPU, whose clock goes on. Who loads the
 * module frees them, all by one call: when it is tried again, the stacks of the last free are the
 * same.
 */
#define BLOCKS	 8
#define ORDER(i) (1 + (i) / 4)

/*
 * A block may have come by a slower way, and then has another stack: so many times it is tried
 * again.
 */
#define TRIES 10

static noinline struct page *allocate(unsigned int order)
{
	struct page *page = alloc_pages(gfp, order);

	/* No call in tail position, or there would be no frame of ours. */
	barrier();
	return page;
}

/* Whether each page of a block has a time of its own is seen from its first and its last. */
static bool times_differ(const struct page *page, unsigned int order)
{
	u64 first, last;

	if (copy_from_kernel_nofault(&first,
				     pagedbg_owner_of(page_to_pfn(page)) + pagedbg_layout.ts_nsec,
				     sizeof(first)) ||
	    copy_from_kernel_nofault(&last,
				     pagedbg_owner_of(page_to_pfn(page) + (1 << order) - 1) +
					     pagedbg_layout.ts_nsec,
				     sizeof(last)))
		return false;
	return first != last;
}

static long find_own_pages(void *pages)
{
	unsigned int i, blocks = BLOCKS, found = 0, allocated = 0, differ = 0;
	u64 before = local_clock();
	struct page **page = pages;
	u64 ts_nsec[BLOCKS] = {};
	u32 handle[BLOCKS];

	/* Not to be unrolled into more calls. */
	OPTIMIZER_HIDE_VAR(blocks);
	for (i = 0; i < blocks; i++)
		page[i] = i % 2 ? allocate(ORDER(i)) : alloc_pages(gfp, ORDER(i));
	for (i = 0; i < BLOCKS; i++) {
		if (!page[i])
			continue;
		allocated++;
		found += recorded(page[i], ORDER(i), before, local_clock(), &handle[i],
				  &ts_nsec[i]) &&
			 handle[i];
		differ += times_differ(page[i], ORDER(i));
	}
	if (allocated < BLOCKS)
		return -ENOMEM;
	if (found < BLOCKS || handle[0] == handle[1])
		return -EINVAL;
	for (i = 2; i < BLOCKS; i++)
		if (handle[i] != handle[i - 2])
			return -EINVAL;
	if (differ)
		return pagedbg_layout.tail_times ? 0 : -EINVAL;
	/*
	 * An unstable clock may stand still until the next tick: if it did so between two blocks,
	 * it says nothing of the pages of one.
	 */
	for (i = 1; i < BLOCKS; i++)
		if (ts_nsec[i] == ts_nsec[i - 1])
			return -EAGAIN;
	return pagedbg_layout.tail_times ? -EINVAL : 0;
}

static int find_once(void)
{
	struct page *page[BLOCKS] = {};
	int i, error;

	/* So that the CPU is there. */
	cpus_read_lock();
	error = work_on_cpu(raw_smp_processor_id(), find_own_pages, page);
	cpus_read_unlock();
	for (i = 0; i < BLOCKS; i++)
		if (page[i])
			__free_pages(page[i], ORDER(i));
	return error;
}

/**
 * pagedbg_check_layout - Find out whether the module was told the truth
 * @given: how many members of pagedbg_layout were given
 *
 * Return: 0; -EINVAL if not; -EOPNOTSUPP if page_owner is off
 */
int pagedbg_check_layout(unsigned int given)
{
	struct page *page = alloc_page(gfp);
	int error = -EINVAL, tries;
	bool off;

	if (!page)
		return -ENOMEM;
	/* No page has extended data before somebody needs it. */
	off = !READ_ONCE(__pfn_to_section(page_to_pfn(page))->page_ext);
	__free_page(page);
	if (off) {
		pr_err("page_owner is off: boot with page_owner=on\n");
		return -EOPNOTSUPP;
	}
	if (given != sizeof(pagedbg_layout) / sizeof(unsigned int)) {
		pr_err("not told where page_owner's records are (layout=): `pagedbg trace start --backend kmod` does\n");
		return -EINVAL;
	}
	if (!plausible()) {
		pr_err("layout= cannot be true\n");
		return -EINVAL;
	}
	for (tries = 0; tries < TRIES && (error == -EINVAL || error == -EAGAIN); tries++) {
		if (error == -EAGAIN)
			usleep_range(1000, 2000);
		error = find_once();
	}
	/*
	 * All but that is right, and with such a clock the times of the pages of a block are the
	 * same anyway.
	 */
	if (error == -EAGAIN)
		error = 0;
	if (error == -EINVAL)
		pr_err("page_owner's records are not where layout= says, or page_owner is off\n");
	return error;
}

#else

int pagedbg_check_layout(unsigned int given)
{
	pr_err("this kernel keeps no page_owner by sections of memory (CONFIG_SPARSEMEM)\n");
	return -EOPNOTSUPP;
}

#endif

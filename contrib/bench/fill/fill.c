// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_fill: holds as many single pages as it is told to, for the benchmark to have millions of
 * owners.
 *
 * The pages are asked for from FILL_PATHS call paths in turn. Nobody writes to them, so the host of
 * a guest does not pay for them. /sys/module/pagedbg_fill/parameters/pages takes a new number, and
 * gives or frees the difference.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#define FILL_PATHS 64

static LIST_HEAD(held);
static unsigned long nr_held;
static DEFINE_MUTEX(fill_lock);

/*
 * Six levels of two functions each are 64 paths of one length. noipa keeps the compiler from making
 * one function of the two.
 */
#define FILL_LEVEL(name, next)                                                 \
	static __attribute__((noipa)) struct page *name##_0(unsigned int path) \
	{                                                                      \
		return path & 1 ? next##_1(path >> 1) : next##_0(path >> 1);   \
	}                                                                      \
	static __attribute__((noipa)) struct page *name##_1(unsigned int path) \
	{                                                                      \
		return path & 1 ? next##_1(path >> 1) : next##_0(path >> 1);   \
	}

static __attribute__((noipa)) struct page *fill_leaf_0(unsigned int path)
{
	return alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
}

static __attribute__((noipa)) struct page *fill_leaf_1(unsigned int path)
{
	return alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
}

FILL_LEVEL(fill_e, fill_leaf)
FILL_LEVEL(fill_d, fill_e)
FILL_LEVEL(fill_c, fill_d)
FILL_LEVEL(fill_b, fill_c)
FILL_LEVEL(fill_a, fill_b)

static struct page *fill_alloc(unsigned int path)
{
	return path & 1 ? fill_a_1(path >> 1) : fill_a_0(path >> 1);
}

static void fill_shrink(unsigned long pages)
{
	struct page *page;

	while (nr_held > pages) {
		page = list_first_entry(&held, struct page, lru);
		list_del(&page->lru);
		__free_page(page);
		nr_held--;
		cond_resched();
	}
}

/* All or nothing: a module that fails to load must not hold anything. */
static int fill_resize(unsigned long pages)
{
	unsigned long before = nr_held;
	struct page *page;

	fill_shrink(pages);
	while (nr_held < pages) {
		page = fatal_signal_pending(current) ? NULL : fill_alloc(nr_held % FILL_PATHS);
		if (!page) {
			fill_shrink(before);
			return -ENOMEM;
		}
		list_add(&page->lru, &held);
		nr_held++;
		cond_resched();
	}
	return 0;
}

static int fill_set(const char *value, const struct kernel_param *kp)
{
	unsigned long pages;
	int err = kstrtoul(value, 0, &pages);

	if (err)
		return err;
	mutex_lock(&fill_lock);
	err = fill_resize(pages);
	mutex_unlock(&fill_lock);
	return err;
}

static const struct kernel_param_ops fill_ops = {
	.set = fill_set,
	.get = param_get_ulong,
};
module_param_cb(pages, &fill_ops, &nr_held, 0600);
MODULE_PARM_DESC(pages, "how many pages to hold");

static int __init fill_init(void)
{
	return 0;
}

static void __exit fill_exit(void)
{
	fill_shrink(0);
}

module_init(fill_init);
module_exit(fill_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Holds single pages from many call paths, for the benchmark of pagedbg");

// SPDX-License-Identifier: GPL-2.0
/*
 * meter: a driver that counts what a program does, with a bug. Whoever opens /proc/meter gets a page
 * of counters, and when the file is closed they are kept for a report that nobody has written yet.
 * It is one page for each program that ever ran, and no tool shows more: but a page among the page
 * tables and the slabs of a program that has long ended, where nothing else is left.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/spinlock.h>

static LIST_HEAD(meter_reports);
static DEFINE_SPINLOCK(meter_lock);

static noinline struct page *meter_attach(void)
{
	return alloc_page(GFP_KERNEL | __GFP_ZERO);
}

static int meter_open(struct inode *inode, struct file *file)
{
	file->private_data = meter_attach();
	return file->private_data ? 0 : -ENOMEM;
}

static int meter_release(struct inode *inode, struct file *file)
{
	struct page *counters = file->private_data;

	spin_lock(&meter_lock);
	list_add(&counters->lru, &meter_reports);
	spin_unlock(&meter_lock);
	return 0;
}

static const struct proc_ops meter_ops = {
	.proc_open = meter_open,
	.proc_release = meter_release,
};

static int __init meter_init(void)
{
	return proc_create(KBUILD_MODNAME, 0444, NULL, &meter_ops) ? 0 : -ENOMEM;
}

static void __exit meter_exit(void)
{
	struct page *counters, *next;

	remove_proc_entry(KBUILD_MODNAME, NULL);
	list_for_each_entry_safe(counters, next, &meter_reports, lru)
		__free_page(counters);
}

module_init(meter_init);
module_exit(meter_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that keeps a page of each program that ever ran, for pagedbg to find");

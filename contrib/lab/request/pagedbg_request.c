// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_request: asks the allocator for pages when it is told to, and says what came of it, so
 * that tests can hold what pagedbg has foretold against it. A command is a line, and a write, to
 * /proc/pagedbg_request:
 *
 *	try ORDER GFP NODE	allocate a block and free it
 *	hold ORDER GFP COUNT	allocate blocks and hold them, until there are COUNT or none is left
 *	thin PAGES		split what is held, and free all but the first of so many pages
 *	drop			free what is held
 *
 * GFP is a mask. Reading gives a line, "node zone order", of the last block that was tried for, and
 * "none" if there was none; the second line is how many blocks are held.
 */
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define REQUEST_ORDERS 11

/* Linked by lru, with the order in private: to remember a block takes no memory. */
static LIST_HEAD(request_blocks);
static unsigned int request_held;
static DEFINE_MUTEX(request_lock);

static struct {
	bool found;
	int node;
	unsigned int order;
	char zone[16];
} request_last;

static noinline int request_try(unsigned int order, unsigned int gfp, unsigned int node)
{
	struct page *page = alloc_pages_node(node, (__force gfp_t)gfp, order);

	request_last.found = page;
	if (!page)
		return 0;
	request_last.node = page_to_nid(page);
	request_last.order = order;
	strscpy(request_last.zone, page_zone(page)->name, sizeof(request_last.zone));
	__free_pages(page, order);
	return 0;
}

static noinline int pagedbg_request_hold(unsigned int order, unsigned int gfp, unsigned int count)
{
	while (count-- && !fatal_signal_pending(current)) {
		struct page *page = alloc_pages((__force gfp_t)gfp, order);

		if (!page)
			break;
		set_page_private(page, order);
		list_add_tail(&page->lru, &request_blocks);
		request_held++;
		cond_resched();
	}
	return 0;
}

static int request_thin(unsigned int pages, unsigned int unused_gfp, unsigned int unused_count)
{
	struct page *page, *next;
	LIST_HEAD(whole);

	if (!pages)
		return -EINVAL;
	list_splice_init(&request_blocks, &whole);
	request_held = 0;
	list_for_each_entry_safe(page, next, &whole, lru) {
		unsigned int i, order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		split_page(page, order);
		for (i = 0; i < 1U << order; i++) {
			if (i % pages) {
				__free_page(page + i);
				continue;
			}
			list_add_tail(&page[i].lru, &request_blocks);
			request_held++;
		}
		cond_resched();
	}
	return 0;
}

static int request_drop(unsigned int unused_order, unsigned int unused_gfp,
			unsigned int unused_count)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &request_blocks, lru) {
		unsigned int order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		__free_pages(page, order);
		cond_resched();
	}
	request_held = 0;
	return 0;
}

/* clang-format off */
static const struct request_command {
	const char *name;
	unsigned int numbers;
	int (*run)(unsigned int a, unsigned int b, unsigned int c);
} request_commands[] = {
	{ "try", 3, request_try },
	{ "hold", 3, pagedbg_request_hold },
	{ "thin", 1, request_thin },
	{ "drop", 0, request_drop },
};
/* clang-format on */

static int request_run(char *line)
{
	const char *name = strsep(&line, " ");
	unsigned int i, n, number[3] = {};

	for (i = 0; i < ARRAY_SIZE(request_commands); i++) {
		const struct request_command *c = &request_commands[i];

		if (strcmp(name, c->name))
			continue;
		for (n = 0; n < c->numbers; n++) {
			char *word = strsep(&line, " ");

			if (!word || kstrtouint(word, 0, &number[n]))
				return -EINVAL;
		}
		if (line || (c->numbers == 3 && number[0] >= REQUEST_ORDERS))
			return -EINVAL;
		return c->run(number[0], number[1], number[2]);
	}
	return -EINVAL;
}

static ssize_t request_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	char line[64];
	int err;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	line[size] = '\0';
	err = mutex_lock_interruptible(&request_lock);
	if (err)
		return err;
	err = request_run(strim(line));
	mutex_unlock(&request_lock);
	return err ?: size;
}

static int request_show(struct seq_file *m, void *v)
{
	int err = mutex_lock_interruptible(&request_lock);

	if (err)
		return err;
	if (request_last.found)
		seq_printf(m, "%d %s %u\n", request_last.node, request_last.zone,
			   request_last.order);
	else
		seq_puts(m, "none\n");
	seq_printf(m, "%u\n", request_held);
	mutex_unlock(&request_lock);
	return 0;
}

static int request_open(struct inode *inode, struct file *file)
{
	return single_open(file, request_show, NULL);
}

static const struct proc_ops request_ops = {
	.proc_open = request_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = request_write,
};

static int __init request_init(void)
{
	return proc_create(KBUILD_MODNAME, 0600, NULL, &request_ops) ? 0 : -ENOMEM;
}

static void __exit request_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	request_drop(0, 0, 0);
}

module_init(request_init);
module_exit(request_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Requests for pages on demand, for the tests of pagedbg");

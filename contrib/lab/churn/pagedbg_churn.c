// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_churn: allocates and frees blocks of pages when it is told to, so that tests know which
 * events have to come, in which order and from which function. A command is a line, and a write, to
 * /proc/pagedbg_churn:
 *
 *	alloc ORDER COUNT	allocate blocks and hold them
 *	split COUNT		make single pages of the oldest blocks that are whole
 *	free COUNT		free the oldest blocks, what was split page by page
 *	dump			dump_page() the oldest block
 *	pairs ORDER COUNT	allocate a block and free it, so many times
 *	irq ORDER COUNT		the same with GFP_ATOMIC in an interrupt, which hits the writer
 *	time ORDER COUNT	time pairs; under QEMU's -icount, count their instructions
 *
 * The function that does it is called pagedbg_churn_COMMAND. A command that cannot be carried out
 * is refused and changes nothing, though blocks of one that ran out of memory have come and gone.
 * Reading gives a line for each block that is held, the oldest first, "pfn order split", after two
 * that begin with "#": the last writer's "pid comm", and the last timing, "order count cycles" of
 * all of the pairs.
 */
#include <linux/gfp.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmdebug.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/timex.h>
#include <linux/uaccess.h>

#define CHURN_ORDERS 11
#define CHURN_ROUNDS 7

/*
 * Linked by lru, with the order in private: to remember a block takes no memory, whose allocation
 * would be an event of its own.
 */
static LIST_HEAD(churn_blocks);
static unsigned int churn_held, churn_whole;
static DEFINE_MUTEX(churn_lock);

#define CHURN_SPLIT (1UL << 8)

static struct {
	pid_t pid;
	char comm[TASK_COMM_LEN];
} churn_writer;

static struct {
	unsigned int order;
	unsigned int count;
	u64 cycles;
} churn_timing;

static unsigned int churn_order(struct page *page)
{
	return page_private(page) & ~CHURN_SPLIT;
}

static bool churn_is_split(struct page *page)
{
	return page_private(page) & CHURN_SPLIT;
}

static noinline int pagedbg_churn_free(unsigned int unused_order, unsigned int count)
{
	if (count > churn_held)
		return -ENOENT;
	while (count--) {
		struct page *page = list_first_entry(&churn_blocks, struct page, lru);
		unsigned int i, order = churn_order(page);
		bool split = churn_is_split(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		churn_held--;
		if (split) {
			for (i = 0; i < 1U << order; i++)
				__free_page(page + i);
		} else {
			churn_whole--;
			__free_pages(page, order);
		}
		cond_resched();
	}
	return 0;
}

static noinline int pagedbg_churn_alloc(unsigned int order, unsigned int count)
{
	struct page *page, *next;
	LIST_HEAD(blocks);
	unsigned int i;

	for (i = 0; i < count; i++) {
		page = fatal_signal_pending(current) ? NULL : alloc_pages(GFP_KERNEL, order);
		if (!page)
			goto free;
		set_page_private(page, order);
		list_add_tail(&page->lru, &blocks);
		cond_resched();
	}
	list_splice_tail(&blocks, &churn_blocks);
	churn_held += count;
	churn_whole += count;
	return 0;

free:
	list_for_each_entry_safe(page, next, &blocks, lru) {
		set_page_private(page, 0);
		__free_pages(page, order);
	}
	return -ENOMEM;
}

static noinline int pagedbg_churn_split(unsigned int unused_order, unsigned int count)
{
	struct page *page;

	if (count > churn_whole)
		return -ENOENT;
	churn_whole -= count;
	list_for_each_entry(page, &churn_blocks, lru) {
		if (!count)
			break;
		if (churn_is_split(page))
			continue;
		split_page(page, churn_order(page));
		set_page_private(page, churn_order(page) | CHURN_SPLIT);
		count--;
	}
	return 0;
}

static noinline int pagedbg_churn_dump(unsigned int unused_order, unsigned int unused_count)
{
	if (list_empty(&churn_blocks))
		return -ENOENT;
	dump_page(list_first_entry(&churn_blocks, struct page, lru), "pagedbg_churn");
	return 0;
}

static noinline int pagedbg_churn_pairs(unsigned int order, unsigned int count)
{
	while (count--) {
		struct page *page = fatal_signal_pending(current) ? NULL :
								    alloc_pages(GFP_KERNEL, order);

		if (!page)
			return -ENOMEM;
		__free_pages(page, order);
		cond_resched();
	}
	return 0;
}

struct churn_irq {
	struct irq_work work;
	unsigned int order;
	unsigned int count;
	int err;
};

static noinline void pagedbg_churn_irq(struct irq_work *work)
{
	struct churn_irq *irq = container_of(work, struct churn_irq, work);

	while (irq->count--) {
		struct page *page = alloc_pages(GFP_ATOMIC, irq->order);

		if (!page) {
			irq->err = -ENOMEM;
			break;
		}
		__free_pages(page, irq->order);
	}
}

/* An interrupt that a CPU sends to itself: it is taken at once, so that current is the writer. */
static int churn_raise(unsigned int order, unsigned int count)
{
	struct churn_irq irq = { .order = order, .count = count };

	init_irq_work(&irq.work, pagedbg_churn_irq);
	irq_work_queue(&irq.work);
	irq_work_sync(&irq.work);
	return irq.err;
}

/*
 * Of some rounds the shortest: one into which no tick has come. Nothing else is in there, above all
 * no cond_resched().
 */
static noinline int pagedbg_churn_time(unsigned int order, unsigned int count)
{
	u64 least = U64_MAX;
	unsigned int i, round;

	for (round = 0; round < CHURN_ROUNDS; round++) {
		u64 begun = get_cycles();

		for (i = 0; i < count; i++) {
			struct page *page = alloc_pages(GFP_KERNEL, order);

			if (!page)
				return -ENOMEM;
			__free_pages(page, order);
		}
		least = min_t(u64, least, get_cycles() - begun);
		cond_resched();
	}
	churn_timing.order = order;
	churn_timing.count = count;
	churn_timing.cycles = least;
	return 0;
}

/* clang-format off */
static const struct churn_command {
	const char *name;
	bool order;
	bool count;
	int (*run)(unsigned int order, unsigned int count);
} churn_commands[] = {
	{ "alloc", true, true, pagedbg_churn_alloc },
	{ "split", false, true, pagedbg_churn_split },
	{ "free", false, true, pagedbg_churn_free },
	{ "dump", false, false, pagedbg_churn_dump },
	{ "pairs", true, true, pagedbg_churn_pairs },
	{ "irq", true, true, churn_raise },
	{ "time", true, true, pagedbg_churn_time },
};
/* clang-format on */

static int churn_number(char **line, unsigned int *number)
{
	char *word = strsep(line, " ");

	return word ? kstrtouint(word, 0, number) : -EINVAL;
}

static int churn_run(char *line)
{
	const char *name = strsep(&line, " ");
	unsigned int i, order = 0, count = 0;

	for (i = 0; i < ARRAY_SIZE(churn_commands); i++) {
		const struct churn_command *c = &churn_commands[i];

		if (strcmp(name, c->name))
			continue;
		if (c->order && (churn_number(&line, &order) || order >= CHURN_ORDERS))
			return -EINVAL;
		if (c->count && churn_number(&line, &count))
			return -EINVAL;
		return line ? -EINVAL : c->run(order, count);
	}
	return -EINVAL;
}

static ssize_t churn_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	char line[64];
	int err;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	line[size] = '\0';
	err = mutex_lock_interruptible(&churn_lock);
	if (err)
		return err;
	err = churn_run(strim(line));
	if (!err) {
		churn_writer.pid = task_pid_nr(current);
		get_task_comm(churn_writer.comm, current);
	}
	mutex_unlock(&churn_lock);
	return err ?: size;
}

static int churn_show(struct seq_file *m, void *v)
{
	struct page *page;
	int err = mutex_lock_interruptible(&churn_lock);

	if (err)
		return err;
	seq_printf(m, "# %d %s\n", churn_writer.pid, churn_writer.comm);
	seq_printf(m, "# %u %u %llu\n", churn_timing.order, churn_timing.count,
		   churn_timing.cycles);
	list_for_each_entry(page, &churn_blocks, lru)
		seq_printf(m, "%lu %u %d\n", page_to_pfn(page), churn_order(page),
			   churn_is_split(page));
	mutex_unlock(&churn_lock);
	return 0;
}

static int churn_open(struct inode *inode, struct file *file)
{
	return single_open(file, churn_show, NULL);
}

static const struct proc_ops churn_ops = {
	.proc_open = churn_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = churn_write,
};

static int __init churn_init(void)
{
	return proc_create(KBUILD_MODNAME, 0600, NULL, &churn_ops) ? 0 : -ENOMEM;
}

static void __exit churn_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	pagedbg_churn_free(0, churn_held);
}

module_init(churn_init);
module_exit(churn_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION(
	"Blocks of pages that come and go on demand, for the tests and benchmarks of pagedbg");

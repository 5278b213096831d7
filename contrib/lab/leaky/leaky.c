// SPDX-License-Identifier: GPL-2.0
/*
 * leaky: what a driver of a network card does to memory, with a bug. It is told how many frames
 * come and go by writes to /proc/leaky:
 *
 *	rx COUNT	receive frames
 *	tx COUNT	send frames
 *
 * A frame of either kind takes a buffer of 16 pages. What is sent is freed whole when the card is
 * done with it. What is received is split, and goes up the stack page by page; the first page,
 * where the card puts its headers, is forgotten. So each frame leaves a page that cannot be moved
 * where 16 were free, until there is plenty of memory and no buffer, which this driver does not
 * survive.
 */
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/panic.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define LEAKY_ORDER 4
#define LEAKY_PAGES (1 << LEAKY_ORDER)
#define LEAKY_QUEUE 8

static DEFINE_MUTEX(leaky_lock);

/* ---- receive ---- */

/* A buffer for the next frame, as pages that go separate ways. */
static noinline struct page *leaky_rx_refill(void)
{
	struct page *buffer = alloc_pages(GFP_KERNEL, LEAKY_ORDER);

	if (!buffer)
		panic("leaky: no receive buffer");
	split_page(buffer, LEAKY_ORDER);
	return buffer;
}

/*
 * The stack takes the frame's data, and puts its pages when it has. The bug: nobody does so with
 * the headers.
 */
static noinline void leaky_rx_deliver(struct page *buffer)
{
	unsigned int i;

	for (i = 1; i < LEAKY_PAGES; i++)
		put_page(buffer + i);
}

static noinline void leaky_rx_poll(unsigned int frames)
{
	while (frames--) {
		leaky_rx_deliver(leaky_rx_refill());
		cond_resched();
	}
}

/* ---- send ---- */

/* What the card has not sent yet; the oldest is in the place that is taken next. */
static struct page *leaky_tx_queue[LEAKY_QUEUE];
static unsigned int leaky_tx_next;

static noinline void leaky_tx_complete(struct page *buffer)
{
	if (buffer)
		__free_pages(buffer, LEAKY_ORDER);
}

/* A frame for which there is no buffer is dropped; whoever sent it has to send it again. */
static noinline struct page *leaky_tx_buffer(void)
{
	return alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, LEAKY_ORDER);
}

static noinline void leaky_tx_xmit(unsigned int frames)
{
	while (frames--) {
		struct page **place = &leaky_tx_queue[leaky_tx_next++ % LEAKY_QUEUE];

		leaky_tx_complete(*place);
		*place = leaky_tx_buffer();
		cond_resched();
	}
}

/* ---- /proc/leaky ---- */

static ssize_t leaky_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	void (*handle)(unsigned int frames);
	unsigned int frames;
	char line[32];
	int err;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	line[size] = '\0';
	if (strstarts(line, "rx "))
		handle = leaky_rx_poll;
	else if (strstarts(line, "tx "))
		handle = leaky_tx_xmit;
	else
		return -EINVAL;
	err = kstrtouint(strim(line + 3), 0, &frames);
	if (err)
		return err;
	err = mutex_lock_interruptible(&leaky_lock);
	if (err)
		return err;
	handle(frames);
	mutex_unlock(&leaky_lock);
	return size;
}

static const struct proc_ops leaky_ops = {
	.proc_write = leaky_write,
};

static int __init leaky_init(void)
{
	return proc_create(KBUILD_MODNAME, 0200, NULL, &leaky_ops) ? 0 : -ENOMEM;
}

static void __exit leaky_exit(void)
{
	unsigned int i;

	remove_proc_entry(KBUILD_MODNAME, NULL);
	for (i = 0; i < LEAKY_QUEUE; i++)
		leaky_tx_complete(leaky_tx_queue[i]);
}

module_init(leaky_init);
module_exit(leaky_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that forgets one page of each frame, for pagedbg to find");

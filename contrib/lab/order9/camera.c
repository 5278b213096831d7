// SPDX-License-Identifier: GPL-2.0
/*
 * camera: a driver that needs 2 MiB of memory in one piece for each picture. What is written to
 * /proc/camera is how many it is to take; it keeps them until it is unloaded. It does not survive
 * that there is no memory for one.
 */
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/panic.h>
#include <linux/proc_fs.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define CAMERA_ORDER	9
#define CAMERA_PICTURES 64

static DEFINE_MUTEX(camera_lock);
static struct page *camera_pictures[CAMERA_PICTURES];
static unsigned int camera_taken;

static noinline struct page *camera_buffer(void)
{
	return alloc_pages(GFP_KERNEL, CAMERA_ORDER);
}

static noinline int camera_take(unsigned int pictures)
{
	while (pictures--) {
		struct page *buffer;

		if (camera_taken == CAMERA_PICTURES)
			return -ENOSPC;
		buffer = camera_buffer();
		if (!buffer)
			panic("camera: no memory for a picture");
		camera_pictures[camera_taken++] = buffer;
	}
	return 0;
}

static ssize_t camera_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	unsigned int pictures;
	int err = kstrtouint_from_user(from, size, 0, &pictures);

	if (err)
		return err;
	err = mutex_lock_interruptible(&camera_lock);
	if (err)
		return err;
	err = camera_take(pictures);
	mutex_unlock(&camera_lock);
	return err ? err : size;
}

static const struct proc_ops camera_ops = {
	.proc_write = camera_write,
};

static int __init camera_init(void)
{
	return proc_create(KBUILD_MODNAME, 0200, NULL, &camera_ops) ? 0 : -ENOMEM;
}

static void __exit camera_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	while (camera_taken--)
		__free_pages(camera_pictures[camera_taken], CAMERA_ORDER);
}

module_init(camera_init);
module_exit(camera_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that needs 2 MiB in one piece, for pagedbg to say why it gets none");

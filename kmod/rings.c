// SPDX-License-Identifier: GPL-2.0-or-later
/* The memory that events are recorded into, and /dev/pagedbg, through which it is read: mapped, and never written. */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "pagedbg.h"

/* What the rings of all CPUs take together, unless slots are asked for. */
#define RING_MEMORY	(16 << 20)
#define FEWEST_SLOTS	64
#define MOST_SLOTS	(1 << 20)

struct pagedbg_header *pagedbg_rings;
struct pagedbg_filter *pagedbg_filters;
struct pagedbg_record *pagedbg_slots;
void *pagedbg_cpus;

/**
 * pagedbg_make_rings - Allocate the rings of all CPUs
 * @slots: records of a CPU, a power of two, or 0 for as many as are reasonable
 */
int pagedbg_make_rings(unsigned int slots)
{
	size_t filters_at = ALIGN(sizeof(*pagedbg_rings), 64);
	size_t cpus_at = PAGE_ALIGN(filters_at + 2 * sizeof(*pagedbg_filters));
	size_t slots_at = PAGE_ALIGN(cpus_at + nr_cpu_ids * PAGEDBG_CPU_STRIDE);
	size_t size;

	if (!slots)
		slots = clamp(rounddown_pow_of_two(RING_MEMORY / sizeof(*pagedbg_slots) / nr_cpu_ids), 256UL, 16384UL);
	if (!is_power_of_2(slots) || slots < FEWEST_SLOTS || slots > MOST_SLOTS) {
		pr_err("ring_slots= has to be a power of two from %u to %u\n", FEWEST_SLOTS, MOST_SLOTS);
		return -EINVAL;
	}
	size = PAGE_ALIGN(slots_at + (size_t)nr_cpu_ids * slots * sizeof(*pagedbg_slots));
	pagedbg_rings = vmalloc_user(size);
	if (!pagedbg_rings)
		return -ENOMEM;
	pagedbg_filters = (void *)pagedbg_rings + filters_at;
	pagedbg_cpus = (void *)pagedbg_rings + cpus_at;
	pagedbg_slots = (void *)pagedbg_rings + slots_at;
	*pagedbg_rings = (struct pagedbg_header) {
		.version = PAGEDBG_VERSION,
		.record_size = sizeof(*pagedbg_slots),
		.cpus = nr_cpu_ids,
		.slots = slots,
		.dummy_handle = pagedbg_layout.dummy_handle,
		.size = size,
		.filters_at = filters_at,
		.cpus_at = cpus_at,
		.cpu_stride = PAGEDBG_CPU_STRIDE,
		.slots_at = slots_at,
	};
	/* Who finds it finds it whole. */
	smp_store_release(&pagedbg_rings->magic, PAGEDBG_MAGIC);
	return 0;
}

void pagedbg_free_rings(void)
{
	vfree(pagedbg_rings);
	pagedbg_rings = NULL;
}

static int device_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_WRITE | VM_EXEC))
		return -EACCES;
#ifdef HAVE_VM_FLAGS_CLEAR
	vm_flags_clear(vma, VM_MAYWRITE | VM_MAYEXEC);
#else
	vma->vm_flags &= ~(VM_MAYWRITE | VM_MAYEXEC);
#endif
	/* Refuses what is not all inside. */
	return remap_vmalloc_range(vma, pagedbg_rings, vma->vm_pgoff);
}

/* Takes a struct pagedbg_filter; its orders count for nothing, they are /proc/page_order's. */
static ssize_t device_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct pagedbg_filter filter;
	int error;

	if (size != sizeof(filter))
		return -EINVAL;
	if (copy_from_user(&filter, from, size))
		return -EFAULT;
	error = pagedbg_set_filter(&filter);
	return error ?: size;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.mmap = device_mmap,
	.write = device_write,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pagedbg",
	.mode = 0600,
	.fops = &device_fops,
};

int pagedbg_make_device(void)
{
	return misc_register(&device);
}

void pagedbg_remove_device(void)
{
	misc_deregister(&device);
}

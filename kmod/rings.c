// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory that events are recorded into, and /dev/pagedbg, through which it is read: mapped, and
 * never written.
 */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "pagedbg.h"

/* What the rings of all CPUs take together, unless slots are asked for, and what each has then. */
#define RING_MEMORY    (16 << 20)
#define FEWEST_DEFAULT 4096UL
#define MOST_DEFAULT   16384UL

#define FEWEST_SLOTS 64UL
#define MOST_SLOTS   (1UL << 20)

/* Of the machine's memory, the rings take no more than this part, and no more than that unasked. */
#define MEMORY_PARTS  16
#define DEFAULT_PARTS 64

struct pagedbg_header *pagedbg_rings;
struct pagedbg_filters *pagedbg_filters;
DEFINE_PER_CPU(struct pagedbg_place, pagedbg_place);

/* Of stacks there are so many; less where memory is short, or rings are to be small. */
#define MOST_STACKS   16384ULL
#define FEWEST_STACKS (PAGE_SIZE / sizeof(struct pagedbg_stack))
#define STACK_PARTS   128
#define PER_RECORD    4

/* Counters of one CPU share no cache line with another's. */
#define CPU_STRIDE ALIGN(sizeof(struct pagedbg_cpu), 64)

/* How many records of each CPU fit into so much memory, a power of two. */
static unsigned long slots_in(u64 memory)
{
	return rounddown_pow_of_two(
		max(div_u64(memory, nr_cpu_ids * sizeof(struct pagedbg_record)), 1ULL));
}

static unsigned long default_slots(u64 machine)
{
	unsigned long slots = clamp(slots_in(RING_MEMORY), FEWEST_DEFAULT, MOST_DEFAULT);

	return max(min(slots, slots_in(div_u64(machine, DEFAULT_PARTS))), FEWEST_SLOTS);
}

/* A power of two of them, which fill whole pages. */
static unsigned long stacks_in(u64 memory, unsigned long slots)
{
	u64 fit = min_t(u64, div_u64(memory, sizeof(struct pagedbg_stack)),
			(u64)slots * nr_cpu_ids * PER_RECORD);

	return rounddown_pow_of_two(clamp(fit, (u64)FEWEST_STACKS, MOST_STACKS));
}

/**
 * pagedbg_make_rings - Allocate the rings of all CPUs
 * @slots: records of a CPU, a power of two, or 0 for as many as are reasonable
 * @stacks: whether there is a table of stacks behind them
 *
 * Return: 0; -EINVAL if there cannot be so many; -ENOMEM
 */
int pagedbg_make_rings(unsigned int slots, bool stacks)
{
	size_t filters_at = ALIGN(sizeof(*pagedbg_rings), 64);
	size_t cpus_at = PAGE_ALIGN(filters_at + sizeof(*pagedbg_filters));
	size_t slots_at = PAGE_ALIGN(cpus_at + nr_cpu_ids * CPU_STRIDE);
	u64 machine = (u64)totalram_pages() << PAGE_SHIFT;
	unsigned long most = slots_in(div_u64(machine, MEMORY_PARTS));
	struct pagedbg_place *place;
	size_t stacks_at, size;
	unsigned int cpu;

	if (!slots)
		slots = default_slots(machine);
	if (!is_power_of_2(slots) || slots < FEWEST_SLOTS || slots > MOST_SLOTS) {
		pr_err("ring_slots= has to be a power of two from %lu to %lu\n", FEWEST_SLOTS,
		       MOST_SLOTS);
		return -EINVAL;
	}
	if (slots > most) {
		pr_err("ring_slots=%u for %u CPUs would take more than a sixteenth of this machine's memory: %lu at most\n",
		       slots, nr_cpu_ids, most);
		return -EINVAL;
	}
	stacks_at =
		PAGE_ALIGN(slots_at + (size_t)nr_cpu_ids * slots * sizeof(struct pagedbg_record));
	if (stacks)
		pagedbg_stack_count = stacks_in(div_u64(machine, STACK_PARTS), slots);
	size = PAGE_ALIGN(stacks_at + pagedbg_stack_count * sizeof(struct pagedbg_stack));
	/*
	 * Rather none than that anything is killed for it. vmalloc_user() would not take the flags.
	 */
	pagedbg_rings =
		__vmalloc(size, GFP_KERNEL | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!pagedbg_rings) {
		pr_err("there is no memory for rings of %zu KiB: give fewer ring_slots=\n",
		       size >> 10);
		return -ENOMEM;
	}
	pagedbg_filters = (void *)pagedbg_rings + filters_at;
	pagedbg_stacks = (void *)pagedbg_rings + stacks_at;
	for_each_possible_cpu(cpu) {
		place = per_cpu_ptr(&pagedbg_place, cpu);
		place->counters = (void *)pagedbg_rings + cpus_at + cpu * CPU_STRIDE;
		place->slots = (void *)pagedbg_rings + slots_at;
		place->slots += (size_t)cpu * slots;
	}
	*pagedbg_rings = (struct pagedbg_header){
		.version = PAGEDBG_VERSION,
		.record_size = sizeof(struct pagedbg_record),
		.cpus = nr_cpu_ids,
		.slots = slots,
		.dummy_handle = pagedbg_layout.dummy_handle,
		.size = size,
		.filters_at = filters_at,
		.cpus_at = cpus_at,
		.cpu_stride = CPU_STRIDE,
		.slots_at = slots_at,
	};
	if (stacks)
		pagedbg_stacks->key = PAGEDBG_MAGIC;
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

/* remap_vmalloc_range() maps only what vmalloc_user() made. */
static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long i, pages = pagedbg_rings->size >> PAGE_SHIFT;
	int error = 0;

	if (vma->vm_flags & (VM_WRITE | VM_EXEC))
		return -EACCES;
	if (vma->vm_pgoff > pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
#ifdef HAVE_VM_FLAGS_CLEAR
	vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, VM_MAYWRITE | VM_MAYEXEC);
#else
	vma->vm_flags |= VM_DONTEXPAND | VM_DONTDUMP;
	vma->vm_flags &= ~(VM_MAYWRITE | VM_MAYEXEC);
#endif
	for (i = 0; i < vma_pages(vma) && !error; i++)
		error = vm_insert_page(vma, vma->vm_start + i * PAGE_SIZE,
				       vmalloc_to_page((void *)pagedbg_rings +
						       ((vma->vm_pgoff + i) << PAGE_SHIFT)));
	return error;
}

/* Takes a struct pagedbg_filter, of which /proc/page_order shows the table of orders. */
static ssize_t device_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct pagedbg_filter *filter;
	int error;

	if (size != sizeof(*filter))
		return -EINVAL;
	filter = memdup_user(from, size);
	if (IS_ERR(filter))
		return PTR_ERR(filter);
	error = pagedbg_set_filter(filter);
	kfree(filter);
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

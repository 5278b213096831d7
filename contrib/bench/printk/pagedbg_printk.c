// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the project did that pagedbg grows out of: print a line for each allocation of an order,
 * when __set_page_owner() is called.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static unsigned int order;
module_param(order, uint, 0400);
MODULE_PARM_DESC(order, "the order to print");

static int set_page_owner_pre(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned int this = (u16)regs_get_kernel_argument(regs, 1);

	if (this == order)
		pr_info("Order: %u, Participation: %u\n", this, 100);
	return 0;
}

static struct kprobe probe = { .symbol_name = "__set_page_owner",
			       .pre_handler = set_page_owner_pre };

static int __init printk_init(void)
{
	return register_kprobe(&probe);
}

static void __exit printk_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(printk_init);
module_exit(printk_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Prints allocations of an order, for contrib/bench/trace");

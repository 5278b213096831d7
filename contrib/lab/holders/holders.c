// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_holders: holds pages in ways that structures of the kernel tell of, for tests to find them
 * again by these. /proc/pagedbg_holders has a line for each page: "how pfn".
 *
 *	pool	pages of a page_pool of the loopback device
 *	vmalloc	pages that pagedbg_vmalloc() has got from vmalloc()
 *	object	the address of an object of the slab cache pagedbg_objects
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <net/net_namespace.h>
#include <net/page_pool/helpers.h>

#define POOL_PAGES    5
#define VMALLOC_PAGES 7

static struct page_pool *pool;
static struct page *pooled[POOL_PAGES];
static void *area;
static struct kmem_cache *objects;
static void *object;

static noinline void *pagedbg_vmalloc(void)
{
	return vzalloc(VMALLOC_PAGES * PAGE_SIZE);
}

static noinline void *pagedbg_object(void)
{
	return kmem_cache_alloc(objects, GFP_KERNEL);
}

static int holders_show(struct seq_file *m, void *v)
{
	unsigned int i;

	for (i = 0; i < POOL_PAGES; i++)
		seq_printf(m, "pool %lu\n", page_to_pfn(pooled[i]));
	for (i = 0; i < VMALLOC_PAGES; i++)
		seq_printf(m, "vmalloc %lu\n", vmalloc_to_pfn(area + i * PAGE_SIZE));
	seq_printf(m, "object %lu\n", (unsigned long)object);
	return 0;
}

static void let_go(void)
{
	unsigned int i;

	for (i = 0; i < POOL_PAGES; i++)
		if (pooled[i])
			page_pool_put_full_page(pool, pooled[i], false);
	page_pool_destroy(pool);
	vfree(area);
	if (object)
		kmem_cache_free(objects, object);
	kmem_cache_destroy(objects);
}

static int __init holders_init(void)
{
	struct page_pool_params params = {
		.pool_size = 16,
		.nid = NUMA_NO_NODE,
		.netdev = init_net.loopback_dev,
	};
	unsigned int i;

	pool = page_pool_create(&params);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	area = pagedbg_vmalloc();
	objects = kmem_cache_create("pagedbg_objects", 200, 0, 0, NULL);
	if (!area || !objects)
		goto free;
	object = pagedbg_object();
	if (!object)
		goto free;
	for (i = 0; i < POOL_PAGES; i++) {
		pooled[i] = page_pool_alloc_pages(pool, GFP_KERNEL);
		if (!pooled[i])
			goto free;
	}
	if (!proc_create_single(KBUILD_MODNAME, 0444, NULL, holders_show))
		goto free;
	return 0;

free:
	let_go();
	return -ENOMEM;
}

static void __exit holders_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	let_go();
}

module_init(holders_init);
module_exit(holders_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION(
	"Pages that structures of the kernel name the holder of, for the tests of pagedbg");

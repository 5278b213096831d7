// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_holders: holds pages in ways that structures of the kernel tell of, for tests to find them
 * again by these. /proc/pagedbg_holders has a line for each page: "how pfn".
 *
 *	pool	pages of a page_pool of the loopback device
 *	vmalloc	pages that pagedbg_vmalloc() has got from vmalloc()
 *	object	the address of one of the objects of the slab cache pagedbg_objects
 *	table	a page of a hash table that has grown: a worker has allocated it, and its tag is that of
 *		pagedbg_table(), which made the table
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/proc_fs.h>
#include <linux/rhashtable.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <net/net_namespace.h>
#include <net/page_pool/helpers.h>

#define POOL_PAGES    5
#define VMALLOC_PAGES 7
#define OBJECTS	      40
#define ENTRIES	      800 /* more than three quarters of the buckets that are there at first */
#define BUCKETS	      1024

static struct page_pool *pool;
static struct page *pooled[POOL_PAGES];
static void *area;
static struct kmem_cache *objects;
static void *held[OBJECTS];

struct entry {
	u32 key;
	struct rhash_head node;
};

static const struct rhashtable_params table_params = {
	.min_size = BUCKETS,
	.key_len = sizeof(u32),
	.key_offset = offsetof(struct entry, key),
	.head_offset = offsetof(struct entry, node),
};

static struct rhashtable table;
static struct entry *entries;

static noinline void *pagedbg_vmalloc(void)
{
	return vzalloc(VMALLOC_PAGES * PAGE_SIZE);
}

static noinline void *pagedbg_object(void)
{
	return kmem_cache_alloc(objects, GFP_KERNEL);
}

static struct bucket_table *buckets(void)
{
	return rcu_dereference_raw(table.tbl);
}

/* Returns once the table has grown. */
static noinline int pagedbg_table(void)
{
	unsigned int i;
	int error;

	entries = kvcalloc(ENTRIES, sizeof(*entries), GFP_KERNEL);
	if (!entries)
		return -ENOMEM;
	error = rhashtable_init(&table, &table_params);
	if (error) {
		kvfree(entries);
		entries = NULL;
		return error;
	}
	for (i = 0; i < ENTRIES; i++) {
		entries[i].key = i;
		error = rhashtable_insert_fast(&table, &entries[i].node, table_params);
		if (error)
			return error;
	}
	for (i = 0; i < 10000 && buckets()->size == BUCKETS; i++) {
		flush_work(&table.run_work);
		msleep(1);
	}
	return buckets()->size == BUCKETS ? -ENOMEM : 0;
}

static int holders_show(struct seq_file *m, void *v)
{
	unsigned int i;

	for (i = 0; i < POOL_PAGES; i++)
		seq_printf(m, "pool %lu\n", page_to_pfn(pooled[i]));
	for (i = 0; i < VMALLOC_PAGES; i++)
		seq_printf(m, "vmalloc %lu\n", vmalloc_to_pfn(area + i * PAGE_SIZE));
	seq_printf(m, "object %lu\n", (unsigned long)held[0]);
	seq_printf(m, "table %lu\n",
		   is_vmalloc_addr(buckets()) ? vmalloc_to_pfn(buckets()) :
						page_to_pfn(virt_to_page(buckets())));
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
	for (i = 0; i < OBJECTS; i++)
		if (held[i])
			kmem_cache_free(objects, held[i]);
	kmem_cache_destroy(objects);
	if (entries)
		rhashtable_free_and_destroy(&table, NULL, NULL);
	kvfree(entries);
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
	for (i = 0; i < OBJECTS; i++) {
		held[i] = pagedbg_object();
		if (!held[i])
			goto free;
	}
	/* One that was freed among others. */
	kmem_cache_free(objects, held[OBJECTS / 2]);
	held[OBJECTS / 2] = NULL;
	if (pagedbg_table())
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

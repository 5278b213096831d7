// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_pollute: keeps known pageblocks from being free, for tests to find out who does.
 *
 * It allocates whole pageblocks and gives back all but a few pages of each. In some of them it then
 * allocates again, so that they have several owners; one of these is a slab cache. Every owner is a
 * function of its own, which its stack names. Who holds what stands in /proc/pagedbg_pollute, a line
 * for each owner and piece of memory: "function pfn pages". Other parts of the kernel may take what
 * was given back.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pageblock-flags.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#define HEADS	8
#define MIDDLES 5
#define PAIRS	3
#define SLABS	4
#define MOST	64

/*
 * Pieces of this order are given back and allocated again at once: the CPU keeps them for us. There
 * are as many as a slab cache may take at a time.
 */
#define PIECE_ORDER 3
#define PIECE_AT    64
#define PIECE_END   (PIECE_AT + (4 << PIECE_ORDER))

struct piece {
	const char *owner;
	unsigned long pfn;
	unsigned int pages;
	void *object; /* of the cache; otherwise the pages are freed one by one */
};

static struct piece pieces[MOST];
static unsigned int count;
static struct kmem_cache *cache;

static void hold(const char *owner, struct page *page, unsigned int pages, void *object)
{
	pieces[count++] = (struct piece){ owner, page_to_pfn(page), pages, object };
}

/*
 * Give back some pages of a block that has not been split, in pieces of an order at most: only its
 * first page has a reference, and the others are given one.
 */
static void give_back(struct page *page, unsigned int from, unsigned int end, unsigned int most)
{
	while (from < end) {
		unsigned int order = min(from ? (unsigned int)__ffs(from) : most, most);

		order = min(order, (unsigned int)ilog2(end - from));
		init_page_count(page + from);
		__free_pages(page + from, order);
		from += 1 << order;
	}
}

/* The first page of a pageblock that was split, as drivers do. */
static noinline int pollute_head(void)
{
	struct page *page = alloc_pages(GFP_KERNEL, pageblock_order);
	unsigned int i;

	if (!page)
		return -ENOMEM;
	split_page(page, pageblock_order);
	for (i = 1; i < pageblock_nr_pages; i++)
		__free_page(page + i);
	hold(__func__, page, 1, NULL);
	return 0;
}

/* Three pages out of the middle of a block that still says that it is whole. */
static noinline int pollute_middle(void)
{
	struct page *page = alloc_pages(GFP_KERNEL, pageblock_order);
	unsigned int half = pageblock_nr_pages / 2, i;

	if (!page)
		return -ENOMEM;
	for (i = 0; i < 3; i++)
		init_page_count(page + half + i);
	give_back(page, 0, half, pageblock_order);
	give_back(page, half + 3, pageblock_nr_pages, pageblock_order);
	hold(__func__, page + half, 3, NULL);
	return 0;
}

static noinline struct page *pollute_second(void)
{
	return alloc_pages(GFP_KERNEL, PIECE_ORDER);
}

/* A page of one owner, and some of another. */
static noinline int pollute_first(void)
{
	struct page *page = alloc_pages(GFP_KERNEL, pageblock_order);
	struct page *second;

	if (!page)
		return -ENOMEM;
	give_back(page, PIECE_AT, PIECE_END, PIECE_ORDER);
	second = pollute_second();
	give_back(page, 1, PIECE_AT, pageblock_order);
	give_back(page, PIECE_END, pageblock_nr_pages, pageblock_order);
	hold(__func__, page, 1, NULL);
	if (!second)
		return -ENOMEM;
	split_page(second, PIECE_ORDER);
	hold("pollute_second", second, 1 << PIECE_ORDER, NULL);
	return 0;
}

static noinline void *pollute_object(void)
{
	return kmem_cache_alloc(cache, GFP_KERNEL);
}

/* Nothing but an object of a slab cache. */
static noinline int pollute_slab(void)
{
	struct page *page = alloc_pages(GFP_KERNEL, pageblock_order);
	void *object;

	if (!page)
		return -ENOMEM;
	give_back(page, PIECE_AT, PIECE_END, PIECE_ORDER);
	object = pollute_object();
	give_back(page, 0, PIECE_AT, pageblock_order);
	give_back(page, PIECE_END, pageblock_nr_pages, pageblock_order);
	if (!object)
		return -ENOMEM;
	hold("pollute_object", virt_to_page(object), 1 << PIECE_ORDER, object);
	return 0;
}

static void let_go(void)
{
	unsigned int i;

	while (count--) {
		struct piece *piece = &pieces[count];

		if (piece->object)
			kmem_cache_free(cache, piece->object);
		else
			for (i = 0; i < piece->pages; i++)
				__free_page(pfn_to_page(piece->pfn + i));
	}
	kmem_cache_destroy(cache);
}

static int pollute_show(struct seq_file *m, void *v)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		seq_printf(m, "%s %lu %u\n", pieces[i].owner, pieces[i].pfn, pieces[i].pages);
	return 0;
}

static const struct {
	int (*pollute)(void);
	unsigned int times;
} owners[] = {
	{ pollute_head, HEADS },
	{ pollute_middle, MIDDLES },
	{ pollute_first, PAIRS },
	{ pollute_slab, SLABS },
};

static int __init pollute_init(void)
{
	unsigned int i, j;
	int err = -ENOMEM;

	/* Each object has a slab to itself. */
	cache = kmem_cache_create("pagedbg_pollute", PAGE_SIZE << PIECE_ORDER, PAGE_SIZE, 0, NULL);
	if (!cache)
		return err;
	for (i = 0; i < ARRAY_SIZE(owners); i++)
		for (j = 0; j < owners[i].times; j++) {
			err = owners[i].pollute();
			if (err)
				goto free;
		}
	/* Slabs of which we have no object. */
	kmem_cache_shrink(cache);
	err = -ENOMEM;
	if (!proc_create_single(KBUILD_MODNAME, 0444, NULL, pollute_show))
		goto free;
	return 0;

free:
	let_go();
	return err;
}

static void __exit pollute_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	let_go();
}

module_init(pollute_init);
module_exit(pollute_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Owners that keep known pageblocks from being free, for the tests of pagedbg");

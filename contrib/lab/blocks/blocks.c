// SPDX-License-Identifier: GPL-2.0
/*
 * pagedbg_blocks: holds blocks of pages of which everything is known, for tests to find again.
 *
 * Each block is allocated in a function of its own, so that its stack names it. What there is
 * stands in the kernel log and in /proc/pagedbg_blocks, a line for each block: "name order pfn
 * pages", where pages is how many of them are still allocated.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

struct block {
	const char *name;
	struct page *(*alloc)(unsigned int order);
	void (*free)(struct page *page, unsigned int order);
	unsigned int order;
	unsigned int pages; /* still allocated once alloc() has returned */
	struct page *page;
};

static noinline struct page *pagedbg_alloc_order0(unsigned int order)
{
	return alloc_pages(GFP_KERNEL, order);
}

static noinline struct page *pagedbg_alloc_order3(unsigned int order)
{
	return alloc_pages(GFP_KERNEL, order);
}

static noinline struct page *pagedbg_alloc_order4(unsigned int order)
{
	return alloc_pages(GFP_KERNEL, order);
}

static noinline struct page *pagedbg_alloc_order9(unsigned int order)
{
	return alloc_pages(GFP_KERNEL, order);
}

static noinline struct page *pagedbg_alloc_compound(unsigned int order)
{
	return alloc_pages(GFP_KERNEL | __GFP_COMP, order);
}

static void free_whole(struct page *page, unsigned int order)
{
	__free_pages(page, order);
}

/* Split into single pages, of which the second is given back: three records of order 0. */
static noinline struct page *pagedbg_alloc_split(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL, order);

	if (page) {
		split_page(page, order);
		__free_page(page + 1);
	}
	return page;
}

static void free_split(struct page *page, unsigned int order)
{
	unsigned int i;

	for (i = 0; i < 1 << order; i++)
		if (i != 1)
			__free_page(page + i);
}

/*
 * Somebody else holds a reference while the owner frees: __free_pages() then frees all but the
 * first page, which goes with the last reference. The record of the page that stays says order 3.
 */
static noinline struct page *pagedbg_alloc_tails_freed(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL, order);

	if (page) {
		get_page(page);
		__free_pages(page, order);
	}
	return page;
}

static void free_head(struct page *page, unsigned int order)
{
	put_page(page);
}

/*
 * A driver that gives back the half it does not need without split_page(): it makes up the
 * reference that the half lacks.
 */
static noinline struct page *pagedbg_alloc_half_freed(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL, order);

	if (page) {
		struct page *half = page + (1 << (order - 1));

		init_page_count(half);
		__free_pages(half, order - 1);
	}
	return page;
}

static void free_half(struct page *page, unsigned int order)
{
	__free_pages(page, order - 1);
}

static noinline void pagedbg_free_freed(struct page *page, unsigned int order)
{
	__free_pages(page, order);
}

/* Freed last, these lie before the freed block in the free list and are handed out before it. */
static noinline void pagedbg_free_decoys(struct page *decoys[2], unsigned int order)
{
	int i;

	for (i = 0; i < 2; i++)
		if (decoys[i])
			__free_pages(decoys[i], order);
}

/*
 * Of the largest order, which no per-CPU list keeps, compaction takes no page from and the
 * allocator breaks up last: the record has a good chance to stay what it is, but nobody can promise
 * it.
 */
static noinline struct page *pagedbg_alloc_freed(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL, order);
	struct page *decoys[2];

	decoys[0] = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, order);
	decoys[1] = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, order);
	if (page)
		pagedbg_free_freed(page, order);
	pagedbg_free_decoys(decoys, order);
	return page;
}

static struct block blocks[] = {
	{ "order0", pagedbg_alloc_order0, free_whole, 0, 1 },
	{ "order3", pagedbg_alloc_order3, free_whole, 3, 8 },
	{ "order4", pagedbg_alloc_order4, free_whole, 4, 16 },
	{ "order9", pagedbg_alloc_order9, free_whole, 9, 512 },
	{ "compound", pagedbg_alloc_compound, free_whole, 3, 8 },
	{ "split", pagedbg_alloc_split, free_split, 2, 3 },
	{ "tails_freed", pagedbg_alloc_tails_freed, free_head, 3, 1 },
	{ "half_freed", pagedbg_alloc_half_freed, free_half, 3, 4 },
	{ "freed", pagedbg_alloc_freed, NULL, 10, 0 },
};

static int blocks_show(struct seq_file *m, void *v)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		seq_printf(m, "%s %u %lu %u\n", blocks[i].name, blocks[i].order,
			   page_to_pfn(blocks[i].page), blocks[i].pages);
	return 0;
}

static void free_blocks(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		if (blocks[i].page && blocks[i].free)
			blocks[i].free(blocks[i].page, blocks[i].order);
}

static int __init blocks_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		struct block *b = &blocks[i];

		b->page = b->alloc(b->order);
		if (!b->page)
			goto free;
		pr_info("%s order %u pfn %lu pages %u\n", b->name, b->order, page_to_pfn(b->page),
			b->pages);
	}
	if (!proc_create_single(KBUILD_MODNAME, 0444, NULL, blocks_show))
		goto free;
	return 0;

free:
	free_blocks();
	return -ENOMEM;
}

static void __exit blocks_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	free_blocks();
}

module_init(blocks_init);
module_exit(blocks_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Blocks of pages with known owners, for the tests of pagedbg");

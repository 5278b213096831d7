// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter, and /proc/page_order, where its table of orders is read and written:
 *
 *	Order	Participation
 *	0	20
 *	4	100
 *
 * Participation is the percentage of an order's allocations that are recorded, with all that
 * happens to them. Root writes lines of both, as many as fit into a page, all of which come into
 * force at once or none does; `4 0` takes an order out. What is written while the rings are frozen
 * (freeze.c) is refused: EBUSY.
 */
#include <linux/capability.h>
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "pagedbg.h"

/* mm/internal.h and hugetlb know no greater one. */
#define GREATEST_ORDER 20

/* Participation is kept in millionths of a per cent. */
#define DECIMALS 6
#define PER_CENT 1000000U
#define ALL	 (100 * PER_CENT)

/* clang-format off */
static const char *const event_names[PAGEDBG_EVENTS] = {
	[PAGEDBG_SET] = "set",
	[PAGEDBG_RESET] = "reset",
	[PAGEDBG_SPLIT] = "split",
	[PAGEDBG_COPY] = "copy",
	[PAGEDBG_SET_MIGRATE] = "migrate",
	[PAGEDBG_DUMP] = "dump",
	[PAGEDBG_READ] = "read",
};
/* clang-format on */

/* Who changes the filter has this; who reads a filter has preemption off. */
static DEFINE_MUTEX(filter_lock);
static u32 participation[GREATEST_ORDER + 1];

/* Put a filter in force: from one event to the next. -EBUSY where the rings are frozen. */
static int activate(const struct pagedbg_filter *filter)
{
	u32 active = READ_ONCE(pagedbg_rings->active), spare = 1 - active;

	if (active & PAGEDBG_FROZEN)
		return -EBUSY;
	/* What was allocated under the present one. */
	pagedbg_settle();
	/* Until nobody looks at what was in force before the present one. */
	synchronize_rcu();
	pagedbg_filters->filter[spare] = *filter;
	/*
	 * With here() of probes.c: who sees that it is the active one sees all of it. They may be
	 * frozen just now.
	 */
	return cmpxchg(&pagedbg_rings->active, active, spare) == active ? 0 : -EBUSY;
}

/* Give a filter a table of orders. */
static void take_participation(struct pagedbg_filter *filter, const u32 *table)
{
	u32 order;

	memset(filter->threshold, 0, sizeof(filter->threshold));
	filter->orders = 0;
	for (order = 0; order <= GREATEST_ORDER; order++) {
		filter->threshold[order] = div_u64((u64)table[order] << 32, ALL);
		if (filter->threshold[order])
			filter->orders = order + 1;
	}
}

/* The table of orders of a filter: the least participations that make its thresholds. */
static void give_participation(struct pagedbg_filter *filter, u32 *table)
{
	u32 order;

	filter->orders = 0;
	for (order = 0; order < PAGEDBG_ORDERS; order++) {
		if (order > GREATEST_ORDER) {
			filter->threshold[order] = 0;
			continue;
		}
		table[order] = (filter->threshold[order] * ALL + U32_MAX) >> 32;
		if (filter->threshold[order])
			filter->orders = order + 1;
	}
}

/**
 * pagedbg_set_filter - Put a filter in force, all of it at once
 * @filter: its orders are counted here, and those that no allocation has are left out
 *
 * Return: 0; -EINVAL if there cannot be such a filter; -EBUSY if the rings are frozen
 */
int pagedbg_set_filter(struct pagedbg_filter *filter)
{
	u32 table[GREATEST_ORDER + 1];
	int error;

	if (!pagedbg_is_filter(filter))
		return -EINVAL;
	give_participation(filter, table);
	mutex_lock(&filter_lock);
	error = activate(filter);
	if (!error)
		memcpy(participation, table, sizeof(participation));
	mutex_unlock(&filter_lock);
	return error;
}

/* ---- what people write ---- */

/* "20" or "0.5" as millionths of a per cent. */
static int parse_participation(const char *text, u32 *to)
{
	unsigned int whole = 0, part = 0, digits = 0, decimals = 0;

	for (; isdigit(*text); text++) {
		whole = 10 * whole + (*text - '0');
		if (++digits > 3)
			return -EINVAL;
	}
	if (!digits)
		return -EINVAL;
	if (*text == '.') {
		for (text++; isdigit(*text) && decimals < DECIMALS; text++, decimals++)
			part = 10 * part + (*text - '0');
		if (!decimals)
			return -EINVAL;
		for (; decimals < DECIMALS; decimals++)
			part *= 10;
	}
	if (*text || whole * PER_CENT + part > ALL)
		return -EINVAL;
	*to = whole * PER_CENT + part;
	return 0;
}

static int parse_pair(const char *order, const char *part, u32 *table)
{
	unsigned int which;

	if (!isdigit(*order) || kstrtouint(order, 10, &which) || which > GREATEST_ORDER)
		return -EINVAL;
	return parse_participation(part, &table[which]);
}

/* Lines of two words. */
static int parse_lines(char *text, u32 *table)
{
	char *line, *order, *part;
	size_t length = strlen(text);

	if (length && text[length - 1] == '\n')
		text[length - 1] = '\0';
	while ((line = strsep(&text, "\n"))) {
		order = strim(line);
		part = strpbrk(order, " \t");
		if (!part)
			return -EINVAL;
		*part++ = '\0';
		if (parse_pair(order, skip_spaces(part), table))
			return -EINVAL;
	}
	return 0;
}

/* "0:20,4": what the module's parameter says. */
static int parse_order(char *word, u32 *table)
{
	char *part = strchr(word, ':');

	if (part)
		*part++ = '\0';
	return parse_pair(word, part ?: "100", table);
}

static int parse_event(char *word, u32 *mask)
{
	u32 found = 0;
	int event;

	if (!strcmp(word, "none"))
		return 0;
	for (event = PAGEDBG_SET; event < PAGEDBG_EVENTS; event++)
		if (!strcmp(word, "all") || !strcmp(word, event_names[event]))
			found |= 1 << event;
	*mask |= found;
	return found ? 0 : -EINVAL;
}

/* What stands between commas, one after the other. */
static int parse_list(const char *text, int (*parse)(char *word, u32 *to), u32 *to)
{
	char *copy = kstrdup(text, GFP_KERNEL), *rest = copy, *word;
	int error = 0;

	if (!copy)
		return -ENOMEM;
	while (!error && (word = strsep(&rest, ",")))
		error = parse(word, to);
	kfree(copy);
	return error;
}

/**
 * pagedbg_init_filter - Begin with what the module's parameters ask for
 * @orders: "0:20,4"; NULL for all of every order
 * @events: "set,reset", "all" or "none"
 *
 * Return: 0; -EINVAL if they cannot be understood; -ENOMEM
 */
int pagedbg_init_filter(const char *orders, const char *events)
{
	struct pagedbg_filter *filter;
	u32 order;
	int error;

	for (order = 0; order <= GREATEST_ORDER; order++)
		participation[order] = orders ? 0 : ALL;
	error = orders ? parse_list(orders, parse_order, participation) : 0;
	if (error == -EINVAL)
		pr_err("orders= takes ORDER[:PARTICIPATION],..., as in orders=0:20,4\n");
	if (error)
		return error;
	filter = kzalloc(sizeof(*filter), GFP_KERNEL);
	if (!filter)
		return -ENOMEM;
	error = parse_list(events, parse_event, &filter->events);
	if (error == -EINVAL)
		pr_err("events= takes all, none, or some of set,reset,split,copy,migrate,dump,read\n");
	if (!error) {
		take_participation(filter, participation);
		error = pagedbg_set_filter(filter);
	}
	kfree(filter);
	return error;
}

/* ---- /proc/page_order ---- */

static int page_order_show(struct seq_file *file, void *unused)
{
	char decimals[DECIMALS + 1];
	u32 order, part;
	int digits;

	seq_puts(file, "Order\tParticipation\n");
	mutex_lock(&filter_lock);
	for (order = 0; order <= GREATEST_ORDER; order++) {
		part = participation[order];
		if (!part)
			continue;
		seq_printf(file, "%u\t%u", order, part / PER_CENT);
		if (part % PER_CENT) {
			snprintf(decimals, sizeof(decimals), "%06u", part % PER_CENT);
			for (digits = DECIMALS; decimals[digits - 1] == '0'; digits--)
				;
			seq_printf(file, ".%.*s", digits, decimals);
		}
		seq_putc(file, '\n');
	}
	mutex_unlock(&filter_lock);
	return 0;
}

static int page_order_open(struct inode *inode, struct file *file)
{
	/* Root of a container may see it, too. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	return single_open(file, page_order_show, NULL);
}

static ssize_t page_order_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct pagedbg_filter *filter;
	u32 *table;
	char *text;
	int error;

	if (!size || size > PAGE_SIZE)
		return -EINVAL;
	text = memdup_user_nul(from, size);
	if (IS_ERR(text))
		return PTR_ERR(text);
	table = kmalloc(sizeof(participation), GFP_KERNEL);
	filter = kmalloc(sizeof(*filter), GFP_KERNEL);
	error = -ENOMEM;
	if (!table || !filter)
		goto out;

	mutex_lock(&filter_lock);
	memcpy(table, participation, sizeof(participation));
	/* A NUL in between would hide what is behind it. */
	error = strlen(text) == size ? parse_lines(text, table) : -EINVAL;
	if (!error) {
		*filter = pagedbg_filters->filter[pagedbg_rings->active];
		take_participation(filter, table);
		error = activate(filter);
	}
	if (!error)
		memcpy(participation, table, sizeof(participation));
	mutex_unlock(&filter_lock);
out:
	kfree(filter);
	kfree(table);
	kfree(text);
	return error ?: size;
}

static const struct proc_ops page_order_ops = {
	.proc_open = page_order_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = page_order_write,
};

int pagedbg_make_page_order(void)
{
	return proc_create("page_order", 0600, NULL, &page_order_ops) ? 0 : -ENOMEM;
}

void pagedbg_remove_page_order(void)
{
	remove_proc_entry("page_order", NULL);
}

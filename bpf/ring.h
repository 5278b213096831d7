/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The records that a capture consists of, and the rings that they are written into: shared by the
 * BPF program, the kernel module and, through pagedbg/schema/event_record.py, whoever reads them. A
 * test compares the two.
 *
 * Each CPU has a ring of `slots` records, a power of two. Record number n of a CPU (they count from
 * 1) lies in slot (n - 1) & (slots - 1); a newer one overwrites it. Who writes takes a number from
 * pagedbg_cpu.head, clears `check` of the slot, fills it, and writes `seq` and last `check`. A
 * record is whole if seq is its number and check is pagedbg_check() of it: so one that two wrote
 * into, or that somebody overwrote, is told as well as one that was not finished.
 */
#ifndef PAGEDBG_RING_H
#define PAGEDBG_RING_H

#define PAGEDBG_MAGIC	0x676264656761705fULL /* "_pagedbg" */
#define PAGEDBG_VERSION 3

/* mm/internal.h has no greater order than 20; a power of two can be masked */
#define PAGEDBG_ORDERS	     32
#define PAGEDBG_SPLIT_ORDERS 16 /* what is split is no greater */
#define PAGEDBG_COMM	     16 /* TASK_COMM_LEN */

enum pagedbg_event {
	PAGEDBG_SET = 1,
	PAGEDBG_RESET,
	PAGEDBG_SPLIT,
	PAGEDBG_COPY,
	PAGEDBG_SET_MIGRATE,
	PAGEDBG_DUMP,
	PAGEDBG_READ,
	PAGEDBG_EVENTS, /* one more than the last */
};

/* In `seen`, in the place of an event: allocations of pagedbg's own, which are left out. */
#define PAGEDBG_OWN_SETS 0

/* page_owner allocated the page itself, for the stack of another allocation that is going on */
#define PAGEDBG_NESTED 0x01
/* the page's own record could not be read: what comes from it is zero */
#define PAGEDBG_NO_RECORD 0x02
/*
 * from kmem tracepoints: there is no page_owner, handle is a BPF stack id, or the place of a struct
 * pagedbg_stack, or ~0, and ts_nsec is CLOCK_MONOTONIC
 */
#define PAGEDBG_TRACEPOINT 0x04

struct pagedbg_record {
	__u64 seq;
	__u64 pfn;
	__u64 ts_nsec;	 /* struct page_owner's: when it was allocated, local_clock() */
	__u64 time_nsec; /* when this happened, local_clock(); 0 if only mono_nsec tells */
	__u64 mono_nsec; /* CLOCK_MONOTONIC; in one set of 16 and where time_nsec is 0 */
	__u64 other_pfn; /* copy: where the page's contents come from */
	__u32 gfp_mask;
	__u32 handle;	   /* depot_stack_handle_t of the allocation */
	__u32 free_handle; /* reset: stack of the free, if the back end waits for it; else 0 */
	__u32 pid;	   /* who did it */
	__u32 tgid;
	__u32 owner_pid; /* who had allocated the page */
	__u32 owner_tgid;
	__u16 cpu;
	__u8 event; /* enum pagedbg_event */
	__u8 flags;
	__u64 comm[PAGEDBG_COMM / 8]; /* bytes, as those of task_struct */
	__u64 owner_comm[PAGEDBG_COMM / 8];
	__u8 order;	   /* set, reset, split: the function's; else the record's */
	__u8 record_order; /* the record's, which a page freed out of a block keeps */
	__u8 new_order;	   /* split */
	__s8 reason;	   /* set migrate: enum migrate_reason */
	/* set, split: how much later than ts_nsec the last page's time is, if each has its own */
	__u32 span_nsec;
	__u64 check; /* pagedbg_check(), last */
};

/*
 * What a CPU has counted; only ever grows. Of an event and an order, what was seen and not recorded
 * was filtered out.
 */
struct pagedbg_cpu {
	__u64 head;	 /* number of the newest record */
	__u64 forgotten; /* splits that were not remembered: the table was full */
	__u64 seen[PAGEDBG_EVENTS][PAGEDBG_ORDERS];
	__u64 recorded[PAGEDBG_EVENTS][PAGEDBG_ORDERS];
};

#define PAGEDBG_RANGES 16
#define PAGEDBG_PIDS   8
#define PAGEDBG_COMMS  8
#define PAGEDBG_OWN    4

struct pagedbg_range {
	__u64 start;
	__u64 end; /* inclusive */
};

struct pagedbg_name {
	__u64 value[2];
	__u64 mask[2]; /* which bytes of value count */
};

/* All that has to be so for an event to be recorded. */
struct pagedbg_filter {
	/* pagedbg_hash(ts_nsec) of the allocation must be below: 0 none, 1 << 32 all */
	__u64 threshold[PAGEDBG_ORDERS];
	__u32 events;	    /* 1 << enum pagedbg_event */
	__u32 gfp_mask;	    /* all of these bits must be set */
	__u32 migratetypes; /* 1 << migratetype that gfp asks for; 0: any */
	__u32 ranges;	    /* numbers of what is used below; 0: any */
	__u32 pids;
	__u32 comms;
	__u32 own[PAGEDBG_OWN]; /* tgids whose allocations are left out */
	__u32 orders;		/* one more than the greatest with a threshold */
	__u32 more;		/* whether more than threshold, events, own is set */
	struct pagedbg_range range[PAGEDBG_RANGES]; /* of page frame numbers */
	struct pagedbg_range pid[PAGEDBG_PIDS];	    /* pid or tgid of who allocated */
	struct pagedbg_name comm[PAGEDBG_COMMS];
};

/* Whether there can be such a filter: what is asked of one that comes from elsewhere. */
static __always_inline _Bool pagedbg_is_filter(const struct pagedbg_filter *f)
{
	__u32 order;

	for (order = 0; order < PAGEDBG_ORDERS; order++)
		if (f->threshold[order] > 1ULL << 32)
			return 0;
	return f->ranges <= PAGEDBG_RANGES && f->pids <= PAGEDBG_PIDS &&
	       f->comms <= PAGEDBG_COMMS && !(f->events >> PAGEDBG_EVENTS);
}

/* What stops the rings. */
enum pagedbg_freeze_reason {
	PAGEDBG_FAILURE = 1,   /* an allocation failed that the kernel complains of, */
	PAGEDBG_QUIET_FAILURE, /* or one with __GFP_NOWARN */
	PAGEDBG_OOM_KILL,
};

/* What is to stop the rings, and what has; until there is a reason, the others are not there. */
struct pagedbg_freeze {
	__u32 on;	   /* 1 << enum pagedbg_freeze_reason */
	__u32 least_order; /* of a failure */
	__u64 time_nsec;   /* local_clock(); 0 if only mono_nsec tells */
	__u64 mono_nsec;   /* CLOCK_MONOTONIC */
	__u64 comm[PAGEDBG_COMM / 8];
	__u32 pid; /* who wanted memory */
	__u32 gfp_mask;
	__s32 order; /* -1 of an OOM kill that was asked for */
	__u32 reason;
};

/* Two filters of which one is in force; and, for frozen rings, as many that want nothing. */
#define PAGEDBG_FILTERS 4
#define PAGEDBG_FROZEN	2 /* in `active` */

struct pagedbg_filters {
	struct pagedbg_filter filter[PAGEDBG_FILTERS];
	struct pagedbg_freeze freeze; /* in dumps of former modules, which had two filters, zero */
};

#define PAGEDBG_STACK_DEPTH 31

/*
 * A stack of the module's own, where there is no page_owner: innermost first, and 0 behind the last.
 * The first place has none: its key is PAGEDBG_MAGIC.
 */
struct pagedbg_stack {
	__u64 key; /* 0: nothing is here; PAGEDBG_STACK_KEY() once all of it is */
	__u64 pc[PAGEDBG_STACK_DEPTH];
};

#define PAGEDBG_STACK_KEY(hash, depth) ((__u64)(hash) << 8 | (depth))

/*
 * How the rings are found and read. `active` chooses one of two filters: the other one is free to
 * be written. With PAGEDBG_FROZEN it is one that wants nothing, of all CPUs at once, and the rest of
 * it is what was in force. What every event looks at is in the first cache line, and what is written
 * meanwhile in the second.
 */
struct pagedbg_header {
	__u64 magic;
	__u32 version;
	__u32 record_size;
	__u32 cpus;
	__u32 slots; /* a CPU's */
	__u32 active;
	/* what page_owner files for an allocation of its own; differs from boot to boot */
	__u32 dummy_handle;
	/* BPF, and different in each boot, too: the addresses */
	__u64 memmap;	   /* of struct page 0, */
	__u64 mem_section; /* and of the table of memory sections */
	/* The module: all is in one piece of so many bytes, at so many from here. Else 0. */
	__u64 size;
	__u64 filters_at; /* struct pagedbg_filters, */
	__u64 cpus_at;	  /* a struct pagedbg_cpu for each CPU, one every */
	__u64 cpu_stride;
	__u64 slots_at; /* and the rings, one behind the other; then, from the next page, stacks */
	/* allocations in the table of splits: while there are none, nobody looks there */
	__u64 splits;
	/*
	 * Where each page of a block has a time of its own: of which orders there are or were such.
	 * Elsewhere: of which orders there are or were pieces as large or larger.
	 */
	__u8 split_orders[PAGEDBG_SPLIT_ORDERS];
};

/*
 * 32 bits of a key, evenly spread. GOLDEN_RATIO_64 and the last step are those of
 * include/linux/hash.h; alone, it would leave the times of a loop that allocates as regular as they
 * were.
 */
static __always_inline __u64 pagedbg_hash(__u64 key)
{
	key *= 0x61C8864680B583EBULL;
	key ^= key >> 32;
	return (key * 0x61C8864680B583EBULL) >> 32;
}

/*
 * What a record is checked by: all of its words before `check`, each with a weight of its own, so
 * that equal words (set has three pairs of them) do not cancel, nor two that are exchanged. The
 * multiplier is Marsaglia's; a power of it that is odd is one more than a multiple of 4, and of a
 * change of two words no more than the highest bit of both goes unseen. Of a slot that was never
 * used, which is zero, it is not zero.
 */
static __always_inline __u64 pagedbg_check(const struct pagedbg_record *r)
{
	const __u64 *word = (const __u64 *)r;

	__u64 sum = 0;

#define PAGEDBG_ADD(i) (sum = sum * 69069 + word[i])
	PAGEDBG_ADD(0);
	PAGEDBG_ADD(1);
	PAGEDBG_ADD(2);
	PAGEDBG_ADD(3);
	PAGEDBG_ADD(4);
	PAGEDBG_ADD(5);
	PAGEDBG_ADD(6);
	PAGEDBG_ADD(7);
	PAGEDBG_ADD(8);
	PAGEDBG_ADD(9);
	PAGEDBG_ADD(10);
	PAGEDBG_ADD(11);
	PAGEDBG_ADD(12);
	PAGEDBG_ADD(13);
	PAGEDBG_ADD(14);
#undef PAGEDBG_ADD
	return ~sum;
}

#endif

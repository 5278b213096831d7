/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where page_owner's record of a page is, and what it says. Where the kernel has bpf_rdonly_cast()
 * (v6.2, commit a35b9af4ec2c), what is read is a load, which reads 0 where there is nothing; elsewhere
 * each read is a call. (bcc knows tables by name in one file only, capture.bpf.c: known_root().)
 */
#ifndef PAGEDBG_OWNER_H
#define PAGEDBG_OWNER_H

#if CAST
/* Its number is put in when the program is loaded (bpf_image.py). */
static const void *(*bpf_rdonly_cast)(u64 address, u32 type) = (void *)CAST_CALL;

#define READ(to, address, type, offset)                                                     \
	({                                                                                  \
		(to) = *(const typeof(to) *)((const char *)bpf_rdonly_cast(address, type) + \
					     (offset));                                     \
		true;                                                                       \
	})
#else
#define READ(to, address, type, offset) \
	(!bpf_probe_read_kernel(&(to), sizeof(to), (void *)((address) + (offset))))
#endif

/* Where the memory section is that a page belongs to; 0 if nowhere. */
static __always_inline u64 section_of(struct pagedbg_header *h, u64 section)
{
#ifdef SECTIONS_PER_ROOT /* CONFIG_SPARSEMEM_EXTREME */
	u32 nr = section / SECTIONS_PER_ROOT;
	u64 *cached = known_root(nr);
	u64 root = cached ? *cached : 0;

	if (!root) {
		if (bpf_probe_read_kernel(&root, sizeof(root),
					  (void *)(h->mem_section + 8 * (u64)nr)) ||
		    !root)
			return 0;
		/* Never freed, see mm/sparse.c. */
		if (cached)
			*cached = root;
	}
	return root + (section % SECTIONS_PER_ROOT) * SIZEOF_SECTION;
#else
	return h->mem_section + section * SIZEOF_SECTION;
#endif
}

/*
 * Where the record of a page is, 0 if nowhere; mm/page_ext.c: lookup_page_ext(), get_entry(). The
 * page is its caller's, and is not unplugged meanwhile.
 */
static __always_inline u64 owner_of(struct pagedbg_header *h, u64 pfn)
{
	u64 base, section = section_of(h, pfn >> SECTION_SHIFT);

	if (!section || !READ(base, section, TYPE_SECTION, SECTION_PAGE_EXT))
		return 0;
	base = number(base);
	/* PAGE_EXT_INVALID */
	if (!base || base & 1)
		return 0;
	return base + SIZEOF_PAGE_EXT * pfn + OWNER_OFFSET;
}

static __always_inline bool read_ts_nsec(struct pagedbg_header *h, u64 pfn, u64 *ts_nsec)
{
	u64 address = owner_of(h, pfn);

	return address && READ(*ts_nsec, address, TYPE_OWNER, OWNER_ts_nsec);
}

static __always_inline bool read_order(struct pagedbg_header *h, u64 pfn, u32 *order)
{
	u64 address = owner_of(h, pfn);
	u16 found;

	if (!address || !READ(found, address, TYPE_OWNER, OWNER_order))
		return false;
	*order = found;
	return true;
}

/* Whether a page's record is that of an allocation; so it is when all of it is written. */
static __always_inline bool is_allocated(struct pagedbg_header *h, u64 pfn)
{
	u64 flags, address = owner_of(h, pfn);

	return address && READ(flags, address - OWNER_OFFSET, TYPE_PAGE_EXT, EXT_flags) &&
	       flags >> EXT_OWNER_ALLOCATED & 1;
}

static __always_inline bool read_owner(struct pagedbg_header *h, u64 pfn, struct owner *o)
{
	u64 address = owner_of(h, pfn);
#if CAST
	const char *raw;
#else
	u64 raw[(SIZEOF_OWNER + 7) / 8];
#endif

	o->known = false;
	if (!address)
		return false;
#if CAST
	raw = bpf_rdonly_cast(address, TYPE_OWNER);
#else
	if (bpf_probe_read_kernel(raw, SIZEOF_OWNER, (void *)address))
		return false;
#endif
#define FIELD(type, offset) (*(const type *)((const char *)raw + (offset)))
	o->order = FIELD(u16, OWNER_order);
	o->reason = FIELD(s16, OWNER_last_migrate_reason);
	o->gfp_mask = FIELD(u32, OWNER_gfp_mask);
	o->handle = FIELD(u32, OWNER_handle);
	o->ts_nsec = FIELD(u64, OWNER_ts_nsec);
	o->comm[0] = FIELD(u64, OWNER_comm);
	o->comm[1] = FIELD(u64, OWNER_comm + 8);
	o->pid = FIELD(u32, OWNER_pid);
	o->tgid = FIELD(u32, OWNER_tgid);
	o->known = true;
	return true;
#undef FIELD
}

#endif

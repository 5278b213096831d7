/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bcc carries the definitions that its own helpers.h goes with. */
#include <linux/types.h>
#include <bcc/bpf.h>

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bcc sizes its tables of stacks with this; ours are powers of two already. */
#ifndef PAGEDBG_LINUX_LOG2_H
#define PAGEDBG_LINUX_LOG2_H
#define roundup_pow_of_two(n) (n)
#endif

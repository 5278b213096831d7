/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bcc's helpers.h asks which kernel this is; what it does for old ones is not used here. It writes
 * the number into the program, where kernels since 5.0 pass over it.
 */
#ifndef PAGEDBG_LINUX_VERSION_H
#define PAGEDBG_LINUX_VERSION_H
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE	KERNEL_VERSION(6, 1, 0)
#endif

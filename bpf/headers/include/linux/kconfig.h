/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Included before everything else, as bcc does with the kernel's own file of this name. */
#ifndef PAGEDBG_LINUX_KCONFIG_H
#define PAGEDBG_LINUX_KCONFIG_H
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_64BIT	   1
#endif

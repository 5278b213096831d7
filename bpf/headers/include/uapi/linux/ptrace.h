/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a probe finds the arguments of the function that it is on: struct pt_regs of each
 * architecture, as the kernel lays it out.
 */
#ifndef PAGEDBG_UAPI_LINUX_PTRACE_H
#define PAGEDBG_UAPI_LINUX_PTRACE_H

#if defined(bpf_target_arm64)
struct pt_regs {
	unsigned long regs[31];
	unsigned long sp, pc, pstate;
};
#else
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asked for by bcc, needed by nobody. */

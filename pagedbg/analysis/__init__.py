# SPDX-License-Identifier: GPL-2.0-or-later
"""What tables say: filters, aggregates, joins. Knows no kernel and no screen."""

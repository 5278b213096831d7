# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m pagedbg``."""

import sys

from pagedbg.cli import main

sys.exit(main())

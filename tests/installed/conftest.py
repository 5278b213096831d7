# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets the tests here import the lab."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "contrib" / "lab"))

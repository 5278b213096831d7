# SPDX-License-Identifier: GPL-2.0-or-later
"""Adding up what goes to the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ("added",)


def added(which: NDArray[Any], amounts: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Sums of amounts by the place of each."""
    least = int(amounts.min()) if len(amounts) else 0
    if least == (amounts.max() if len(amounts) else 0):
        # As where no page can be moved.
        return np.bincount(which, minlength=count) * least
    found: NDArray[np.int64] = np.bincount(which, amounts, count).astype(np.int64)
    return found

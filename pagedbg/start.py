# SPDX-License-Identifier: GPL-2.0-or-later
"""
Runs a module of the pagedbg that this file is in: ``python -I start.py MODULE
[ARGUMENT]...``, see :func:`pagedbg.trust.python`.

With ``-I`` Python looks for modules only where packages are installed, and this pagedbg
may be somewhere else: in a checkout, or where an environment variable told drgn to
look. So it is taken from where this file is.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys


def _take_own_package() -> None:
    where = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        "pagedbg",
        os.path.join(where, "__init__.py"),
        submodule_search_locations=[where],
    )
    assert spec is not None and spec.loader is not None
    sys.modules["pagedbg"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _take_own_package()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

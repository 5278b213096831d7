# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that pages are made of, which lie beside this one: styles, scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

__all__ = ("filled", "page_file", "script_data", "whole_page")

# What could end a script or begin markup; json.dumps() leaves nothing but ASCII.
_UNSAFE = re.compile("[<>&]")


def page_file(name: str) -> str:
    """Return what is in a file."""
    return files("pagedbg.output").joinpath(name).read_text(encoding="utf-8")


def filled(name: str, **parts: str) -> str:
    """
    Return what is in a file, with each word of *parts* replaced by that part, in which
    nothing is replaced.
    """
    words = re.compile("|".join(rf"\b{word}\b" for word in parts))
    return words.sub(lambda match: parts[match[0]], page_file(name))


def whole_page(name: str, title: str, styles: Sequence[str], **parts: str) -> str:
    """
    Return a page: it fetches nothing.

    :param name: the file with what is in it, in which TITLE and *parts* are replaced
    :param title: as HTML
    :param styles: the files of its styles, beside that of every page
    """
    style = "".join(map(page_file, ("page.css", *styles)))
    head = filled("page_head.html", TITLE=title, STYLE=style)
    return head + filled(name, TITLE=title, **parts)


def script_data(data: Any) -> str:
    """Return JSON for a script to read, in which nothing can be taken for markup."""
    text = json.dumps(data, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The prompt for queries in SQL, which may have several lines and end with ``;``."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition

from pagedbg.output.interrupt import Interrupts
from pagedbg.output.printable import printed
from pagedbg.schema.table import Column
from pagedbg.session import Session
from pagedbg.shell.execute import execute
from pagedbg.shell.terminal_output import terminal_output

PROMPT, _MORE = "sql> ", "...> "

_KEYWORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "USING"),
    *("HAVING", "DISTINCT", "AND", "OR", "NOT", "AS", "ON", "DESC", "IS NULL", "WITH"),
    *("count(*)", "sum(", "max(", "min(", "avg(", "unnest("),
)

_LEAVE = ("\\q", "exit", "quit")


class QueryCompleter(Completer):
    """Complete the word at the cursor: a relation, a column, a word of SQL."""

    def __init__(self, relations: Mapping[str, Sequence[Column]]) -> None:
        self._known = {
            **{
                column.name: "column"
                for columns in relations.values()
                for column in columns
            },
            **dict.fromkeys(relations, "relation"),
            **dict.fromkeys(_KEYWORDS, ""),
        }

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Iterate over what may stand at the cursor."""
        word = document.get_word_before_cursor(pattern=re.compile(r"\w+"))
        for name, what in self._known.items():
            if name.lower().startswith(word.lower()):
                yield Completion(name, start_position=-len(word), display_meta=what)


def run_sql_prompt(session: Session, relations: Mapping[str, Sequence[Column]]) -> None:
    """
    Read queries and answer them until the user leaves.

    :param relations: columns by the name of a relation
    """
    # Each answer goes through a pager of its own.
    terminal = printed(sys.__stdout__ or sys.stdout)
    with contextlib.redirect_stdout(terminal), Interrupts() as interrupts:
        prompt: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=Condition(lambda: not _ends(get_app().current_buffer.text)),
            prompt_continuation=_MORE,
            completer=QueryCompleter(relations),
            complete_while_typing=False,
            editing_mode=EditingMode[session.settings.keys.upper()],
            enable_suspend=True,
            bottom_toolbar=" ; ends a query, \\d lists the relations, \\q leaves ",
            output=terminal_output(),
        )
        while True:
            try:
                text = prompt.prompt(handle_sigint=False).strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if text.rstrip(";") in _LEAVE:
                return
            try:
                with interrupts.allowed():
                    execute(session, _line(text))
            except KeyboardInterrupt:
                interrupts.hold()
                print("Interrupted.", file=sys.stderr)


def _ends(text: str) -> bool:
    """Whether what was typed is all of it."""
    text = text.strip()
    return not text or text.endswith(";") or text.startswith("\\") or text in _LEAVE


def _line(text: str) -> str:
    """The command that answers what was typed."""
    if not text.strip("; "):
        return ""
    if re.match(r"\\d\b", text):
        return f"sql --schema {shlex.quote(text[2:].strip(' ;'))}"
    return f"sql {shlex.quote(text)}"

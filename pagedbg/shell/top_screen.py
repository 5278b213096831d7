# SPDX-License-Identifier: GPL-2.0-or-later
"""The screen of ``top``: holders and their rates, drawn again as events come in."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.styles import Style
from rich.cells import set_cell_size

from pagedbg.analysis.holder_rates import HolderRate, HolderRates
from pagedbg.output.paragraphs import reflow
from pagedbg.output.printable import printable
from pagedbg.schema.sizes import size
from pagedbg.shell.terminal_output import terminal_output
from pagedbg.sources.stack_frames import function_of, module_of

__all__ = ("BY", "SORTS", "TopScreen", "TopSource", "TopState")

BY = ("stack", "function", "module")
"""What holders are told apart by."""

SORTS = {"a": "allocated", "f": "freed", "g": "grown", "n": "holder"}
"""The key that sorts by a column."""

# Without colours: these are seen in any window.
_STYLE = Style.from_dict({"heading": "bold", "chosen": "reverse", "help": "bold"})

_HEADINGS = ("alloc/s", "free/s", "grown")
_COLUMN = 12
_NAME = 24
_HELP = "q end  / filter  Enter stack  b by  a f g n sort"


@dataclasses.dataclass
class TopState:
    """
    What is shown and how: ``chosen`` is the holder that the keys are about,
    ``unfolded`` those whose stack is shown.
    """

    by: str = "function"
    sort: str = "allocated"
    words: str = ""
    typing: bool = False
    chosen: str | None = None
    unfolded: set[str] = dataclasses.field(default_factory=set)


class TopSource(NamedTuple):
    """
    Where it all comes from: ``drain`` gives the events of a moment to the rates and
    says whether there will be more, ``stack`` is the one of a handle, ``said`` what is
    to be said below, and ``page_size`` is in bytes.
    """

    drain: Callable[[HolderRates], bool]
    stack: Callable[[int], Sequence[str]]
    said: Callable[[HolderRates], Sequence[str]]
    page_size: int


class TopScreen:
    """The full screen, until the user leaves."""

    def __init__(self, source: TopSource, state: TopState, interval: float) -> None:
        self._source, self.state, self._interval = source, state, interval
        self._rates = HolderRates(time.monotonic())
        self._running = True

    # ---- what is seen ----

    def take(self, now: float) -> None:
        """Take in what has happened until now, in seconds."""
        self._running = self._source.drain(self._rates)
        self._rates.tick(now)

    def _holder(self, handle: int) -> str:
        stack = self._source.stack(handle)
        match self.state.by:
            case "module":
                return module_of(stack) or "(the kernel itself)"
            case "function":
                return function_of(stack) or "(no stack)"
        return f"{handle:#x} {function_of(stack) or '(no stack)'}"

    def shown(self) -> list[HolderRate]:
        """The holders that the filter lets through, in their order."""
        rates = self._rates.rates(self._holder)
        words = self.state.words.lower()
        chosen = [each for each in rates if not words or words in self._searched(each)]
        if self.state.sort == "holder":
            return sorted(chosen, key=lambda each: each.holder)
        return sorted(
            chosen,
            key=lambda each: (-getattr(each, self.state.sort), each.holder),
        )

    def _searched(self, rate: HolderRate) -> str:
        """What the filter looks at: who it is, and the frames that can be unfolded."""
        stack = self._source.stack(rate.handles[0])
        return "\n".join((rate.holder, *stack)).lower()

    def lines(self, columns: int, height: int) -> list[tuple[str, str]]:
        """The lines of a window of a size, each with its style."""
        rates, state = self.shown(), self.state
        if state.chosen not in {each.holder for each in rates}:
            state.chosen = rates[0].holder if rates else None
        shown = self._columns(columns)
        heading = "".join(_HEADINGS[i].rjust(_COLUMN) for i in shown)
        room = max(columns - len(heading) - 2, 4)
        below = self._below(columns, height)
        space = max(height - 1 - len(below), 1)
        return [
            ("class:heading", f"{heading}  {state.by}"),
            *self._body(rates, shown, room, space),
            *below,
        ]

    def _columns(self, columns: int) -> list[int]:
        """Which numbers there is room for: what is sorted by first."""
        # In a narrow window fewer columns leave room for who it is: functions of one
        # module begin with the same letters.
        names = ("allocated", "freed", "grown")
        kept = min(max((columns - _NAME) // _COLUMN, 1), len(names))
        first = names.index(self.state.sort) if self.state.sort in names else 0
        return sorted([first, *(i for i in range(len(names)) if i != first)][:kept])

    def _below(self, columns: int, height: int) -> list[tuple[str, str]]:
        """What is said below, and the line of the keys or of what is typed."""
        said = list(self._source.said(self._rates))
        if not self._running:
            said.append("The trace has ended.")
        lines = [
            ("", line)
            for each in map(printable, said)
            for line in reflow(each, columns).splitlines()
        ]
        words = self.state.words
        keys = f"/{words}_" if self.state.typing else f"/{words}  {_HELP}"
        if not words and not self.state.typing:
            keys = _HELP
        return [*lines[: max(height - 3, 0)], ("class:help", keys)]

    def _body(
        self,
        rates: Sequence[HolderRate],
        shown: Sequence[int],
        room: int,
        space: int,
    ) -> list[tuple[str, str]]:
        """As many lines as there is space for, about the chosen holder."""
        body: list[tuple[str, str]] = []
        at = 0
        for each in rates:
            numbers = (each.allocated, each.freed, each.grown)
            text = "".join(self._size(numbers[i]).rjust(_COLUMN) for i in shown)
            holder = set_cell_size(printable(each.holder), room).rstrip()
            chosen = each.holder == self.state.chosen
            if chosen:
                at = len(body)
            body.append(("class:chosen" if chosen else "", f"{text}  {holder}"))
            if each.holder in self.state.unfolded:
                body += self._unfolded(each)
        if not body:
            body.append(("", "Nothing fits." if self.state.words else "No event yet."))
        first = max(min(at - space // 2, len(body) - space), 0)
        body = body[first : first + space]
        return [*body, *[("", "")] * (space - len(body))]

    def _unfolded(self, rate: HolderRate) -> list[tuple[str, str]]:
        """The lines of the stack of a holder."""
        frames = self._source.stack(rate.handles[0]) or ["(no stack)"]
        lines = [("", f"    {printable(each)}") for each in frames]
        if more := len(rate.handles) - 1:
            lines.append(("", f"    and {more:,} other stacks"))
        return lines

    def _size(self, pages: float) -> str:
        pages = round(pages * self._source.page_size)
        return f"-{size(-pages)}" if pages < 0 else size(pages)

    # ---- the keys ----

    def move(self, by: int) -> None:
        """Choose another holder, so many further down."""
        names = [each.holder for each in self.shown()]
        if names:
            here = names.index(self.state.chosen) if self.state.chosen in names else 0
            self.state.chosen = names[min(max(here + by, 0), len(names) - 1)]

    def press(self, key: str) -> None:
        """Do what a key says that is neither for moving nor for leaving."""
        state = self.state
        if state.typing:
            state.words += key if key.isprintable() else ""
        elif key in SORTS:
            state.sort = SORTS[key]
        elif key == "b":
            state.by = BY[(BY.index(state.by) + 1) % len(BY)]
            state.unfolded.clear()
        elif key == "/":
            state.typing, state.words = True, ""
        elif key == " ":
            self.unfold()

    def unfold(self) -> None:
        """Show the stack of the chosen holder, or hide it."""
        if self.state.chosen is not None:
            self.state.unfolded ^= {self.state.chosen}

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        state = self.state
        typing = Condition(lambda: state.typing)

        @keys.add("c-c")
        @keys.add("q", filter=~typing)
        def _leave(event: KeyPressEvent) -> None:
            event.app.exit()

        for key, by in (("up", -1), ("down", 1), ("pageup", -10), ("pagedown", 10)):

            @keys.add(key)
            def _move(event: KeyPressEvent, by: int = by) -> None:
                self.move(by)

        @keys.add("enter")
        def _enter(event: KeyPressEvent) -> None:
            if state.typing:
                state.typing = False
            else:
                self.unfold()

        @keys.add("escape", eager=True)
        def _escape(event: KeyPressEvent) -> None:
            state.typing, state.words = False, ""

        @keys.add("backspace", filter=typing)
        def _back(event: KeyPressEvent) -> None:
            state.words = state.words[:-1]

        @keys.add(Keys.Any)
        def _any(event: KeyPressEvent) -> None:
            for key in event.data:
                self.press(key)

        return keys

    # ---- the application ----

    def run(self) -> None:
        """Show the screen until the user leaves it."""

        def text() -> StyleAndTextTuples:
            room = get_app().output.get_size()
            found: StyleAndTextTuples = []
            for style, line in self.lines(room.columns, room.rows):
                cut = set_cell_size(line, room.columns).rstrip()
                found += [(style, cut), ("", "\n")]
            return found[:-1]

        app: Application[None] = Application(
            Layout(Window(FormattedTextControl(text, show_cursor=False))),
            key_bindings=self._keys(),
            full_screen=True,
            style=_STYLE,
            output=terminal_output(),
        )
        # A lone Escape is one.
        app.ttimeoutlen = app.timeoutlen = 0.05

        async def feed() -> None:
            try:
                while self._running:
                    self.take(time.monotonic())
                    app.invalidate()
                    await asyncio.sleep(self._interval)
            except Exception as error:
                # It is said at the prompt: here nobody would see it.
                app.exit(exception=error)

        def begin() -> None:
            app.create_background_task(feed())

        app.run(
            pre_run=begin,
            handle_sigint=False,
            set_exception_handler=False,
        )

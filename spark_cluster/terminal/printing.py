"""The one door to the terminal: nothing else of the program prints.

What is told comes from hosts, files and servers too. Here every line is made one line that acts on
nothing (core/printable.py), and no markup is read in it; styles are said apart from the words.
rich is imported only by what draws with it: `--help` starts at once.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from spark_cluster.core.printable import coloured, finite, one_line

#: Words, or words and their style (rich's: `bold red`).
Part = str | tuple[str, str]

#: What a person sees of a result: a line, a line of several styles, or a table.
Shown: TypeAlias = "str | tuple[Part, ...] | Table"

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.live import Live
    from rich.status import Status as Spinner
    from rich.table import Table
    from rich.text import Text


def say(text: str = "", *, err: bool = False) -> None:
    """One line on standard output, or on standard error."""
    _write(one_line(text) + "\n", err=err)


def show(parts: Iterable[Shown]) -> None:
    """Lines and tables below each other on standard output."""
    console: Console | None = None
    for part in parts:
        if isinstance(part, str):
            say(part)
        else:
            console = console or Console()
            console.show([part])


def say_page(text: str, *, err: bool = False) -> None:
    """A page of our own, such as YAML: its writer let no stranger break a line."""
    lines = text.removesuffix("\n").split("\n")
    _write("".join(f"{one_line(line)}\n" for line in lines), err=err)


def say_json(data: Any) -> None:
    """One line of JSON, in ASCII."""
    _write(json_line(data) + "\n", err=False)


def json_line(data: Any) -> str:
    """`data` as one line of JSON in printable ASCII, whatever is in it."""
    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(data), allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def confirm(question: str, *, abort: bool = False) -> bool:
    """Ask on standard error; no is the default. Raises typer.Abort for a no if `abort`."""
    import typer

    return typer.confirm(one_line(question), default=False, abort=abort, err=True)


def _write(text: str, *, err: bool) -> None:
    stream = sys.stderr if err else sys.stdout
    stream.write(text)
    stream.flush()


class Console:
    """Styled lines, tables and spinners on one stream. Plain on pipes and under NO_COLOR (rich
    heeds both); never wraps words into a log file."""

    _spinner: Spinner | None = None

    def __init__(self, *, stderr: bool = False, rich: RichConsole | None = None) -> None:
        from rich.console import Console as Rich

        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() else 200
        # FORCE_COLOR gives a pipe colours; what turns there would be a line a frame.
        self._turns = rich.is_terminal if rich else stream.isatty()
        self._rich = rich or Rich(
            stderr=stderr, soft_wrap=True, width=width, highlight=False, markup=False, emoji=False
        )

    @property
    def is_terminal(self) -> bool:
        return self._rich.is_terminal

    def line(self, *parts: Part) -> None:
        """One line."""
        self._rich.print(styled(*parts), soft_wrap=True)

    def log_line(self, head: Part, said: str) -> None:
        """A line of a log, with the colours that it has."""
        from rich.text import Text

        shown = Text.from_ansi(coloured(said))
        shown.stylize("not conceal not blink")
        self._rich.print(styled(head, " ").append_text(shown))

    def show(self, parts: Iterable[Shown]) -> None:
        """Lines and tables below each other."""
        for part in parts:
            if isinstance(part, str):
                self.line(part)
            elif isinstance(part, tuple):
                self.line(*part)
            else:
                self.draw(part)

    def draw(self, screen: RenderableType) -> None:
        """What `styled` and `new_table` made."""
        self._rich.print(screen)

    def spin(self, said: str) -> None:
        """Turn a spinner with these words, until `stop_spinning`; nothing on a pipe."""
        if self._spinner is not None:
            self._spinner.update(styled(said))
        elif self._turns:
            self._spinner = self._rich.status(styled(said))
            self._spinner.start()

    @property
    def is_spinning(self) -> bool:
        return self._spinner is not None

    def stop_spinning(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def live(self, render: Callable[[], RenderableType]) -> Live:
        """The whole screen, drawn again and again."""
        from rich.live import Live

        return Live(get_renderable=render, console=self._rich, screen=True)


def styled(*parts: Part) -> Text:
    """One line with styles."""
    from rich.text import Text

    made = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        made.append(one_line(words), style)
    return made


def new_table(
    *titles: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = (), fold: bool = False
) -> Table:
    """A table without a frame. `right`: columns of numbers; `whole`: columns that a narrow terminal
    never cuts; `fold`: nothing is left out of the others either."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(titles):
        made.add_column(
            one_line(title),
            justify="right" if title in right else "left",
            # The second line of a first column's cell would look like a line of its own.
            no_wrap=number == 0 or title in whole,
            overflow="fold" if fold else "ellipsis",
        )
    return made


def add_row(into: Table, *cells: Part) -> None:
    """A row of a table, each cell one line of it."""
    into.add_row(*map(styled, cells))

"""How a verb is heard: `--json` and `--verbose`, and the terminal as the operator of an action."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from spark_cluster.cli.options import JsonOption, VerboseOption
from spark_cluster.terminal.printing import Shown, say, say_json, show
from spark_cluster.terminal.streams import go_on_unheard

if TYPE_CHECKING:
    from spark_cluster.actions.operator import Operator
    from spark_cluster.actions.run import Outcome
    from spark_cluster.core.event import Event
    from spark_cluster.core.secret import Secret
    from spark_cluster.runner.request import RunRequest

R = TypeVar("R", bound="Event")


class View:
    """Shows events as they happen; this one none: the command tells the result."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def flush(self) -> None:
        """Show what was held back."""


@dataclass(frozen=True)
class Json:
    """--json alone, for a verb that has no more to tell."""

    as_json: JsonOption = False

    def say(self, text: str = "") -> None:
        """A line for a person."""
        if not self.as_json:
            say(text)

    def look(self, action: Callable[[Operator], R], view: Callable[[R], Iterable[Shown]]) -> int:
        """Ask the hosts, and report what they said; the exit code."""
        with self.operator() as operator:
            found = action(operator)
        return self.report(found, view)

    def report(self, found: R, view: Callable[[R], Iterable[Shown]]) -> int:
        """What a verb that only looks has found: an object, or what a person sees of it. The exit
        code; 0 for what has none."""
        if self.as_json:
            say_json(found.as_dict())
        else:
            show(view(found))
        return int(getattr(found, "exit_code", 0))

    @contextlib.contextmanager
    def operator(self, *, goes_on: bool = False, view: View | None = None) -> Iterator[Operator]:
        """The terminal: it hears the events, and is asked for a password.

        `goes_on`: what changes hosts goes on when nobody reads its output any more. `view` shows
        the events to a person, in place of ConsoleView.
        """
        from spark_cluster.actions.operator import Operator
        from spark_cluster.cli.views.console import ConsoleView, JsonLines

        if goes_on:
            go_on_unheard()
        heard = JsonLines() if self.as_json else view or ConsoleView(verbose=self.is_verbose)
        try:
            yield Operator(heard, password_prompt() if _somebody() else None)
        finally:
            heard.flush()

    @property
    def is_verbose(self) -> bool:
        return False


@dataclass(frozen=True)
class Output(Json):
    """--json and --verbose."""

    verbose: VerboseOption = False

    @property
    def is_verbose(self) -> bool:
        return self.verbose

    def run(self, request: RunRequest, *, dry_run: bool, commands: bool = False) -> int:
        """Carry a request out, or show its plan; the exit code."""
        from spark_cluster.actions.run import run_playbook

        action = partial(run_playbook, request, dry_run=dry_run, commands=commands)
        return self.act(action, dry_run=dry_run)

    def act(self, action: Callable[[Operator], Outcome], *, dry_run: bool = False) -> int:
        """Do what changes hosts, or show the plan of it; the exit code."""
        with self.operator(goes_on=not dry_run) as operator:
            return self.finish(action(operator))

    def finish(self, outcome: Outcome) -> int:
        """Show the plan of a dry run; the exit code."""
        if outcome.plan is not None and not self.as_json:
            from spark_cluster.cli.views import plan

            show(plan.lines(outcome.plan, outcome.in_the_way, commands=outcome.commands))
        return outcome.exit_code


def _somebody() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def password_prompt() -> Any:
    """One prompt for all hosts, when a host's sudo wants a password."""

    def ask() -> Secret:
        import getpass

        from spark_cluster.core.secret import Secret

        return Secret(getpass.getpass("sudo password for the hosts: "))

    return ask

"""For verbs that are not actions yet: a run with the terminal as its operator."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from spark_cluster.actions import operator, run
from spark_cluster.actions.run import Active as _Active
from spark_cluster.actions.run import load_inventory, lost_results
from spark_cluster.cli.output import password_prompt
from spark_cluster.cli.pipes import go_on_unheard
from spark_cluster.cli.views.console import ConsoleView, JsonLines
from spark_cluster.core.error import SparkError
from spark_cluster.core.result import Result
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.journal import new_run
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.session import Session
from spark_cluster.steps.view import Options
from spark_cluster.transport.protocol import Become

__all__ = ["load_inventory", "lost_results"]

connector = operator.connector


@dataclass(frozen=True)
class Request:
    verb: str
    playbook: str
    hosts: list[str]
    inventory: Inventory
    settings: Sequence[str] = ()
    options: Options = field(default_factory=Options)
    note: str | None = None
    warnings: tuple[str, ...] = ()
    as_json: bool = False
    verbose: bool = False
    all_hosts_needed: bool = True
    carry_on: bool = False
    needs: tuple[str, ...] = ()
    run: str = field(default_factory=new_run)


def ask_password() -> Become:
    return Become(ask=password_prompt() if sys.stdin.isatty() and sys.stderr.isatty() else None)


def _operator(view: Any = None) -> operator.Operator:
    listener = view or operator.unheard
    return operator.Operator(listener, ask_password().ask)


class Active:
    def __init__(self, request: Request, active: _Active, view: ConsoleView | None) -> None:
        self.request, self.view, self._active = request, view, active
        self.run, self.session, self.bus = active.run, active.session, active.listener
        self.started = active.started

    def finish(self, results: Sequence[Result], **more: Any) -> int:
        return self._active.finish(results, **more).exit_code

    def say(self, text: str = "") -> None:
        if self.view is not None:
            self.view.flush()
            self.view.console.line(text)


@contextlib.contextmanager
def activate(request: Request, *, journal: bool = True, endless: bool = False) -> Iterator[Active]:
    if journal and not endless:
        go_on_unheard()
    view = None if request.as_json else ConsoleView(verbose=request.verbose)
    asked = RunRequest(
        request.verb, request.playbook, request.hosts, request.inventory, request.settings,
        request.options, None, request.note, request.warnings, request.all_hosts_needed,
        carry_on=request.carry_on, needs=request.needs, run=request.run,
    )  # fmt: skip
    try:
        with run.activate(asked, _operator(view or JsonLines()), journal=journal) as active:
            yield Active(request, active, view)
    except SparkError:
        if view is not None:
            view.flush()
        raise


@contextlib.contextmanager
def looking(
    inventory: Inventory, names: list[str], deployment: Deployment | None = None
) -> Iterator[Session]:
    with run.looking(inventory, names, _operator(), deployment) as session:
        yield session


def read_hosts(
    inventory: Inventory,
    names: list[str],
    facts: Sequence[Fact[object]],
    deployment: Deployment | None = None,
) -> dict[str, Facts | SparkError]:
    return run.read_hosts(inventory, names, facts, _operator(), deployment)


def refuse(active: Active, plan: Any) -> list[Result]:
    return run.refuse(active._active, plan)

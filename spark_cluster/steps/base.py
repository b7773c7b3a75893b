"""Shared by the step files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.shell import write_file
from spark_cluster.core.step import Assessment, Change, Problem, Step, Traffic
from spark_cluster.document import Document
from spark_cluster.facts.base import Fact
from spark_cluster.steps.view import View

ParamsT = TypeVar("ParamsT", bound=BaseModel)


class NoParams(Document):
    """For steps without parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def step(
    name: str,
    title: str,
    params: type[ParamsT],
    *,
    reads: Sequence[Fact[object]],
    depends: Sequence[Fact[object]] = (),
    affects: Sequence[Fact[object]] = (),
    guarded: Callable[[ParamsT], int] | None = None,
    keeps_peers: bool = True,
    wait: Callable[[ParamsT], float] | None = None,
    traffic: Callable[[View, ParamsT], Traffic | None] | None = None,
    timeout: float = 120.0,
    titled: Callable[[ParamsT], str] | None = None,
    titles: Mapping[str, str] | None = None,
    formerly: tuple[str, ...] = (),
) -> Callable[[Callable[[View, ParamsT], Assessment]], Step[View, ParamsT]]:
    """Make the function below it, which assesses, a step that reads these facts. `titles` are those
    by the parameter `state`, where they are not `title`; the rest is as in core/step.py."""

    def made(assess: Callable[[View, ParamsT], Assessment]) -> Step[View, ParamsT]:
        return Step(
            name,
            title,
            params,
            tuple(fact.name for fact in reads),
            assess,
            depends=tuple(fact.name for fact in depends),
            affects=tuple(fact.name for fact in affects),
            guarded=guarded,
            keeps_peers=keeps_peers,
            wait=wait,
            traffic=traffic,
            timeout=timeout,
            titled=_by_state(title, titles) if titles else titled,
            formerly=formerly,
        )

    return made


def _by_state(title: str, titles: Mapping[str, str]) -> Callable[[BaseModel], str]:
    return lambda params: titles.get(vars(params)["state"], title)


def patient(*problems: Problem, notes: tuple[str, ...] = ()) -> Assessment:
    """As `found`, of a step that waits for its problems to go away."""
    return Assessment((), problems, tuple(fault.what for fault in problems), notes)


def rewrite(path: str, now: str, content: str, after: str, mode: int = 0o644) -> tuple[Change, ...]:
    """The change that makes `content` of what is there `now`; none if it is that already."""
    if now == content:
        return ()
    before = "another content" if now else "absent"
    return (Change(path, before, after, write_file(path, content, mode)),)


def in_use(code: str, listening: Mapping[int, str], ports: Iterable[int]) -> list[Problem]:
    """The ports on which somebody listens already."""
    return [
        problem(code, f"port {port} is in use by {listening[port] or 'another process'}")
        for port in ports
        if port in listening
    ]


def problem(code: str, what: str, remedy: str | None = None) -> Problem:
    """A problem whose remedy is the diagnosis's, unless a nearer one is known."""
    return Problem(code, what, remedy or DIAGNOSES[code].fix)

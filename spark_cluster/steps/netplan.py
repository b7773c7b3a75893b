"""Render the netplan templates from the inventory; apply them through the network guard."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from jinja2 import Environment, StrictUndefined, TemplateError
from pydantic import Field

from spark_cluster.core.error import InputError
from spark_cluster.core.shell import write_file
from spark_cluster.core.step import Assessment, Change, Problem, Step
from spark_cluster.document import Document
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.netplan import NETPLAN, NetplanFact, interfaces
from spark_cluster.facts.rdma import GIDS
from spark_cluster.steps.base import problem
from spark_cluster.steps.view import View

_FOLDER = "/etc/netplan"


class Params(Document):
    """`guard_seconds`: how long the host waits for our confirmation before it reverts."""

    templates: tuple[str, ...] = Field(min_length=1)
    guard_seconds: int = Field(default=120, ge=30, le=3600)


def render(template: str, text: str, view: View, renderer: str) -> str:
    """The file that the template makes for this host; empty if it configures no interface."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        content = environment.from_string(text).render(
            host=view.name,
            renderer=renderer,
            rails=[rail.model_dump() for rail in view.host.rails],
            links=[link.model_dump() for link in view.host.links],
        )
    except TemplateError as error:
        raise InputError(
            f"the template fails for {view.name}: {error}",
            place=f"{template}:{getattr(error, 'lineno', 1) or 1}",
            remedy="Correct the template; `rails`, `links`, `host` and `renderer` are there.",
        ) from error
    return content.rstrip("\n") + "\n" if interfaces(content) else ""


def assess(view: View, params: Params) -> Assessment:
    fact = view.facts[NETPLAN]
    changes: list[Change] = []
    problems: list[Problem] = []
    for template in params.templates:
        if template not in view.templates:
            raise InputError(
                f"there is no netplan template {template!r}",
                remedy=f"Known templates: {', '.join(sorted(view.templates))}.",
            )
        content = render(template, view.templates[template], view, fact.renderer)
        if not content:
            continue
        path = f"{_FOLDER}/{template.removesuffix('.j2')}"
        problems.extend(_second_owners(view, fact, path, content, params.templates))
        changes.extend(_file_change(fact, path, content))
    changes.extend(_address_changes(view) if not changes else ())
    if changes:
        problems.extend(_management(view))
    return Assessment(changes=tuple(changes), problems=tuple(problems))


def _second_owners(
    view: View, fact: NetplanFact, path: str, content: str, templates: tuple[str, ...]
) -> Iterator[Problem]:
    ours = {f"{_FOLDER}/{template.removesuffix('.j2')}" for template in templates}
    wanted = interfaces(content) or frozenset()
    for other in fact.files.values():
        if other.path in ours:
            continue
        if other.interfaces is None:
            yield problem("NET005", f"{other.path} is no valid netplan file")
            continue
        for name in sorted(wanted & other.interfaces):
            yield problem(
                "NET003",
                f"{other.path} also configures {name}, which {path} is to configure",
                f"Remove {name} from {other.path} on {view.name}, then run the command again.",
            )


def _file_change(fact: NetplanFact, path: str, content: str) -> Iterator[Change]:
    current = fact.files.get(path)
    name = path.rpartition("/")[2]
    if current is None:
        before = "absent"
    elif current.content != content:
        before = "another content"
    elif current.mode != "600":
        before = f"mode {current.mode}"
    else:
        return
    diff = difflib.unified_diff(
        (current.content if current else "").splitlines(), content.splitlines(), lineterm="", n=1
    )
    shown = tuple(line for line in diff if not line.startswith(("---", "+++", "@@")))
    # Relative on purpose: the guard runs it first in a copy of /etc/netplan, then in the real one.
    yield Change(
        path, before, "as rendered, mode 600", write_file(f"./{name}", content, 0o600), shown
    )


def _address_changes(view: View) -> Iterator[Change]:
    """The files are right and the kernel is not: apply them again."""
    links = view.facts[LINKS].links
    for item in view.host.interfaces:
        link = links.get(item.interface)
        if link is not None and link.carrier and item.address not in link.ipv4:
            there = ", ".join(link.ipv4) or "no address"
            yield Change(f"{item.interface} address", there, item.address, "true\n")


def _management(view: View) -> Iterator[Problem]:
    management = view.facts[HOST].management
    names = {item.interface for item in view.host.interfaces}
    if management in names and not view.options.allow_management:
        yield problem("NET007", f"SSH came in on {management}, which the inventory manages")


STEP = Step(
    name="netplan",
    title="Network configuration (netplan, guarded)",
    params=Params,
    reads=(HOST.name, NETPLAN.name, LINKS.name),
    assess=assess,
    affects=(LINKS.name, GIDS.name, PING.name),
    guarded=True,
)

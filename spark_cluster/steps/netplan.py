"""Render the netplan templates from the inventory; apply them through the network guard."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from jinja2 import Environment, StrictUndefined, TemplateError
from pydantic import Field

from spark_cluster.core.error import InputError
from spark_cluster.core.shell import quote, write_file
from spark_cluster.core.step import Assessment, Change, Problem
from spark_cluster.document import Document
from spark_cluster.facts.guard import GUARD
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.netplan import NETPLAN, NetplanFact, NetplanFile, interfaces
from spark_cluster.facts.rdma import GIDS
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View

_FOLDER = "/etc/netplan"


class Params(Document):
    """`guard_seconds`: how long the host waits for our confirmation before it reverts.
    `take_over`: remove other netplan files that configure nothing but our interfaces; the guard's
    snapshot keeps them for `undo network`."""

    templates: tuple[str, ...] = Field(min_length=1)
    guard_seconds: int = Field(default=120, ge=30, le=3600)
    take_over: bool = False


def render(template: str, text: str, view: View, renderer: str) -> str:
    """The file that the template makes for this host; empty if it configures no interface."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        content = environment.from_string(text).render(
            host=view.name,
            renderer=renderer,
            rails=[rail.model_dump() for rail in view.host.rails],
            links=[link.model_dump() for link in view.host.links if link.managed],
        )
    except TemplateError as error:
        raise InputError(
            f"the template fails for {view.name}: {error}",
            place=f"{template}:{getattr(error, 'lineno', 1) or 1}",
            remedy="Correct the template; `rails`, `links`, `host` and `renderer` are there.",
        ) from error
    return content.rstrip("\n") + "\n" if interfaces(content) else ""


@step(
    "netplan",
    "Configure the network (netplan, guarded)",
    Params,
    reads=(HOST, NETPLAN, LINKS, GUARD),
    affects=(LINKS, GIDS, PING),
    guarded=lambda params: params.guard_seconds,
)
def netplan(view: View, params: Params) -> Assessment:
    fact = view.facts[NETPLAN]
    contents = _contents(view, params, fact.renderer)
    wanted = frozenset[str]().union(*(interfaces(text) or () for text in contents.values()))
    changes: list[Change] = []
    problems: list[Problem] = []
    for other in fact.effective:
        if other.path in {_path(template) for template in params.templates}:
            continue
        found = _other_owner(view, other, wanted, take_over=params.take_over)
        if isinstance(found, Change):
            changes.append(found)
        elif found is not None:
            problems.append(found)
    problems.extend(_keyfiles(view, fact, wanted))
    for path, content in contents.items():
        changes.extend(_file_change(fact, path, content))
    changes.extend(_address_changes(view) if not changes else ())
    if changes:
        # First, for they say what would happen to the way in.
        problems = [*_management(view, wanted), *_armed(view), *problems]
    return Assessment(changes=tuple(changes), problems=tuple(problems))


def _path(template: str) -> str:
    return f"{_FOLDER}/{template.removesuffix('.j2')}"


def _contents(view: View, params: Params, renderer: str) -> dict[str, str]:
    """What each file is to hold, by its path; templates that configure nothing here left out."""
    found: dict[str, str] = {}
    for template in params.templates:
        if template not in view.templates:
            raise InputError(
                f"there is no netplan template {template!r}",
                remedy=f"Known templates: {', '.join(sorted(view.templates))}.",
            )
        content = render(template, view.templates[template], view, renderer)
        if content:
            found[_path(template)] = content
    return found


def _other_owner(
    view: View, other: NetplanFile, wanted: frozenset[str], *, take_over: bool
) -> Change | Problem | None:
    """What to do about another file that configures an interface of ours."""
    if other.interfaces is None:
        return problem("NET005", f"{other.path} is no valid netplan file")
    ours = sorted(name for name in wanted if other.names(name))
    if not ours:
        return None
    names = ", ".join(ours)
    folder, _, file = other.path.rpartition("/")
    more = sorted(other.interfaces - wanted)
    if folder != _FOLDER:
        why = f"It lies in {folder}: whatever wrote it there would write it again"
    elif "cloud-init" in file:
        why = "cloud-init would write it again at the next boot"
    elif more:
        why = f"It also configures {', '.join(more)}"
    elif take_over:
        # Relative, as in _file_change.
        return Change(other.path, f"configures {names} too", "removed", f"rm -f {quote(file)}\n")
    else:
        return problem(
            "NET003",
            f"{other.path} also configures {names}",
            f"Remove {names} from {other.path} on {view.name}; or have it taken over with "
            "`spark-cluster bootstrap --take-over`: `spark-cluster undo network` brings it back.",
        )
    return problem(
        "NET003",
        f"{other.path} also configures {names}. {why}, so it is not taken over",
        f"Remove {names} from where {other.path} comes from on {view.name}, then run again.",
    )


def _keyfiles(view: View, fact: NetplanFact, wanted: frozenset[str]) -> Iterator[Problem]:
    for keyfile in fact.keyfiles:
        if keyfile.interface in wanted:
            yield problem(
                "NET019",
                f"NetworkManager keeps '{keyfile.name}' for {keyfile.interface} in {keyfile.path}",
                f"`nmcli connection delete '{keyfile.name}'` on {view.name}, then run again.",
            )


def _file_change(fact: NetplanFact, path: str, content: str) -> Iterator[Change]:
    current = fact.files.get(path)
    name = path.rpartition("/")[2]
    if current is None:
        before = "absent"
    elif not current.is_ours:
        before = "somebody else's (`spark-cluster undo network` brings it back)"
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
    for item in view.host.configured:
        link = links.get(item.interface)
        if link is not None and link.carrier and item.address not in link.ipv4:
            there = ", ".join(link.ipv4) or "no address"
            yield Change(f"{item.interface} address", there, item.address, "true\n")


def _management(view: View, wanted: frozenset[str]) -> Iterator[Problem]:
    management = view.facts[HOST].management
    if management in wanted and not view.options.allow_management:
        yield problem("NET007", f"SSH came in on {management}, which this would configure")


def _armed(view: View) -> Iterator[Problem]:
    """A guard of another run that still waits would put its own old files over ours."""
    for snapshot in view.first[GUARD].snapshots if GUARD in view.first else ():
        if snapshot.state == "armed":
            yield problem(
                "NET024", f"the network guard of run {snapshot.run} is still armed on {view.name}"
            )

"""Node-to-node SSH: a key per node that never leaves it, and the others' public halves let in.

All edits put lines before what a file holds already and leave the rest byte for byte alone; `state:
absent` takes exactly those lines, and files that were not there before, away again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, Problem, found, skip
from spark_cluster.core.units import count
from spark_cluster.document import Document
from spark_cluster.facts.mesh import (
    CALLS,
    INCLUDE,
    INCLUDED,
    KEY,
    MARK,
    MARKED,
    MESH,
    SNIPPET,
    MeshFact,
    marked,
    peers,
)
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View

_MADE = "# Not there before: "


class Params(Document):
    """`absent` undoes it."""

    state: Literal["present", "absent"] = "present"


# The key


@step(
    "mesh-keys",
    "Create a key on each node",
    Params,
    reads=(MESH,),
    titles={"absent": "Remove each node's key"},
    affects=(CALLS,),
)
def keys(view: View, params: Params) -> Assessment:
    fact = view.facts[MESH]
    path = f"~/.ssh/{KEY}"
    if params.state == "absent":
        if not fact.private and not fact.key:
            return Assessment()
        commands = f'rm -f "$SPARK_HOME/.ssh/{KEY}" "$SPARK_HOME/.ssh/{KEY}.pub"\n'
        return Assessment(changes=(Change(path, "a key", "absent", commands),))
    if fact.private and fact.key and fact.sound:
        return Assessment()
    if fact.private and fact.key:
        commands = (
            f'chown "$SPARK_USER": "$SPARK_HOME/.ssh/{KEY}"\nchmod 600 "$SPARK_HOME/.ssh/{KEY}"\n'
        )
        change = Change(path, "readable by others", f"mode 600 of {fact.user}", commands)
        return Assessment(changes=(change,))
    before = "half of a key" if fact.private or fact.key else "absent"
    return Assessment(changes=(Change(path, before, "a new ed25519 key", _make(view.name)),))


def _make(name: str) -> str:
    return f"""\
{_folder()}\
_k="$SPARK_HOME/.ssh/{KEY}"
rm -f "$_k.new" "$_k.new.pub"
(umask 077; ssh-keygen -q -t ed25519 -N '' -C {quote(f"{MARK} {name}")} -f "$_k.new")
chown "$SPARK_USER": "$_k.new" "$_k.new.pub"
mv -f "$_k.new.pub" "$_k.pub"
mv -f "$_k.new" "$_k"
"""


def _folder() -> str:
    return (
        '[ -d "$SPARK_HOME/.ssh" ] || install -d -m 700 -o "$SPARK_USER" '
        '-g "$(id -gn "$SPARK_USER")" "$SPARK_HOME/.ssh"\n'
    )


# Whom it lets in, whom it knows, how it gets there


@step(
    "mesh-trust",
    "Let the nodes know and admit each other",
    Params,
    reads=(MESH,),
    titles={"absent": "Let the nodes no longer admit each other"},
    affects=(CALLS,),
)
def trust(view: View, params: Params) -> Assessment:
    fact = view.facts[MESH]
    if params.state == "absent":
        return Assessment(changes=_undone(fact))
    there = {name: ips for name, ips in peers(view.inventory, view.host).items()
             if name in view.all_facts and MESH in view.all_facts[name]}  # fmt: skip
    if not there and not fact.snippet:
        return skip("no other host of this run shares a network with it")
    theirs = {name: view.all_facts[name][MESH] for name in there}
    others = [name for name in view.inventory.hosts if name not in view.all_facts]
    authorized = [f"{seen.key} {MARK} {name}" for name, seen in theirs.items() if seen.key]
    pending = [name for name, seen in theirs.items() if not seen.key]
    known = [
        f"{_names(name, there[name], seen.port)} {key} {MARK} {name}"
        for name, seen in theirs.items()
        for key in seen.host_keys
    ]
    # A run on some hosts leaves what is known of the others as it is.
    authorized += [line for name in others for line in marked(fact.authorized, name)]
    known += [line for name in others for line in marked(fact.known, name)]
    made = _made(fact)
    snippet = _snippet(there, theirs, made, _kept_blocks(fact, others))
    changes: list[Change] = []
    if tuple(snippet) != fact.snippet:  # First: it notes which files were not there before.
        changes.append(_snippet_change(fact, snippet))
    if sorted(authorized) != list(fact.authorized) or pending:
        changes.append(_lines("authorized_keys", MARKED, fact.authorized, authorized, pending))
    if sorted(known) != list(fact.known):
        changes.append(_lines("known_hosts", MARKED, fact.known, known))
    if not fact.included:
        changes.append(_lines("config", INCLUDED, (), [INCLUDE]))
    return Assessment(changes=tuple(changes))


def _names(name: str, ips: Sequence[str], port: int) -> str:
    names = (name, *ips)
    return ",".join(names if port == 22 else [f"[{item}]:{port}" for item in names])


def _made(fact: MeshFact) -> tuple[str, ...]:
    """The files that mesh itself made: what the snippet notes, or what is not there yet."""
    if fact.snippet:
        noted = [line for line in fact.snippet if line.startswith(_MADE)]
        return tuple(noted[0].removeprefix(_MADE).split()) if noted else ()
    return tuple(
        name for name in ("authorized_keys", "known_hosts", "config") if name not in fact.there
    )


def _kept_blocks(fact: MeshFact, names: Sequence[str]) -> list[str]:
    """The snippet's lines about hosts that are not part of this run."""
    kept: list[str] = []
    keep = False
    for line in fact.snippet:
        if line.startswith("Host "):
            keep = line.split()[1] in names
        if keep and line.strip():
            kept.append(line)
    return kept


def _snippet(
    there: dict[str, tuple[str, ...]],
    theirs: dict[str, MeshFact],
    made: Sequence[str],
    kept: Sequence[str],
) -> list[str]:
    lines = ["# Written by `spark-cluster mesh`; `spark-cluster mesh --undo` removes it."]
    lines += [_MADE + " ".join(made)] if made else []
    for name, ips in there.items():
        port = [f"    Port {theirs[name].port}"] if theirs[name].port != 22 else []
        lines += [
            f"Host {name}",
            f"    HostName {ips[0]}",
            f"Host {name} {' '.join(ips)}",
            f"    User {theirs[name].user}",
            *port,
            f"    IdentityFile ~/.ssh/{KEY}",
            "    IdentitiesOnly yes",
            "    UpdateHostKeys no",
        ]
    return [*lines, *kept]


def _snippet_change(fact: MeshFact, snippet: Sequence[str]) -> Change:
    text = "".join(f" {quote(line)}" for line in snippet)
    commands = f"""\
{_folder()}\
_n="$SPARK_HOME/.ssh/{SNIPPET}.new"
(umask 077; printf '%s\\n'{text} > "$_n")
chown "$SPARK_USER": "$_n"
chmod 600 "$_n"
mv -f "$_n" "$SPARK_HOME/.ssh/{SNIPPET}"
"""
    before = "another content" if fact.snippet else "absent"
    diff = [f"-{line}" for line in fact.snippet if line not in snippet]
    diff += [f"+{line}" for line in snippet if line not in fact.snippet]
    return Change(f"~/.ssh/{SNIPPET}", before, "the other nodes", commands, tuple(diff))


def _lines(
    name: str, pattern: str, now: Sequence[str], wanted: Sequence[str], pending: Sequence[str] = ()
) -> Change:
    """`pending` are nodes whose key is not made yet: their line can only be told, not written."""
    diff = [f"-{line}" for line in now if line not in wanted]
    diff += [f"+{line}" for line in wanted if line not in now]
    diff += [f"+(a key to be made) {MARK} {node}" for node in pending]
    noun = "line" if name == "config" else "key"
    total = len(wanted) + len(pending)
    return Change(
        f"~/.ssh/{name}",
        f"{count(len(now), noun)} of ours",
        f"{count(total, noun)} of ours",
        _edit(name, pattern, wanted),
        tuple(_short(line) for line in diff),
    )


def _short(line: str) -> str:
    """A key is as long as a screen is wide; its end tells it from others."""
    return " ".join(word if len(word) < 60 else f"…{word[-12:]}" for word in line.split(" "))


def _edit(name: str, pattern: str, lines: Sequence[str], *, remove_empty: bool = False) -> str:
    """Our lines first, then the file without ours; owner, mode and the rest stay as they are."""
    put = f"printf '%s\\n'{''.join(f' {quote(line)}' for line in lines)}; " if lines else ""
    keep = f"LC_ALL=C sed '{pattern}d' \"$_f\""
    gone = '[ -s "$_n" ] || rm -f "$_n" "$_f"\n' if remove_empty else ""
    return f"""\
{_folder()}\
_f=$(readlink -f "$SPARK_HOME/.ssh/{name}")
_n="$_f.spark-cluster.new"
(umask 077; {{ {put}if [ -e "$_f" ]; then {keep}; fi; }} > "$_n")
if [ -e "$_f" ]; then
  chown --reference="$_f" "$_n"
  chmod --reference="$_f" "$_n"
else
  chown "$SPARK_USER": "$_n"
  chmod 600 "$_n"
fi
{gone}[ ! -e "$_n" ] || mv -f "$_n" "$_f"
"""


def _undone(fact: MeshFact) -> tuple[Change, ...]:
    made = _made(fact) if fact.snippet else ()
    changes = []
    for name, pattern, ours in (
        ("authorized_keys", MARKED, len(fact.authorized)),
        ("known_hosts", MARKED, len(fact.known)),
        ("config", INCLUDED, int(fact.included)),
    ):
        if ours:
            commands = _edit(name, pattern, (), remove_empty=name in made)
            before = f"{count(ours, 'line')} of ours"
            changes.append(Change(f"~/.ssh/{name}", before, "none", commands))
    if fact.snippet:
        commands = f'rm -f "$SPARK_HOME/.ssh/{SNIPPET}"\n'
        changes.append(Change(f"~/.ssh/{SNIPPET}", "the other nodes", "absent", commands))
    return tuple(changes)


# Whether it works


@step(
    "mesh-connect", "Check that every node reaches the others by SSH", Params, reads=(MESH, CALLS)
)
def connect(view: View, params: Params) -> Assessment:
    if params.state == "absent":
        return skip("nothing to reach")
    if MESH not in view.facts:
        return skip("not read")
    wanted = [name for name in peers(view.inventory, view.host) if name in view.all_facts]
    calls = [call for call in view.facts[CALLS].calls if call.peer in wanted]
    failed: dict[tuple[str, str], list[str]] = {}
    for call in calls:
        if not call.worked:
            failed.setdefault((call.peer, call.why), []).append(call.address)
    problems: list[Problem] = [
        problem("SSH001", f"{view.name} to {peer} ({', '.join(addresses)}): {why}")
        for (peer, why), addresses in failed.items()
    ]
    silent = [name for name in wanted if name not in {call.peer for call in calls}]
    problems += [problem("SSH001", f"{view.name} to {name}: not tried") for name in silent]
    if not wanted:
        return skip("no other host of this run shares a network with it")
    apart = [name for name in view.all_facts if name not in (view.name, *wanted)]
    notes = [f"reaches {', '.join(wanted)}"]
    notes += [f"shares no network with {', '.join(apart)}: not tried"] if apart else []
    return found(*problems, notes=tuple(notes))

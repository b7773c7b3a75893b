"""The inventory that `init` shows and writes, with the reason of each choice as a comment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.inventory.proposal import Proposal

_WORDS = (
    "Networks that are kept are configured at every end already; new ones overlap nothing that",
    "any of these hosts, or the machine that asked them, has or routes.",
)


@dataclass(frozen=True)
class Node:
    """A host as the inventory names it; `address` is empty where the name is enough."""

    name: str
    address: str = ""
    user: str = ""


def render(
    nodes: Sequence[Node],
    proposal: Proposal,
    *,
    head: Sequence[str] = (),
    ssh: Mapping[str, str] | None = None,
) -> str:
    """The inventory's text. Comments give the reason of each choice."""
    told = (*head, f"Topology: {proposal.topology}.", *_WORDS)
    lines = [f"# {text}" for text in told]
    lines += ["version: 1", ""]
    if ssh:
        lines += ["ssh:", *(f"  {key}: {value}" for key, value in ssh.items()), ""]
    lines.append("hosts:")
    for place, node in enumerate(nodes):
        lines += [""] if place else []
        lines += _host(node, proposal)
    if proposal.groups:
        lines += ["", "# Hosts that serve together, the head first.", "groups:"]
        for name, them in proposal.groups.items():
            lines.append(f"  {name}: [{', '.join(them)}]")
            if len(them) > 2:
                lines.append(f"  # For a model that fits two: pair: [{them[0]}, {them[1]}]")
    return "\n".join(lines) + "\n"


def _host(node: Node, proposal: Proposal) -> list[str]:
    mine = [entry for entry in proposal.entries if entry.host == node.name]
    body = [f"    # {text}" for text in proposal.notes.get(node.name, ())]
    if node.address:
        body.append(f"    address: {node.address}")
    if node.user:
        body.append(f"    user: {node.user}")
    for kind, wanted in (("rails", True), ("links", False)):
        chosen = [entry for entry in mine if bool(entry.device) is wanted]
        if chosen:
            body.append(f"    {kind}:")
        for entry in chosen:
            body += [f"      # {text}" for text in entry.why]
            fields = [f"interface: {entry.interface}"]
            fields += [f"device: {entry.device}"] if entry.device else []
            fields += [f"address: {entry.address}"]
            fields += [] if entry.managed else ["managed: false"]
            body.append(f"      - {{{', '.join(fields)}}}")
    filled = any(not line.lstrip().startswith("#") for line in body)
    return [f"  {node.name}:" + ("" if filled else " {}"), *body]

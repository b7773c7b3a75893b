"""Files of other tools that people name as an inventory: which it is, and what to write. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from spark_cluster.core.shell import quote

#: Fields of sparkrun's cluster files (~/.config/sparkrun/clusters/NAME.yaml) that ours lacks.
_SPARKRUN = frozenset({"name", "description", "user", "cache_dir", "transfer_mode",
                       "transfer_interface", "topology", "distribution"})  # fmt: skip

#: Variables of spark-vllm-docker's .env, any of which tells it.
_EUGR = frozenset({"CLUSTER_NODES", "COPY_HOSTS", "LOCAL_IP", "ETH_IF", "IB_IF", "MASTER_PORT",
                   "CONTAINER_NAME", "CLUSTER_LINKS"})  # fmt: skip

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)")

#: A name or an address as ssh takes it; whatever else stands in the file is not repeated.
_HOST = re.compile(r"(?:[\w.-]+@)?[A-Za-z0-9][A-Za-z0-9.:-]*")

_WRITES = "writes an inventory of them: it asks the hosts how they are cabled."


def of_text(text: str) -> tuple[str, str] | None:
    """What a file that is no YAML of fields is, and the remedy; None if it is not known."""
    found = _assignments(text)
    if not _EUGR & found.keys():
        return None
    others = _words(f"{found.get('LOCAL_IP', '')} {found.get('COPY_HOSTS', '')}")
    hosts = _words(found.get("CLUSTER_NODES", "")) or _linked(found.get("CLUSTER_LINKS", ""))
    hosts = hosts or (others if "COPY_HOSTS" in found else [])
    return "it is spark-vllm-docker's .env, no inventory", _init(hosts)


def of_fields(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a YAML file with other fields than ours is, and the remedy; None if it is not known."""
    hosts = data.get("hosts")
    if isinstance(hosts, list):
        tell = _SPARKRUN & data.keys()
        user = data.get("user")
        what = "it is a cluster file of sparkrun, no inventory"
        if not tell:
            what = "hosts: a list of names is no inventory: each host has its interfaces there"
        return what, _init(hosts, user if isinstance(user, str) else "")
    network = data.get("network")
    if isinstance(network, dict) and not hosts:
        return (
            "it is a netplan file of a host, no inventory",
            "`spark-cluster init HOST…` writes an inventory; netplan files stay on the hosts.",
        )
    inner = data.get("all")
    if isinstance(inner, dict) and ("hosts" in inner or "children" in inner):
        named = inner.get("hosts")
        return "it is an inventory of Ansible", _init(
            list(named) if isinstance(named, dict) else []
        )
    return None


def _init(hosts: Sequence[Any], user: str = "") -> str:
    """The command that makes an inventory of these hosts."""
    known = [str(host) for host in hosts if _HOST.fullmatch(str(host))]
    if not known or len(known) != len(hosts):
        return "`spark-cluster init HOST…` writes an inventory of the hosts that it names."
    known = list(dict.fromkeys(known))
    said = f"`spark-cluster init {' '.join(map(quote, known))}` {_WRITES}"
    if user and _HOST.fullmatch(user):
        said += f" The user {user} goes into ~/.ssh/config, or below each host as `user: {user}`."
    return said


def _assignments(text: str) -> dict[str, str]:
    """The variables of a file of KEY=value; none if a line is anything else."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            return {}
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError:
            words = [match[2]]
        found[match[1]] = " ".join(words)
    return found


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _linked(text: str) -> list[str]:
    """The hosts of CLUSTER_LINKS: a list of `{"address": "its end of the cable", …}`."""
    try:
        links = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(links, list):
        return []
    return list(dict.fromkeys(str(key) for link in links if isinstance(link, dict) for key in link))

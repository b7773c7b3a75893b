"""The lab's state folder: what runs, and the files by which everything else finds the nodes."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from spark_cluster.core.data_files import read_text
from spark_cluster.lab import layers
from spark_cluster.lab.process import Running
from spark_cluster.lab.topology import DEVICES, ETHERNET, Topology
from spark_cluster.places import current_inventory_pointer, state_dir

_RECIPES = ("qwen3-vl-235b", "qwen3-vl-235b-mp", "qwen3-32b-fp8")
"""The lab has variants of these, in recipes/: with its model, and with its sizes."""


def folder() -> Path:
    chosen = os.environ.get("SPARK_CLUSTER_LAB")
    return Path(chosen).absolute() if chosen else state_dir() / "lab"


@dataclass
class NodeState:
    pid: int
    ticks: int
    ssh_port: int
    api_port: int
    since: float
    restored: bool

    @property
    def running(self) -> Running:
        return Running(self.pid, self.ticks)


@dataclass
class State:
    topology: str
    accel: str
    memory_mib: int
    segment: int
    sockets: str
    base: str
    disk: str
    saved: str | None = None
    """The folder of the nodes' saved first boot; None: boot for real."""
    nodes: dict[str, NodeState] = field(default_factory=dict)
    why: str = ""
    """Why the nodes are run in this way."""
    kernel: str | None = None
    """The folder of the user-mode kernel, where nodes run on it."""
    switchboard: Running | None = None
    """The process that keeps the user-mode nodes' network."""
    ports: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The ports for SSH and the API that the switchboard listens on, by node."""

    def save(self, where: Path) -> None:
        layers.write_json(where / "lab.json", asdict(self))


def load(where: Path) -> State | None:
    """What `lab up` wrote; None when there is no lab, or an unreadable note of one."""
    try:
        raw = json.loads((where / "lab.json").read_text())
        raw["nodes"] = {name: NodeState(**node) for name, node in raw["nodes"].items()}
        if raw.get("switchboard"):
            raw["switchboard"] = Running(**raw["switchboard"])
        raw["ports"] = {name: tuple(pair) for name, pair in raw.get("ports", {}).items()}
        return State(**raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def inventory(topology: Topology, api_ports: dict[str, int]) -> str:
    hosts: dict[str, object] = {}
    for node in topology.nodes:
        host: dict[str, object] = {"api": f"127.0.0.1:{api_ports[node.name]}"}
        rails = topology.rails.get(node.name)
        if rails:
            host["rails"] = [
                {"interface": half, "device": DEVICES[half], "address": address}
                for half, address in rails.items()
            ]
        address = f"192.168.102.{node.last_octet}/24"
        host["links"] = [{"interface": ETHERNET, "address": address}]
        hosts[node.name] = host
    document = {
        "version": 1,
        "ssh": {"config": "ssh_config", "known_hosts": "known_hosts"},
        "hosts": hosts,
        "groups": {name: list(members) for name, members in topology.groups.items()},
        "recipes": {name: f"recipes/{name}.yaml" for name in _RECIPES},
    }
    return yaml.safe_dump(document, sort_keys=False)


def ssh_config(where: Path, ssh_ports: dict[str, int], user: str = "spark") -> str:
    """Absolute paths, quoted: an OpenSSH client reads it from any folder."""
    return "\n".join(
        f"Host {name}\n"
        f"    HostName 127.0.0.1\n"
        f"    Port {port}\n"
        f"    User {user}\n"
        f'    IdentityFile "{where / "id_ed25519"}"\n'
        f"    IdentitiesOnly yes\n"
        f'    UserKnownHostsFile "{where / "known_hosts"}"\n'
        for name, port in ssh_ports.items()
    )


def known_hosts(keys: Path, ssh_ports: dict[str, int]) -> str:
    lines = []
    for name, port in ssh_ports.items():
        kind, key = (keys / f"{name}.pub").read_text().split()[:2]
        lines.append(f"[127.0.0.1]:{port} {kind} {key}\n")
    return "".join(lines)


def write_files(where: Path, topology: Topology, state: State, keys: Path) -> None:
    """Everything that other commands read."""
    ssh = {name: node.ssh_port for name, node in state.nodes.items()}
    api = {name: node.api_port for name, node in state.nodes.items()}
    (where / "recipes").mkdir(exist_ok=True)
    for name in _RECIPES:
        text = read_text(__package__, "recipes", f"{name}.yaml")
        (where / "recipes" / f"{name}.yaml").write_text(text)
    key = where / "id_ed25519"
    key.unlink(missing_ok=True)
    key.touch(mode=0o600)
    key.write_bytes((keys / "id_ed25519").read_bytes())
    (where / "known_hosts").write_text(known_hosts(keys, ssh))
    (where / "ssh_config").write_text(ssh_config(where, ssh))
    (where / "inventory.yaml").write_text(inventory(topology, api))
    pointer = current_inventory_pointer()
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.write_text(f"{where / 'inventory.yaml'}\n")


def remove_files(where: Path) -> None:
    pointer = current_inventory_pointer()
    with suppress(OSError):
        if pointer.read_text(errors="replace").strip() == str(where / "inventory.yaml"):
            pointer.unlink()
    shutil.rmtree(where, ignore_errors=True)

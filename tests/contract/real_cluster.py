"""A deployment of ours on two nodes, its containers' commands and environment run for real.

What stands in: namespaces for hosts (namespaces.py), the engines' virtual environment for the image
(engines_venv.py), a small `docker` (tests/docker_standin). What is real: the engines, the network
between them, and everything of the program from a recipe to a step's result.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spark_cluster.core.event import Event
from spark_cluster.core.labels import LABEL
from spark_cluster.core.result import Result
from spark_cluster.engines.placement import place
from spark_cluster.engines.spec import ContainerSpec, Deployment
from spark_cluster.engines.table import ENGINES
from spark_cluster.facts.base import Fact, ProbeContext, T
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook import loader as playbooks
from spark_cluster.recipes import loader as recipes
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.run import Run
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.steps import registry
from spark_cluster.transport.local import LocalConnection
from spark_cluster.transport.protocol import Become, Target
from spark_cluster.transport.pump import Wire
from tests import docker_standin

from . import engines_venv, namespaces
from .namespaces import Node

_RUN = "20261121-031500-9f3a"

#: Keeps the exit code, as docker does.
_SUPERVISE = 'echo $$ >"$CONTAINER/pid"; "$@"; echo $? >"$CONTAINER/exit"'


class NodeConnection(LocalConnection):
    """The program's connection to a node: its own scripts, limits and parsing; no SSH."""

    def __init__(self, node: Node, target: Target, become: Become) -> None:
        super().__init__(target, become)
        self._node = node

    def _start(self, command: str) -> Wire:
        return super()._start(shlex.join([*self._node.enter, "sh", "-c", command]))


class Container:
    """One rank: `folder` is what `docker` tells of it."""

    def __init__(self, node: Node, spec: ContainerSpec, folder: Path) -> None:
        self.node = node
        self.spec = spec
        self.folder = folder
        folder.mkdir(parents=True)

    def start(self) -> None:
        """`docker run`, with exactly the command line and the environment of the spec."""
        labels = {**self.spec.labels, f"{LABEL}.spec": self.spec.digest}
        told = {"name": self.spec.name, "labels": labels}
        (self.folder / "spec.json").write_text(json.dumps(told))
        with (self.folder / "log").open("wb") as log:
            env = {**self.spec.env, "CONTAINER": str(self.folder)}
            self.node.start(["sh", "-c", _SUPERVISE, "sh", *self.spec.command], env, log)

    def kill(self) -> None:
        """`docker kill`: every process at once. The host lives, so that its kernel says goodbye."""
        for pid, command in self.node.processes():
            if _SUPERVISE not in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def exited(self) -> bool:
        return (self.folder / "exit").exists()


@dataclass
class Cluster:
    """The pair with a deployment on it, and a session of the program with both hosts."""

    deployment: Deployment
    inventory: Inventory
    containers: dict[str, Container]
    session: Session
    folder: Path
    events: list[Event] = field(default_factory=list)

    @property
    def head(self) -> Container:
        return self.containers[self.deployment.hosts[0]]

    @property
    def worker(self) -> Container:
        return self.containers[self.deployment.hosts[1]]

    def read(self, fact: Fact[T], host: str) -> T:
        """A fact of a host, read now."""
        return self.session.hosts[host].read([fact])[fact]

    def script(self, text: str, *, seconds: float = 60) -> str:
        """What a script prints on the head."""
        return self.session.hosts[self.deployment.head].run(text, timeout=seconds).stdout

    def begin(self, *steps: str) -> Run:
        """A run of steps, such as `ready minutes=3`."""
        lines = []
        for step in steps:
            name, *given = step.split()
            settings = ", ".join(word.replace("=", ": ") for word in given)
            lines.append(f"  - step: {name}\n    with: {{{settings}}}\n")
        path = self.folder / "playbook.yaml"
        path.write_text(f"name: contract\ntitle: Contract\nsteps:\n{''.join(lines)}")
        request = RunRequest(
            verb="launch",
            playbook="launch",
            hosts=list(self.session.hosts),
            inventory=self.inventory,
            deployment=self.deployment,
            all_hosts_needed=False,
            run=_RUN,
        )
        bound = playbooks.load(path, registry())
        return Run(request, self.session, bound, self.events.append)

    def run(self, *steps: str, host: str = "") -> dict[str, Result]:
        """The results on a host, the head if none is named, by step."""
        run = self.begin(*steps)
        results = run.apply(run.plan())
        return {
            result.step: result
            for result in results
            if result.host == (host or self.deployment.head)
        }

    def say(self) -> str:
        """The logs' ends, for a failed test."""
        return "\n".join(
            f"--- {c.spec.name}\n{c.log[-3000:]}" for c in self.containers.values() if c.log
        )


def deploy(recipe: Path, inventory: Inventory, names: tuple[str, str]) -> Deployment:
    """A recipe's file on two hosts, by its engine's module."""
    loaded = recipes.load(str(recipe), {})
    placement = place(loaded, inventory, "pair", names)
    return ENGINES[loaded.engine](loaded, placement, _RUN, recipes.file_contents(loaded))


@contextlib.contextmanager
def cluster(deployment: Deployment, inventory: Inventory, folder: Path) -> Iterator[Cluster]:
    """Two nodes with the deployment's containers, not started yet."""
    hosts = [inventory.hosts[name] for name in deployment.hosts]
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(namespaces.pair((hosts[0], hosts[1])))
        containers = {}
        sessions = []
        for host in hosts:
            node, own = nodes[host.name], folder / host.name
            _docker(own / "bin" / "docker")
            node.environment |= engines_venv.environment()
            node.environment["DOCKER_STANDIN"] = str(own / "containers")
            node.environment["PATH"] = f"{own / 'bin'}:{node.environment['PATH']}"
            spec = deployment.container(host.name)
            containers[host.name] = Container(node, spec, own / "containers" / spec.name)
            target = Target(host.name, host.rails[0].ip)
            sessions.append(HostSession(target, ProbeContext(host, inventory, deployment)))

        def connector(target: Target, become: Become) -> NodeConnection:
            return NodeConnection(nodes[target.name], target, become)

        session = Session(sessions, connector, Become())
        found = Cluster(deployment, inventory, containers, session, folder)
        session.connect(found.events.append)
        for each in sessions:
            stack.callback(each.close)
        yield found


def _docker(path: Path) -> None:
    path.parent.mkdir(parents=True)
    root = Path(__file__).parents[2]
    module = f"{sys.executable} -s -m {docker_standin.__name__}"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {module} "$@"\n')
    path.chmod(0o755)

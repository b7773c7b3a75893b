"""Faults on demand: what goes wrong on real Sparks, made to go wrong here, and undone (fault.yaml).

Most are a script that the guest's agent runs as root, so that they work and can be undone when
SSH is the thing that is broken. A few act on the machine from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spark_cluster.core.data_files import parse_yaml, read_text
from spark_cluster.core.error import InputError, LabError
from spark_cluster.lab import manage, nodes
from spark_cluster.lab.agent import Agent
from spark_cluster.lab.image import ENGINE_IMAGE
from spark_cluster.lab.layers import Say
from spark_cluster.lab.machine import Machine
from spark_cluster.lab.runner import Runner
from spark_cluster.lab.topology import HALVES, INTERFACES, topology


@dataclass(frozen=True)
class Target:
    node: str
    interface: str
    port: int


Action = Callable[[Target], None]


@dataclass(frozen=True)
class Fault:
    name: str
    does: str
    undone: str
    apply: str | Action
    undo: str | Action


DEFAULT_NODE = "spark-2"
DEFAULT_INTERFACE = "enp1s0f1np1"
DEFAULT_PORT = 6379

_PATH = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin; set -e; "


def _set_link(target: Target, up: bool) -> None:
    """Pulling a cable takes the carrier from both its ends."""
    known = manage.must_be_up()
    plan = topology(known.topology)
    cable = plan.cable_at(target.node, target.interface)
    ends = [(target.node, target.interface)]
    if cable is not None:
        ends.append(cable.other(target.node))
    for node, interface in ends:
        if known.nodes[node].running.alive():
            machine = manage.machine_of(known, node)
            manage.runner_of(known).set_link(
                machine, interface, up and plan.carrier(node, interface)
            )


def _on_node(act: Callable[[Runner, Machine, Target], None]) -> Action:
    """What a way to run nodes can do with the target's node."""

    def do(target: Target) -> None:
        known = manage.must_be_up()
        act(manage.runner_of(known), manage.machine_of(known, target.node), target)

    return do


def _thaw(runner: Runner, machine: Machine, _: Target) -> None:
    runner.thaw(machine)
    nodes.set_clock(machine)


def _power_off(runner: Runner, machine: Machine, target: Target) -> None:
    runner.stop(manage.must_be_up().nodes[target.node].running, machine)


def _reset(target: Target) -> None:
    manage.reset([target.node], lambda _: None)


_ACTIONS: dict[str, Action] = {
    "unplug": lambda target: _set_link(target, False),
    "plug": lambda target: _set_link(target, True),
    "remove-card": _on_node(lambda runner, machine, at: runner.remove_card(machine, at.interface)),
    "add-card": _on_node(lambda runner, machine, at: runner.add_card(machine, at.interface)),
    "freeze": _on_node(lambda runner, machine, _: runner.freeze(machine)),
    "thaw": _on_node(_thaw),
    "power-cycle": _on_node(lambda runner, machine, _: runner.power_cycle(machine)),
    "power-off": _on_node(_power_off),
    "reset": _reset,
}


def _script_or_action(given: str | dict[str, str]) -> str | Action:
    if isinstance(given, str):
        return given.replace("@ENGINE_IMAGE@", ENGINE_IMAGE)
    return _ACTIONS[given["act"]]


FAULTS = tuple(
    Fault(
        each["name"],
        each["does"],
        each["undone"],
        _script_or_action(each["apply"]),
        _script_or_action(each["undo"]),
    )
    for each in parse_yaml(read_text(__package__, "fault.yaml"))
)


def find(name: str) -> Fault:
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise InputError(
        f"there is no fault {name}", remedy="`spark-cluster lab fault list` names them all"
    )


def script(text: str, target: Target) -> str:
    """A fault's script with its target's values in front."""
    return f"{_PATH}interface={target.interface}; port={target.port}\n{text}"


def inject(
    name: str,
    node: str = DEFAULT_NODE,
    *,
    interface: str = DEFAULT_INTERFACE,
    port: int = DEFAULT_PORT,
    undo: bool = False,
    say: Say = lambda _: None,
) -> None:
    """Make a fault happen on a node, or undo it."""
    fault = find(name)
    known = manage.must_be_up()
    topology(known.topology).node(node)
    if interface not in INTERFACES or (
        name in ("unplug", "hot-remove") and interface not in HALVES
    ):
        raise InputError(
            f"{interface} is not an interface for {name}", remedy=f"use one of {', '.join(HALVES)}"
        )
    target = Target(node, interface, port)
    action = fault.undo if undo else fault.apply
    if isinstance(action, str):
        answer = Agent(manage.machine_of(known, node).agent).run(script(action, target), limit=120)
        if answer.code:
            raise LabError(
                f"{name} on {node} failed",
                host=node,
                stderr=answer.err.strip(),
                remedy="`spark-cluster lab reset` gives a node back its first state",
            )
    else:
        action(target)
    say(f"{node}: {name} {fault.undone if undo else fault.does}")

"""`lab up`, `down`, `reset`, `status`: the whole lab, as one thing."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spark_cluster.core.error import InputError, LabError
from spark_cluster.lab import (
    accel,
    image,
    join,
    layers,
    nodes,
    qmp,
    runner,
    snapshot,
    sources,
    state,
    vm,
)
from spark_cluster.lab.accel import Way
from spark_cluster.lab.image import Base
from spark_cluster.lab.join import Image
from spark_cluster.lab.machine import Machine
from spark_cluster.lab.phases import phase
from spark_cluster.lab.qmp import Qmp
from spark_cluster.lab.requirements import find_program
from spark_cluster.lab.runner import Runner
from spark_cluster.lab.snapshot import Saved
from spark_cluster.lab.state import NodeState, State
from spark_cluster.lab.topology import INTERFACES, Node, Topology, topology
from spark_cluster.lab.uml import kernel as uml_kernel
from spark_cluster.lab.uml import run as uml
from spark_cluster.places import state_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spark_cluster.lab.layers import Say

MEMORY_MIB = 2048

_WAYS = {"kvm": "QEMU with KVM", "uml": "user-mode Linux", "tcg": "QEMU's emulation"}


@dataclass(frozen=True)
class Options:
    """What `lab up` may be told. Raises InputError for a way to run nodes that there is not."""

    topology: str = "pair"
    mirror: str | None = None
    suite: str | None = None
    memory_mib: int = MEMORY_MIB
    fresh_boot: bool = False
    accel: str | None = None
    """`kvm`, `uml` or `tcg`; None: the best that works here."""

    def __post_init__(self) -> None:
        if self.accel is not None and self.accel not in _WAYS:
            raise InputError(
                f"there is no way to run nodes named {self.accel}", remedy="kvm, uml or tcg"
            )


@dataclass(frozen=True)
class Built:
    """All that nodes are started from, and how they are run."""

    image: Image
    way: Way
    saved: Saved | None
    """Their saved first boot, where a running node can be saved."""


@dataclass(frozen=True)
class NodeStatus:
    name: str
    up: bool
    pid: int
    ssh_port: int
    api_port: int
    since: float
    accel: str
    why: str
    console: str


@contextmanager
def _alone() -> Iterator[None]:
    """One `lab up`, `down` or `reset` at a time."""
    parent = state_dir()
    parent.mkdir(parents=True, exist_ok=True)
    with layers.locked(parent):
        yield


def build(options: Options, say: Say, *, keep: bool = True) -> Built:
    """Everything that needs root or minutes, without starting the lab.

    Older images go, unless a lab may run from them (`keep`)."""
    mirror = sources.this_machine(options.mirror, options.suite)
    early = _kernel_early(options.accel, layers.existing("base", image.base_key(mirror)))
    with uml_kernel.beside(mirror, say, early=early, again=options.accel == "uml") as kernel:
        base = image.ensure_base(mirror, say)
        way = accel.choose(base, options.accel, kernel)
        say(f"nodes run by {_WAYS[way.accel]} ({way.why})")
        made = join.ensure(base, way, say)
    saved = None
    if way.kernel is None and not options.fresh_boot:
        saved = snapshot.ensure_saved(made, way.accel, options.memory_mib, say)
    if not keep or state.load(state.folder()) is None:
        kept = [made.base.folder, made.disk.parent]
        kept += [saved.folder] if saved else []
        kept += [way.kernel.folder] if way.kernel else []
        layers.tidy(kept)
    return Built(made, way, saved)


def _kernel_early(wanted: str | None, base: Path | None) -> bool:
    """Whether to begin with the user-mode kernel before it is known that it will be needed: where
    KVM was not tried yet, that has to wait for the nodes' disk."""
    if wanted is not None:
        return wanted == "uml"
    return not accel.kvm_is_open() or base is None


def up(options: Options, say: Say) -> State:
    """Start what does not run yet; nodes that run stay as they are."""
    topology(options.topology)  # before anything is built for a name that there is not
    with _alone():
        where = state.folder()
        known = state.load(where)
        if known is not None and len(_dead(known)) == len(topology(known.topology).nodes):
            _end(known)
            known = None  # nothing of it serves: begin anew, from what the image is now
        if known is None:
            known = _new_state(where, build(options, say, keep=False), options)
            known.save(where)  # so that `lab down` finds the folder of the sockets
        elif options.accel not in (None, known.accel):
            raise LabError(
                f"a lab is up whose nodes are run by {_WAYS[known.accel]}",
                remedy="`spark-cluster lab down` first",
            )
        elif known.topology != options.topology:
            raise LabError(
                f"a lab with the topology {known.topology} is up",
                remedy="`spark-cluster lab down` first",
            )
        elif not _dead(known):
            state.write_files(where, topology(known.topology), known, Base(Path(known.base)).keys)
            say("all nodes are up already")
            return known
        return _start(where, known, options.fresh_boot, set(_dead(known)), say)


def reset(names: list[str], say: Say) -> State:
    """Give nodes back their first state."""
    with _alone():
        known = must_be_up()
        plan = topology(known.topology)
        wanted = set(names) or {node.name for node in plan.nodes}
        for name in wanted:
            plan.node(name)
        _stop(known, wanted)
        return _start(state.folder(), known, False, wanted | set(_dead(known)), say)


def down(say: Say, *, purge: bool = False) -> None:
    """End our machines and remove our files; the cache stays unless it is to go too."""
    with _alone():
        where = state.folder()
        known = state.load(where)
        if known is not None:
            _end(known)
            say(f"{len(known.nodes)} nodes are down")
        elif where.exists():
            qmp.quit_all(where / "run")
            uml.end_all(where / "run")
        else:
            say("there is no lab")
        state.remove_files(where)
    if purge:
        layers.purge()
        say("the cached images are gone")


def status() -> list[NodeStatus]:
    where = state.folder()
    known = state.load(where)
    if known is None:
        return []
    return [
        NodeStatus(
            name=name,
            up=_is_up(known, name),
            pid=node.pid,
            ssh_port=node.ssh_port,
            api_port=node.api_port,
            since=node.since,
            accel=known.accel,
            why=known.why,
            console=str(where / f"{name}.console"),
        )
        for name, node in known.nodes.items()
    ]


def ssh_words(node: str, command: Sequence[str]) -> list[str]:
    """The command line of a shell on a node, or of this command there; its first word is the
    program's path. Raises LabError without a lab, InputError for a node that it has not."""
    known = must_be_up()
    topology(known.topology).node(node)
    return [find_program("ssh") or "ssh", "-F", str(state.folder() / "ssh_config"), node, *command]


def runner_of(known: State) -> Runner:
    """The way in which a lab's nodes are run."""
    return runner.of(known.accel)


def machine_of(known: State, name: str) -> Machine:
    """The machine that runs as this node, for those who talk to it."""
    plan = topology(known.topology)
    made = Base(Path(known.base))
    mine = known.nodes.get(name)
    where = state.folder()
    machine = Machine(
        node=plan.node(name),
        accel=known.accel,
        memory_mib=known.memory_mib,
        kernel=made.kernel,
        initrd=made.initrd,
        disk=where / f"{name}.qcow2",
        sockets=Path(known.sockets),
        console=where / f"{name}.console",
        ssh_port=mine.ssh_port if mine else vm.free_port(),
        api_port=mine.api_port if mine else vm.free_port(),
        dark=tuple(i for i in INTERFACES if not plan.carrier(name, i)),
    )
    if known.kernel is None:
        return replace(machine, qemu=accel.qemu())
    kernel = uml_kernel.Kernel(Path(known.kernel))
    ssh_port, api_port = known.ports.get(name, (0, 0))
    return replace(
        machine,
        kernel=kernel.program,
        disk=where / f"{name}.cow",
        base_disk=Path(known.disk),
        extra_disks=(kernel.modules,),
        ssh_port=ssh_port,
        api_port=api_port,
        namespace=known.switchboard.pid if known.switchboard else 0,
    )


def must_be_up() -> State:
    known = state.load(state.folder())
    if known is None:
        raise LabError("the lab is not up", remedy="spark-cluster lab up")
    return known


def _end(known: State) -> None:
    """Nothing of a lab runs after this, and its sockets are gone."""
    _stop(known, set(known.nodes))
    if known.switchboard:
        known.switchboard.end()
    shutil.rmtree(known.sockets, ignore_errors=True)


def _is_up(known: State, name: str) -> bool:
    """Whether a node runs and has a network: that of user-mode nodes is a process too."""
    if known.kernel is not None and not (known.switchboard and known.switchboard.alive()):
        return False
    return name in known.nodes and known.nodes[name].running.alive()


def _dead(known: State) -> list[str]:
    plan = topology(known.topology)
    alive = {node.name for node in plan.nodes if _is_up(known, node.name)}
    return [node.name for node in plan.nodes if node.name not in alive]


def _new_state(where: Path, built: Built, options: Options) -> State:
    where.mkdir(parents=True, exist_ok=True)
    where.chmod(0o700)
    sockets = where / "run"
    if len(str(sockets)) > 80:  # a Unix socket's path must fit in 108 bytes
        sockets = Path(tempfile.mkdtemp(prefix="spark-lab-"))
    return State(
        topology=options.topology,
        accel=built.way.accel,
        memory_mib=options.memory_mib,
        segment=vm.free_port(),
        sockets=str(sockets),
        base=str(built.image.base.folder),
        disk=str(built.image.disk),
        saved=str(built.saved.folder) if built.saved else None,
        why=built.way.why,
        kernel=str(built.way.kernel.folder) if built.way.kernel else None,
    )


def _stop(known: State, names: set[str]) -> None:
    for name in sorted(names):
        if name in known.nodes:
            runner_of(known).stop(known.nodes[name].running, machine_of(known, name))


def _lay_cables(where: Path, known: State, plan: Topology) -> set[str]:
    """See to the network of user-mode nodes; the nodes that must be started for it to serve."""
    if known.kernel is None or (known.switchboard and known.switchboard.alive()):
        return set()
    _stop(known, set(known.nodes))
    log = where / "switchboard.log"
    known.switchboard, known.ports = uml.lay(plan, Path(known.sockets), log, known.ports)
    known.save(where)
    return {node.name for node in plan.nodes}


def _start(where: Path, known: State, fresh_boot: bool, names: set[str], say: Say) -> State:
    plan = topology(known.topology)
    disk = Path(known.disk)
    names = names | _lay_cables(where, known, plan)
    saved = Saved(Path(known.saved)) if known.saved and not fresh_boot else None
    if saved:
        try:
            _run_nodes(where, known, plan, saved, disk, names)
            _make_usable(where, known, plan, names, restored=True, say=say)
            return known
        except LabError as error:
            say(f"the saved nodes do not restore ({error.message}); booting for real")
            snapshot.drop(saved)
            known.saved = None
            _stop(known, names)
    every = len(names) == len(plan.nodes)
    with phase("boot" if every else "boot again", f"starts {', '.join(sorted(names))}", say):
        _run_nodes(where, known, plan, None, disk, names)
        _make_usable(where, known, plan, names, restored=False, say=say)
    return known


def _run_nodes(
    where: Path, known: State, plan: Topology, saved: Saved | None, disk: Path, names: set[str]
) -> None:
    for node in plan.nodes:
        if node.name not in names:
            continue
        machine = machine_of(known, node.name)
        machine = _with_disk(machine, node, saved, disk)
        running = runner_of(known).start(machine, where / f"{node.name}.log")
        known.nodes[node.name] = NodeState(
            running.pid,
            running.ticks,
            machine.ssh_port,
            machine.api_port,
            time.time(),
            saved is not None,
        )
        known.save(where)  # at once, so that `lab down` finds it whatever happens next
        if saved:
            with Qmp(machine.qmp) as monitor:
                monitor.load(saved.devices(node.name), limit=60)
    machines = [machine_of(known, node.name) for node in plan.nodes]
    alive = [m for m in machines if known.nodes[m.node.name].running.alive()]
    runner_of(known).connect(plan, alive, names, known.segment)


def _with_disk(machine: Machine, node: Node, saved: Saved | None, disk: Path) -> Machine:
    machine.disk.unlink(missing_ok=True)
    if machine.base_disk:
        return machine
    if saved is None:
        snapshot.overlay(machine.disk, disk, "raw")
        return machine
    snapshot.overlay(machine.disk, saved.disk(node.name), "qcow2")
    return replace(machine, ram=saved.ram(node.name), incoming=True)


def _make_usable(
    where: Path, known: State, plan: Topology, names: set[str], *, restored: bool, say: Say
) -> None:
    started = [machine_of(known, node.name) for node in plan.nodes if node.name in names]
    state.write_files(where, plan, known, Base(Path(known.base)).keys)
    if restored:
        for machine in started:
            nodes.set_clock(machine)
    nodes.wait_ready(started, say, limit=180.0 if restored else nodes.BOOT_LIMIT)
    if not restored:
        nodes.settle(started)

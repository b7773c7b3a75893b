"""`spark-cluster lab`: three Sparks without a Spark."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.sections import Group
from spark_cluster.cli.terminal import say, say_json

app = typer.Typer(
    cls=Group,
    help="Run three virtual Sparks on this machine, with real RoCE.",
    no_args_is_help=True,
)

Mirror = Annotated[str | None, typer.Option(help="Package mirror; default: this machine's own.")]
Suite = Annotated[str | None, typer.Option(help="Distribution release of the nodes.")]
Memory = Annotated[int, typer.Option(help="Memory per node in MiB.")]
Accel = Annotated[
    str | None,
    typer.Option(help="Virtualization: kvm, uml (user-mode Linux) or tcg (emulation)."),
]
Fresh = Annotated[
    bool, typer.Option("--fresh-boot", help="Boot the nodes instead of restoring a snapshot.")
]


def _clean_up_on_sigterm() -> None:
    """Being told to end is like Ctrl-C: machines of a half-done build are ended, files removed."""
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _known_way(accel: str | None) -> str | None:
    from spark_cluster.core.error import InputError

    if accel not in (None, "kvm", "uml", "tcg"):
        raise InputError(f"there is no way to run nodes named {accel}", remedy="kvm, uml or tcg")
    return accel


def _say(text: str) -> None:
    say(text, err=True)


@app.command()
def up(
    topology: Annotated[str, typer.Option(help="Cabling: pair, both, ring or switch.")] = "pair",
    mirror: Mirror = None,
    suite: Suite = None,
    memory: Memory = 2048,
    fresh_boot: Fresh = False,
    accel: Accel = None,
) -> None:
    """Start the lab. Builds its image first if there is none (as root)."""
    from spark_cluster.lab import manage, state
    from spark_cluster.places import short

    _clean_up_on_sigterm()
    options = manage.Options(topology, mirror, suite, memory, fresh_boot, _known_way(accel))
    manage.up(options, _say)
    say(f"The lab is up. Its inventory: {short(state.folder() / 'inventory.yaml')}")


@app.command()
def build(
    mirror: Mirror = None, suite: Suite = None, memory: Memory = 2048, accel: Accel = None
) -> None:
    """Build the lab's image without starting the lab (as root)."""
    from spark_cluster.lab import manage

    _clean_up_on_sigterm()
    manage.build(manage.Options("pair", mirror, suite, memory, accel=_known_way(accel)), _say)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Also remove the cached images.")] = False,
) -> None:
    """Stop the lab's nodes and remove its files."""
    from spark_cluster.lab import manage

    manage.down(_say, purge=purge)


@app.command()
def reset(
    nodes: Annotated[list[str] | None, typer.Argument(help="Nodes to reset; default: all.")] = None,
) -> None:
    """Reset nodes to the state of their first boot."""
    from spark_cluster.lab import manage

    manage.reset(nodes or [], _say)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which nodes are up and their SSH addresses."""
    import time

    from spark_cluster.lab import manage
    from spark_cluster.lab.reports import LabStatus

    found = manage.status()
    if as_json:
        say_json(LabStatus(tuple(found)).as_dict())
        return
    if not found:
        say("The lab is not up. Start it: spark-cluster lab up")
        return
    say("node     state  ssh              api              accel  pid      since")
    for node in found:
        since = time.strftime("%H:%M:%S", time.localtime(node.since))
        say(
            f"{node.name:<8} {'up' if node.up else 'dead':<6} "
            f"{f'127.0.0.1:{node.ssh_port}':<16} {f'127.0.0.1:{node.api_port}':<16} "
            f"{node.accel:<6} {node.pid:<8} {since}"
        )
    say(f"accel: {found[0].why}")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    node: Annotated[str, typer.Argument(help="Node to open a shell on.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Command to run instead of a shell.")
    ] = None,
) -> None:
    """Open a shell on a node, or run a command there."""
    import os

    from spark_cluster.lab import manage, state, topology
    from spark_cluster.lab.requirements import find_program

    known = manage.must_be_up()
    topology.topology(known.topology).node(node)
    program = find_program("ssh") or "ssh"
    config = str(state.folder() / "ssh_config")
    os.execv(program, [program, "-F", config, node, *(command or [])])


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="Fault to cause, or `list`.")],
    node: Annotated[str, typer.Argument(help="Node to affect.")] = "spark-2",
    interface: Annotated[str, typer.Option(help="Interface to affect.")] = "enp1s0f1np1",
    port: Annotated[int, typer.Option(help="Port to block (firewall-port).")] = 6379,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the fault.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print `list` as JSON.")] = False,
) -> None:
    """Cause a fault on a node, or undo it."""

    from spark_cluster.lab import fault as faults
    from spark_cluster.lab.reports import FaultRow, LabFaults

    if name == "list" and as_json:
        rows = tuple(FaultRow(known.name, known.does, known.undone) for known in faults.FAULTS)
        say_json(LabFaults(rows).as_dict())
        return
    if name == "list":
        for known in faults.FAULTS:
            say(f"{known.name:<14} {known.does}; --undo {known.undone}")
        return
    faults.inject(name, node, interface=interface, port=port, undo=undo, say=_say)

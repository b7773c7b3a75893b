"""`spark-cluster lab`: three Sparks without a Spark."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.sections import Verbs
from spark_cluster.terminal.printing import say

app = Verbs("lab", "Run three virtual Sparks on this machine, with real RoCE.")

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


_say = partial(say, err=True)


@app.verb()
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
    options = manage.Options(topology, mirror, suite, memory, fresh_boot, accel)
    manage.up(options, _say)
    say(f"The lab is up. Its inventory: {short(state.folder() / 'inventory.yaml')}")


@app.verb()
def build(
    mirror: Mirror = None, suite: Suite = None, memory: Memory = 2048, accel: Accel = None
) -> None:
    """Build the lab's image without starting the lab (as root)."""
    from spark_cluster.lab import manage

    _clean_up_on_sigterm()
    manage.build(manage.Options("pair", mirror, suite, memory, accel=accel), _say)


@app.verb()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Also remove the cached images.")] = False,
) -> None:
    """Stop the lab's nodes and remove its files."""
    from spark_cluster.lab import manage

    manage.down(_say, purge=purge)


@app.verb()
def reset(
    nodes: Annotated[list[str] | None, typer.Argument(help="Nodes to reset; default: all.")] = None,
) -> None:
    """Reset nodes to the state of their first boot."""
    from spark_cluster.lab import manage

    manage.reset(nodes or [], _say)


@app.verb()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which nodes are up and their SSH addresses."""
    from spark_cluster.cli.output import Json
    from spark_cluster.cli.views.lab import nodes
    from spark_cluster.lab import reports

    Json(as_json).report(reports.status(), nodes)


@app.verb(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    node: Annotated[str, typer.Argument(help="Node to open a shell on.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Command to run instead of a shell.")
    ] = None,
) -> None:
    """Open a shell on a node, or run a command there."""
    import os

    from spark_cluster.lab import manage

    words = manage.ssh_words(node, command or ())
    os.execv(words[0], words)


@app.verb()
def fault(
    name: Annotated[str, typer.Argument(help="Fault to cause, or `list`.")],
    node: Annotated[str, typer.Argument(help="Node to affect.")] = "spark-2",
    interface: Annotated[str, typer.Option(help="Interface to affect.")] = "enp1s0f1np1",
    port: Annotated[int, typer.Option(help="Port to block (firewall-port).")] = 6379,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the fault.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print `list` as JSON.")] = False,
) -> None:
    """Cause a fault on a node, or undo it."""
    from spark_cluster.cli.output import Json
    from spark_cluster.cli.views.lab import faults
    from spark_cluster.lab import fault as causing
    from spark_cluster.lab import reports

    if name == "list":
        Json(as_json).report(reports.faults(), faults)
    else:
        causing.inject(name, node, interface=interface, port=port, undo=undo, say=_say)

"""`spark-cluster watch`: look at the cluster for as long as it serves, and act if told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.durations import time_option
from spark_cluster.cli.options import Hosts, interval_option
from spark_cluster.cli.output import Json
from spark_cluster.core.error import InputError
from spark_cluster.terminal.printing import say

if TYPE_CHECKING:
    from spark_cluster.actions.watch import Address


def watch(
    *,
    interval: Annotated[
        float,
        interval_option(
            "Time between readings; default: 15s.", least=2, most=600, show_default=False
        ),
    ] = 15.0,
    on_wedge: Annotated[
        str,
        typer.Option(
            "--on-wedge",
            metavar="CMD",
            help="Shell command to run on a fatal condition; reads SPARK_CLUSTER_CONDITION, _HOST, "
            "_CODE, _WHAT and _EVIDENCE.",
        ),
    ] = "",
    wedge_after: Annotated[
        float,
        time_option(
            "--wedge-after",
            "Time without a token while requests run that is called a wedge; longer than the "
            "longest prefill; default: 5m.",
            least=30,
            most=3600,
            show_default=False,
        ),
    ] = 300.0,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Relaunch what is wedged or dead (needs sudo without a password).",
        ),
    ] = False,
    cap: Annotated[
        int, typer.Option("--cap", min=1, max=100, help="Maximum restarts in six hours.")
    ] = 3,
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="ADDRESS:PORT", help="Address that serves the metrics."),
    ] = "127.0.0.1:9470",
    pause: Annotated[
        bool,
        typer.Option("--pause", help="Pause this user's watchers on this machine: observe only."),
    ] = False,
    unpause: Annotated[
        bool, typer.Option("--unpause", help="Let paused watchers act again.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", hidden=True, help="Old name of --unpause.")
    ] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Install as a systemd service with these options.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Stop and remove the systemd service.")
    ] = False,
    where: Hosts,
    output: Json,
) -> int:
    """Watch for wedges, dead ranks, memory, rails, errors and reboots.

    Runs until Ctrl-C. Tells what begins and ends, collects evidence of what is fatal, and gives
    metrics to Prometheus. It restarts only with --restart, as `relaunch` does. Exit 4 if something
    grave held at the end.
    """
    from spark_cluster.actions import watch as action
    from spark_cluster.actions import watch_service
    from spark_cluster.cli.views import watch as view
    from spark_cluster.watch.detector import Thresholds

    given = [name for name, value in
             (("--pause", pause), ("--unpause", unpause or resume), ("--install", install),
              ("--uninstall", uninstall)) if value]  # fmt: skip
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} do not go together", remedy="Choose one of them.")
    if resume:
        say("note: watch --resume is now --unpause; the next release knows only that", err=True)
    if pause or unpause or resume:
        return output.report(action.pause(pause), view.paused)
    if uninstall:
        return output.report(watch_service.uninstall(), view.uninstalled)
    thresholds = Thresholds(wedge=wedge_after)
    request = action.WatchRequest(
        interval, on_wedge, cap if restart else 0, _address(listen), thresholds
    )
    loaded, names = where.load_hosts()
    if install:
        limited = names if where.hosts else ()
        unit = watch_service.install(request, loaded.path, limited)
        return output.report(unit, view.installed)
    with output.operator(view=view.WatchView()) as operator:
        return action.watch(loaded, names, request, operator).exit_code


def _address(text: str) -> Address:
    """Raises InputError."""
    from spark_cluster.actions.watch import Address

    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--listen {text}", remedy="For example 0.0.0.0:9470 or [::]:9470.")
    return Address(host.strip("[]"), int(port))

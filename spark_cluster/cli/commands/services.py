"""`spark-cluster services`: Phoenix, Langfuse and Helicone on a host, as the seeds ran them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import DryRunOption, Where
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Group

app = typer.Typer(
    cls=Group,
    help="Run observability services: traces and logs of model requests.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: Name and what --help says; spark_cluster/services knows the rest.
_NAMES = {
    "phoenix": "Run Arize Phoenix as a systemd user unit.",
    "langfuse": "Run Langfuse with docker compose.",
    "helicone": "Run Helicone's all-in-one image with docker compose.",
}

UpHostOption = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="NAME", help="Host to run on; default: the current one, else the first."
    ),
]
HereOption = Annotated[
    str | None,
    typer.Option("--host", metavar="NAME", help="Limit to this host; default: wherever it runs."),
]


def _add(name: str, text: str) -> None:
    """A group of commands for one service."""
    group = typer.Typer(cls=Group, help=text, no_args_is_help=True, rich_markup_mode=None)
    for action in (_up, _down, _status):
        group.command(action.__name__.strip("_"))(action(name))
    app.add_typer(group, name=name)


def _up(name: str) -> Callable[..., int]:
    @grouped
    def up(
        *,
        host: UpHostOption = None,
        listen: Annotated[
            str, typer.Option("--listen", metavar="all|local", help="Addresses to listen on.")
        ] = "",
        where: Where,
        dry_run: DryRunOption = False,
        output: Output,
    ) -> int:
        """Start the service. Secrets are made on the host; a second run changes nothing."""
        from spark_cluster.actions import services

        with output.operator(goes_on=not dry_run) as operator:
            outcome = services.up(
                where.load(), name, operator,
                host=host, listen=listen, dry_run=dry_run, commands=output.verbose,
            )  # fmt: skip
            return output.finish(outcome, commands=output.verbose)

    return up


def _down(name: str) -> Callable[..., int]:
    @grouped
    def down(
        *,
        host: HereOption = None,
        purge: Annotated[
            bool, typer.Option("--purge", help="Also remove its data and secrets.")
        ] = False,
        where: Where,
        dry_run: DryRunOption = False,
        output: Output,
    ) -> int:
        """Stop the service. Its data stays unless --purge."""
        from spark_cluster.actions import services

        with output.operator(goes_on=not dry_run) as operator:
            outcome = services.down(
                where.load(), name, operator,
                host=host, purge=purge, dry_run=dry_run, commands=output.verbose,
            )  # fmt: skip
            return output.finish(outcome, commands=output.verbose)

    return down


def _status(name: str) -> Callable[..., int]:
    @grouped
    def status(*, where: Where, host: HereOption = None, output: Json) -> int:
        """Show where the service runs and whether it answers. One look, nothing changed."""
        from spark_cluster.actions import services
        from spark_cluster.cli.views.services import lines

        with output.operator() as operator:
            report = services.status(where.load(), name, operator, host=host)
        output.report(report, lines)
        return report.exit_code

    return status


for _name, _text in _NAMES.items():
    _add(_name, _text)

"""`spark-cluster services`: Phoenix, Langfuse and Helicone on a host, as the seeds ran them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import DryRunOption, Where
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Verbs

app = Verbs("services", "Run observability services: traces and logs of model requests.")

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


def _service(context: typer.Context) -> str:
    """The service whose group of commands this is."""
    assert context.parent is not None
    return str(context.parent.info_name)


def up(
    context: typer.Context,
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

    action = partial(
        services.up, where.load(), _service(context),
        host=host, listen=listen, dry_run=dry_run, commands=output.verbose,
    )  # fmt: skip
    return output.act(action, dry_run=dry_run)


def down(
    context: typer.Context,
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

    action = partial(
        services.down, where.load(), _service(context),
        host=host, purge=purge, dry_run=dry_run, commands=output.verbose,
    )  # fmt: skip
    return output.act(action, dry_run=dry_run)


def status(context: typer.Context, *, where: Where, host: HereOption = None, output: Json) -> int:
    """Show where the service runs and whether it answers. One look, nothing changed."""
    from spark_cluster.actions import services
    from spark_cluster.cli.views.services import lines

    return output.look(partial(services.status, where.load(), _service(context), host=host), lines)


for _name, _says in _NAMES.items():
    _group = Verbs(_name, _says)
    for _verb in (up, down, status):
        _group.verb()(_verb)
    app.add_typer(_group)

"""`spark-cluster model`: what each host has of which model, and bringing it where it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    EncryptOption,
    FromOption,
    Hosts,
    IperfOption,
    ToOption,
    Where,
    split,
)
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Verbs
from spark_cluster.core.error import InputError, Interrupted
from spark_cluster.terminal.printing import confirm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_cluster.actions.copies import Way

app = Verbs("model", "List, download, copy, verify and remove models on the hosts.")

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="ORG/NAME on the hub, or a recipe that names the model."),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Cache folder on the hosts; default: that of the recipes with this model, or "
        "~/.cache/huggingface.",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(
        "--revision",
        metavar="REF",
        help="Branch, tag or commit; default: the recipe's, or main.",
    ),
]


@dataclass(frozen=True)
class Copying:
    """How the files of a model travel, and into which folder."""

    streams: Annotated[
        int, typer.Option("--streams", min=1, max=64, help="Files to copy in parallel.")
    ] = 8
    encrypt: EncryptOption = False
    iperf: IperfOption = False
    cache: CacheOption = None

    def way(self) -> Way:
        from spark_cluster.actions.copies import Way

        return Way(self.encrypt, self.iperf, self.streams)


@app.verb("ls")
def list_models(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Limit to this model.")
    ] = None,
    *,
    cache: CacheOption = None,
    where: Hosts,
    output: Json,
) -> int:
    """Show which models each host has, and where hosts differ.

    Looks in ~/.cache/huggingface and in the folders of all recipes, unless one is named.
    """
    from spark_cluster.actions import copies
    from spark_cluster.cli.views.held import models

    act = partial(copies.list_models, *where.load_hosts(), model=model, cache=cache)
    return output.look(act, models)


@app.verb()
def pull(
    model: ModelArgument,
    *,
    to: ToOption = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="HOST",
            help="Host to download on; default: the one that has most of it.",
        ),
    ] = None,
    revision: RevisionOption = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            help="Image to download in if the host has no `hf`; default: the recipe's.",
        ),
    ] = None,
    copying: Copying,
    where: Where,
    output: Output,
) -> int:
    """Download a model once and copy it to the other hosts.

    Run it again after a break: files that are whole stay. $HF_TOKEN and $HF_ENDPOINT are handed on.
    """
    from spark_cluster.actions import copies

    loaded = where.load()
    named = copies.named_model(loaded, model, copying.cache, revision)
    act = partial(
        copies.pull_model, loaded, named,
        to=split(to, "--to"), on=on, image=image, way=copying.way(),
    )  # fmt: skip
    return output.act(act)


@app.verb()
def sync(
    model: ModelArgument,
    *,
    to: ToOption = None,
    source: FromOption = None,
    revision: RevisionOption = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also hash files that the hosts already have, and replace wrong ones."
        ),
    ] = False,
    copying: Copying,
    where: Where,
    output: Output,
) -> int:
    """Copy a model over the fabric from a host that has it to the others.

    Every file is verified by its hash; the ref comes last, so that no host shows half a model.
    """
    from spark_cluster.actions import copies

    loaded = where.load()
    named = copies.named_model(loaded, model, copying.cache, revision)
    act = partial(
        copies.sync_model, loaded, named,
        to=split(to, "--to"), source=source, deep=deep, way=copying.way(),
    )  # fmt: skip
    return output.act(act)


@app.verb()
def verify(model: ModelArgument, *, cache: CacheOption = None, where: Hosts, output: Output) -> int:
    """Verify the files of a model against their hashes. Exit 4 if one differs."""
    from spark_cluster.actions import copies

    loaded, hosts = where.load_hosts()
    named = copies.named_model(loaded, model, cache)
    return output.act(partial(copies.verify_model, loaded, named, hosts))


@app.verb("rm")
def remove(
    model: ModelArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    cache: CacheOption = None,
    where: Hosts,
    output: Output,
) -> int:
    """Remove a model from the hosts' caches. Asks first, and refuses while it is served."""
    from spark_cluster.actions import copies
    from spark_cluster.core.units import human_bytes

    loaded, hosts = where.load_hosts()
    named = copies.named_model(loaded, model, cache)

    def agree(held: Mapping[str, int]) -> None:
        if not yes:
            sizes = ", ".join(f"{human_bytes(size)} on {host}" for host, size in held.items())
            _confirm(f"Remove {named.name} ({sizes})?")

    needed = where.hosts is not None
    act = partial(copies.remove_model, loaded, named, hosts, agree=agree, all_needed=needed)
    return output.act(act)


def _confirm(question: str) -> None:
    """Raises InputError when there is nobody to ask, Interrupted for a no."""
    import sys

    if not sys.stdin.isatty():
        raise InputError(
            f"{question} There is no terminal to ask on.", remedy="Say --yes if you mean it."
        )
    if not confirm(question):
        raise Interrupted("nothing was removed", remedy="Run it again to remove it after all.")

"""`spark-cluster model`: what each host has of which model, and bringing it where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    EncryptOption,
    FromOption,
    HostsOption,
    InventoryOption,
    IperfOption,
    JsonOption,
    ToOption,
    VerboseOption,
    split,
)
from spark_cluster.cli.sections import Group
from spark_cluster.cli.terminal import confirm, say_json

if TYPE_CHECKING:
    from spark_cluster.cli.running import Active, Request
    from spark_cluster.core.result import Result
    from spark_cluster.inventory.models import Inventory
    from spark_cluster.recipes.naming import NamedModel
    from spark_cluster.runner.models import Models

app = typer.Typer(
    cls=Group,
    help="List, download, copy, verify and remove models on the hosts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

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
StreamsOption = Annotated[
    int, typer.Option("--streams", min=1, max=64, help="Files to copy in parallel.")
]


@app.command("ls")
def list_models(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Limit to this model.")
    ] = None,
    cache: CacheOption = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show which models each host has, and where hosts differ.

    Looks in ~/.cache/huggingface and in the folders of all recipes, unless one is named.
    """

    from spark_cluster.actions.model_caches import all_caches
    from spark_cluster.cli.running import load_inventory, read_hosts
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.transfer import models_data, show_models
    from spark_cluster.facts.models import models
    from spark_cluster.inventory.loader import select
    from spark_cluster.recipes.loader import own_recipes
    from spark_cluster.recipes.naming import model_of

    loaded = load_inventory(inventory)
    own = own_recipes(loaded.path, loaded.recipes)
    wanted = model_of(model, own, cache) if model else None
    folder = wanted.cache if wanted and wanted.name != model else cache  # a recipe's, or --cache
    caches = [folder.rstrip("/")] if folder else all_caches(own)
    fact = models(*caches)
    found = read_hosts(loaded, select(loaded, split(hosts)), [fact])
    data = models_data(found, fact, wanted, caches)
    if as_json:
        say_json({"kind": "models", "inventory": str(loaded.path), **data})
    else:
        show_models(Console(), data)
    return 3 if data["unknown"] else 0


@app.command("pull")
def pull(
    model: ModelArgument,
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
    streams: StreamsOption = 8,
    encrypt: EncryptOption = False,
    iperf: IperfOption = False,
    cache: CacheOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Download a model once and copy it to the other hosts.

    Run it again after a break: files that are whole stay. $HF_TOKEN and $HF_ENDPOINT are handed on.
    """
    import os

    from spark_cluster.actions.deploying import handed_on
    from spark_cluster.cli.running import Request, activate
    from spark_cluster.core.secret import Secret
    from spark_cluster.inventory.loader import select
    from spark_cluster.transfer.plan import targets

    loaded, named = _named(model, inventory, cache, revision)
    token = handed_on({"HF_TOKEN"}, os.environ).get("HF_TOKEN", Secret(""))
    wanted = targets(loaded, split(to, "--to"))
    host = select(loaded, [on])[0] if on else None
    request = Request(
        verb="model pull",
        playbook="",
        hosts=select(loaded, [*wanted, *([host] if host else [])]),
        inventory=loaded,
        note=f"{_where(named)} to {', '.join(wanted)}",
        as_json=as_json,
        verbose=verbose,
    )
    with activate(request) as active:
        models = _models(active, named, encrypt=encrypt, iperf=iperf)
        source, pulled = models.pull(
            wanted,
            host,
            image=image or named.image,
            endpoint=os.environ.get("HF_ENDPOINT", ""),
            token=token,
        )
        results = [pulled]
        others = [name for name in wanted if name != source]
        if pulled.status.good and others:
            results += models.sync(others, source, streams=streams)
        return _finish(active, models, results)


@app.command("sync")
def sync(
    model: ModelArgument,
    to: ToOption = None,
    source: FromOption = None,
    revision: RevisionOption = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also hash files that the hosts already have, and replace wrong ones."
        ),
    ] = False,
    streams: StreamsOption = 8,
    encrypt: EncryptOption = False,
    iperf: IperfOption = False,
    cache: CacheOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Copy a model over the fabric from a host that has it to the others.

    Every file is verified by its hash; the ref comes last, so that no host shows half a model.
    """
    from spark_cluster.actions.copying import copy_request
    from spark_cluster.cli.running import activate

    loaded, named = _named(model, inventory, cache, revision)
    request, wanted, preferred = copy_request(
        "model sync", loaded, _where(named),
        to=split(to, "--to"), source=source, as_json=as_json, verbose=verbose,
    )  # fmt: skip
    with activate(request) as active:
        models = _models(active, named, encrypt=encrypt, iperf=iperf)
        return _finish(active, models, models.sync(wanted, preferred, streams=streams, deep=deep))


@app.command("verify")
def verify(
    model: ModelArgument,
    cache: CacheOption = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Verify the files of a model against their hashes. Exit 4 if one differs."""
    from spark_cluster.cli.running import activate

    loaded, named = _named(model, inventory, cache)
    request = _request("model verify", loaded, named, hosts, as_json=as_json, verbose=verbose)
    with activate(request) as active:
        models = _models(active, named)
        return _finish(active, models, models.verify())


@app.command("rm")
def remove(
    model: ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    cache: CacheOption = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Remove a model from the hosts' caches. Asks first, and refuses while it is served."""
    from spark_cluster.cli.running import activate
    from spark_cluster.core.units import human_bytes

    loaded, named = _named(model, inventory, cache)
    request = _request(
        "model rm", loaded, named, hosts, needed=hosts is not None, as_json=as_json, verbose=verbose
    )
    with activate(request) as active:
        models = _models(active, named)
        held = {host: found for host, found in models.read().items() if found is not None}
        models.refuse_if_used()
        if held and not yes:
            sizes = ", ".join(f"{human_bytes(found.size)} on {h}" for h, found in held.items())
            _confirm(f"Remove {named.name} ({sizes})?")
        results = models.remove(list(held)) if held else []
        if not held:
            active.say(models.nowhere(list(active.session.alive)))
        return _finish(active, models, results)


def _named(
    given: str, inventory: str | None, cache: str | None, revision: str | None = None
) -> tuple[Inventory, NamedModel]:
    """Raises InputError, also for a model of the hub that recipes keep in several folders."""
    from dataclasses import replace

    from spark_cluster.actions.model_caches import cache_of
    from spark_cluster.cli.running import load_inventory
    from spark_cluster.recipes.loader import own_recipes
    from spark_cluster.recipes.naming import model_of

    loaded = load_inventory(inventory)
    own = own_recipes(loaded.path, loaded.recipes)
    named = model_of(given, own, cache)
    if cache is None and named.name == given:
        named = replace(named, cache=cache_of(given, own))
    return loaded, replace(named, revision=revision or named.revision)


def _where(named: NamedModel) -> str:
    return f"{named.name} in {named.cache}"


def _request(
    verb: str,
    inventory: Inventory,
    named: NamedModel,
    hosts: list[str] | None,
    *,
    needed: bool = False,
    as_json: bool,
    verbose: bool,
) -> Request:
    """A run on these hosts, or on all; `needed`: not without one of them."""
    from spark_cluster.cli.running import Request
    from spark_cluster.inventory.loader import select

    return Request(
        verb=verb,
        playbook="",
        hosts=select(inventory, split(hosts)),
        inventory=inventory,
        note=_where(named),
        as_json=as_json,
        verbose=verbose,
        all_hosts_needed=needed,
    )


def _confirm(question: str) -> None:
    """Raises InputError when there is nobody to ask, Interrupted for a no."""
    import sys

    from spark_cluster.core.error import InputError, Interrupted

    if not sys.stdin.isatty():
        raise InputError(
            f"{question} There is no terminal to ask on.", remedy="Say --yes if you mean it."
        )
    if not confirm(question):
        raise Interrupted("nothing was removed", remedy="Run it again to remove it after all.")


def _models(
    active: Active,
    named: NamedModel,
    *,
    encrypt: bool = False,
    iperf: bool = False,
) -> Models:
    from spark_cluster.runner.models import Models
    from spark_cluster.runner.transfer import Transfer

    transfer = Transfer(active.session, active.bus, encrypt, iperf)
    request = active.request
    return Models(transfer, request.inventory, request.verb, named)


def _finish(active: Active, models: Models, results: list[Result]) -> int:
    from spark_cluster.cli.views.transfer import finish

    return finish(active, results, models.transfer, {"model": models.name})

"""`spark-cluster teardown`: take down what is ours, and look again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
    not_empty,
)
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from spark_cluster.inventory.models import Inventory
    from spark_cluster.runner.history import Past

#: Seconds between two looks at hosts that are away.
_PAUSE = 10.0


def register(app: typer.Typer) -> None:
    app.command("teardown")(teardown)


def teardown(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="Limit to the containers of this recipe."),
    ] = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Limit to the hosts of this group.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Kill at once, without the lock and even if docker hangs; at most 5 minutes.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Limit to hosts that earlier teardowns did not finish.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="MINUTES",
            min=0,
            help="Minutes to wait for these hosts (with --resume).",
        ),
    ] = 0.0,
    network: Annotated[
        bool,
        typer.Option(
            "--network", help="Also undo the network configuration, as `undo network` does."
        ),
    ] = False,
    restore_swap: Annotated[
        bool, typer.Option("--restore-swap", help="Turn swap listed in /etc/fstab back on.")
    ] = False,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Stop and remove our containers, and check that they are gone.

    A host that is away is `unknown`, exit 3.
    """
    from spark_cluster.actions.running import load_inventory
    from spark_cluster.actions.taking_down import named_hosts, take_down, teardown_request
    from spark_cluster.cli.commands.undo import undo_request
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.core.error import InputError

    only = not_empty(recipe) or ""
    if wait and not resume:
        raise InputError(
            "--wait goes with --resume",
            remedy="`spark-cluster teardown --resume --wait MINUTES` waits for hosts that a "
            "teardown did not reach.",
        )
    loaded = load_inventory(inventory)
    names = named_hosts(loaded, hosts, group)
    chosen = [*(["swap.state=on"] if restore_swap else []), *(settings or ())]
    if resume:
        if only or dry_run or network:
            raise InputError(
                "--resume goes on with what was begun: it takes no RECIPE, --dry-run or --network",
                remedy="Leave them out; --hosts, --force and --wait go with it.",
            )
        return _resume(loaded, names, chosen, wait, force=force, as_json=as_json, verbose=verbose)
    request = teardown_request(
        loaded, names, recipe=only, force=force, settings=chosen,
        as_json=as_json, verbose=verbose,
    )  # fmt: skip
    if dry_run:
        code, why = run_playbook(request, dry_run=True), "not every host could be read"
    else:
        code, results = take_down(request)
        bad = dict.fromkeys(result.host for result in results if not result.status.good)
        why = f"the teardown is not complete on {', '.join(bad)}"
    if network and code:
        _network_stays(why, names, as_json=as_json)
    elif network:
        undo = undo_request(loaded, names, as_json=as_json, verbose=verbose)
        code = run_playbook(undo, dry_run=dry_run)
    return code


def _network_stays(why: str, names: list[str], *, as_json: bool) -> None:
    from spark_cluster.cli.views.console import JsonLines
    from spark_cluster.core.event import Note

    then = f"then `spark-cluster undo network --hosts {','.join(names)}`"
    what = f"the network stays as it is: {why}; {then}"
    if as_json:
        JsonLines()(Note(what))
    else:
        say(what)


def _resume(
    inventory: Inventory,
    names: list[str],
    settings: list[str],
    minutes: float,
    *,
    force: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Take down what earlier teardowns left open, as the hosts come back, at most for `minutes`.

    Raises Unreachable for those that are still away then, and StateUnknown if there was nothing to
    do here while the journal knows open teardowns with other inventories.
    """
    import time

    from spark_cluster.actions.taking_down import take_down, teardown_request
    from spark_cluster.core.error import Unreachable
    from spark_cluster.places import short
    from spark_cluster.runner.history import past_runs, unfinished

    runs = past_runs(tell=lambda text: say(text, err=True))
    left_open = unfinished(runs, str(inventory.path))
    pending = [name for name in names if name in left_open]
    if as_json:
        say_json({"kind": "resume", "hosts": pending})
    if not pending:
        rest = [name for name in left_open if name not in names]
        but = f", but for {', '.join(rest)}" if rest else ""
        if not as_json:
            say(f"every teardown with {short(inventory.path)} came to its end{but}")
        _told_elsewhere(runs, inventory, as_json=as_json)
    deadline = time.monotonic() + minutes * 60
    codes = [0]
    awaited: list[str] = []
    while pending:
        back = _reachable(inventory, pending)
        for recipe in dict.fromkeys(left_open[name].recipe or "" for name in back):
            request = teardown_request(
                inventory, [name for name in back if (left_open[name].recipe or "") == recipe],
                recipe=recipe, force=force, settings=settings, as_json=as_json, verbose=verbose,
            )  # fmt: skip
            codes.append(take_down(request)[0])
        pending = [name for name in pending if name not in back]
        if time.monotonic() >= deadline:
            break
        if pending and pending != awaited and not as_json:
            say(f"waiting for {', '.join(pending)}, at most {minutes:g} minutes")
        awaited = pending
        if pending:
            time.sleep(_PAUSE)
    if pending:
        raise Unreachable(
            f"still away: {', '.join(pending)}; what runs there may still run",
            remedy="Switch it on, or run `spark-cluster teardown --resume --wait MINUTES`.",
        )
    return max(codes)


def _told_elsewhere(runs: list[Past], inventory: Inventory, *, as_json: bool) -> None:
    """Raises StateUnknown for hosts that teardowns with other inventories left open. Those of an
    inventory that is gone are told only: nobody could finish them."""
    from pathlib import Path

    from spark_cluster.core.error import StateUnknown
    from spark_cluster.places import short
    from spark_cluster.runner.history import unfinished_elsewhere

    there: dict[str, str] = {}
    gone: list[str] = []
    for path, hosts in unfinished_elsewhere(runs, str(inventory.path)).items():
        said = f"{', '.join(hosts)} ({short(Path(path))})"
        if Path(path).is_file():
            there[short(Path(path))] = said
        else:
            gone.append(said)
    if gone and not as_json:
        say(f"not finished with inventories that are not there any more: {'; '.join(gone)}")
    if there:
        again = "; ".join(f"`spark-cluster teardown --resume --inventory {path}`" for path in there)
        raise StateUnknown(
            f"not finished with other inventories: {'; '.join(there.values())}; what runs there "
            "may still run",
            remedy=f"{again}.",
        )


def _reachable(inventory: Inventory, names: list[str]) -> list[str]:
    """Those that answer now. Raises HostKeyRejected and AuthFailed: waiting mends neither."""
    from spark_cluster.actions.running import looking
    from spark_cluster.core.error import AuthFailed, HostKeyRejected

    with looking(inventory, names) as session:
        for error in session.lost.values():
            if isinstance(error, HostKeyRejected | AuthFailed):
                raise error
        return session.alive

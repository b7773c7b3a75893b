"""`spark-cluster init`: ask the nodes how they are cabled, and write an inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.terminal import confirm, say, say_page

if TYPE_CHECKING:
    from pathlib import Path

    from spark_cluster.inventory.models import Inventory
    from spark_cluster.runner.discover import Answer


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST]", help="Hosts to examine: names from ssh_config, or addresses."
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="File to write.")
    ] = "inventory/sparks.yaml",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Write the file without asking.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    ssh_config: Annotated[
        str | None,
        typer.Option(
            "--ssh-config",
            metavar="FILE",
            help="SSH configuration to use instead of ~/.ssh/config.",
        ),
    ] = None,
) -> int:
    """Find out how the Sparks are cabled and write an inventory. Changes nothing on them.

    Without HOST it asks those that ~/.ssh/config and mDNS know. It shows the inventory first.
    """
    import sys

    from spark_cluster.actions.operator import connector
    from spark_cluster.cli.running import ask_password
    from spark_cluster.core.units import count
    from spark_cluster.places import expanded
    from spark_cluster.runner import discover

    config = str(expanded(ssh_config).absolute()) if ssh_config else None
    names = list(dict.fromkeys(hosts or []))
    if not names:
        for candidate in discover.candidates(config):
            say(f"found  {candidate.name}: {candidate.why}", err=True)
            names.append(candidate.name)
    if not names:
        raise discover.nobody(discover.own_neighbours())
    asked = count(len(names), "host")
    say(f"asking {asked}; each sends and listens for {discover.LISTEN} s", err=True)
    answers, failed = discover.ask(
        names, connector(), ask_password(), lambda _: None, ssh_config=config
    )
    for name, error in failed.items():
        if hosts or not answers:
            raise error
        say(f"left out  {name}: {error.message}", err=True)
    path = expanded(output).absolute()
    text = _text(answers, config)
    checked = _checked(text, path)
    say_page(text)
    _tell(answers)
    if not yes:
        if not sys.stdin.isatty():
            say(f"not written; `--yes` writes it to {path}", err=True)
            return 0
        if not confirm(f"Write this to {path}?"):
            say("Nothing was written, and nothing was changed on the nodes.", err=True)
            return 0
    _write(path, text, force=force)
    rails = sum(len(host.rails) for host in checked.hosts.values())
    written = f"{count(len(checked.hosts), 'host')}, {count(rails, 'rail')}"
    say(f"written to {path}: {written}; nothing was changed on the nodes", err=True)
    say(f"next: spark-cluster plan bootstrap --inventory {path}", err=True)
    return 0


def _text(answers: list[Answer], config: str | None) -> str:
    from datetime import UTC, datetime

    from spark_cluster.inventory.draft import render
    from spark_cluster.inventory.proposal import propose
    from spark_cluster.runner import discover

    sights = {answer.node.name: answer.sight for answer in answers}
    proposal = propose(sights, discover.own_networks())
    head = (
        f"Written by `spark-cluster init` on {datetime.now(UTC):%Y-%m-%d}. Nothing was changed on",
        "the nodes; `spark-cluster plan bootstrap` shows what bootstrap would change.",
    )
    ssh = {"config": config} if config else None
    return render([answer.node for answer in answers], proposal, head=head, ssh=ssh)


def _checked(text: str, path: Path) -> Inventory:
    """What the loader says of it, before it is written anywhere that counts."""
    import tempfile
    from pathlib import Path as Folder

    from spark_cluster.inventory.loader import load

    with tempfile.TemporaryDirectory(prefix="spark-cluster-") as folder:
        draft = Folder(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        return load(draft)


def _tell(answers: list[Answer]) -> None:
    for answer in answers:
        off = [name for name, port in answer.sight.ports.items() if port.ipv6_off and port.carrier]
        if off:
            say(
                f"note  {answer.node.name}: IPv6 is off on {', '.join(off)}; frames were used",
                err=True,
            )


def _write(path: Path, text: str, *, force: bool) -> None:
    from spark_cluster.core.error import InputError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            draft = path.with_name(f"{path.name}.new")
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
            return
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(
            f"{path} exists already and is left as it is",
            remedy="Name another with --output, or replace it with --force.",
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", remedy="Name another with --output."
        ) from error

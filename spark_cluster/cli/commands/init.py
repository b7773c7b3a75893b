"""`spark-cluster init`: ask the nodes how they are cabled, and write an inventory."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.output import Json, View
from spark_cluster.terminal.printing import confirm, say, say_page


def init(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST", help="Hosts to examine: names from ssh_config, or addresses."
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

    from spark_cluster.actions import init as action
    from spark_cluster.core.units import count
    from spark_cluster.places import expanded
    from spark_cluster.runner.discover import LISTEN

    config = str(expanded(ssh_config).absolute()) if ssh_config else None
    names = list(dict.fromkeys(hosts or []))
    for candidate in [] if names else action.candidates(config):
        say(f"found  {candidate.name}: {candidate.why}", err=True)
        names.append(candidate.name)
    asked = count(len(names), "host")
    say(f"asking {asked}; each sends and listens for {LISTEN} s", err=True)
    path = expanded(output).absolute()
    with Json().operator(view=View()) as operator:
        draft = action.draft(names, path, operator, ssh_config=config, all_needed=bool(hosts))
    for name, error in draft.left_out.items():
        say(f"left out  {name}: {error.message}", err=True)
    say_page(draft.text)
    for name, ports in draft.frames_only.items():
        say(f"note  {name}: IPv6 is off on {', '.join(ports)}; frames were used", err=True)
    if not yes:
        if not sys.stdin.isatty():
            say(f"not written; `--yes` writes it to {path}", err=True)
            return 0
        if not confirm(f"Write this to {path}?"):
            say("Nothing was written, and nothing was changed on the nodes.", err=True)
            return 0
    action.write(path, draft.text, force=force)
    rails = sum(len(host.rails) for host in draft.inventory.hosts.values())
    written = f"{count(len(draft.inventory.hosts), 'host')}, {count(rails, 'rail')}"
    say(f"written to {path}: {written}; nothing was changed on the nodes", err=True)
    say(f"next: spark-cluster plan bootstrap --inventory {path}", err=True)
    return 0

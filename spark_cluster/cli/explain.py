"""`spark-cluster explain CODE`."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Annotated

import typer

from spark_cluster.cli.options import JsonOption
from spark_cluster.cli.terminal import say, say_json
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.diagnosis import explain as find
from spark_cluster.core.error import InputError


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


def explain(
    code: Annotated[str, typer.Argument(metavar="[CODE]", help="Such as NET004.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what a diagnosis means, why it matters and how to mend it. Without CODE, list all."""
    if not code:
        if as_json:
            say_json([asdict(entry) for entry in DIAGNOSES.values()])
            return
        for entry in DIAGNOSES.values():
            say(f"{entry.code:<10} {entry.title}")
        return
    found = find(code)
    if found is None:
        raise InputError(
            f"there is no diagnosis {code!r}", remedy="`spark-cluster explain` lists all codes."
        )
    if as_json:
        say_json(asdict(found))
        return
    say(f"{found.code}: {found.title}")
    say()
    for title, text in (("Why it matters", found.why), ("What to do", found.fix)):
        # A command that is broken at its hyphens cannot be copied.
        lines = textwrap.wrap(text, 76, break_on_hyphens=False, break_long_words=False)
        for line in (title, *(f"  {line}" for line in lines), ""):
            say(line)

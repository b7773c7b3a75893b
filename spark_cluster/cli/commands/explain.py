"""`spark-cluster explain CODE`, and of logs `explain FILE…`."""

from __future__ import annotations

import re
import textwrap
from dataclasses import asdict
from typing import Annotated

import typer

from spark_cluster.cli.options import InventoryOption, JsonOption
from spark_cluster.cli.terminal import say, say_json
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.diagnosis import explain as find
from spark_cluster.core.error import InputError


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


#: What a code looks like; whatever else is named is a file.
_CODE = re.compile(r"[A-Za-z]{2,10}\d{3}", re.ASCII)


def explain(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE | FILE...]",
            help="Diagnosis code such as NET004, or log files of the ranks; - is standard input.",
            show_default=False,
        ),
    ] = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain a diagnosis code, or what logs tell of a failure.

    Without an argument, list all codes. Of an engine's and NCCL's logs, of any ranks: which rank
    failed first, why, the code, what to do. Exit 4 if a fault is named, 2 if the files hold none
    that are known.
    """
    if what and not (len(what) == 1 and _CODE.fullmatch(what[0])):
        from spark_cluster.actions.explain_logs import explain_logs

        return explain_logs(what, inventory=inventory, as_json=as_json)
    _explain_code(what[0] if what else "", as_json=as_json)
    return 0


def _explain_code(code: str, *, as_json: bool) -> None:
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

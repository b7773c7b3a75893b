"""`spark-cluster explain CODE`, and of logs `explain FILE…`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import Where
from spark_cluster.cli.output import Json


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


#: What a code looks like; whatever else is named is a file.
_CODE = re.compile(r"[A-Za-z]{2,10}\d{3}", re.ASCII)


@grouped
def explain(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE | FILE...]",
            help="Diagnosis code such as NET004, or log files of the ranks; - is standard input.",
            show_default=False,
        ),
    ] = None,
    *,
    where: Where,
    output: Json,
) -> int:
    """Explain a diagnosis code, or what logs tell of a failure.

    Without an argument, list all codes. Of an engine's and NCCL's logs, of any ranks: which rank
    failed first, why, the code, what to do. Exit 4 if a fault is named, 2 if the files hold none
    that are known.
    """
    if what and not (len(what) == 1 and _CODE.fullmatch(what[0])):
        return _explain_logs(what, where.inventory, output)
    _explain_code(what[0] if what else "", output)
    return 0


def _explain_logs(names: Sequence[str], inventory: str | None, output: Json) -> int:
    from spark_cluster.actions.verify import logs
    from spark_cluster.cli import log_files
    from spark_cluster.cli.views.explain import lines

    explained = logs.explain(log_files.read(names), logs.known_owners(inventory))
    output.json(explained)
    for line in lines(explained.found):
        output.say(line)
    return explained.exit_code


def _explain_code(code: str, output: Json) -> None:
    import textwrap

    from spark_cluster.actions.explain import all_codes, one_code

    if not code:
        listed = all_codes()
        output.json(listed)
        for entry in listed.diagnoses:
            output.say(f"{entry.code:<10} {entry.title}")
        return
    found = one_code(code)
    output.json(found)
    output.say(f"{found.code}: {found.title}")
    output.say()
    for title, text in (("Why it matters", found.why), ("What to do", found.fix)):
        # A command that is broken at its hyphens cannot be copied.
        lines = textwrap.wrap(text, 76, break_on_hyphens=False, break_long_words=False)
        for line in (title, *(f"  {line}" for line in lines), ""):
            output.say(line)

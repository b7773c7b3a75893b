"""`spark-cluster explain CODE`, and of logs `explain FILE…`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from spark_cluster.cli.options import Where
from spark_cluster.cli.output import Json

#: What a code looks like; whatever else is named is a file.
_CODE = re.compile(r"[A-Za-z]{2,10}\d{3}", re.ASCII)


def explain(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CODE|FILE",
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
    from spark_cluster.cli.views import explain as view

    if what and not (len(what) == 1 and _CODE.fullmatch(what[0])):
        from spark_cluster.actions.verify import logs
        from spark_cluster.terminal import reading

        explained = logs.explain(reading.read(what), logs.known_owners(where.inventory))
        return output.report(explained, view.lines)
    from spark_cluster.actions.explain import all_codes, one_code

    if what and what[0]:
        return output.report(one_code(what[0]), view.code)
    return output.report(all_codes(), view.codes)

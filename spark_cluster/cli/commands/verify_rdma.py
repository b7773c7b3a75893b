"""`spark-cluster verify-rdma`: counters, tokens, counters, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from spark_cluster.cli.durations import time_option
from spark_cluster.cli.options import Hosts, WithOption, interval_option, not_empty
from spark_cluster.cli.output import Output
from spark_cluster.core.error import InputError


def verify_rdma(
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|RECIPE",
            help="Further log files (with --from-log); the recipe (with --collective).",
            show_default=False,
        ),
    ] = None,
    *,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", min=1, max=100_000, help="Number of tokens to generate."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Judge existing traffic instead of generating tokens.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Like --live, one line per interval until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float | None,
        interval_option("--live, --watch: time to watch; default: 5s.", least=0.5),
    ] = None,
    from_log: Annotated[
        list[str] | None,
        typer.Option(
            "--from-log",
            metavar="FILE",
            help="Judge from NCCL and engine logs only; - reads standard input.",
        ),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Measure the links with ib_write_bw (no model needed)."),
    ] = False,
    probing: Annotated[
        float | None,
        time_option(
            "--duration",
            "--probe: time per measurement, in whole seconds; default: 5s.",
            least=1,
            most=600,
        ),
    ] = None,
    both: Annotated[
        bool | None,
        typer.Option(
            "--both/--no-both",
            help="--probe: also measure both halves of a port at once (default).",
            show_default=False,
        ),
    ] = None,
    collective: Annotated[
        bool,
        typer.Option(
            "--collective",
            help="--probe: then measure an all-reduce in the recipe's image; "
            "default: the recipe that was launched last.",
        ),
    ] = False,
    options: WithOption = None,
    where: Hosts,
    output: Output,
) -> int:
    """Prove that the running model's tokens travel by RDMA. Exit 0 only for the verdict rdma.

    Without an option it generates tokens between two readings of the counters. --live and --watch
    take the traffic that is there; --from-log takes log files and asks no cluster; --probe measures
    each half between neighbours, each way, and with --collective RECIPE then an all-reduce of up to
    1 GiB in the recipe's image. Exit 4 on any other verdict, or on a finding.
    """
    chosen = {"--tokens": tokens, "--live": live, "--watch": watch, "--probe": probe}
    _one_of({**chosen, "--from-log": from_log}, () if collective else more or ())
    _belongs("--interval", interval, {"--live": live, "--watch": watch})
    _belongs("--duration", probing, {"--probe": probe})
    _belongs("--both" if both else "--no-both", both, {"--probe": probe})
    _belongs("--collective", collective or None, {"--probe": probe})
    _belongs("--with", True if options else None, {"--collective": collective})
    if from_log:
        from spark_cluster.actions.verify import logs
        from spark_cluster.cli.views.verdict import of_log
        from spark_cluster.terminal import reading

        texts = reading.read([*from_log, *(more or ())])
        found = logs.judge(texts, logs.known_owners(where.inventory))
        return output.report(found, of_log)
    from spark_cluster.actions.verify import counters, traffic
    from spark_cluster.actions.verify.probe import probe as measure

    if collective:
        return _collective(more or [], options, where, output, int(probing or 5), both is not False)
    loaded, hosts = where.load_hosts()
    with output.operator(goes_on=not watch) as operator:
        if probe:
            return measure(
                loaded, hosts, operator, seconds=int(probing or 5), both=both is not False
            ).exit_code
        if watch:
            return traffic.watch(loaded, hosts, operator, interval=interval or 5.0).exit_code
        if live:
            return traffic.live(loaded, hosts, operator, seconds=interval or 5.0).exit_code
        return counters.verify(loaded, hosts, operator, tokens=tokens).exit_code


def _collective(
    named: Sequence[str],
    options: list[str] | None,
    where: Hosts,
    output: Output,
    seconds: int,
    both: bool,
) -> int:
    from spark_cluster.actions.deploying import Choices, chosen_options
    from spark_cluster.actions.verify.collective import verify_collective

    if len(named) > 1:
        raise InputError(
            f"--collective takes one recipe, not {' '.join(named)}", remedy="Name one of them."
        )
    recipe = not_empty(next(iter(named), None))
    loaded, hosts = where.load_hosts()
    chosen = Choices(hosts=tuple(hosts) if where.hosts else (), options=chosen_options(options))
    with output.operator(goes_on=True) as operator:
        return verify_collective(
            loaded, recipe, chosen, operator, seconds=seconds, both=both
        ).exit_code


def _one_of(chosen: dict[str, object], more: Sequence[str]) -> None:
    """Ways to verify that exclude each other."""
    given = [name for name, value in chosen.items() if value]
    if len(given) > 1:
        raise InputError(
            f"{' and '.join(given)} do not go together", remedy="Choose one of them; see --help."
        )
    if more and "--from-log" not in given:
        raise InputError(
            f"{' '.join(more)}: verify-rdma takes files only with --from-log",
            remedy=f"spark-cluster verify-rdma --from-log {' '.join(more)}",
        )


def _belongs(name: str, value: float | None, ways: dict[str, bool]) -> None:
    """An option that only some ways heed: nobody shall wait for what it does not do."""
    if value is not None and not any(ways.values()):
        raise InputError(
            f"{name} goes with {' or '.join(ways)} only", remedy="Add one of them, or leave it out."
        )

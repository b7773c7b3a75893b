"""`spark-cluster verify-rdma`: counters, tokens, counters, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_cluster.cli.options import (
    HostsOption,
    InventoryOption,
    JsonOption,
    VerboseOption,
    split,
)

if TYPE_CHECKING:
    from spark_cluster.cli.running import Active, Request
    from spark_cluster.core.error import SparkError
    from spark_cluster.core.result import Result
    from spark_cluster.rdma.verdict import Verdict
    from spark_cluster.workload.served import HostFacts


def register(app: typer.Typer) -> None:
    app.command("verify-rdma")(verify_rdma)


def verify_rdma(
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...", help="Further log files (with --from-log).", show_default=False
        ),
    ] = None,
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
        typer.Option(
            "--interval", min=0.5, max=3600, help="--live, --watch: seconds to watch; default: 5."
        ),
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
    duration: Annotated[
        int | None,
        typer.Option(
            "--duration", min=1, max=600, help="--probe: seconds per measurement; default: 5."
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
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Prove that the running model's tokens travel by RDMA. Exit 0 only for the verdict rdma.

    Without an option it generates tokens between two readings of the counters. --live and --watch
    take the traffic that is there; --from-log takes log files and asks no cluster; --probe measures
    each half between neighbours, each way. Exit 4 on any other verdict, or on a finding.
    """
    chosen = {"--tokens": tokens, "--live": live, "--watch": watch, "--probe": probe}
    _one_of({**chosen, "--from-log": from_log}, more or ())
    _belongs("--interval", interval, {"--live": live, "--watch": watch})
    _belongs("--duration", duration, {"--probe": probe})
    _belongs("--both" if both else "--no-both", both, {"--probe": probe})
    if from_log:
        from spark_cluster.actions.from_log import from_log as read_logs

        return read_logs([*from_log, *(more or ())], inventory=inventory, as_json=as_json)
    from spark_cluster.cli.running import Request, load_inventory
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    request = Request(
        verb="verify-rdma",
        playbook="verify-rdma",
        hosts=select(loaded, split(hosts)),
        inventory=loaded,
        settings=[f"rdma-verdict.tokens={tokens}"] if tokens else (),
        as_json=as_json,
        verbose=verbose,
        all_hosts_needed=False,
    )
    if probe:
        from spark_cluster.actions.probe import probe as measure

        return measure(request, seconds=duration or 5, both=both is not False)
    if live or watch:
        from spark_cluster.actions import watching

        return (watching.watch if watch else watching.live)(request, interval or 5.0)
    return _verify(request)


def _one_of(chosen: dict[str, object], more: Sequence[str]) -> None:
    """Ways to verify that exclude each other."""
    from spark_cluster.core.error import InputError

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
    from spark_cluster.core.error import InputError

    if value is not None and not any(ways.values()):
        raise InputError(
            f"{name} goes with {' or '.join(ways)} only", remedy="Add one of them, or leave it out."
        )


def _verify(request: Request) -> int:
    """Counters, tokens of our own, counters."""
    from spark_cluster.cli.running import activate
    from spark_cluster.core.result import exit_code
    from spark_cluster.steps.rdma_verdict import STEP, verdict
    from spark_cluster.workload.served import to_verify

    with activate(replace(request, needs=(STEP.name,))) as active:
        results = active.run.apply(active.run.plan())
        facts = active.session.all_facts()
        found = to_verify(facts)
        if found is None:
            if exit_code(results):
                return active.finish(results)
            raise nothing_runs(active)
        result = verdict(active.run.view(found.host))
        assert result is not None
        return conclude(active, result, facts, results)


def conclude(
    active: Active,
    result: Verdict,
    facts: HostFacts,
    results: Sequence[Result],
    *,
    table: bool = True,
) -> int:
    """Show the verdict, write it down with what was judged and what else runs, give the exit code.

    Raises InputError for an engine on one host: it has no traffic to prove.
    """
    from spark_cluster.actions.verdict import judged_event
    from spark_cluster.core.error import InputError
    from spark_cluster.workload.served import beside, to_verify

    found = to_verify(facts)
    if found is not None and not found.spans:
        others = "".join(
            f", {each.recipe} on one host ({each.host})" for each in beside(found, facts)
        )
        raise InputError(
            f"{found.recipe} runs on one host ({found.host}){others}: nothing travels between "
            "hosts, so there is nothing to verify",
            remedy="`spark-cluster verify-rdma --probe` measures the links without a model.",
        )
    away = set(found.hosts if found else ()) & set(active.session.lost)
    code = 0 if result.kind == "rdma" else 3 if away else 4
    if table:
        active.bus(judged_event(active._active, result, facts))
    return active.finish(results, data=as_data(active, result, facts), code=code)


def not_judged(facts: HostFacts) -> list[str]:
    """What runs beside what the verdict is about, and how to have it judged."""
    from spark_cluster.workload.served import beside, to_verify

    found = to_verify(facts)
    lines = []
    for other in beside(found, facts) if found is not None else ():
        how = f": spark-cluster verify-rdma --hosts {','.join(other.hosts)}"
        how = how if other.spans else " (one host: nothing to verify)"
        lines.append(f"not judged: {other.recipe} on {', '.join(other.hosts)}{how}")
    return lines


def judged(active: Active, results: Sequence[Result]) -> dict[str, Any]:
    """The verdict that a launch ended with, shown; empty if it did not come to one."""
    from spark_cluster.core.result import Status
    from spark_cluster.steps.rdma_verdict import STEP, verdict

    ended = (Status.OK, Status.FAILED)
    head = next((r.host for r in results if r.step == STEP.name and r.status in ended), None)
    result = verdict(active.run.view(head)) if head in active.session.alive and head else None
    if result is None:
        return {}
    return as_data(active, result, active.session.all_facts())


def as_data(active: Active, result: Verdict, facts: HostFacts) -> dict[str, Any]:
    """A verdict as `--json` prints it and the journal keeps it, with what was judged."""
    from spark_cluster.core.event import as_json
    from spark_cluster.workload.served import beside, to_verify

    found = to_verify(facts)
    about = {"inventory": str(active.request.inventory.path), **(found.as_dict() if found else {})}
    others = [other.as_dict() for other in beside(found, facts)] if found else []
    return {"verdict": as_json(result), "served": about, "not_judged": others}


def nothing_runs(active: Active) -> SparkError:
    """The error for hosts on which no head of ours runs, or of which none answers any more."""
    from spark_cluster.core.error import CheckFailed, Unreachable

    lost = active.session.lost
    if not active.session.alive:
        remedies = dict.fromkeys(error.remedy for error in lost.values())
        return Unreachable(f"no host answers: {', '.join(lost)}", remedy="; ".join(remedies))
    return CheckFailed(
        f"no running head container of ours on {', '.join(active.session.alive)}",
        code="RDMA013",
        remedy="Start one with `spark-cluster launch RECIPE`; "
        "`spark-cluster status` shows what runs.",
    )

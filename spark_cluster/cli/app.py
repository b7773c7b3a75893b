"""The command line: its verbs, and how every error is told."""

from __future__ import annotations

import functools
import sys
from typing import Annotated, Any

import typer

from spark_cluster.cli.commands import (
    bench,
    bootstrap,
    cache,
    check,
    compose,
    doctor,
    evidence,
    explain,
    failover,
    history,
    image,
    init,
    lab,
    launch,
    logs,
    mesh,
    model,
    monitor,
    plan,
    recipes,
    relaunch,
    services,
    status,
    teardown,
    trust,
    undo,
    verify_rdma,
    watch,
)
from spark_cluster.cli.sections import Program, Verbs
from spark_cluster.core.error import Interrupted, SparkError
from spark_cluster.core.event import Failed
from spark_cluster.core.version import __version__
from spark_cluster.terminal.printing import say, say_json, say_page
from spark_cluster.terminal.streams import Unheard, go_on_unheard, streams_kept

app = Verbs(
    "spark-cluster",
    "Serve large models on two to eight NVIDIA DGX Sparks over RDMA, and prove it.",
    cls=Program,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        say(f"spark-cluster {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


for verb in (
    bootstrap.bootstrap, plan.plan, launch.launch, verify_rdma.verify_rdma, status.status,
    check.check, relaunch.relaunch, failover.failover, teardown.teardown, trust.trust,
    doctor.doctor,
    evidence.evidence, explain.explain, history.history, logs.logs, init.init, mesh.mesh,
    compose.compose, watch.watch,
):  # fmt: skip
    app.verb()(verb)
for group in (undo, model, image, cache, recipes, monitor, services, bench, lab):
    app.add_typer(group.app)


def main() -> None:
    """The console script's entry."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; the exit code. Errors of ours are told, faults of ours raise.

    What standard output could not take makes a failure of a success.
    """
    with streams_kept() as streams:
        code = _run(arguments)
        lost = streams.lost()
        if lost and not code:
            show_error(_unwritten(lost), as_json=False)
            return SparkError.exit_code
        return code


@functools.cache
def _program() -> Any:
    """All verbs with their options: to make them takes a good part of a short command's time."""
    return typer.main.get_command(app)


def _run(arguments: list[str]) -> int:
    try:
        result = _program()(arguments, standalone_mode=False)
    except SparkError as error:
        show_error(error, as_json="--json" in arguments)
        return error.exit_code
    except Unheard as unheard:
        if unheard.problem:
            show_error(_unwritten(unheard.problem), as_json=False)
        return SparkError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        show_error(Interrupted("interrupted", remedy="Nothing more was done."), as_json=False)
        return Interrupted.exit_code
    except typer.Exit as error:
        return int(error.exit_code)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _show_usage(error)
        return int(getattr(error, "exit_code", 2))
    return result if isinstance(result, int) else 0


def _show_usage(error: Any) -> None:
    """A wrong command line, as click tells it; what was typed, or pasted from a stranger, is in the
    message."""
    context = getattr(error, "ctx", None)
    if context is not None:
        say_page(context.get_usage(), err=True)
        say(f"Try '{context.command_path} {context.help_option_names[-1]}' for help.", err=True)
        say(err=True)
    say(f"Error: {error.format_message()}", err=True)


def _unwritten(problem: str) -> SparkError:
    return SparkError(
        f"standard output could not be written: {problem}",
        remedy="What was done is in `spark-cluster history`; free room, or write elsewhere.",
    )


def show_error(error: SparkError, *, as_json: bool) -> None:
    """The one form of every error, on standard error (with --json on standard output)."""
    go_on_unheard()
    if as_json:
        say_json(Failed(error).as_dict())
        return
    for line in error_lines(error):
        say(line, err=True)


def error_lines(error: SparkError) -> list[str]:
    """Where, what, what was run, what the host said, what to do next."""
    named = error.host if error.host and not error.message.startswith(error.host) else ""
    where = " ".join(part for part in (named, error.step) if part)
    head = ": ".join(part for part in (error.place, where, error.message) if part)
    lines = [f"error: {head}"]
    if error.command:
        lines.append(f"  command: {error.command}")
    if error.stderr:
        lines.append("  the host said:")
        lines += [f"    | {line}" for line in error.stderr.rstrip("\n").split("\n")]
    lines.append(f"  next: {error.remedy}")
    if error.code:
        lines.append(f"  more: spark-cluster explain {error.code}")
    return lines

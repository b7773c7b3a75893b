"""What hosts, files and servers say acts on no terminal and forges no line, in whatever view."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster import places
from spark_cluster.actions.evidence import Collected
from spark_cluster.cli import app
from spark_cluster.cli.output import Json
from spark_cluster.cli.views import bench as bench_view
from spark_cluster.cli.views import evidence
from spark_cluster.cli.views.console import ConsoleView, JsonLines
from spark_cluster.core import error as errors
from spark_cluster.core import event as events
from spark_cluster.core.printable import coloured, one_line, plain
from spark_cluster.evidence.index import About, Part, page
from spark_cluster.facts import probe
from spark_cluster.facts.base import Facts
from spark_cluster.terminal import printing as terminal
from tests.command_line import Cli
from tests.poison import INLINE, POISON, harmless, harmless_json, poisoned

from .world import INVENTORY, RECIPE, Spark, serving, torn
from .world import journal as written

# The cleaning


@given(st.text())
def test_any_text_is_one_line_of_what_is_seen(text: str) -> None:
    harmless(one_line(text).replace("[", ""))
    assert "\n" not in one_line(text)


@given(st.text(alphabet="a\x1b[0;31mK\n\x9b]"))
def test_only_colours_survive_in_a_log(text: str) -> None:
    said = coloured(text)
    assert not re.sub(r"\x1b\[[0-9;:]*m", "", said).count("\x1b")
    assert "\n" not in said
    assert "\x1b" not in plain(text)


@pytest.mark.parametrize("text", ["", "plain", "ümlaut 日本 ✓", "a\\x1b", "'quoted' \"twice\""])
def test_what_is_harmless_stays(text: str) -> None:
    assert one_line(text) == text


def test_an_attack_is_shown_and_not_dropped() -> None:
    assert one_line("a\x1b[2J\nb\u202ec") == "a\\x1b[2J\\nb\\u202ec"
    assert one_line("a\tb") == "a       b"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [1.0, float("-inf")]}])
def test_json_has_no_nan(value: Any) -> None:
    text = terminal.json_line({"a": value, "b": POISON})
    harmless_json(text + "\n")
    assert "null" in text


# The door


def test_nothing_outside_the_door_prints() -> None:
    """Programs that run elsewhere (on a node, in the lab's container) speak no terminal's words."""
    root = Path(places.__file__).parent
    own = {
        "terminal/printing.py",  # the door
        "lab/demo.py",  # runs the program and shows what that prints
        "lab/requirements.py",  # a list for CI
        "engines/files/allreduce.py",  # in a container: JSON lines to us
        "lab/uml/switchboard.py",  # a word to the process that started it
        "transfer/node/files.py",  # on a node: JSON lines to us
    }
    guilty = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name in own or name.startswith("lab/engine/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or node.names[0].name
                names = {each.name for each in node.names}
                if module.split(".")[0] == "rich" and not names <= {
                    "Group", "RenderableType", "Table", "Status"
                }:  # fmt: skip
                    guilty.append(f"{name}:{node.lineno} imports {module} {names}")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "typer.echo", "click.echo", "typer.secho", "typer.confirm",
                              "typer.prompt", "Text", "Table", "Text.from_markup") or re.search(
                    r"\b(stdout|stderr)\.(write|buffer)|add_row$|console\.print$", called
                ):  # fmt: skip
                    guilty.append(f"{name}:{node.lineno} calls {called}")
    allowed = re.compile(r"^[\w/.]+:\d+ calls (terminal\.)?add_row$")
    assert [each for each in guilty if not allowed.match(each)] == []


def test_lines_tables_and_logs(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal.Console()
    console.line("a ", (POISON, "bold"), POISON)
    table = terminal.new_table("one", POISON, right=("one",))
    terminal.add_row(table, POISON, (POISON, "red"))
    console.draw(table)
    console.draw(terminal.styled(POISON))
    console.log_line(("head", "red"), f"\x1b[31mred\x1b[0m {POISON}")
    terminal.say(POISON)
    terminal.say(POISON, err=True)
    terminal.say_page(f"first\n{one_line(POISON)}\nlast\n")
    said = capsys.readouterr()
    assert said.out.count("[red]red[/red]") >= 6
    harmless(said.out + said.err)


def test_long_words_of_a_first_column_do_not_wrap(capsys: pytest.CaptureFixture[str]) -> None:
    table = terminal.new_table("model", "host")
    terminal.add_row(table, f"{'x ' * 150}verdict: forged", "spark-1")
    terminal.Console().draw(table)
    harmless(capsys.readouterr().out)


# Events and errors


def filled(kind: type[Any]) -> Any:
    """An instance of a dataclass with POISON wherever a text may stand."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        kinds: dict[str, Any] = {
            "str": POISON,
            "str | None": POISON,
            "tuple[str, ...]": (POISON, POISON),
            "float": 2.0,
            "float | None": 1.0,
            "int": 3,
            "int | None": 3,
            "dict[str, int]": {POISON: 2},
            "dict[str, Any]": {POISON: POISON},
            "tuple[dict[str, Any], ...]": ({"host": POISON},),
            "SparkError": failure(errors.StepFailed),
            "SparkError | None": failure(errors.StepFailed),
        }
        values[field.name] = kinds[str(field.type)]
    return kind(**values)


def failure(kind: type[errors.SparkError]) -> errors.SparkError:
    return kind(
        POISON,
        remedy=POISON,
        host=POISON,
        step=POISON,
        place=POISON,
        command=POISON,
        stderr=POISON,
        code=POISON,
    )


EVENTS = [kind for kind in vars(events).values()
          if isinstance(kind, type) and issubclass(kind, events.Event)]  # fmt: skip
ERRORS = [kind for kind in vars(errors).values()
          if isinstance(kind, type) and issubclass(kind, errors.SparkError)]  # fmt: skip


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event(kind: type[events.Event], capsys: pytest.CaptureFixture[str]) -> None:
    from spark_cluster.cli.views import watch

    event = events.Event() if kind is events.Event else filled(kind)
    view = ConsoleView(verbose=True)
    view(event)
    view.flush()
    watch.WatchView()(event)
    harmless(capsys.readouterr().out)
    JsonLines()(event)
    harmless_json(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error(kind: type[errors.SparkError], capsys: pytest.CaptureFixture[str]) -> None:
    app.show_error(failure(kind), as_json=False)
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "owned" in said
    harmless(said)
    app.show_error(failure(kind), as_json=True)
    harmless_json(capsys.readouterr().out)


def test_what_the_command_line_itself_refuses(cli: Cli) -> None:
    for words in ([POISON], ["status", POISON], ["logs", POISON], ["explain", POISON],
                  ["recipes", "show", POISON], ["logs", "--grep", f"({POISON}"],
                  ["status", "-i", INLINE.replace("\0", "")]):  # fmt: skip
        said = cli(*words)
        assert said.code == 2
        harmless(said.out + said.err)


# Hosts: every fact of every verb


class Taster:
    """Poisons the readings of one fact on their way from the hosts; counts what the verb reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[str] = set()
        self.bad: set[str] = set()
        real: Callable[..., Facts] = probe.parse

        def parse(*arguments: Any, **options: Any) -> Facts:
            facts = real(*arguments, **options)
            self.seen |= facts.names
            values = dict(facts._values)
            for name in self.bad & facts.names:
                values[name] = poisoned(values[name])
            return Facts(values)

        monkeypatch.setattr("spark_cluster.runner.session.probe.parse", parse)


VERBS = [
    ["status"],
    ["doctor", "-v"],
    ["plan", "bootstrap"],
    ["plan", "launch", RECIPE],
    ["teardown", "--dry-run"],
    ["undo", "network", "--dry-run"],
    ["monitor", "status"],
    ["services", "langfuse", "status"],
    ["model", "ls"],
    ["image", "ls"],
    ["history", "--nodes"],
]


def hosts() -> list[Spark]:
    there = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    for host in there:
        host.texts["host-journal"] = (
            f"2026-11-21T03:15:00+0000 {host.name} spark-cluster[7]: armed\n"
        )
    return there


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_fact_that_a_verb_reads(
    words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    taster = Taster(monkeypatch)
    given = [*words, "-i", INVENTORY]
    cli(*given, hosts=hosts())
    names = sorted(taster.seen)
    assert names
    shown = 0
    for bad in [*({name} for name in names), set(names)]:
        taster.bad = bad
        said = cli(*given, hosts=hosts())
        harmless(said.out + said.err)
        shown += "owned" in said.out + said.err
    harmless_json(cli(*given, "--json", hosts=hosts()).out)
    assert shown or words[0] == "undo", "nothing of a host was shown: the case tests nothing"


@pytest.mark.parametrize(
    "words",
    [["status"], ["doctor"], ["plan", "bootstrap"], ["teardown"], ["model", "ls"]],
)
def test_hosts_that_cannot_be_reached(words: list[str], cli: Cli) -> None:
    there = [Spark("spark-1"), Spark("spark-2"), Spark("spark-3")]
    for host in there[1:]:
        host.down = failure(errors.Unreachable)
    said = cli(*words, "-i", INVENTORY, hosts=there)
    assert "owned" in said.out + said.err
    harmless(said.out + said.err)
    harmless_json(cli(*words, "-i", INVENTORY, "--json", hosts=there).out)


def test_the_screen_of_status(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    from spark_cluster.actions.status import StatusReport
    from spark_cluster.cli.views import status_screen

    rows = json.loads(cli("status", "--json", "-i", INVENTORY, hosts=[serving("spark-2")]).out)
    screen = status_screen.Screen(Path(INVENTORY))
    bad = tuple(poisoned_row(row) for row in rows["hosts"])
    screen.show(StatusReport(INVENTORY, bad, None))
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    terminal.Console(rich=Console(file=out, width=200)).draw(screen.render())
    assert "owned" in out.getvalue()
    harmless(out.getvalue(), folded=True)


def poisoned_row(value: Any) -> Any:
    """Only the texts that no code compares."""
    if isinstance(value, dict):
        return {
            key: item if key in ("state", "rank") else poisoned_row(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return list(map(poisoned_row, value))
    return value + POISON if isinstance(value, str) else value


# Logs, journals, evidence, benchmarks, files


def test_logs(cli: Cli) -> None:
    lines = f"@ 0 vllm-head 2026-11-21T03:15:00.123456789Z \x1b[31mred\x1b[0m {INLINE}\n"
    for host in (said := [Spark("spark-2"), Spark("spark-3")]):
        host.on("docker logs", lines)
    out = cli("logs", "--hosts", "spark-2,spark-3", "-i", INVENTORY, hosts=said)
    harmless(out.out + out.err)
    harmless_json(cli("logs", "--json", "--hosts", "spark-2", "-i", INVENTORY, hosts=said).out)


def test_history(cli: Cli, tmp_path: Path) -> None:
    cli("teardown", "-i", INVENTORY, hosts=hosts())
    (path,) = written(tmp_path)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for field in sorted({key for entry in entries for key in entry} - {"kind", "time"}):
        bad = [{**entry, field: poisoned(entry.get(field)) or POISON} for entry in entries]
        path.write_text("".join(json.dumps(each) + "\n" for each in bad))
        for words in (["history"], ["history", "last"]):
            said = cli(*words)
            harmless(said.out + said.err)


def test_the_evidence_and_its_index(capsys: pytest.CaptureFixture[str]) -> None:
    parts = [Part("spark-2", {"a.txt": b""}, {"a.txt": POISON}, POISON, POISON)]
    harmless(page(About("now", POISON, "0"), parts, []).replace("\n- ", "\n"))
    Json().report(Collected(POISON, 1, 1, (), (POISON,), ()), evidence.lines)
    harmless(capsys.readouterr().out)


def test_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    from spark_cluster.actions.bench_kept import Begun
    from spark_cluster.bench.plan import Settings
    from spark_cluster.bench.results import Server
    from spark_cluster.core.event import Note

    view = bench_view.RunView()
    server = Server(endpoint=POISON, model=POISON, version=POISON, owned_by=POISON)
    view(Begun(server, Settings("sweep", (), 1, 1, "salt"), (POISON,), beside=False))
    view(Note(POISON))
    harmless(capsys.readouterr().out)


SCALAR = re.compile(r"^(\s*(?:- )?[\w.-]+: )([^\s|>&*{\[].*)$")


def test_a_recipe_with_poison_in_any_value(cli: Cli, tmp_path: Path) -> None:
    source = places.shipped("playbooks") / "recipes" / f"{RECIPE}.yaml"
    lines = source.read_text(encoding="utf-8").split("\n")
    path = tmp_path / "mine.yaml"
    cases = 0
    for number, line in enumerate(lines):
        found = SCALAR.match(line)
        if found is None:
            continue
        bad = [*lines]
        value = found[2].strip("\"'") + POISON.replace("\ud800", "")
        bad[number] = f"{found[1]}{json.dumps(value)}"
        path.write_text("\n".join(bad))
        said = cli("recipes", ("show", "lint")[number % 2], str(path), "-i", INVENTORY)
        harmless(said.out + said.err)
        cases += 1
    assert cases > 10


def test_an_nccl_log(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    line = "spark-2:1:1 [0] NCCL INFO NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; OOB enp1:1.2.3.4<0>"
    words = line.split(" ")
    for number in range(len(words)):
        log.write_text(" ".join([*words[:number], words[number] + INLINE, *words[number + 1 :]]))
        said = cli("verify-rdma", "--from-log", str(log))
        harmless(said.out + said.err)


def test_colours_on_a_pipe_are_no_turning_spinner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each frame of it would be a line of the log."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = terminal.Console()
    console.spin("waiting")
    assert not console.is_spinning
    console.line(("done", "bold"))
    console.stop_spinning()
    assert capsys.readouterr().out == "\x1b[1mdone\x1b[0m\n"

"""docs/json.md against the classes, and the classes against what the verbs print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import json_page
from tests.command_line import Cli
from tests.fake_transport import FakeHost

from . import switched, world
from .stacks import up_hosts
from .test_evidence import packed
from .world import INVENTORY, Spark, down, launching, serving, sparks, torn

KINDS = json_page.kinds()

LOG = "spark-2:1:1 [0] NCCL INFO NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; OOB enp1:1.2.3.4<0>\n"


def test_the_page_is_that_of_the_classes() -> None:
    assert json_page.PAGE.read_text(encoding="utf-8") == json_page.Page().text(), (
        "python -m tests.json_page"
    )


def checked(lines: Sequence[dict[str, Any]]) -> set[str]:
    """The kinds of these lines, each with the fields that its class has, and no other."""
    for line in lines:
        event = KINDS[line["kind"]]
        assert set(line) - {"kind"} <= set(json_page.fields_of(event)), line
    return {line["kind"] for line in lines}


PAIR = ("spark-2", "spark-3")
LOST = [Spark("spark-1"), Spark("spark-2"), down("spark-3")]

VERBS: list[tuple[str, list[str], list[Spark]]] = [
    ("run_finished", ["bootstrap"], [world.bare(n) for n in ("spark-1", *PAIR)]),
    ("run_finished", ["plan", "bootstrap"], sparks("spark-1", *PAIR)),
    ("judged", ["launch", "qwen3-vl-235b"], [launching(n) for n in PAIR]),
    ("run_finished", ["teardown"], [Spark("spark-1"), torn("spark-2"), down("spark-3")]),
    ("resume", ["teardown", "--resume"], sparks("spark-1", *PAIR)),
    ("judged", ["verify-rdma"], [Spark("spark-1"), *(serving(n) for n in PAIR)]),
    ("status", ["status"], [Spark("spark-1"), serving("spark-2"), down("spark-3")]),
    ("doctor", ["doctor"], [Spark("spark-1"), serving("spark-2"), down("spark-3")]),
    (
        "host_journals",
        ["history", "--nodes"],
        LOST,
    ),
    ("models", ["model", "ls"], LOST),
    ("images", ["image", "ls"], LOST),
    (
        "monitor_status",
        ["monitor", "status"],
        LOST,
    ),
    ("service_status", ["services", "phoenix", "status"], sparks("spark-1", *PAIR)),
    ("fit", ["recipes", "fit", "qwen3-vl-235b"], []),
    ("recipes", ["recipes"], []),
    ("recipe", ["recipes", "show", "qwen3-vl-235b"], []),
    ("lint", ["recipes", "lint"], []),
    ("error", ["launch", "no-such-recipe"], []),
]


@pytest.mark.parametrize(("kind", "words", "hosts"), VERBS, ids=[" ".join(v[1]) for v in VERBS])
def test_what_a_verb_prints_is_on_the_page(
    cli: Cli, kind: str, words: list[str], hosts: list[Spark]
) -> None:
    said = cli(*words, "--json", "-i", INVENTORY, hosts=hosts)
    assert kind in checked(said.lines)


def test_evidence(cli: Cli) -> None:
    hosts = sparks("spark-1", *PAIR)
    for host in hosts:
        host.on("spark-cluster-evidence", packed({"docker/ps.txt": b"vllm-head\n"}))
    said = cli("evidence", "--json", "-i", INVENTORY, hosts=hosts)
    assert checked(said.lines) == {"collecting", "evidence"}


def test_what_is_read_from_files(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "rank.log"
    log.write_text(LOG)
    assert checked(cli("verify-rdma", "--from-log", str(log), "--json").lines) == {"nccl_log"}
    assert checked(cli("explain", str(log), "--json").lines) == {"post_mortem"}
    assert checked(cli("explain", "--json").lines) == {"diagnoses"}
    assert checked(cli("explain", "NET004", "--json").lines) == {"diagnosis"}
    assert checked(cli("lab", "fault", "list", "--json").lines) == {"lab_faults"}


def test_past_runs(cli: Cli) -> None:
    cli("teardown", "-i", INVENTORY, hosts=[Spark("spark-1"), torn("spark-2"), torn("spark-3")])
    assert checked(cli("history", "--json").lines) == {"runs"}
    assert checked(cli("history", "last", "--json").lines) == {"run"}


def test_what_goes_elsewhere(cli: Cli, switch: Any) -> None:
    hosts = switched.both(switch, "exited")
    said = cli("relaunch", "--json", "-i", str(switch.path), hosts=hosts)
    assert {"relaunch", "run_finished", "judged"} <= checked(said.lines)


def test_nested_rows_have_the_fields_of_their_types(cli: Cli) -> None:
    from spark_cluster.actions.status import HostStatus

    hosts = [Spark("spark-1"), serving("spark-2"), down("spark-3")]
    (told,) = cli("status", "--json", "-i", INVENTORY, hosts=hosts).lines
    known = set(HostStatus.__annotations__)
    assert all(set(row) <= known for row in told["hosts"])
    assert set().union(*told["hosts"]) == known


# What the program printed before every line had a kind: recorded by running it, over these hosts.

EARLIER = json.loads((Path(__file__).parent / "data/json/keys-before-kinds.json").read_text())

HOSTS: dict[str, Callable[[], Sequence[FakeHost]]] = {
    "none": list,
    "bare": lambda: [world.bare(name) for name in ("spark-1", *PAIR)],
    "sparks": lambda: sparks("spark-1", *PAIR),
    "launching": lambda: [launching(name) for name in PAIR],
    "torn": lambda: [Spark("spark-1"), torn("spark-2"), down("spark-3")],
    "serving": lambda: [Spark("spark-1"), *(serving(name) for name in PAIR)],
    "lost": lambda: [Spark("spark-1"), serving("spark-2"), down("spark-3")],
    "monitored": up_hosts,
    "logs": lambda: [Spark("spark-2").on("docker logs", LOG_LINE), down("spark-3")],
}
LOG_LINE = "@@log 0 vllm-head 2026-11-21T03:15:02Z ready\n"


def paths(value: Any, at: str = "") -> set[str]:
    """Every key of it, with the way there."""
    if isinstance(value, dict):
        return set().union(*({f"{at}.{k}", *paths(v, f"{at}.{k}")} for k, v in value.items()))
    return (
        set().union(*(paths(item, f"{at}[]") for item in value))
        if isinstance(value, list)
        else set()
    )


@pytest.mark.parametrize("name", EARLIER)
def test_no_key_of_an_earlier_release_is_gone(cli: Cli, name: str) -> None:
    earlier = EARLIER[name]
    where = [] if name == "explain" else ["-i", INVENTORY]
    said = cli(*earlier["words"], "--json", *where, hosts=HOSTS[earlier["hosts"]]())
    lines: list[Any] = said.lines
    if name == "recipes":  # it was a bare list
        lines = lines[0]["recipes"]
    now = set().union(*(paths(line) for line in lines))
    assert set(earlier["keys"]) - now == set()

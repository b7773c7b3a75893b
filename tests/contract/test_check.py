"""`check` against the lab's stand-in: what it does is ok, what it lacks is named with a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.cli import app
from tests.unit.test_engine_standin_cluster import BIN, Cluster

pytestmark = pytest.mark.contract

MINE = "chat,stream,long,too-long,together,cancel"


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("standin"))
    try:
        argv = [str(BIN / "vllm"), "serve", "org/name", "--host", "127.0.0.1"]
        cluster.start("vllm", [*argv, "--port", str(cluster.api)], "127.0.0.1")
        cluster.serving()
        yield cluster
    finally:
        cluster.close()


def checked(
    capsys: pytest.CaptureFixture[str], code: int, *words: str
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Each check by its name, and all lines, of `check --json`."""
    assert app.run(["check", *words, "--json"]) == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["check"]: line for line in lines if line["kind"] == "check"}, lines


def test_it_does_what_users_need(standin: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    found, lines = checked(capsys, 0, "--endpoint", f"127.0.0.1:{standin.api}", "--only", MINE)
    assert [(name, each["result"]) for name, each in found.items()] == [
        (name, "ok") for name in MINE.split(",")
    ], found
    assert found["chat"]["completion_tokens"] > 0
    assert found["long"]["prompt_tokens"] > 3000
    assert lines[0]["context"] == 4096
    assert lines[-1] == {
        "kind": "check_finished", "counts": {"ok": 6, "failed": 0, "skipped": 0}, "exit_code": 0,
        "checks": lines[-1]["checks"],
    }  # fmt: skip


def test_what_it_lacks_is_named(standin: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The stand-in calls no tools."""
    found, _ = checked(capsys, 4, "--endpoint", f"127.0.0.1:{standin.api}", "--only", "tools")
    assert found["tools"]["result"] == "failed"
    assert "--tool-call-parser" in found["tools"]["next"]


def test_a_person_sees_a_line_a_check(standin: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = f"127.0.0.1:{standin.api}"
    assert app.run(["check", "--endpoint", endpoint, "--only", "chat,tools"]) == 4
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("check of org/name (spark-lab")
    assert said[2].startswith("ok       chat  ")
    assert any(line.startswith("failed   tools ") for line in said)
    assert said[-1] == "check: 1 ok, 1 failed"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--only", "chats"], 2, "no check is called chats"),
        (["--only", ","], 2, "names nothing"),
        (["qwen3-vl-235b", "--endpoint", "127.0.0.1:1"], 2, "do not go together"),
        (["--endpoint", "127.0.0.1:1"], 3, "127.0.0.1:1"),
        (["--endpoint", "ftp://x"], 2, "ftp://x"),
    ],
)
def test_what_is_wrong_is_told(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["check", *words]) == code
    assert says in capsys.readouterr().err


def test_a_recipe_promises(tmp_path: Path) -> None:
    from spark_cluster.actions.check import wants
    from spark_cluster.recipes.loader import load

    qwen = load("qwen3.6-35b-a3b-nvfp4", {})
    assert (wants(qwen).reasoning, wants(qwen).images) == (True, None)
    assert wants(None).reasoning is None
    assert wants(load("glm-4.7-flash-awq", {})).reasoning is True
    assert wants(load("qwen3-30b-a3b-fp8", {})).reasoning is False

"""Logs made after public reports, each with its right answer: data/reports, a folder a case.

`logs.yaml` of a case says where it was reported and, below `tried`, how it is tried: the `kind` (a
function of KINDS here), its `input`, the right `answer` in words, what is said then (`says`) and
what is `never`. `pytest -s` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_cluster.rdma import from_log as log_reader
from spark_cluster.rdma.log_notes import notes
from spark_cluster.serving import milestones, post_mortem
from tests.command_line import Cli, Said

from . import world

FOLDER = world.DATA / "reports"


def _flat(said: Said) -> str:
    return " ".join(f"exit {said.code} {said.out} {said.err}".split())


def from_log(cli: Cli, *words: str) -> str:
    """`verify-rdma --from-log`."""
    return _flat(cli("verify-rdma", "--from-log", *words))


def explain(cli: Cli, *words: str) -> str:
    return _flat(cli("explain", *words))


def launch(_: Cli, name: str) -> str:
    """What launch's waiting steps read in a rank's log."""
    progress = milestones.read(Path(name).read_text(encoding="utf-8"))
    if progress.failure is not None:
        return f"{progress.failure.reason} | {progress.failure.remedy}"
    if progress.standing is not None:
        standing = progress.standing
        return f"no failure; if nothing follows: {standing.reason} | {standing.remedy}"
    return "no failure"


KINDS: dict[str, Callable[..., str]] = {"from-log": from_log, "explain": explain, "launch": launch}

CASES: list[tuple[str, dict[str, Any]]] = [
    (path.parent.name, tried)
    for path in sorted(FOLDER.glob("*/logs.yaml"))
    for tried in yaml.safe_load(path.read_text(encoding="utf-8"))["tried"]
]


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, str, str, str]]]:
    """Input, right answer and what was got, printed at the end."""
    rows: list[tuple[str, str, str, str]] = []
    yield rows
    print("\n")
    for name, kind, answer, got in rows:
        print(f"{name} ({kind})\n  right: {answer}\n  got:   {got[:600]}")


@pytest.mark.parametrize(("name", "tried"), CASES, ids=[f"{c[0]}-{c[1]['kind']}" for c in CASES])
def test_case(
    name: str,
    tried: dict[str, Any],
    table: list[tuple[str, str, str, str]],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(FOLDER / name)
    got = KINDS[tried["kind"]](cli, *tried["input"])
    table.append((name, tried["kind"], tried["answer"], got))
    for words in tried["says"]:
        assert words in got
    for words in tried.get("never", []):
        assert words not in got


def test_every_case_has_its_report() -> None:
    assert len({name for name, _ in CASES}) == 13
    for path in FOLDER.glob("*/logs.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["report"]


# Logs of what was well

HEALTHY = [
    *sorted(path for name in ("ray", "mp") for path in (world.DATA / "gpu" / name).glob("*.log")),
    *sorted((world.DATA / "vllm").glob("startup-*.log")),
    *sorted((world.DATA / "startups").glob("*.log")),
    *sorted((world.DATA / "h200").glob("*rank*.out")),
    *sorted((world.DATA / "nccl").glob("*socket*.log")),
    world.DATA / "nccl" / "ib-roce-two-hosts-2.19.log",
    *sorted((FOLDER / "qp-retry-that-succeeds").glob("*.log")),
    *sorted((FOLDER / "one-half-carries-all").glob("*.log")),
    *sorted((FOLDER / "known-bad-nccl").glob("*.log")),
]

#: Every so many lines of a long log a prefix is read; of short ones each.
_STEPS = 60


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_part_of_a_healthy_log_failed(path: Path) -> None:
    """Neither what NCCL's lines alone say, nor what `explain` makes of all of them."""
    lines = path.read_text(encoding="utf-8").split("\n")
    ends = {*range(0, len(lines), max(1, len(lines) // _STEPS)), len(lines)}
    nccl = [number + 1 for number, line in enumerate(lines) if "NCCL WARN" in line]
    for end in sorted({*ends, *nccl}):
        report = log_reader.read({"rank.log": "\n".join(lines[:end])})
        assert report.kind != "failed", (end, lines[end - 1], notes(report))
    whole = post_mortem.read({"rank.log": "\n".join(lines)})
    assert whole.first is None

"""Inputs made after public reports, each with its right answer: data/reports, a folder a case.

`expected.yaml` of a case says where it was reported and, below `tried`, how it is tried: the `kind`
(a function of KINDS here), its `input`, the right `answer` in words, what of it must be `said` and
what `never`. `pytest -s` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_cluster.doctor.examine import examine, exit_code
from spark_cluster.engines import nccl
from spark_cluster.engines.placement import place
from spark_cluster.inventory.loader import load as load_inventory
from spark_cluster.recipes.loader import load as load_recipe
from tests.command_line import Cli, Said

from . import world
from .test_doctor import cluster

FOLDER = world.DATA / "reports"


def _flat(said: Said, folder: Path) -> str:
    """In one line, without the console's line breaks and the folder's name."""
    text = f"exit {said.code} {said.out} {said.err}".replace(f"{folder}/", "")
    return " ".join(text.split())


def recipe(cli: Cli, folder: Path, name: str) -> str:
    """`recipes show` and `recipes lint`."""
    verbs = ("show", "lint")
    return " | ".join(_flat(cli("recipes", verb, str(folder / name)), folder) for verb in verbs)


def inventory(cli: Cli, folder: Path, name: str) -> str:
    """`plan bootstrap`; its hosts are away, so that a sound one ends with exit 3."""
    return _flat(cli("plan", "bootstrap", "-i", str(folder / name)), folder)


def launch(cli: Cli, folder: Path, name: str, inventory: str, *words: str) -> str:
    """`launch --dry-run`; its hosts are away, too."""
    files = (str(folder / name), "-i", str(folder / inventory))
    return _flat(cli("launch", *files, "--dry-run", *words), folder)


def nccl_environment(cli: Cli, folder: Path, name: str, inventory: str, group: str) -> str:
    """What NCCL is told on each host of the group."""
    loaded = load_inventory(folder / inventory)
    there = place(load_recipe(str(folder / name), {}), loaded, group, loaded.groups[group])
    ranks = (nccl.environment(there, rank) for rank in range(len(there.hosts)))
    return " | ".join(" ".join(f"{key}={value}" for key, value in env.items()) for env in ranks)


def doctor(_: Cli, folder: Path, *words: str) -> str:
    """What the doctor finds when on spark-2, else healthy, each `fact` prints what its file holds.
    The words are FACT FILE, as often as needed."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    texts = {fact: {"text": (folder / name).read_text("utf-8")} for fact, name in given.items()}
    found = examine(cluster({"spark-2": texts}))
    told = (f"{f.code} {f.host} {f.severity.value} {f.what}. {f.fix}" for f in found)
    return f"exit {exit_code(found)} {' | '.join(told)}"


#: How an input is tried. Each gets the command line, the case's folder and the words of `input`,
#: and gives what was said.
KINDS: dict[str, Callable[..., str]] = {
    "recipe": recipe,
    "inventory": inventory,
    "launch": launch,
    "nccl-environment": nccl_environment,
    "doctor": doctor,
}

CASES: list[tuple[str, dict[str, Any]]] = [
    (path.parent.name, tried)
    for path in sorted(FOLDER.glob("*/expected.yaml"))
    for tried in yaml.safe_load(path.read_text(encoding="utf-8"))["tried"]
]


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, str, str, str]]]:
    """Input, right answer and what was got, printed at the end."""
    rows: list[tuple[str, str, str, str]] = []
    yield rows
    print("\n")
    for name, answer, got, good in rows:
        print(f"{good:5} {name}\n      right: {answer}\n      got:   {got[:300]}")
    print(f"{sum(row[3] == 'ok' for row in rows)} of {len(rows)} right")


@pytest.mark.parametrize(
    ("case", "tried"), CASES, ids=[f"{name}-{tried['kind']}" for name, tried in CASES]
)
def test_a_report_gets_its_right_answer(
    case: str, tried: Mapping[str, Any], cli: Cli, table: list[tuple[str, str, str, str]]
) -> None:
    assert set(tried) <= {"kind", "input", "answer", "says", "never"}
    words = [str(word) for word in tried["input"]]
    got = KINDS[tried["kind"]](cli, FOLDER / case, *words)
    missing = [part for part in tried["says"] if part not in got]
    wrong = [part for part in tried.get("never", ()) if part in got]
    name = f"{case}: {' '.join(words)}"
    table.append((name, tried["answer"], got, "WRONG" if missing or wrong else "ok"))
    assert not missing, f"not said: {missing}\n{got}"
    assert not wrong, f"said: {wrong}\n{got}"


def test_every_folder_is_a_case() -> None:
    """Those with `logs.yaml` are tried in test_report_logs.py."""
    for folder in FOLDER.iterdir():
        if (folder / "logs.yaml").exists():
            continue
        expected = yaml.safe_load((folder / "expected.yaml").read_text(encoding="utf-8"))
        assert set(expected) == {"report", "tried"}
        named = {word for tried in expected["tried"] for word in map(str, tried["input"])}
        files = {path.name for path in folder.iterdir()} - {"expected.yaml"}
        assert files & named, f"{folder.name}: no input is tried"

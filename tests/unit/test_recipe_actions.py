"""recipes, fit, lint and compose as actions: typed results, no output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import yaml

from spark_cluster.actions import fit as sums
from spark_cluster.actions import recipes
from spark_cluster.actions.compose import compose
from spark_cluster.actions.deploying import Choices
from spark_cluster.core.error import InputError, Unreachable
from spark_cluster.recipes import loader
from tests.operators import Operators

from . import world
from .cases import refused, write
from .world import PAIR, RECIPE, Spark, down

ANYWAY = Choices(anyway=True)
WHOLE = "weight 4999999000\nweight 4999999000"


@pytest.fixture(autouse=True)
def elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """An empty folder; an action writes nothing on any stream."""
    monkeypatch.chdir(tmp_path)
    yield
    assert capfd.readouterr() == ("", "")


def whole(name: str, **texts: str) -> Spark:
    """A host whose cache has all 117 GB of the model."""
    model = world.healthy("model", name).replace(WHOLE, "weight 117000000000")
    return Spark(name, {"model": model} | texts)


def test_the_catalog_has_every_recipe_and_what_is_wrong_with_the_rest() -> None:
    found = recipes.catalog(world.inventory())
    rows = {row.name: row for row in found.recipes}
    assert (rows[RECIPE].nodes, rows[RECIPE].engine, rows[RECIPE].fits) == (2, "vllm-ray", "fits")
    assert rows["qwen3-vl-235b-sglang"].known_broken
    assert (found.broken, found.exit_code) == ((), 0)
    mine = write(Path("playbooks/recipes/mine.yaml"), "name: mine\n")
    found = recipes.catalog(world.inventory())
    (broken,) = found.broken
    assert (broken.name, broken.path) == ("mine", str(mine.absolute()))
    assert broken.error.place == f"{mine.absolute()}:1"
    assert (len(found.recipes), found.exit_code) == (len(rows), 2)


def test_a_shown_recipe_has_no_secret() -> None:
    text = "name: mine\nextends: qwen3-vl-235b\nenv: {MY_API_KEY: hunter2}\n"
    found = recipes.show(world.inventory(), str(write(Path("mine.yaml"), text)))
    assert found.fits == "fits"
    assert "hunter2" not in str(found.as_dict())
    assert found.as_dict()["path"].endswith("mine.yaml")


def test_a_sum_from_nominal_numbers_reaches_no_host(over: Operators) -> None:
    operator, heard = over([])
    report = recipes.fit(world.inventory(), RECIPE, ANYWAY, (), operator)
    assert (report.fit.verdict, report.exit_code, report.hosts) == ("fits", 0, ())
    assert report.as_dict()["recipe"] == RECIPE
    assert heard == []


def test_a_sum_from_the_hosts_costs_one_exec_each(over: Operators) -> None:
    hosts = [whole(name) for name in PAIR]
    operator, heard = over(hosts)
    report = recipes.fit(world.inventory(), RECIPE, ANYWAY, ("pair",), operator)
    assert (report.fit.verdict, report.fit.notes, report.hosts) == ("fits", (), ("pair",))
    assert [(host.execs, host.changes) for host in hosts] == [(1, [])] * 2
    assert heard == []
    same = recipes.fit(world.inventory(), RECIPE, ANYWAY, PAIR, operator)
    assert same.fit == report.fit


def test_what_a_running_copy_holds_is_its_own(over: Operators) -> None:
    taken = world.healthy("memory", "spark-3").replace("121563244", " 21563244")
    operator, _ = over([whole(name, memory=taken) for name in PAIR])
    recipe = loader.load(RECIPE, {})
    found = sums.on_hosts(world.inventory(), recipe, ["pair"], operator)
    assert (found.verdict, {one.code for one in found.problems}) == ("no", {"SERVE001"})
    running = [whole(name, memory=taken, containers=world.running(name)) for name in PAIR]
    operator, _ = over(running)
    assert sums.on_hosts(world.inventory(), recipe, ["pair"], operator).verdict == "fits"


def test_a_sum_without_one_of_the_hosts_is_none(over: Operators) -> None:
    operator, _ = over([whole("spark-2"), down("spark-3")])
    with pytest.raises(Unreachable):
        recipes.fit(world.inventory(), RECIPE, ANYWAY, ("pair",), operator)


@pytest.mark.parametrize(
    ("verdict", "code"), [("fits", 0), ("tight", 0), ("no", 4), ("unknown", 3)]
)
def test_the_exit_code_is_the_verdicts(
    verdict: Literal["fits", "tight", "no", "unknown"], code: int
) -> None:
    recipe = loader.load(RECIPE, {})
    found = replace(sums.nominal(recipe), verdict=verdict)
    assert recipes.FitReport(recipe, (), found).exit_code == code


def test_lint_names_file_and_line_and_goes_on_after_what_cannot_be_read() -> None:
    broken = write(Path("broken.yaml"), "name: broken\nextends: qwen3-vl-235b\nprot: 1\n")
    gone = write(
        Path("gone.yaml"),
        "name: gone\nextends: qwen3-vl-235b\nimage: example.org/vllm:0.30.0\n"
        "engine_version: 0.30.0\n"
        "env: {VLLM_SLEEP_WHEN_IDLE: null, VLLM_ATTENTION_BACKEND: TRITON_ATTN}\n",
    )
    names = (str(broken), str(gone), RECIPE)
    report = recipes.lint(world.inventory(), names)
    assert report.recipes == names
    errors = [each for each in report.findings if each.is_error]
    assert [(each.recipe, each.code) for each in errors] == [
        ("broken.yaml", "RECIPE005"), ("gone.yaml", "RECIPE003"),
    ]  # fmt: skip
    assert [each.place for each in errors] == [f"{broken.absolute()}:3", f"{gone.absolute()}:5"]
    assert (report.errors, report.exit_code) == (2, 2)
    assert recipes.lint(world.inventory(), (RECIPE,)).exit_code == 0


def test_a_compose_file_is_text_and_what_lint_says_of_it(tmp_path: Path) -> None:
    made = compose(world.inventory(), "qwen3-32b-fp8", Choices(profile="latency"))
    assert yaml.safe_load(made.text)["services"]
    made.write(tmp_path / "made.yaml")
    assert (tmp_path / "made.yaml").read_text() == made.text
    error = refused(lambda: made.write(tmp_path / "no" / "where"))
    assert "no/where: No such file or directory" in error.message


def test_a_compose_file_of_two_hosts_there_is_not() -> None:
    with pytest.raises(InputError, match="docker compose knows one"):
        compose(world.inventory(), RECIPE, Choices())


def test_what_lint_lets_pass_is_told_with_the_compose_file() -> None:
    text = (
        "name: mine\nextends: qwen3-32b-fp8\nimage: example.org/vllm:latest\n"
        "engine_version: 0.26.0\nenv: {VLLM_ATTENTION_BACKEND: TRITON_ATTN}\n"
    )
    path = str(write(Path("mine.yaml"), text))
    assert refused(lambda: compose(world.inventory(), path, Choices())).code == "RECIPE003"
    made = compose(world.inventory(), path, ANYWAY)
    assert [note.split(" at ")[0] for note in made.notes] == [
        "lint: error RECIPE003", "lint: warning RECIPE006",
    ]  # fmt: skip

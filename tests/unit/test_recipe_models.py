"""The model that a recipe means, for launch and for `spark-cluster model`: one folder, one
revision, and remedies that bring just that."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.engines.common import HF_HOME
from spark_cluster.engines.spec import Deployment
from spark_cluster.engines.table import ENGINES
from spark_cluster.facts.base import Facts, ProbeContext
from spark_cluster.facts.model_config import MODEL_CONFIG
from spark_cluster.facts.storage import MODEL, ModelFact
from spark_cluster.recipes import loader as recipes
from spark_cluster.recipes.naming import model_of
from spark_cluster.steps import preflight
from spark_cluster.steps.base import NoParams
from spark_cluster.steps.view import View
from spark_cluster.transfer.node import files, hub
from tests.command_line import Cli
from tests.hub_cache import content, write_model

from . import world
from .cases import write
from .shell import sh
from .test_model_cli import DONE, Node
from .world import INVENTORY

RECIPES = sorted(path.stem for path in (places.shipped("playbooks") / "recipes").glob("*.yaml"))
#: As its name on the hub has it, in a cache of the recipe's own.
MODEL_NAME, CACHE = "org/tiny-model", "/srv/models"
ONE, TWO = "1" * 40, "2" * 40


def deployed(path: Path) -> Deployment:
    recipe = recipes.load(str(path), {})
    there = world.placed(recipe)
    return ENGINES[recipe.engine](recipe, there, world.RUN, recipes.file_contents(recipe))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a recipe for one host with a cache of its own and this revision."""

    def written(revision: str) -> Path:
        text = f"""
extends: qwen3-32b-fp8
name: tiny
model: {MODEL_NAME}
model_cache: {CACHE}
args: {{revision: "{revision}"}}
env: {{HF_HUB_OFFLINE: {{value: true, why: the model is brought before}}}}
"""
        return write(tmp_path / "tiny.yaml", text)

    return written


# The folder


@pytest.mark.parametrize("name", [name for name in RECIPES if world.deployment(name).model_folder])
def test_launch_looks_where_a_pull_writes_and_the_engine_reads(name: str) -> None:
    made = world.deployment(name)
    named = model_of(name, {})
    assert made.model_folder == str(files.model_folder(Path(named.cache) / "hub", named.name))
    for spec in made.containers:
        assert {m.target: m.source for m in spec.mounts}[HF_HOME] == named.cache
        assert "--download-dir" not in spec.command


# The revision


def test_a_recipes_revision_is_what_launch_checks_and_a_pull_downloads(
    recipe: Callable[[str], Path],
) -> None:
    path = recipe("v1.2")
    assert deployed(path).revision == "v1.2"
    assert model_of(str(path), {}).revision == "v1.2"
    assert world.deployment().revision == "main"


def test_pull_of_a_recipe_asks_for_its_revision_in_its_cache(
    recipe: Callable[[str], Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", INVENTORY)
    monkeypatch.setattr("spark_cluster.runner.remote_program._FIRST", 0.0)
    host = Node("spark-2")
    host.done = {"done": {**DONE, "files": 3, "bytes": 2000, "bad": [], "revision": ONE}}
    words = ("model", "pull", str(recipe("v1.2")), "--to", "spark-2")
    cli(*words, hosts=[host])
    cli(*words, "--revision", "v2", hosts=[host])
    jobs = host.told("pull pull")
    assert [(job["cache"], job["revision"]) for job in jobs] == [(CACHE, "v1.2"), (CACHE, "v2")]


def test_the_ref_of_the_revision_decides_which_snapshot_is_read(tmp_path: Path) -> None:
    for ref, commit in (("main", ONE), ("refs/pr/1", TWO)):
        (tmp_path / "models--org--tiny-model/refs/refs/pr").mkdir(parents=True, exist_ok=True)
        config = json.dumps({"whose": commit}).encode()
        made = write_model(tmp_path, {**content(), "config.json": config}, revision=commit, ref=ref)
    for revision, commit in (("main", ONE), ("refs/pr/1", TWO), (TWO, TWO)):
        assert _read(made, revision) == (commit, True, commit)
    assert _read(made, "v9") == ("", False, None)


def test_what_another_commit_lacks_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    made = write_model(tmp_path, content(), revision=ONE)
    hub.begin(made, TWO, ["e" * 64])
    (made / "blobs" / f"{'e' * 64}.1a2b.incomplete").write_bytes(b"half")
    assert _fact(made, "main").is_complete
    # Not of a download that we know: it may be what the snapshot lacks.
    (made / "blobs" / f"{'f' * 64}.incomplete").write_bytes(b"half")
    assert _fact(made, "main").partial == (f"{'f' * 64}.incomplete",)


def test_a_commit_that_is_still_being_brought_is_not_complete(tmp_path: Path) -> None:
    """All weights are there; only the note knows of the files that are not."""
    made = write_model(tmp_path, content(), revision=ONE)
    hub.begin(made, ONE, ["e" * 64])
    assert not _fact(made, "main").is_complete
    assert not _fact(made, ONE).is_complete
    hub.end(made, ONE)
    assert _fact(made, ONE).is_complete
    assert not (made / files.UNFINISHED).exists()


def test_what_another_program_brought_meanwhile_is_there(tmp_path: Path) -> None:
    made = write_model(tmp_path, content(), revision=ONE)
    hub.begin(made, ONE, [path.name for path in (made / "blobs").iterdir()])
    assert _fact(made, "main").is_complete


def _context(folder: Path, revision: str) -> ProbeContext:
    made = replace(world.deployment(), model_folder=str(folder), revision=revision)
    return ProbeContext(world.inventory().hosts["spark-2"], world.inventory(), made)


def _fact(folder: Path, revision: str) -> ModelFact:
    return MODEL.parse(sh(MODEL.script(_context(folder, revision))))


def _read(folder: Path, revision: str) -> tuple[str, bool, str | None]:
    """The commit that launch finds, whether it is complete, and whose config.json it reads."""
    fact = _fact(folder, revision)
    config = sh(MODEL_CONFIG.script(_context(folder, revision)))
    return fact.revision, fact.is_complete, json.loads(config)["whose"] if config else None


# What to do


@pytest.mark.parametrize(
    ("revision", "there", "says"),
    [
        ("main", "", "spark-cluster model pull {path} --to spark-2"),
        ("v1.2", "", "spark-cluster model pull {path} --revision v1.2 --to spark-2"),
        ("main", "missing m-2.safetensors", "spark-cluster model pull {path} --to spark-2"),
    ],
)
def test_a_missing_model_is_brought_by_the_recipe_that_was_launched(
    revision: str, there: str, says: str, recipe: Callable[[str], Path]
) -> None:
    path = recipe(revision)
    text = f"path /m\nrevision {ONE if there else ''}\n{there}\n"
    (told,) = preflight.model_files.assess(view(path, {"spark-2": text}), NoParams()).problems
    assert told.remedy == says.format(path=path)


def test_a_host_that_differs_from_the_head_is_synced_by_the_recipe() -> None:
    texts = {
        n: f"path /m\nrevision {c}\nweight 10\n"
        for n, c in zip(world.PAIR, (ONE, TWO), strict=True)
    }
    folder = places.shipped("playbooks") / "recipes"
    seen = view(folder / "qwen3-vl-235b.yaml", texts, "spark-3")
    (told,) = preflight.model_files.assess(seen, NoParams()).problems
    assert told.remedy.startswith("spark-cluster model sync ")
    assert told.remedy.endswith("qwen3-vl-235b.yaml --from spark-2")


def test_an_image_without_a_tag_is_copied_by_a_name_that_is_no_recipes() -> None:
    seen = world.view("spark-3", {"spark-3": {"image": ""}})
    untagged = replace(seen, deployment=replace(seen.serving, image="vllm-node"))
    (told,) = preflight.image.assess(untagged, NoParams()).problems
    assert told.remedy == "spark-cluster image sync vllm-node:latest"


@pytest.mark.parametrize("there", ["", "sha256:ffffffffffff00112233\n"])
def test_an_image_by_its_digest_is_pulled_on_every_host(there: str) -> None:
    """No copy would have the digest."""
    seen = world.view("spark-3", {"spark-3": {"image": there}})
    name = f"nvcr.io/nvidia/vllm@sha256:{'d' * 64}"
    by_digest = replace(seen, deployment=replace(seen.serving, image=name))
    (told,) = preflight.image.assess(by_digest, NoParams()).problems
    assert told.remedy == f"spark-cluster image pull {name}"


def test_a_recipe_by_its_name_is_named_so() -> None:
    assert recipes.load("qwen3-vl-235b", {}).asked == "qwen3-vl-235b"


def view(path: Path, texts: dict[str, str], name: str = "spark-2") -> View:
    """What a step of launch sees of hosts whose caches are told so."""
    facts = {host: Facts({MODEL.name: MODEL.parse(text)}) for host, text in texts.items()}
    inventory = world.inventory()
    return View(
        host=inventory.hosts[name], inventory=inventory, facts=facts[name], all_facts=facts,
        first=facts[name], deployment=deployed(path),
    )  # fmt: skip


def test_a_process_that_ends_while_leftovers_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder in /proc is gone between two looks."""
    made = write_model(tmp_path, content(), revision=ONE)
    part = made / "blobs" / "1f.incomplete"
    part.write_bytes(b"x")

    def gone(real: Callable[..., object]) -> Callable[..., object]:
        def look(path: object = ".") -> object:
            if str(path).endswith("/fd"):
                raise FileNotFoundError(str(path))
            return real(path)

        return look

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, gone(getattr(os, name)))
    hub.drop_leftovers(made)
    assert not part.exists()

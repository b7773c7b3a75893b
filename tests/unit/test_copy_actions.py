"""Models and images as actions: reports, outcomes and events, no output."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from spark_cluster.actions import copies
from spark_cluster.core.error import InputError, Interrupted, StepFailed
from spark_cluster.core.event import Note, RunFinished
from spark_cluster.core.result import Status
from spark_cluster.recipes.naming import NamedModel
from tests.operators import Operators
from tests.operators import silent as silent_actions

from . import world
from .test_image_cli import IMAGE, holding
from .test_model_cli import DONE, MODEL, ONE, RECIPE, TWO, Node, away, listing
from .world import PAIR

ALL = list(world.inventory().hosts)
silent = pytest.fixture(autouse=True)(silent_actions)


@pytest.fixture(autouse=True)
def no_pauses_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("spark_cluster.runner.remote_program._FIRST", 0.0)


def named() -> NamedModel:
    return copies.named_model(world.inventory(), RECIPE)


def test_a_list_of_models_names_copies_skew_and_the_unknown(over: Operators) -> None:
    hosts = [away("spark-1"), Node("spark-2", listing()), Node("spark-3", listing(TWO, shards=1))]
    operator, heard = over(hosts)
    found = copies.list_models(world.inventory(), ALL, operator, model=RECIPE)
    rows = [(each.model, each.host, each.complete, each.revision) for each in found.models]
    assert rows == [(MODEL, "spark-2", True, ONE), (MODEL, "spark-3", False, TWO)]
    assert list(found.skew) == [MODEL]
    assert (list(found.unknown), found.remedies) == (["spark-1"], {"spark-1": "Is it on?"})
    assert (found.exit_code, heard) == (3, [])


def test_a_pull_is_a_download_and_a_copy(over: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hosts = [Node("spark-2", brings=listing()), Node("spark-3", brings=listing())]
    for host in hosts:
        host.done = {"done": {**DONE, "files": 3, "bytes": 2000, "bad": [], "revision": ONE}}
    operator, heard = over(hosts)
    outcome = copies.pull_model(world.inventory(), named(), operator, to=PAIR, on="spark-3")
    assert outcome.exit_code == 0
    assert [result.host for result in outcome.results] == ["spark-3", "spark-2"]
    assert outcome.data["model"] == MODEL
    assert [(copy["source"], copy["sink"]) for copy in outcome.data["copies"]] == [
        ("spark-3", "spark-2")
    ]
    assert heard.of(RunFinished)[0].data == outcome.data
    assert "hf_secret" not in repr(heard)


def test_a_copy_that_did_not_arrive_is_a_failed_result(over: Operators) -> None:
    operator, _ = over([Node("spark-2", listing()), Node("spark-3")])
    outcome = copies.sync_model(world.inventory(), named(), operator, to=PAIR)
    assert outcome.exit_code == 1
    status = {result.host: result.status for result in outcome.results}
    assert status == {"spark-2": Status.OK, "spark-3": Status.FAILED}


def test_what_is_removed_is_agreed_to_first(over: Operators) -> None:
    hosts = [Node("spark-2", listing()), Node("spark-3")]
    asked: list[Mapping[str, int]] = []

    def never(held: Mapping[str, int]) -> None:
        asked.append(held)
        raise Interrupted("no", remedy="Nothing.")

    operator, _ = over(hosts)
    with pytest.raises(Interrupted):
        copies.remove_model(world.inventory(), named(), PAIR, operator, agree=never)
    assert asked == [{"spark-2": 2000}]
    assert "remove job.json" not in "".join(hosts[0].scripts)
    operator, heard = over(hosts)
    removed = copies.remove_model(world.inventory(), named(), PAIR, operator, agree=asked.append)
    assert [(each.host, each.status) for each in removed.results] == [("spark-2", Status.CHANGED)]
    operator, heard = over(hosts)
    gone = copies.remove_model(world.inventory(), named(), PAIR, operator, agree=asked.append)
    assert (gone.results, len(asked)) == ((), 2)
    assert any("on none of spark-2, spark-3" in note.message for note in heard.of(Note))


def test_verify_gives_4_for_a_wrong_file_and_raises_where_nothing_is(over: Operators) -> None:
    good, bad = Node("spark-2", listing()), Node("spark-3", listing())
    checked = {"files": 2, "bytes": 2000, "bad": [], "usage": {"cpu": 1.0}}
    good.done = {"done": checked}
    bad.done = {"done": {**checked, "bad": [[f"blobs/{'1' * 64}", "its sha256 hash is 00"]]}}
    operator, _ = over([good, bad])
    outcome = copies.verify_model(world.inventory(), named(), PAIR, operator)
    assert outcome.exit_code == 4
    assert [each.host for each in outcome.results if each.status is Status.FAILED] == ["spark-3"]
    operator, _ = over([Node("spark-2"), Node("spark-3")])
    with pytest.raises(StepFailed):
        copies.verify_model(world.inventory(), named(), PAIR, operator)


def test_images_that_differ_become_one(over: Operators) -> None:
    hosts = [holding("spark-2", "a"), holding("spark-3", "b", brings="a")]
    operator, _ = over(hosts)
    found = copies.list_images(world.inventory(), PAIR, operator, image=RECIPE)
    assert list(found.skew) == [IMAGE]
    assert (set(found.skew[IMAGE]), found.exit_code) == (set(PAIR), 0)
    operator, _ = over(hosts)
    outcome = copies.sync_image(world.inventory(), RECIPE, operator, to=PAIR, source="spark-2")
    assert (outcome.exit_code, outcome.data["image"]) == (0, IMAGE)
    operator, _ = over(hosts)
    assert copies.list_images(world.inventory(), PAIR, operator, image=RECIPE).skew == {}


def test_a_digest_is_refused_before_any_host_is_asked(over: Operators) -> None:
    hosts = [holding("spark-2", "a"), holding("spark-3")]
    operator, heard = over(hosts)
    with pytest.raises(InputError):
        copies.sync_image(world.inventory(), f"{IMAGE}@sha256:{'d' * 64}", operator)
    assert (heard, [host.scripts for host in hosts]) == ([], [[], []])

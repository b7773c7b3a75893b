"""`launch --prepare` over fake hosts: what is fetched, in which order, what is foretold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spark_cluster import Cluster
from spark_cluster.actions.deploying import Choices
from spark_cluster.actions.launch import launch_request
from spark_cluster.runner.prepare import models_of
from tests.command_line import Cli
from tests.fake_transport import FakeConnector

from . import world
from .test_image_cli import IMAGE, images
from .test_model_cli import DONE, MODEL, NOTHING, RECIPE, Node, listing, without_pauses
from .world import PAIR, healthy

PULLED = {"id": "sha256:" + "a" * 64, "digests": [], "received": 4_000_000, "seconds": 2.0}
FETCHED = {
    **DONE, "received": 2_000_000, "there": 0, "files": 2, "bytes": 2000, "bad": [],
    "revision": "1" * 40,
}  # fmt: skip


class Bare(Node):
    """A host of the pair that has neither image nor model until they are brought; `says` is what
    each program ends with."""

    def __init__(self, name: str, *, image: bool = False, model: bool = False) -> None:
        super().__init__(name)
        self.says: dict[str, dict[str, Any]] = {
            "image_pull size": {"done": {"bytes": 4_000_000}},
            "image_pull pull": {"done": PULLED},
            "image load": {"done": DONE},
            "pull size": {"done": {"bytes": 1_500_000, "total": 2_000_000}},
            "pull pull": {"done": FETCHED},
            "copy fetch": {"done": FETCHED},
        }
        self.on("/v1/completions", world.ONE_TOKEN)
        if name in PAIR:
            self.effect("docker run", containers=world.running(name, serving=False))
        self.carries = world.TOKEN_UNITS
        self.effect("sitecustomize.py", files=world.deployment().files[0].path)
        if name == "spark-2":
            self.effect("docker run", ray=world.ray_nodes())
            self.effect(
                "docker exec --detach", containers=world.running(name), server=world.SERVER_UP
            )
        self.has_image(image)
        self.has_model(model)

    def has_image(self, there: bool) -> None:
        self.texts["images"] = images(**{IMAGE: "a"}) if there else ""
        self.texts["image"] = healthy("image", self.name) if there else ""

    def has_model(self, there: bool) -> None:
        self.texts["models"] = listing() if there else NOTHING
        self.texts["model"] = healthy("model", self.name) if there else "path /x\n"

    def start(self, script: str) -> str:
        line = super().start(script)
        program = self.jobs[-1][0]
        if "done" in self.says.get(program, {}):
            if program in ("image_pull pull", "image load"):
                self.has_image(True)
            elif program in ("pull pull", "copy fetch"):
                self.has_model(True)
        return line

    def look(self, script: str) -> str:
        said = self.says.get(self.jobs[-1][0])
        return f"ended\n{json.dumps(said)}\n" if said else super().look(script)

    @property
    def programs(self) -> list[str]:
        return [name for name, _ in self.jobs]


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return without_pauses(cli, monkeypatch)


def prepared(
    cli: Cli, *hosts: Node, more: tuple[str, ...] = (), code: int = 0
) -> list[dict[str, Any]]:
    """The events of `launch --prepare` on the pair; spark-1 has nothing."""
    every = [Bare("spark-1"), *hosts] if len(hosts) == 2 else list(hosts)
    got, out, err = cli("launch", RECIPE, "--prepare", "--json", *more, hosts=every)
    assert got == code, out + err
    return [json.loads(line) for line in out.splitlines()]


def ends(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == "run_finished"]


def forecast(events: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [event for event in events if event["kind"] == "forecast"]
    return found


def parts(events: list[dict[str, Any]]) -> list[tuple[str, str, str, list[str], int | None]]:
    return [
        (part["what"], part["way"], part["source"], part["hosts"], part["bytes"])
        for part in forecast(events)["parts"]
    ]


def test_from_nothing_to_a_token(cli: Cli) -> None:
    one, other = Bare("spark-2"), Bare("spark-3")
    events = prepared(cli, one, other)
    assert [end["verb"] for end in ends(events)] == ["prepare", "launch"]
    assert [program for program in one.programs if "size" not in program] == [
        "image_pull pull", "image save", "pull pull", "copy serve",
    ]  # fmt: skip
    assert other.programs == ["image load", "copy fetch"]
    assert one.told("pull pull")[0]["image"] == IMAGE, "its huggingface_hub, if the host has none"
    first, last = ends(events)
    assert last["data"]["model"]
    assert [(part["what"], part["way"]) for part in first["data"]["parts"]] == [
        ("image", "download"), ("image", "copy"), ("model", "download"), ("model", "copy"),
    ]  # fmt: skip
    assert all(part["took"] >= 0 for part in first["data"]["parts"])


def test_what_is_there_is_not_fetched(cli: Cli) -> None:
    hosts = [Bare(name, image=True, model=True) for name in PAIR]
    events = prepared(cli, *hosts)
    assert parts(events) == []
    assert [host.jobs for host in hosts] == [[], []]
    assert ends(events)[-1]["verb"] == "launch"


@pytest.mark.parametrize("holder", ["spark-1", "spark-3"])
def test_what_one_host_has_comes_over_the_fabric(cli: Cli, holder: str) -> None:
    hosts = {name: Bare(name, image=name == holder, model=name == holder)
             for name in ("spark-1", *PAIR)}  # fmt: skip
    events = prepared(cli, *hosts.values())
    lacking = [name for name in PAIR if name != holder]
    assert parts(events) == [
        ("image", "copy", holder, lacking, 5000),
        ("model", "copy", holder, lacking, 2000),
    ]
    assert not [p for host in hosts.values() for p in host.programs if "pull" in p]


def test_a_dry_run_foretells_and_changes_nothing(cli: Cli) -> None:
    one, other = Bare("spark-2"), Bare("spark-3")
    events = prepared(cli, one, other, more=("--dry-run",))
    assert parts(events) == [
        ("image", "download", "", ["spark-2"], 4_000_000),
        ("image", "copy", "spark-2", ["spark-3"], 8_800_000),
        ("model", "download", "", ["spark-2"], 1_500_000),
        ("model", "copy", "spark-2", ["spark-3"], 2_000_000),
    ]
    assert one.programs == ["image_pull size", "pull size"]
    assert (other.programs, one.changes, other.changes) == ([], [], [])
    said = forecast(events)
    assert (said["bytes"], said["seconds"]) == (16_300_000, None), "nothing was downloaded yet"


def test_the_plan_beside_the_forecast_refuses_nothing_that_will_be_there(cli: Cli) -> None:
    hosts = [Bare("spark-1"), Bare("spark-2"), Bare("spark-3")]
    code, out, _ = cli("launch", RECIPE, "--prepare", "--dry-run", hosts=hosts)
    assert code == 0
    assert f"image {IMAGE}" in out
    assert "in the way: " not in out
    assert "now: SERVE002" in out
    assert "forecast: 15.5 MiB, time unknown" in out
    assert "nothing to do" not in out


def test_the_next_forecast_knows_and_the_journal_says_how_far_off(cli: Cli) -> None:
    before = ends(prepared(cli, Bare("spark-2"), Bare("spark-3")))[0]["data"]["parts"]
    events = prepared(cli, Bare("spark-2"), Bare("spark-3"))
    by_way = {(part["what"], part["way"]): part for part in forecast(events)["parts"]}
    took = {(part["what"], part["way"]): part["took"] for part in before}
    image, model = ("image", "download"), ("model", "download")
    assert by_way[image]["seconds"] == pytest.approx(took[image] or 2.0, abs=0.1)
    # The model's bytes are three quarters of what the fake host says that it got.
    assert by_way[model]["seconds"] == pytest.approx(0.75 * (took[model] or 2.0), abs=0.1)
    end = ends(events)[0]["data"]
    whole, foretold = end["took"], end["forecast"]["seconds"]
    assert end["off"] == pytest.approx(whole / foretold - 1, abs=0.1 / foretold)
    assert all(part["off"] is not None for part in end["parts"])
    assert any("the forecast was" in event.get("message", "") for event in events)


def failing(program: str, reason: str) -> tuple[Bare, Bare]:
    one, other = Bare("spark-2"), Bare("spark-3")
    for host in (one, other):
        host.says[program] = {"failed": f"{program}: {reason}", "reason": reason}
    return one, other


@pytest.mark.parametrize(
    ("program", "reason", "code", "begun"),
    [
        ("image_pull pull", "registry", "IMAGE002", ["image_pull pull"]),
        ("image_pull pull", "digest", "IMAGE004", ["image_pull pull"]),
        ("image_pull pull", "image-space", "IMAGE005", ["image_pull pull"]),
        ("pull pull", "space", "MODEL007", ["image_pull pull", "image save", "pull pull"]),
        ("pull size", "unknown", "MODEL005", []),
        ("pull size", "offline", "MODEL004", []),
    ],
)
def test_what_fails_is_named_and_nothing_is_launched(
    cli: Cli, program: str, reason: str, code: str, begun: list[str]
) -> None:
    one, other = failing(program, reason)
    events = prepared(cli, one, other, code=1)
    errors = [event["error"]["code"] for event in events if event.get("error")]
    assert set(errors) == {code}
    assert [each for each in one.programs if "size" not in each] == begun
    assert [end["verb"] for end in ends(events) if end["verb"] == "launch"] == []
    assert not any("docker run" in script for script in (*one.scripts, *other.scripts))


def test_after_a_failure_the_next_run_goes_on(cli: Cli) -> None:
    one, other = failing("pull pull", "client")
    prepared(cli, one, other, code=1)
    done = len(one.jobs)
    one.says["pull pull"] = {"done": FETCHED}
    events = prepared(cli, one, other)
    assert [part[:2] for part in parts(events)] == [("model", "download"), ("model", "copy")]
    assert [name for name, _ in one.jobs[done:]] == ["pull size", "pull pull", "copy serve"]


def test_a_registry_that_does_not_say_the_size_is_no_refusal(cli: Cli) -> None:
    one, other = failing("image_pull size", "registry")
    events = prepared(cli, one, other)
    assert parts(events)[0] == ("image", "download", "", ["spark-2"], None)
    assert "image_pull size: registry" in forecast(events)["unknown"][0]
    assert ends(events)[-1]["verb"] == "launch"


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(cli: Cli) -> None:
    one, other = Bare("spark-2"), Bare("spark-3")
    one.says["pull size"] = {"done": {"bytes": 10**16, "total": 10**16}}
    events = prepared(cli, one, other, code=1)
    assert set(forecast(events)["no_room"]) == set(PAIR)
    failed = [event for event in events if event.get("error")]
    assert {event["error"]["code"] for event in failed} == {"MODEL007"}
    assert one.programs == ["image_pull size", "pull size"]


def test_what_stands_in_the_way_anyway_is_told_before_anything_is_fetched(cli: Cli) -> None:
    one, other = Bare("spark-2"), Bare("spark-3")
    one.texts["ports"] = ""
    events = prepared(cli, one, other, code=4)
    assert [end["verb"] for end in ends(events)] == ["launch"]
    assert (one.jobs, other.jobs) == ([], [])


def test_a_host_of_the_group_that_is_away_is_needed_and_another_is_not(cli: Cli) -> None:
    one, other = Bare("spark-2"), Bare("spark-3")
    events = prepared(cli, world.down("spark-1"), one, other)  # type: ignore[arg-type]
    assert ends(events)[-1]["exit_code"] == 0
    prepared(cli, Bare("spark-1"), Bare("spark-2"), world.down("spark-3"), code=3)  # type: ignore[arg-type]


def test_a_program_may_have_it_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [Bare("spark-1"), Bare("spark-2"), Bare("spark-3")]
    done = Cluster(world.inventory(), connect=FakeConnector(hosts)).launch(RECIPE, prepare=True)
    assert done.exit_code == 0
    assert done.serving is not None
    one = failing("image_pull pull", "registry")
    done = Cluster(world.inventory(), connect=FakeConnector([hosts[0], *one])).launch(
        RECIPE, prepare=True
    )
    assert (done.exit_code, done.serving) == (1, None)


def test_an_engine_that_keeps_its_models_itself_gets_its_image_alone() -> None:
    def models(recipe: str) -> list[str]:
        deployment = launch_request(world.inventory(), recipe, Choices(group="pair")).deployment
        assert deployment is not None
        return [model.name for model in models_of(deployment)]

    assert models(RECIPE) == [MODEL]
    assert models("qwen3-32b-fp8") == ["Qwen/Qwen3-32B-FP8"], "though vLLM could fetch it"
    assert models("ollama-qwen3-32b") == []

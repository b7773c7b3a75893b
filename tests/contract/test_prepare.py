"""What `launch --prepare` fetches, by the real clients from a registry and a hub on loopback."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_cluster.actions import prepare
from spark_cluster.actions.deploying import Choices
from spark_cluster.actions.launch import launch_request
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Outcome
from spark_cluster.core.error import StepFailed
from spark_cluster.core.event import Event, Progress, RunFinished
from spark_cluster.inventory import loader as inventories
from spark_cluster.runner.history import past_runs
from tests.hub_cache import MODEL, content
from tests.hub_server import Hub
from tests.hub_server import running as serving_hub
from tests.operators import Heard
from tests.registry_server import Registry
from tests.registry_server import running as serving_registry

from . import docker_daemon
from .docker_daemon import Daemon

pytestmark = pytest.mark.contract

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")


@dataclass
class Site:
    """One host, which is this machine, with a dockerd of its own and an empty cache."""

    folder: Path
    daemon: Daemon
    registry: Registry
    hub: Hub

    def prepare(self, *, image: str = "", dry_run: bool = False) -> tuple[Outcome, Heard]:
        recipe = self.folder / "tiny.yaml"
        recipe.write_text(
            f"extends: qwen3-32b-fp8\nname: tiny\nmodel: {MODEL}\n"
            f"image: {image or self.registry.image}\nmodel_cache: {self.folder}/hf\n"
        )
        inventory = inventories.load(self.folder / "sparks.yaml")
        request = launch_request(inventory, str(recipe), Choices(anyway=True))
        heard = Heard()
        return prepare.prepare(request, Operator(heard.append), dry_run=dry_run), heard

    @property
    def models(self) -> list[Path]:
        """What of models is there, whole or not."""
        return [path for path in self.folder.glob("hf/hub/models--*/refs/*") if path.is_file()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    if why := docker_daemon.why_not():
        pytest.skip(why)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "sparks.yaml").write_text(
        "hosts:\n  spark-1: {address: local}\ngroups: {one: [spark-1]}\n"
    )
    (tmp_path / "hf").mkdir()
    files = content(shards=2, size=2_000_000)
    registry = Registry(sizes=(2_000_000, 1_000_000))
    folder = tmp_path / "d"
    folder.mkdir()
    with (
        docker_daemon.running(folder) as daemon,
        serving_registry(registry),
        serving_hub(Hub(MODEL, files)) as hub,
    ):
        monkeypatch.setenv("DOCKER_HOST", daemon.address)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield Site(tmp_path, daemon, registry, hub)


def forecast(heard: list[Event]) -> prepare.Forecast:
    (found,) = [event for event in heard if isinstance(event, prepare.Forecast)]
    return found


def test_from_nothing_with_a_forecast_that_learns(site: Site) -> None:
    model_bytes = sum(map(len, site.hub.files.values()))
    outcome, heard = site.prepare(dry_run=True)
    said = forecast(heard)
    assert [(part.what, part.way, part.bytes) for part in said.parts] == [
        ("image", "download", site.registry.size),
        ("model", "download", model_bytes),
    ]
    assert (outcome.exit_code, said.seconds, said.unknown, said.no_room) == (0, None, (), {})
    assert (site.daemon.images(), site.models, site.registry.fetched) == ([], [], 0)
    assert past_runs() == []

    outcome, heard = site.prepare()
    assert outcome.exit_code == 0, heard
    assert site.daemon.images()[0]["RepoTags"] == [site.registry.image]
    assert len(site.models) == 1

    _, heard = site.prepare()
    assert forecast(heard).parts == ()

    site.daemon.docker("image", "rm", site.registry.image)
    outcome, heard = site.prepare()
    (part,) = forecast(heard).parts
    assert part.seconds is not None and part.seconds > 0
    assert part.basis == "from 1 earlier move"
    end = past_runs()[0].entries[-1]["data"]
    assert end["forecast"]["bytes"] == site.registry.size
    assert end["off"] == pytest.approx(end["took"] / end["forecast"]["seconds"] - 1, abs=0.2)


def test_broken_off_in_the_model_the_next_run_goes_on_there(site: Site) -> None:
    """As a controller that dies: the connection is gone, and the program on the host with it."""
    site.hub.hold_after = 1_000_000
    stopped: list[BaseException] = []

    class Gone(Exception):
        pass

    def until_the_model_is_under_way(event: Event) -> None:
        pulls = isinstance(event, Progress) and event.step == "model-pull"
        if pulls and len(list(site.folder.glob("hf/hub/*/blobs/*.incomplete"))) == 2:
            raise Gone

    recipe = site.prepare(dry_run=True)  # writes the recipe
    assert recipe[0].exit_code == 0
    inventory = inventories.load(site.folder / "sparks.yaml")
    request = launch_request(inventory, str(site.folder / "tiny.yaml"), Choices(anyway=True))

    def run() -> None:
        try:
            prepare.prepare(request, Operator(until_the_model_is_under_way))
        except BaseException as error:
            stopped.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert stopped, "it was under way"
    assert site.models == [], "no ref names half a model"
    site.hub.hold_after = None
    site.hub.gate.set()
    time.sleep(0.5)
    outcome, heard = site.prepare()
    assert outcome.exit_code == 0
    assert [part.what for part in forecast(heard).parts] == ["model"], "the image was whole"
    assert site.registry.fetched == site.registry.size
    assert len(site.models) == 1


def test_a_digest_that_does_not_match_and_no_such_model(site: Site) -> None:
    wrong = f"sha256:{'d' * 64}"
    site.registry.wrong[wrong] = site.registry.manifest
    image = f"{site.registry.address}/{site.registry.name}@{wrong}"
    outcome, heard = site.prepare(image=image)
    (result,) = outcome.results
    assert result.error is not None
    assert (outcome.exit_code, result.error.code) == (1, "IMAGE004")
    assert (site.daemon.images(), site.daemon.leftovers(), site.models) == ([], [], [])
    assert heard.of(RunFinished)[0].exit_code == 1
    site.hub.model = "org/another"
    with pytest.raises(StepFailed, match="is not on the hub") as caught:
        site.prepare()
    assert (caught.value.code, caught.value.exit_code) == ("MODEL005", 1)
    assert site.registry.fetched == 0, "nothing was fetched for a launch that cannot be"

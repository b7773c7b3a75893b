"""`launch --prepare` from nothing by the real clients, which reach servers of the test's own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.shell import quote
from spark_cluster.lab import model
from tests.hub_server import Hub
from tests.hub_server import running as serving_hub
from tests.lab.conftest import Cluster, wait_for
from tests.registry_server import Registry
from tests.registry_server import running as serving_registry

pytestmark = [pytest.mark.lab, pytest.mark.long]

PAIR = ("spark-2", "spark-3")
BASE = "nvcr.io/nvidia/vllm:25.11-py3"
MODEL = "lab/prepared"
FOLDER = "$HOME/.cache/huggingface/hub/models--lab--prepared"


@contextmanager
def reachable(cluster: Cluster, node: str, port: int) -> Iterator[None]:
    """The port of this machine's loopback on the node's, through SSH."""
    options = ["-o", "ExitOnForwardFailure=yes", "-N", "-R", f"{port}:127.0.0.1:{port}"]
    words = ["ssh", "-F", str(cluster.lab / "ssh_config"), "-o", "BatchMode=yes", *options, node]
    tunnel = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        listens = f"ss -Hltn 'sport = :{port}'"
        wait_for(lambda: cluster.on(node, listens, check=False), 60, f"{node} listens on {port}")
        yield
    finally:
        tunnel.terminate()
        tunnel.wait(30)


def packages(root: str) -> set[str]:
    """A distribution that is installed here, and all that it needs."""
    found: set[str] = set()
    left = [root]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for need in metadata.requires(name) or ():
            word = re.match(r"[\w.-]+", need)
            if word and "extra ==" not in need and word[0] != "hf-xet":  # compiled, and not needed
                with suppress(metadata.PackageNotFoundError):
                    left.append(metadata.distribution(word[0]).name)
    return found


def give_client(cluster: Cluster, node: str, packed: Path) -> None:
    """huggingface_hub as it is here, in Python alone, as the SSH user's `hf` on the node."""
    if not packed.exists():
        with tarfile.open(packed, "w") as tar:
            for name in packages("huggingface_hub"):
                for file in metadata.files(name) or ():
                    path = Path(str(file.locate()))
                    if file.suffix != ".so" and ".." not in file.parts and path.is_file():
                        tar.add(path, str(file))
    to = "$HOME/.local/lib/hf-client"
    hf = f'#!/bin/sh\nPYTHONPATH={to} exec python3 -m huggingface_hub.cli.hf "$@"\n'
    bin_ = "$HOME/.local/bin"
    make = f"mkdir -p {to} {bin_} && tar -x -C {to} && printf {quote(hf)} > {bin_}/hf"
    words = ["ssh", "-F", str(cluster.lab / "ssh_config"), "-o", "BatchMode=yes", node]
    with packed.open("rb") as given:
        subprocess.run([*words, f"{make} && chmod 755 {bin_}/hf"], stdin=given, check=True)


@dataclass
class Site:
    cluster: Cluster
    registry: Registry
    hub: Hub
    recipe: Path

    def launch(self, *more: str, code: int = 0) -> list[dict[str, Any]]:
        env = {"HF_ENDPOINT": self.hub.url}
        words = ("launch", str(self.recipe), "--prepare", *more)
        events, _ = self.cluster.events(*words, code=code, seconds=1200, env=env)
        return events

    def forget(self) -> None:
        """Take the image and the model off all nodes."""
        for node in ("spark-1", *PAIR):
            remove = f"sudo docker image rm -f {self.registry.image} >/dev/null 2>&1"
            self.cluster.on(node, f"{remove}; rm -rf {FOLDER}", check=False)

    def holders(self) -> dict[str, tuple[bool, bool]]:
        """Which node has the image, and the whole model."""
        image = f"sudo docker image inspect {self.registry.image} >/dev/null 2>&1 && echo yes"
        ref = f"ls {FOLDER}/refs/main 2>/dev/null"
        on = self.cluster.on
        return {
            node: (bool(on(node, image, check=False)), bool(on(node, ref, check=False)))
            for node in PAIR
        }


@pytest.fixture(scope="module")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The engine's image pushed into a registry, a model in a hub, and a recipe of both."""
    if cluster.on("spark-2", "ping -c 1 -W 5 192.168.100.11 >/dev/null || echo no"):
        cluster.run("bootstrap")
    folder = tmp_path_factory.mktemp("prepare")
    model.write_hub(folder / "hub")
    (snapshot,) = (folder / "hub").glob("models--*/snapshots/*")
    files = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    with ExitStack() as stack:
        hub = stack.enter_context(serving_hub(Hub(MODEL, files)))
        saved = folder / "engine.tar"
        with saved.open("wb") as file:
            words = ["ssh", "-F", str(cluster.lab / "ssh_config"), "-o", "BatchMode=yes", "spark-2"]
            subprocess.run([*words, f"sudo docker save {BASE}"], stdout=file, check=True)
        registry = stack.enter_context(serving_registry(Registry(saved=saved)))
        ports = [int(each.rpartition(":")[2]) for each in (registry.address, hub.url)]
        for node in PAIR:
            give_client(cluster, node, folder / "client.tar")
            for port in ports:
                stack.enter_context(reachable(cluster, node, port))
        recipe = folder / "prepared.yaml"
        recipe.write_text(
            f"extends: qwen3-vl-235b\nname: prepared\nmodel: {MODEL}\nimage: {registry.image}\n"
        )
        found = Site(cluster, registry, hub, recipe)
        found.forget()
        yield found
        cluster.run("teardown", "--force", code=None)
        found.forget()


def ends(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["verb"]: event for event in events if event["kind"] == "run_finished"}


def ways(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    (said,) = [event for event in events if event["kind"] == "forecast"]
    return [(part["what"], part["way"]) for part in said["parts"]]


ALL = [("image", "download"), ("image", "copy"), ("model", "download"), ("model", "copy")]


def test_a_dry_run_foretells_and_fetches_nothing(site: Site) -> None:
    events = site.launch("--dry-run")
    assert ways(events) == ALL
    assert site.holders() == dict.fromkeys(PAIR, (False, False))


def test_a_digest_that_does_not_match_is_named_and_leaves_nothing(site: Site) -> None:
    wrong = f"sha256:{'d' * 64}"
    site.registry.wrong[wrong] = site.registry.manifest
    name = f"{site.registry.image.rpartition(':')[0]}@{wrong}"
    done = site.cluster.run("image", "pull", name, "--to", "pair", "--json", code=1)
    errors = [json.loads(line).get("error") for line in done.stdout.splitlines()]
    assert [error["code"] for error in errors if error] == ["IMAGE004"]


def test_interrupted_it_goes_on_and_serves(site: Site) -> None:
    site.hub.hold_after = 100
    words = ("launch", str(site.recipe), "--prepare")
    started = site.cluster.start(*words, env={"HF_ENDPOINT": site.hub.url})
    downloading = f"ls {FOLDER}/blobs/*.incomplete 2>/dev/null"
    wait_for(lambda: any(site.cluster.on(node, downloading, check=False) for node in PAIR),
             900, "the model is being downloaded")  # fmt: skip
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=180)
    assert started.returncode == 130, out + err
    assert site.holders() == dict.fromkeys(PAIR, (True, False)), "the image was whole"
    site.hub.hold_after = None
    site.hub.gate.set()
    events = site.launch()
    assert ways(events) == ALL[2:]
    assert ends(events)["prepare"]["data"]["parts"][0]["took"] > 0
    assert ends(events)["launch"]["exit_code"] == 0
    assert site.holders() == dict.fromkeys(PAIR, (True, True))
    said = site.cluster.run("status").stdout
    assert re.search(r"\bprepared\b", said)


def test_the_next_forecast_comes_from_the_journal(site: Site) -> None:
    site.cluster.run("teardown")
    site.forget()
    events = site.launch()
    data = ends(events)["prepare"]["data"]
    assert data["forecast"]["seconds"] is not None
    assert data["off"] is not None
    assert all("guess" not in part["basis"] for part in data["parts"])

"""Images pulled by a real dockerd from a registry on loopback: whole, broken, refused, stopped."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.cli import app
from spark_cluster.core.error import Interrupted, SparkError, StepFailed
from spark_cluster.transfer.node import image_pull, registry
from spark_cluster.transfer.node.files import Failed
from spark_cluster.transfer.payload import Order
from tests.registry_server import Registry, digest_of
from tests.registry_server import running as serving

from . import docker_daemon
from .docker_daemon import Daemon
from .place import Place
from .sshd_server import eventually

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    if why := docker_daemon.why_not():
        pytest.skip(why)
    # A socket's path has room for 107 characters.
    with docker_daemon.running(tmp_path_factory.mktemp("d")) as found:
        yield found


@pytest.fixture
def daemon(shared: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """The daemon, empty."""
    monkeypatch.setenv("DOCKER_HOST", shared.address)
    yield shared
    for image in shared.images():
        shared.docker("image", "rm", "--force", image["Id"])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Place(tmp_path, "spark-2")


@pytest.fixture
def images() -> Iterator[Registry]:
    with serving(Registry()) as started:
        yield started


def order(image: str, command: str = "pull") -> Order:
    return image_pull, command, {"image": image}


def refused(place: Place, image: str) -> SparkError:
    with pytest.raises(StepFailed) as caught:
        place.follow(order(image))
    return caught.value


def test_a_pull_is_counted_in_bytes(daemon: Daemon, place: Place, images: Registry) -> None:
    done = place.follow(order(images.image))
    (there,) = daemon.images()
    assert (done["id"], done["digests"]) == (there["Id"], [images.digest])
    assert there["RepoTags"] == [images.image]
    assert done["received"] == images.size == images.fetched
    again = place.follow(order(images.image))
    assert (again["received"], images.fetched) == (0, images.size)


def test_by_digest_and_by_both(daemon: Daemon, place: Place, images: Registry) -> None:
    place.follow(order(images.by_digest))
    both = f"{images.image}@{images.digest}"
    assert place.follow(order(both))["received"] == 0
    assert [each["RepoDigests"] for each in daemon.images()] == [[images.by_digest]]


def test_what_is_loaded_gets_its_digest_without_a_layer(
    daemon: Daemon, place: Place, images: Registry
) -> None:
    """What `image pull` does on the hosts that it copied to: save and load lose the digest."""
    place.follow(order(images.by_digest))
    saved = daemon.docker("save", images.by_digest)
    daemon.docker("image", "rm", images.by_digest)
    images.served.clear()
    daemon.docker("load", given=saved)
    assert [each["RepoDigests"] for each in daemon.images()] == [[]]
    done = place.follow(order(images.by_digest))
    assert (done["received"], images.fetched) == (0, 0)
    assert [each["RepoDigests"] for each in daemon.images()] == [[images.by_digest]]


WRONG = f"sha256:{'d' * 64}"


def test_a_digest_that_does_not_match(daemon: Daemon, place: Place, images: Registry) -> None:
    images.wrong[WRONG] = images.manifest
    error = refused(place, f"{images.address}/{images.name}@{WRONG}")
    assert (error.code, error.exit_code) == ("IMAGE004", 1)
    assert WRONG in error.message
    layer = digest_of(images.layers[1])
    images.wrong[layer] = images.layers[1][:-20] + b"x" * 20
    error = refused(place, images.image)
    assert (error.code, layer in error.message) == ("IMAGE004", True)
    assert (daemon.images(), daemon.leftovers()) == ([], [])
    images.wrong.clear()
    assert place.follow(order(images.image))["received"] == images.size


def test_what_a_registry_does_not_give(daemon: Daemon, place: Place, images: Registry) -> None:
    for name in (f"{images.name}:nope", "nope:1", f"{images.name}@{WRONG}"):
        error = refused(place, f"{images.address}/{name}")
        assert (error.code, name in error.message) == ("IMAGE003", True), error.message
    for registry_ in ("127.0.0.1:9", "no-such-registry.invalid"):
        assert refused(place, f"{registry_}/vllm:1").code == "IMAGE002"
    assert refused(place, "NOT/an-image").code == "IMAGE003"
    assert daemon.images() == []


def test_a_login_of_docker_is_handed_on(
    daemon: Daemon, place: Place, images: Registry, tmp_path: Path
) -> None:
    word = b64encode(b"spark:secret").decode()
    images.authorization = f"Basic {word}"
    assert refused(place, images.image).code == "IMAGE003"
    (tmp_path / ".docker").mkdir()
    login = {"auths": {images.address: {"auth": word}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(login))
    assert place.follow(order(images.image))["received"] == images.size


def test_a_pull_that_was_stopped_leaves_nothing_and_can_be_had_again(
    daemon: Daemon, place: Place, images: Registry
) -> None:
    images.hold_after = 100_000

    def stop(_: float) -> bool:
        time.sleep(0.05)
        return len(images.served) == 3  # the config and a part of each layer

    with pytest.raises(Interrupted):
        place.follow(order(images.image), stop)
    eventually(lambda: not daemon.leftovers(), seconds=20)
    assert daemon.images() == []
    images.hold_after = None
    images.gate.set()
    assert place.follow(order(images.image))["id"] == daemon.images()[0]["Id"]


def test_a_registry_that_breaks_off(daemon: Daemon, place: Place, images: Registry) -> None:
    """docker tries again by itself, and the next run after that."""
    layer = digest_of(images.layers[0])
    images.wrong[layer] = b""
    assert refused(place, images.image).code in ("IMAGE002", "IMAGE004")
    images.wrong.clear()
    place.follow(order(images.image))


def test_no_room_is_seen_before_a_byte_is_fetched(
    daemon: Daemon, place: Place, images: Registry
) -> None:
    manifest = json.loads(images.manifest)
    manifest["layers"][0]["size"] = 10**16
    images.wrong[images.tag] = json.dumps(manifest).encode()
    error = refused(place, images.image)
    assert (error.code, images.fetched) == ("IMAGE005", 0)
    assert "bytes are needed" in error.message


def test_the_verb_on_this_very_machine(
    daemon: Daemon, images: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    inventory = tmp_path / "sparks.yaml"
    inventory.write_text("hosts:\n  spark-1: {address: local}\n")

    def run(image: str) -> tuple[int, list[dict[str, Any]]]:
        code = app.run(["image", "pull", image, "-i", str(inventory), "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    code, events = run(images.by_digest)
    assert (code, events[-1]["counts"]) == (0, {"changed": 1})
    (got,) = events[-1]["data"]["downloads"]
    assert got["received_bytes"] == images.size
    code, events = run(f"{images.address}/{images.name}@{WRONG}")
    assert (code, events[-1]["counts"]) == (1, {"failed": 1})
    images.wrong[WRONG] = images.manifest
    code, events = run(f"{images.address}/{images.name}@{WRONG}")
    (failed,) = [each["error"] for each in events if each.get("error")]
    assert (code, failed["code"]) == (1, "IMAGE004")


def test_a_registry_with_tokens(daemon: Daemon, place: Place, images: Registry) -> None:
    images.tokens = True
    assert place.follow(order(images.image))["received"] == images.size


# Without docker


def test_the_size_from_a_registry_with_tokens_and_a_login_of_a_helper(
    place: Place, images: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.tokens = True
    assert place.follow(order(images.image, "size")) == {"bytes": images.size}
    asked = [line for line in images.requests if line.startswith("GET /token?")]
    assert f"scope=repository%3A{images.name}%3Apull" in asked[0]
    images.authorization = f"Basic {b64encode(b'spark:secret').decode()}"
    with pytest.raises(StepFailed, match="wants a login") as caught:
        place.follow(order(images.image, "size"))
    assert caught.value.code == "IMAGE003"
    (tmp_path / ".docker").mkdir()
    helped = {"credHelpers": {images.address: "test"}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(helped))
    helper = tmp_path / "docker-credential-test"
    said = json.dumps({"Username": "spark", "Secret": "secret"})
    helper.write_text(f"#!/bin/sh\n[ $(cat) = {images.address} ] && echo '{said}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert place.follow(order(images.image, "size")) == {"bytes": images.size}


def test_the_size_before_the_pull(place: Place, images: Registry) -> None:
    assert place.follow(order(images.image, "size")) == {"bytes": images.size}
    assert place.follow(order(images.by_digest, "size")) == {"bytes": images.size}


def test_an_index_is_read_for_this_machine(place: Place, images: Registry) -> None:
    def index(architecture: str) -> bytes:
        platform = {"os": "linux", "architecture": architecture}
        entry = {"digest": images.digest, "size": 1, "platform": platform}
        return json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()

    images.wrong[images.tag] = index(images.architecture)
    assert registry.layer_bytes(images.image) == images.size
    images.wrong[images.tag] = index("s390x")
    with pytest.raises(Failed, match="has no image for"):
        registry.layer_bytes(images.image)


def test_what_is_no_registry(place: Place, images: Registry) -> None:
    for text in (b"", b"[]", b"{}", b'{"layers": 3}', b"[" * 100_000):
        images.wrong[images.tag] = text
        with pytest.raises(Failed) as caught:
            registry.layer_bytes(images.image)
        assert caught.value.reason == "registry"
    with pytest.raises(Failed, match="does not answer"):
        registry.layer_bytes("127.0.0.1:9/x")


def test_no_docker_at_all(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    error = refused(place, "127.0.0.1:9/x")
    assert (error.code, "docker does not answer" in error.message) == ("DOCKER001", True)

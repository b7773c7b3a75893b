"""What docker's API says of a pull, as recorded of docker 20.10 and 28: bytes, phases, refusals."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.transfer.node import image_pull, registry
from spark_cluster.transfer.node.image_pull import Layers

ONE, TWO = "b1363790bbea", "573e54955637"


def line(status: str, layer: str = "", now: int = 0, size: int = 0) -> dict[str, Any]:
    detail = {"current": now, "total": size} if size else {}
    return {"status": status, "progressDetail": detail, **({"id": layer} if layer else {})}


def told(*lines: dict[str, Any], expected: int = 0) -> Layers:
    layers = Layers(expected)
    for said in lines:
        layers.told(said)
    return layers


BEGUN = (
    {"status": "Pulling from vllm", "id": "25.11"},
    line("Pulling fs layer", ONE),
    line("Pulling fs layer", TWO),
    line("Downloading", TWO, 36_747, 2_000_838),
    line("Downloading", ONE, 1_274_880, 3_001_173),
)
LOADED = (
    *BEGUN,
    line("Verifying Checksum", TWO),
    line("Download complete", TWO),
    line("Downloading", ONE, 2_956_288, 3_001_173),
    line("Download complete", ONE),
)


def test_bytes_are_counted_and_the_registry_knows_the_sum_earlier() -> None:
    total = 2_000_838 + 3_001_173
    now = {"phase": "download", "bytes": 36_747 + 1_274_880, "total": total}
    assert told(*BEGUN).so_far() == now
    assert told(*BEGUN, expected=9_000_000).so_far() == {**now, "total": 9_000_000}
    assert told(expected=7).so_far() == {"phase": "download", "bytes": 0, "total": 7}


def test_then_it_is_unpacked() -> None:
    layers = told(*LOADED, line("Extracting", ONE, 163_840, 3_001_173))
    assert layers.received == 5_002_011
    assert layers.so_far() == {"phase": "unpack", "bytes": 163_840, "total": 5_002_011}
    layers = told(*LOADED, line("Pull complete", ONE), line("Pull complete", TWO))
    assert layers.so_far()["bytes"] == 5_002_011


def test_what_docker_has_is_not_counted() -> None:
    layers = told(line("Pulling fs layer", ONE), line("Already exists", ONE))
    assert layers.received == 0
    assert told({"status": "Image is up to date"}, {}, {"progressDetail": None}).received == 0


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("manifest verification failed for digest sha256:dd", "digest"),
        ("filesystem layer verification failed for digest sha256:b1", "digest"),
        ("manifest for 127.0.0.1:1/vllm:nope not found: manifest unknown", "no-image"),
        ("repository 127.0.0.1:1/nope not found: name unknown: name_unknown", "no-image"),
        ("pull access denied for x, repository does not exist or may require 'docker login': "
         "denied: requested access to the resource is denied", "no-image"),
        ('Head "http://127.0.0.1:1/v2/vllm/manifests/1": no basic auth credentials', "no-image"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "no-image"),
        ("invalid reference format: repository name must be lowercase", "no-image"),
        ('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused',
         "registry"),
        ('Get "https://no-such.invalid/v2/": dial tcp: lookup no-such.invalid on 10.0.0.1:53: '
         "no such host", "registry"),
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", "registry"),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "image-space"),
        ("something that nobody has seen", "docker"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_reason(said: str, reason: str) -> None:
    failed = image_pull._failed("x:1", said)
    assert (failed.reason, str(failed)) == (reason, f"x:1: {said}")


@pytest.mark.parametrize(
    ("image", "url", "named"),
    [
        ("nvcr.io/nvidia/vllm:25.11-py3", "https://nvcr.io/v2/nvidia/vllm", "25.11-py3"),
        ("ubuntu", "https://registry-1.docker.io/v2/library/ubuntu", "latest"),
        ("docker.io/vllm/vllm-openai:v1", "https://registry-1.docker.io/v2/vllm/vllm-openai", "v1"),
        ("localhost:5000/a/b@sha256:dd", "http://localhost:5000/v2/a/b", "sha256:dd"),
        ("127.0.0.1:5000/a:1@sha256:dd", "http://127.0.0.1:5000/v2/a", "sha256:dd"),
        ("127.0.0.1.evil.example/a", "https://127.0.0.1.evil.example/v2/a", "latest"),
        ("spark-1.lan:5000/a", "https://spark-1.lan:5000/v2/a", "latest"),
    ],
)
def test_where_an_image_is_asked_for(image: str, url: str, named: str) -> None:
    found = registry.reference(image)
    assert (found.url, found.reference) == (url, named)


def test_who_pulls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HOME", str(tmp_path / "root"))

    def header(image: str) -> dict[str, str]:
        found = registry.docker_header(image).get("X-Registry-Auth")
        return dict(json.loads(base64.urlsafe_b64decode(found))) if found else {}

    def login(home: str, **names: str) -> None:
        auths = {name: {"auth": base64.b64encode(word.encode()).decode()}
                 for name, word in names.items()}  # fmt: skip
        (tmp_path / home / ".docker").mkdir(parents=True)
        (tmp_path / home / ".docker/config.json").write_text(json.dumps({"auths": auths}))

    assert header("nvcr.io/a:1") == {}
    login("root", **{"nvcr.io": "$oauthtoken:key", "https://index.docker.io/v1/": "me:word"})
    assert header("nvcr.io/a:1")["password"] == "key"
    assert header("vllm/vllm-openai") == {
        "username": "me", "password": "word", "serveraddress": "https://index.docker.io/v1/",
    }  # fmt: skip
    assert header("ghcr.io/a") == {}
    login("user", **{"nvcr.io": "$oauthtoken:own"})
    assert header("nvcr.io/a:1")["password"] == "own", "the SSH user's before root's"
    (tmp_path / "user/.docker/config.json").write_text('{"auths": [3]}')
    assert header("nvcr.io/a:1")["password"] == "key"

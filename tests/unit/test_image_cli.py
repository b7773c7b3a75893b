"""`image` over fake hosts: what is saved and loaded, what is refused, and what is listed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.command_line import Cli, assert_told

from .cases import write
from .test_model_cli import RECIPE, Node, without_pauses


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return without_pauses(cli, monkeypatch)


def images(**names: str) -> str:
    return "".join(f"sha256:{i * 64} 5000 {json.dumps([n])} []\n" for n, i in names.items())


IMAGE = "nvcr.io/nvidia/vllm:25.11-py3"


def holding(name: str, image: str = "", brings: str = "", called: str = IMAGE) -> Node:
    host = Node(name)
    host.texts["images"] = images(**{called: image}) if image else ""
    if brings:
        host.on(
            re.compile(r"image load job\.json >"),
            lambda script: (
                host.texts.update(images=images(**{called: brings})),
                host.start(script),
            )[1],
        )
    return host


PULLED = {"id": "sha256:" + "a" * 64, "digests": [], "received": 4000, "seconds": 2.0}


def pulling(name: str, brings: str = "a", called: str = IMAGE, **done: object) -> Node:
    """A host whose docker pulls the image when it is told to."""
    host = holding(name, "", brings, called)
    host.pulls = done or {"done": PULLED}

    def pull(script: str) -> str:
        if "done" in host.pulls:
            host.texts["images"] = images(**{called: brings}) if brings else ""
        return host.start(script)

    host.on(re.compile(r"image_pull pull job\.json >"), pull)
    return host


def test_image_pull_pulls_once_and_copies(cli: Cli) -> None:
    hosts = [pulling("spark-2"), pulling("spark-3")]
    code, out, err = cli("image", "pull", RECIPE, "--json", hosts=[holding("spark-1"), *hosts])
    assert (code, err) == (0, "")
    assert hosts[0].told("image_pull pull") == [{"image": IMAGE}]
    assert hosts[1].told("image_pull pull") == []
    assert hosts[1].told("image load")
    data = json.loads(out.splitlines()[-1])["data"]
    assert data["downloads"] == [{"host": "spark-2", "received_bytes": 4000, "seconds": 2.0}]
    assert [(each["source"], each["sink"]) for each in data["copies"]] == [("spark-2", "spark-3")]


def test_image_pull_goes_where_it_is_told_or_where_the_image_is(cli: Cli) -> None:
    one, other = pulling("spark-2"), pulling("spark-3")
    other.texts["images"] = images(**{IMAGE: "b"})
    assert cli("image", "pull", IMAGE, "--to", "pair", hosts=[one, other])[0] == 0
    assert (len(one.told("image_pull pull")), len(other.told("image_pull pull"))) == (0, 1)
    one, other = pulling("spark-2"), pulling("spark-3")
    words = ("image", "pull", IMAGE, "--to", "spark-2", "--on", "spark-3")
    assert cli(*words, hosts=[one, other])[0] == 0
    assert (len(one.told("image_pull pull")), len(other.told("image_pull pull"))) == (0, 1)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("registry", "IMAGE002"),
        ("no-image", "IMAGE003"),
        ("digest", "IMAGE004"),
        ("image-space", "IMAGE005"),
        ("docker", "DOCKER001"),
    ],
)
def test_a_pull_that_fails_is_named_and_nothing_is_copied(reason: str, code: str, cli: Cli) -> None:
    one = pulling("spark-2", failed=f"{IMAGE}: no", reason=reason)
    other = pulling("spark-3")
    status, out, _ = cli("image", "pull", RECIPE, "--json", hosts=[holding("spark-1"), one, other])
    assert status == 1
    events = [json.loads(line) for line in out.splitlines()]
    (error,) = [each["error"] for each in events if each.get("error")]
    assert (error["code"], error["message"]) == (code, f"{IMAGE}: no")
    assert other.jobs == []


def test_image_pull_of_nothing_that_docker_then_knows(cli: Cli) -> None:
    status, out, _ = cli("image", "pull", IMAGE, "--to", "spark-2", hosts=[pulling("spark-2", "")])
    assert status == 1
    assert "is not there after the pull" in out


def test_by_digest_the_copy_is_named_by_the_registry(cli: Cli) -> None:
    """docker save drops the digest; the pull on the second host then fetches no layer."""
    name = f"{IMAGE.partition(':')[0]}@sha256:{'d' * 64}"
    one, other = pulling("spark-2", called=name), pulling("spark-3", called=name)
    other.on(
        re.compile(r"image load job\.json >"),
        lambda script: (
            other.texts.update(images=f"sha256:{'a' * 64} 5000 [] []\n"),
            other.start(script),
        )[1],
    )
    status, _, err = cli("image", "pull", name, "--to", "pair", hosts=[one, other])
    assert (status, err) == (0, "")
    programs = [program for program, _ in other.jobs]
    assert programs == ["image load", "image_pull pull"]
    assert one.told("image save")[0]["image"] == name


def test_image_ls_names_the_skew(cli: Cli) -> None:
    hosts = [holding("spark-1"), holding("spark-2", "a"), holding("spark-3", "b")]
    code, out, _ = cli("image", "ls", RECIPE, hosts=hosts)
    assert code == 0
    assert f"skew: {IMAGE}: aaaaaaaaaaaa on spark-2, bbbbbbbbbbbb on spark-3" in out
    assert f"image sync {IMAGE} --from HOST" in out


def test_image_sync_saves_and_loads(cli: Cli) -> None:
    source, sink = holding("spark-2", "a"), holding("spark-3", "b", brings="a")
    code, out, err = cli("image", "sync", RECIPE, "--from", "spark-2", hosts=[source, sink])
    assert (code, err) == (0, "")
    assert source.told("image save")[0]["image"] == IMAGE
    assert sink.told("image load")[0]["peer"] == ["192.168.100.10", 4000]
    assert "1 changed" in out


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ("./eugr.yaml", "vllm-node:latest"),
        ("docker.io/ollama/ollama:0.34.3", "ollama/ollama:0.34.3"),
    ],
)
def test_what_is_saved_is_the_one_image_that_is_meant(
    given: str, saved: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker save of a name without a tag exports all tags of it."""
    write(tmp_path / "eugr.yaml", "extends: qwen3-32b-fp8\nname: eugr\nimage: vllm-node\n")
    monkeypatch.chdir(tmp_path)
    source, sink = holding("spark-2", "a", called=saved), holding("spark-3", "", "a", saved)
    hosts = [holding("spark-1"), source, sink]
    code, out, err = cli("image", "sync", given, hosts=hosts)
    assert (code, err) == (0, "")
    assert source.told("image save")[0]["image"] == saved
    assert "1 changed" in out


BY_DIGEST = f"{IMAGE}@sha256:{'d' * 64}"


def test_an_image_by_digest_is_pulled_and_not_copied(cli: Cli) -> None:
    hosts = [holding("spark-2", "a"), holding("spark-3")]
    said = cli("image", "sync", BY_DIGEST, "--to", "pair", hosts=hosts)
    assert_told(said, "docker keeps no digest", f"docker pull {BY_DIGEST}")
    assert [host.scripts for host in hosts] == [[], []]


def test_an_image_that_has_only_a_digest_is_listed_and_is_no_skew(cli: Cli) -> None:
    """The two kinds of image store give one image different IDs."""
    name = f"{IMAGE.partition(':')[0]}@sha256:{'d' * 64}"
    hosts = [Node(host) for host in ("spark-1", "spark-2", "spark-3")]
    for host, letter in zip(hosts[1:], "ab", strict=True):
        host.texts["images"] = f'sha256:{letter * 64} 5000 [] ["{name}"]\n'
    code, out, _ = cli("image", "ls", BY_DIGEST, "--json", hosts=[*hosts])
    assert code == 0
    found = json.loads(out)
    assert [(row["host"], row["image"]) for row in found["images"]] == [
        ("spark-2", name),
        ("spark-3", name),
    ]
    assert found["skew"] == {}


def test_an_image_that_differs_after_the_copy_is_a_failure(cli: Cli) -> None:
    source, sink = holding("spark-2", "a"), holding("spark-3", "b")
    code, out, _ = cli("image", "sync", RECIPE, "--from", "spark-2", "--json", hosts=[source, sink])
    assert code == 1
    assert "after the copy" in out
    assert "IMAGE001" in out


@pytest.mark.parametrize(
    ("first", "second", "code", "says"),
    [
        ("a", "b", "SERVE003", "aaaaaaaaaaaa on spark-2, bbbbbbbbbbbb on spark-3"),
        ("", "", "SERVE002", "is on none of spark-1, spark-2, spark-3"),
    ],
)
def test_image_sync_refuses_with_a_reason(
    first: str, second: str, code: str, says: str, cli: Cli
) -> None:
    hosts = [holding("spark-1"), holding("spark-2", first), holding("spark-3", second)]
    status, _, err = cli("image", "sync", RECIPE, hosts=hosts)
    assert status == 1
    assert says in err
    assert f"explain {code}" in err

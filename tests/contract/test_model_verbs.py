"""`spark-cluster model` and `image` on two nodes in namespaces: real copies over real links."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spark_cluster import places
from spark_cluster.cli import app
from spark_cluster.core.error import Unreachable
from spark_cluster.inventory import loader as inventories
from spark_cluster.transport.protocol import Become, Target
from tests.hub_cache import MODEL, REVISION, content, tree, write_model
from tests.hub_server import COMMIT, Hub
from tests.hub_server import running as serving

from . import namespaces
from .namespaces import Node
from .real_cluster import NodeConnection

pytestmark = pytest.mark.contract

IMAGE = "nvcr.io/nvidia/vllm:25.11-py3"
INVENTORY = places.shipped("inventory") / inventories.FILE

#: As much of docker as `image` uses. An image is a file in $IMAGES; its ID is what it holds.
DOCKER = """\
#!{python}
import hashlib, json, os, pathlib, sys
images, words = pathlib.Path(os.environ["IMAGES"]), sys.argv[1:]
def identity(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
def path_of(name):
    return images / name.replace("/", "+")
if words[:2] == ["image", "ls"]:
    print("\\n".join(identity(path) for path in images.iterdir()))
elif words[:2] == ["image", "inspect"]:
    for path in images.iterdir():
        if identity(path) in words:
            names = json.dumps([path.name.replace("+", "/")])
            print(identity(path), path.stat().st_size, names, "[]")
elif words[0] == "save":
    if "broken" in path_of(words[1]).read_bytes()[:10].decode(errors="replace"):
        sys.stdout.buffer.write(b"half of it")
        sys.exit("save failed")
    sys.stdout.buffer.write(words[1].encode() + b"\\0" + path_of(words[1]).read_bytes())
elif words[0] == "load":
    name, _, data = sys.stdin.buffer.read().partition(b"\\0")
    if not data:
        sys.exit("unexpected EOF")
    path_of(name.decode()).write_bytes(data)
    print("Loaded image:", name.decode())
elif words[0] == "ps":
    print(os.environ.get("RUNNING", ""), end="")
"""


@dataclass
class Pair:
    """Two nodes, and the program that reaches them. `scratch` is each node's own memory."""

    nodes: dict[str, Node]
    capsys: pytest.CaptureFixture[str]

    @property
    def scratch(self) -> Path:
        return Path(self.nodes["spark-2"].environment["TMPDIR"])

    def inside(self, name: str) -> Path:
        """The node's scratch folder as this process sees it."""
        return Path(f"/proc/{self.nodes[name].pid}/root{self.scratch}")

    def hub(self, name: str) -> Path:
        return self.inside(name) / "hf/hub"

    def folder(self, name: str) -> Path:
        return self.hub(name) / f"models--{MODEL.replace('/', '--')}"

    def run(self, *words: str, code: int = 0) -> str:
        self.capsys.readouterr()
        more = ["--cache", str(self.scratch / "hf")] if words[0] == "model" else []
        got = app.run([*words, *more, "-i", str(INVENTORY)])
        said = self.capsys.readouterr()
        assert got == code, said.out + said.err
        return said.out + said.err

    def data(self, *words: str, code: int = 0) -> dict[str, Any]:
        last: dict[str, Any] = json.loads(self.run(*words, "--json", code=code).splitlines()[-1])
        return last


@pytest.fixture
def pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Pair]:
    if problem := namespaces.why_not():
        pytest.skip(problem)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    docker.write_text(DOCKER.format(python=sys.executable))
    docker.chmod(0o755)
    inventory = inventories.load(INVENTORY)
    hosts = inventory.hosts["spark-2"], inventory.hosts["spark-3"]
    with namespaces.pair(hosts) as nodes:
        found = Pair(nodes, capsys)
        for name, node in nodes.items():
            # Both would want the same lock: each has a /run of its own.
            subprocess.run([*node.enter, "mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
            (found.inside(name) / "images").mkdir()
            node.environment["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
            node.environment["IMAGES"] = str(found.scratch / "images")
            node.environment["LC_ALL"] = "C"

        def connector(target: Target, become: Become) -> NodeConnection:
            if target.name not in nodes:
                raise Unreachable(f"{target.name} is away", host=target.name, remedy="Is it on?")
            return NodeConnection(nodes[target.name], target, become)

        monkeypatch.setattr("spark_cluster.actions.operator.connector", lambda: connector)
        yield found


def both(*words: str) -> tuple[str, ...]:
    return (*words, "--hosts", "pair")


def test_ls_sync_verify_rm(pair: Pair) -> None:
    files = content(shards=4, size=3_000_000)
    write_model(pair.hub("spark-2"), files)
    write_model(pair.hub("spark-3"), {**content(), "config.json": b"{}\n"}, revision="b" * 40)
    seen = pair.data(*both("model", "ls"))
    assert seen["skew"] == {MODEL: f"main is {REVISION[:12]} on spark-2; {'b' * 12} on spark-3"}
    pair.run("model", "sync", MODEL, "--to", "pair", "--from", "spark-2")
    assert set(tree(pair.folder("spark-2"))) <= set(tree(pair.folder("spark-3")))
    rows = pair.data(*both("model", "ls"))["models"]
    assert [(row["host"], row["complete"], row["revision"]) for row in rows] == [
        ("spark-2", True, REVISION),
        ("spark-3", True, REVISION),
    ]
    said = pair.run("model", "sync", MODEL, "--to", "pair", "--from", "spark-2")
    assert "2 ok" in said
    said = pair.run(*both("model", "verify", MODEL))
    assert "2 ok" in said
    assert "freed" in pair.run("model", "rm", MODEL, "--hosts", "spark-3", "--yes", "-v")
    assert not pair.folder("spark-3").exists()
    assert pair.folder("spark-2").exists()


def without_links(folder: Path, files: dict[str, bytes]) -> None:
    """As a client leaves a model that may make no symlinks."""
    for name, data in files.items():
        path = folder / "snapshots" / REVISION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(REVISION)


def test_a_model_without_links_is_copied_by_its_own_hashes(pair: Pair) -> None:
    files = content(size=90_000)
    without_links(pair.folder("spark-2"), files)
    rows = pair.data(*both("model", "ls"))["models"]
    assert [(row["host"], row["complete"]) for row in rows] == [("spark-2", True)]
    said = pair.run("model", "sync", MODEL, "--to", "pair")
    assert f"{len(files)} files hashed" in said
    there = pair.folder("spark-3") / "snapshots" / REVISION
    assert {name: (there / name).read_bytes() for name in files} == files
    assert "1 ok" in pair.run("model", "sync", MODEL, "--from", "spark-2", "--to", "spark-3")
    said = pair.run(*both("model", "verify", MODEL, "-v"))
    assert f"of {len(files)} files no hash is known" in " ".join(said.split())
    said = pair.run("model", "rm", MODEL, "--hosts", "spark-2", "--yes", "-v")
    assert "264 KiB freed" in " ".join(said.split()), said


def test_the_copy_is_measured(pair: Pair) -> None:
    write_model(pair.hub("spark-2"), content(shards=4, size=20_000_000))
    iperf = ["--iperf"] if shutil.which("iperf3") else []
    last = pair.data("model", "sync", MODEL, "--from", "spark-2", *iperf)
    (copied,) = last["data"]["copies"]
    assert (copied["source"], copied["sink"]) == ("spark-2", "spark-3")
    assert copied["received_bytes"] > 80_000_000
    assert copied["gbits"] > 0
    assert copied["wire_gbits"] == 20, "two veth pairs, each calls itself 10 Gb/s"
    assert copied["limit"]
    assert (copied["iperf_gbits"] is not None) == bool(iperf)
    assert set(copied["spent_seconds"]) == {"receive", "hash", "write"}


def test_a_corrupt_file_is_named_mended_and_gone(pair: Pair) -> None:
    files = content()
    write_model(pair.hub("spark-2"), files)
    write_model(pair.hub("spark-3"), files)
    name = "model-00001-of-00003.safetensors"
    rotten = pair.folder("spark-3") / "snapshots" / REVISION / name
    blob = pair.folder("spark-3") / "blobs" / rotten.readlink().name
    blob.write_bytes(b"q" * len(files[name]))
    said = pair.run(*both("model", "verify", MODEL), code=4)
    assert f"{name}: its sha256 hash is" in said
    command = f"model sync {MODEL} --cache {pair.scratch}/hf --from spark-2 --to spark-3 --deep"
    assert command in " ".join(said.split())
    # From the bad one nothing comes over.
    (pair.folder("spark-2") / "blobs" / blob.name).unlink()
    said = pair.run("model", "sync", MODEL, "--from", "spark-3", "--to", "spark-2", code=4)
    assert f"{name} is corrupt on the source" in said
    assert "MODEL001" in said or "next:" in said
    (pair.folder("spark-2") / "blobs" / blob.name).write_bytes(files[name])
    pair.run("model", "sync", MODEL, "--from", "spark-2", "--to", "spark-3", "--deep")
    assert blob.read_bytes() == files[name]
    pair.run(*both("model", "verify", MODEL))


def test_an_image_becomes_the_same(pair: Pair) -> None:
    def image(name: str) -> Path:
        return pair.inside(name) / "images" / IMAGE.replace("/", "+")

    image("spark-2").write_bytes(os.urandom(5_000_000))
    image("spark-3").write_bytes(b"another build")
    seen = pair.data(*both("image", "ls", "qwen3-vl-235b"))
    assert set(seen["skew"]) == {IMAGE}
    said = pair.run("image", "sync", "qwen3-vl-235b", "--to", "pair", code=1)
    assert "differs" in said
    assert "--from" in said
    pair.run("image", "sync", IMAGE, "--from", "spark-2")
    assert image("spark-3").read_bytes() == image("spark-2").read_bytes()
    assert pair.data(*both("image", "ls"))["skew"] == {}
    image("spark-2").write_bytes(b"broken" + os.urandom(1000))
    said = pair.run("image", "sync", IMAGE, "--from", "spark-2", code=1)
    assert "the image broke off" in said
    assert not image("spark-3").read_bytes().startswith(b"broken")


def test_a_pull_on_this_very_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    if os.geteuid() != 0 and subprocess.run(["sudo", "-n", "true"], check=False).returncode:
        pytest.skip("the program becomes root and sudo wants a password")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    inventory = tmp_path / "sparks.yaml"
    inventory.write_text("hosts:\n  spark-1: {address: local}\n")
    with serving(Hub(MODEL, content())) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        words = ["model", "pull", MODEL, "--cache", str(tmp_path / "hf"), "-i", str(inventory)]
        code = app.run([*words, "--json"])
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0, events[-1]
    assert events[-1]["counts"] == {"changed": 1}
    (done,) = [event for event in events if event["kind"] == "step_finished"]
    assert f"6 files verified, commit {COMMIT[:12]}" in done["summary"]

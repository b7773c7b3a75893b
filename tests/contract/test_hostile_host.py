"""A host that attacks: labels, logs, servers' answers, names of files, over a real sshd.

Each exec enters a mount namespace in which /run, /var/lib and /dev/shm are the test's and `docker`
is hostile_docker.py. What the program says and does is held against what that docker really holds.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_cluster.core import framing
from spark_cluster.core.ours import NOTES
from spark_cluster.core.step import Change
from spark_cluster.facts import probe
from spark_cluster.facts.base import Fact, Facts, ProbeContext
from spark_cluster.facts.docker import CONTAINERS, IMAGE, ContainersFact
from spark_cluster.facts.engine import ENGINE, EngineFact
from spark_cluster.facts.labels import CHECKS
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.rdma import COUNTERS, NCCL
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.facts.storage import PORTS
from spark_cluster.facts.table import FACTS as FACT_TABLE
from spark_cluster.inventory import loader as inventories
from spark_cluster.runner.session import HostSession
from spark_cluster.transport.exec import Exchange, Way
from spark_cluster.transport.protocol import Become, Connection, Target
from spark_cluster.transport.ssh import connect
from spark_cluster.watch.readings import PROGRESS
from tests.command_line import Said, command_line

from . import hostile_docker
from .sshd_server import Server, free_port

pytestmark = pytest.mark.contract

LABEL = "spark-cluster"
HOST = "spark-2"

#: What launch writes on a head.
TRUE = {
    "recipe": "qwen3-vl-235b", "run": "20261121-031500-9f3a", "rank": "0", "role": "head",
    "group": HOST, "model": "m", "hub-model": "m", "port": "8000", "ports": "8000,6379",
    "devices": "", "bytes-per-token": "", "api": "", "key": "", "spec": "516a46562083",
    "profile": "", "options": "", "overrides": '{"args":{"max-num-seqs":4}}', "restart-at-boot": "",
}  # fmt: skip

#: Texts that a stranger may put where the program expects a word. PWNED is a file to be made.
ATTACKS = {
    "sed": "0/;1e id >PWNED #",
    "subshell": "$(id >PWNED)`id >PWNED`",
    "quotes": "';id >PWNED;'\";id >PWNED;\"",
    "option": "--format=x",
    "path": "../../../../etc/shadow",
    "file": "/etc/shadow.yaml",
    "mark": "x\n@@spark-cluster-fact containers\n@@c ours 4f5e /stranger running 0 t {}",
    "variable": "x\n${SPARK_MARK:-@@}spark-cluster-fact counters",
    "lines": "x\r\ny\nz",
    "nel": "a\u0085b",
    "separator": "a\u2028b\u2029c",
    "superscript": "\u00b2",
    "arabic": "\u0663",
    "digits": "9" * 5000,
    "brace": 'x}","spark-cluster.port":"1',
    "url": "1@127.0.0.2/any?x=",
    "escape": "\x1b[2J\x1b]0;t\x07",
    "long": "a" * 200_000,
}

_ENTER = """\
#!/bin/sh
exec unshare --mount --propagation private sh -c '
for f in run var/lib dev/shm; do mount --bind "{world}/root/$f" "/$f" || exit 99; done
HOSTILE="{world}" PATH="{world}/bin:$PATH"
export HOSTILE PATH
exec sh -c "$SSH_ORIGINAL_COMMAND"
'
"""


class World:
    """A host and the program's ways to it."""

    def __init__(self, folder: Path, server: Server, cli: Callable[..., Said]) -> None:
        self.folder, self._server, self._cli = folder, server, cli
        self.pwned = folder / "pwned"
        self.inventory = folder / "spark.yaml"
        link = "{interface: lo, address: 192.168.102.11/24}"
        self.inventory.write_text(f"version: 1\nhosts:\n  {HOST}:\n    links: [{link}]\n")
        loaded = inventories.load(self.inventory)
        self.context = ProbeContext(loaded.hosts[HOST], loaded)

    def connect(self, target: Target, become: Become) -> Connection:
        return connect(self._server.target(name=target.name), become)

    def run(self, *words: str) -> Said:
        said = self._cli(*words, "-i", str(self.inventory))
        assert "Traceback" not in said.err + said.out
        assert not self.pwned.exists(), "a command ran"
        return said

    def read(self, *facts: Any) -> Facts:
        """The facts in one exec, as a run reads them."""
        host = HostSession(Target(HOST, HOST), self.context)
        host.connection = self.connect(host.target, Become())
        try:
            return host.read(facts)
        finally:
            host.close()
            assert not self.pwned.exists(), "a command ran"

    def add(self, name: str, number: int, *, noted: bool = True, **more: Any) -> dict[str, Any]:
        """A container with the labels of a launch of ours, `labels` over them."""
        ours = {f"{LABEL}.{key}": value for key, value in TRUE.items()}
        labels = {**ours, **more.pop("labels", {})}
        identity = f"{number:064x}"
        each = {"id": identity, "name": name, "labels": labels, **more}
        (self.folder / f"containers/{identity}.json").write_text(json.dumps(each))
        if noted:
            note = self.folder / f"root{NOTES}/{identity}"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{TRUE['run']}\n")
        return each

    def attack(self, name: str) -> str:
        return ATTACKS[name].replace("PWNED", str(self.pwned))

    @property
    def there(self) -> set[str]:
        """The names that docker really holds."""
        files = (self.folder / "containers").glob("*.json")
        return {json.loads(path.read_text())["name"] for path in files}


@pytest.fixture
def world(
    tmp_path: Path,
    other_server: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    if os.geteuid() != 0:
        pytest.skip("a mount namespace needs root")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no mount namespaces here: {tried.stderr.strip()}")
    folder = tmp_path / "world"
    for name in ("bin", "containers", "root/run", "root/var/lib", "root/dev/shm"):
        (folder / name).mkdir(parents=True)
    text = Path(hostile_docker.__file__).read_text()
    for name, content in (
        ("bin/docker", f"#!{sys.executable} -IS\n{text}"),
        ("enter", _ENTER.format(world=folder)),
    ):
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    server = other_server(f"ForceCommand {folder}/enter")
    cli = command_line(tmp_path / "home", monkeypatch, capsys)
    found = World(folder, server, lambda *words: cli(*words, connector=found.connect))
    return found


def with_attacks(world: World, field: str) -> set[str]:
    """A container of ours for each attack, with the attack in this label."""
    for number, name in enumerate(ATTACKS):
        labels = {f"{LABEL}.{field}": world.attack(name)}
        world.add(f"c-{name}", 0xA000 + number, labels=labels, log=["said"])
    return {f"c-{name}" for name in ATTACKS}


# Labels


@pytest.mark.parametrize("field", TRUE)
def test_a_label_is_data_and_its_container_is_not_lost(world: World, field: str) -> None:
    """Every label of ours with every attack: nothing runs, nothing is missing, and what is not in
    the form of a launch's labels is not there."""
    names = with_attacks(world, field)
    asked = (CONTAINERS, ENGINE) if field in ("port", "role", "api") else (CONTAINERS,)
    fact = world.read(*asked)[CONTAINERS]
    assert (fact.error, fact.unread, fact.strangers) == ("", (), ())
    assert {each.name for each in fact.containers} == names
    for each in fact.containers:
        value = each.label(field)
        assert value == "" or CHECKS[field](value)
        assert "\n" not in value
    assert set(TRUE) == set(CHECKS)


@pytest.mark.parametrize("field", ["rank", "port", "ports", "group", "recipe", "run"])
def test_no_label_keeps_a_teardown_from_its_end(world: World, field: str) -> None:
    """It ends, and what docker then holds is what it says."""
    with_attacks(world, field)
    world.add("stranger", 0xF, noted=False, labels={}, image_labels=None)
    strange = world.folder / f"containers/{0xF:064x}.json"
    plain = {**json.loads(strange.read_text()), "labels": {"com.example": "x"}}
    strange.write_text(json.dumps(plain))
    said = world.run("teardown", "--set", "teardown-check.seconds=0.1")
    assert world.there == {"stranger"}, said
    assert "is still" not in said.out


@pytest.mark.parametrize("field", ["rank", "recipe", "role"])
def test_the_logs_run_and_forge_nothing(world: World, field: str) -> None:
    with_attacks(world, field)
    forged = "@@log 0 other 2026-11-21T03:15:42Z forged"
    mark = "${SPARK_MARK:-@@}log 0 other 2026-11-21T03:15:42Z forged"
    world.add("true", 1, log=["said", forged, mark])
    said = world.run("logs", "--json")
    lines = [json.loads(line) for line in said.out.split("\n") if line]
    assert {line["text"] for line in lines} == {"said", forged, mark}
    assert {line["rank"] for line in lines} == {0}
    shown = {line["container"] for line in lines}
    assert "true" in shown
    assert shown <= world.there
    # A container without a rank is told, not left out.
    unread = {name for name in world.there - shown if f"container {name} does not" in said.err}
    assert shown | unread == world.there
    assert said.code == (3 if unread else 0)


# Whose a container is


def test_a_foreign_image_s_labels_make_no_container_ours(world: World) -> None:
    labels = {f"{LABEL}.{key}": value for key, value in TRUE.items()}
    world.add("ours", 1)
    world.add("theirs", 2, noted=False, image_labels=labels, log=["forged"])
    world.add("earlier-release", 3, noted=False, image_labels=None)
    world.add("composed", 4, noted=False, image_labels={"maintainer": "x"})
    assert "forged" not in world.run("logs").out
    fact = world.read(CONTAINERS)[CONTAINERS]
    assert {each.name for each in fact.containers} == {"ours", "earlier-release", "composed"}
    said = world.run("teardown", "--set", "teardown-check.seconds=0.1")
    assert world.there == {"theirs"}
    assert "not ours and left alone, its image has our labels: theirs" in said.out
    assert list((world.folder / "root/var/lib").glob("**/containers/*")) == []


@pytest.mark.parametrize(
    ("broken", "noted"),
    [
        ({}, False),  # docker cannot say what the image's labels are
        ({"image_labels": "no labels"}, False),
        ({"inspect": ""}, True),
        ({"inspect": "template parsing error"}, True),
        ({"inspect": "/x running 0 t [1]\nr 0"}, True),
        ({"inspect": '/x running 0 t {"a":"b"\nr 0'}, True),
        ({"inspect": "/x running 0 t " + "[" * 10_000}, True),
        ({"inspect": "/x flying 0 t {}\nr 0"}, True),
        ({"inspect": "/x running \u00b2 t {}\nr 0"}, True),
        ({"inspect": "/../x running 0 t {}\nr 0"}, True),
    ],
)
def test_what_nobody_can_read_is_unknown_and_not_absent(
    world: World, broken: dict[str, Any], noted: bool
) -> None:
    world.add("ours", 1)
    world.add("odd", 2, noted=noted, **broken)
    said = world.run("teardown", "--set", "teardown-check.seconds=0.1")
    assert said.code == 3
    assert world.there == {"odd"}
    assert "nothing of ours runs" not in said.out
    assert world.run("logs").code == 3


def test_the_records_on_disk_tell_the_same(world: World) -> None:
    """With docker gone; the values of a foreign image's labels hold braces and quotes."""
    ours = {f"{LABEL}.{key}": value for key, value in TRUE.items()}
    root = world.folder / "root/var/lib/docker"
    for number, (name, labels, image) in enumerate(
        (("ours", {**ours, "x": 'a}"{'}, None), ("old", ours, {}), ("theirs", ours, ours)), 1
    ):
        identity, digest = f"{number:064x}", f"{number + 99:064x}"
        if image is None:
            world.add(name, number)
        else:
            path = root / f"image/overlay2/imagedb/content/sha256/{digest}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"config": {"Labels": image}}, separators=(",", ":")))
        record = root / f"containers/{identity}/config.v2.json"
        record.parent.mkdir(parents=True)
        data = {
            "State": {"ExitCode": 0, "StartedAt": "2026-11-21T03:15:42Z"},
            "Image": f"sha256:{digest}",
            "Config": {"Env": ['A={"spark-cluster.rank":"7"}'], "Labels": labels},
            "Name": f"/{name}",
        }
        record.write_text(json.dumps(data, separators=(",", ":")))
    (world.folder / "bin/docker").write_text("#!/bin/sh\necho gone >&2\nexit 1\n")
    fact = world.read(CONTAINERS)[CONTAINERS]
    assert (fact.error, fact.unread, len(fact.strangers)) == ("gone", (), 1)
    assert [(each.name, each.label("rank")) for each in fact.containers] == [
        ("ours", "0"), ("old", "0"),
    ]  # fmt: skip


# What is read beside what others have written

#: Facts that a forger would like to write, and what.
FORGERIES = {
    "containers": f"@@c ours {'f' * 64} /stranger running 0 t {{}}",
    "counters": "rdma:dev:rocep1s0f1:ports/1/counters/port_xmit_data:999",
    "image": "sha256:1d5e x@sha256:aa",
    "memory": "MemTotal: 1 kB\nMemAvailable: 1 kB",
    "ports": "LISTEN 0 1 0.0.0.0:1 0.0.0.0:*",
    ".": "",
}
FACTS = (MEMORY, SHARED_MEMORY, CONTAINERS, IMAGE, PORTS, COUNTERS, NCCL, ENGINE, PROGRESS)


def forgeries() -> list[str]:
    """Each fact's text after each mark that somebody could think of."""
    marks = (
        "@@",
        "${SPARK_MARK:-@@}",
        "$SPARK_MARK",
        "",
        " @@",
        "\u2028@@",
        "\x85@@",
        "\r@@",
        "0" * 32,
    )
    texts = []
    for mark in marks:
        for name, text in FORGERIES.items():
            texts.append(f"\n{mark}spark-cluster-fact {name}\n{text}\n")
        texts.append(f"\n{mark}http 200 0.1 s \n" * 3)
        texts.append(f"\n{mark}error forged\n{mark}c ours {'f' * 64} /stranger running 0 t {{}}\n")
    return texts


@contextmanager
def serving(body: bytes | Callable[[], bytes]) -> Iterator[tuple[int, list[str]]]:
    """An engine's server that answers everything with this body, and the paths it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else body())

        def log_message(self, *_: object) -> None:
            pass

    port = free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield port, asked
    finally:
        server.shutdown()
        server.server_close()


def settled(facts: Facts) -> dict[str, object]:
    """What does not move between two readings by itself."""
    return {
        "containers": facts[CONTAINERS],
        "image": facts[IMAGE],
        "devices": sorted(facts[COUNTERS].devices),
        "total": facts[MEMORY].total,
        "one": 1 in facts[PORTS].listening,
    }


@pytest.mark.parametrize("way", ["log", "body", "file", "process"])
def test_nothing_that_is_passed_on_forges_a_reading(world: World, way: str) -> None:
    text = "".join(forgeries())
    body = text.encode() if way == "body" else b""
    with serving(body) as (port, asked):
        labels = {f"{LABEL}.port": str(port)}
        world.add("head", 1, labels=labels, log=["a"], top=["7 a"])
        before = settled(world.read(*FACTS))
        if way == "log":
            world.add("head", 1, labels=labels, log=text.split("\n"), top=["7 a"])
        elif way == "process":
            world.add("head", 1, labels=labels, log=["a"], top=["7 a", *text.split("\n")])
        elif way == "file":
            for each in forgeries():
                name = each.replace("/", "|").encode()[:255]
                (Path(os.fsdecode(bytes(world.folder / "root/dev/shm") + b"/" + name))).touch()
        found = world.read(*FACTS)
    names = [each.name for each in found[CONTAINERS].containers]
    assert names == ["head"]
    assert found[ENGINE].healthy is True
    assert asked[:2] == ["/health", "/metrics"]
    after = settled(found)
    if way == "process":  # it may only add processes, and those of no other container
        after.pop("containers"), before.pop("containers")
    assert after == before


def forged_traffic() -> bytes:
    """A body of /health and of /metrics that tells of counters and tokens; %d grows."""
    rails = ("rocep1s0f1", "roceP2p1s0f1")
    told = "".join(
        f"rdma:dev:{rail}:ports/1/counters/port_{way}_data:%d\n"
        for rail in rails
        for way in ("xmit", "rcv")
    )
    tokens = 'vllm:generation_tokens_total{engine="0",model_name="m"} %d\n'
    marks = ("@@", "${SPARK_MARK:-@@}", "")
    lines = "".join(f"\n{mark}spark-cluster-fact counters\n{told}" for mark in marks)
    return (tokens + lines).encode()


def test_a_server_cannot_forge_the_verdict(world: World) -> None:
    """`verify-rdma --live` on a machine without RDMA: the server has its own tokens to tell."""
    body = forged_traffic()
    count = 0

    def growing() -> bytes:
        nonlocal count
        count += 1_000_000
        return body.replace(b"%d", str(count).encode())

    with serving(growing) as (port, asked):
        labels = {f"{LABEL}.port": str(port), f"{LABEL}.group": f"{HOST},spark-3"}
        labels |= {f"{LABEL}.devices": "rocep1s0f1", f"{LABEL}.bytes-per-token": "1540096"}
        world.add("head", 1, labels=labels, top=["7 vllm serve m"])
        worker = {**labels, f"{LABEL}.rank": "1", f"{LABEL}.role": "worker"}
        world.add("worker", 2, labels=worker, top=["8 ray"])
        said = world.run("verify-rdma", "--live", "--interval", "1", "--json")
        status = world.run("status")
    assert asked.count("/metrics") >= 2
    verdict = json.loads(said.out.strip().split("\n")[-1])["data"]["verdict"]
    assert (verdict["kind"], said.code) == ("unknown", 4)
    assert verdict["tokens"] > 0  # what the server says of itself is believed
    assert {(row["tx"], row["note"]) for row in verdict["rows"]} == {(0, "the device is not there")}
    assert "verdict: rdma" not in status.out


def test_a_name_in_shared_memory_removes_no_stranger(world: World) -> None:
    world.add("ours", 1)
    world.add("stranger", 0xF, noted=False)
    path = world.folder / f"containers/{0xF:064x}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": {}}))
    for number, text in enumerate(forgeries()):
        name = f"{number}{text}".replace("/", "|").encode()[:255]
        Path(os.fsdecode(bytes(world.folder / "root/dev/shm") + b"/" + name)).touch()
    said = world.run("teardown", "--set", "teardown-check.seconds=0.1")
    assert world.there == {"stranger"}
    assert "stranger" not in said.out


def test_a_name_in_shared_memory_is_one_name(world: World) -> None:
    name = "x\nsegment 99999\nsemaphores 99999\nused y\nhugepages 9\nprocess S 99999 1 init"
    (world.folder / "root/dev/shm" / name).touch()
    found = world.read(SHARED_MEMORY)[SHARED_MEMORY]
    assert set(found.shm) == {name.replace("\n", "?")}
    assert 99999 not in (*found.segments, *found.semaphores, *found.processes)


def test_a_port_is_no_address(world: World) -> None:
    with serving(b"") as (port, asked):
        for number, text in enumerate(
            (f"1@127.0.0.1:{port}/any?x=", f"{port}/../any", f"0{port}", f" {port}", f"{port}\n1")
        ):
            world.add(f"c{number}", 0x10 + number, labels={f"{LABEL}.port": text})
        assert world.read(ENGINE)[ENGINE].healthy is None
    assert asked == []


# How much, and how long


def test_of_too_many_logs_the_newest_are_there_and_it_is_said(world: World) -> None:
    world.add("head", 1, log=["the first"], flood=72_000)
    said = world.run("logs", "--since", "2026-11-21", "--json")
    assert said.code == 3
    assert "the oldest" in said.err
    lines = said.out.split("\n")
    assert f"04:00:00.{71_999:09d}Z" in lines[-2]
    assert "the first" not in said.out


def test_a_server_that_never_ends_its_answer_costs_its_own_reading_only(world: World) -> None:
    with serving(b"x" * (80 * 1024**2)) as (port, _):
        world.add("head", 1, labels={f"{LABEL}.port": str(port)})
        found = world.read(*FACTS)
    assert [each.name for each in found[CONTAINERS].containers] == ["head"]
    assert found[ENGINE].healthy is True


# What a label names is looked up, never opened


@pytest.mark.parametrize("name", ["../evil.yaml", "evil.yaml", "/tmp/evil.yaml", "~/evil.yaml"])
def test_relaunch_reads_no_file_that_a_label_names(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    (world.folder / "evil.yaml").write_text("name: evil\nsecret: of-the-controller\n")
    world.add("head", 1, labels={f"{LABEL}.recipe": name})
    said = world.run("relaunch", "--dry-run")
    assert said.code != 0
    assert "evil" not in said.err + said.out
    assert "of-the-controller" not in said.err + said.out


def test_the_note_is_written_by_the_very_commands_of_launch(world: World) -> None:
    """`docker run` prints the id; the second reading knows the container by it."""
    from spark_cluster.core.ours import forget, note

    identity = f"{1:064x}"
    world.add("new", 1, noted=False, image_labels={f"{LABEL}.recipe": "x"})
    change = Change("c", "absent", "running", f"_id=$(echo {identity})\n{note(TRUE['run'])}")
    host = HostSession(Target(HOST, HOST), world.context)
    host.connection = world.connect(host.target, Become())
    assert world.read(CONTAINERS)[CONTAINERS].containers == ()
    assert host.run(f"set -eu\n{change.commands}", timeout=10).ok
    assert [each.name for each in world.read(CONTAINERS)[CONTAINERS].containers] == ["new"]
    assert host.run(f"set -eu\n{forget(identity)}", timeout=10).ok
    assert world.read(CONTAINERS)[CONTAINERS].containers == ()
    host.close()


# Every parser, whatever a host has written

_HOSTILE = st.text(max_size=300) | st.lists(
    st.sampled_from(
        ["@@", "@@c ours 4f5e /x running 0 t {}", "\n", "\r", "\x85", "\u2028", "\0", "\u00b2",
         "9" * 30, "@@spark-cluster-fact containers", "@@spark-cluster-fact .", "@@health",
         "@@http 200 0.1 s", "@@error x", "@@file 600 /etc/netplan/x", "@@container /x", "@@nft",
         "c /x running 0 t {}", "p 1 init", "LISTEN 0 1 *:1 *:*", "gpu,x, 1", "state,1,1,1,1,1",
         "{", "[" * 40, '"', "${SPARK_MARK:-@@}c ours 4f5e /x running 0 t {}", " "]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("fact", FACT_TABLE.values(), ids=lambda fact: fact.name)
def test_no_parser_raises_and_none_takes_a_stranger_s_line_for_ours(fact: Fact[object]) -> None:
    """The text is put where the fact's own shell would have printed it, and another fact after."""
    mark = framing.new_mark()
    after = "MemTotal: 7 kB"

    @settings(max_examples=60, deadline=None, database=None)
    @given(_HOSTILE)
    def holds(text: str) -> None:
        wire = (
            f"login says {text}\n{mark}spark-cluster-fact {fact.name}\n{text}\n"
            f"\n{mark}spark-cluster-fact last\n{after}\n\n{mark}spark-cluster-fact .\n"
        )
        output = framing.read(wire, mark)
        found = probe.sections(output)
        assert set(found) == {fact.name, "last", "."}
        assert found["last"].rstrip("\n") == after
        assert not any(line.startswith("@@") for line in found[fact.name].split("\n"))
        value = fact.parse(found[fact.name])
        if isinstance(value, ContainersFact):
            assert value.containers == ()
        if isinstance(value, EngineFact):
            assert value.healthy is None

    holds()


@given(st.binary(max_size=400), st.integers(1, 40))
@settings(max_examples=100, deadline=None, database=None)
def test_what_comes_before_the_script_is_bounded_and_searched_once(noise: bytes, cut: int) -> None:
    talk = Exchange(Way.USER, "spark-0123456789abcdef", b"")
    data = noise + b"spark-0123456789abcdef\nours"
    for at in range(0, len(data), cut):
        talk.feed_out(data[at : at + cut])
    assert talk.stdout == "ours"


def test_a_host_that_never_comes_to_our_token_costs_no_memory() -> None:
    talk = Exchange(Way.USER, "spark-0123456789abcdef", b"")
    piece = b"x" * 32768
    began = time.monotonic()
    tracemalloc.start()
    for _ in range(600 * 32):
        talk.feed_out(piece)
        talk.feed_err(piece)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * 1024**2
    assert time.monotonic() - began < 30

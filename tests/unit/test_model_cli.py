"""`model` and `image` over fake hosts: who is asked for what, what is said, and the exit codes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from spark_cluster.core.error import StateUnknown, Unreachable
from spark_cluster.core.labels import LABEL
from spark_cluster.recipes.naming import DEFAULT_CACHE
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli, assert_told

from . import world
from .world import INVENTORY, Spark

MODEL = "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ"
RECIPE = world.RECIPE
ONE, TWO = "1" * 40, "2" * 40


def without_pauses(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The shipped inventory, no token, and no pauses while a program on a host is waited for."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", INVENTORY)
    monkeypatch.setattr("spark_cluster.runner.remote_program._FIRST", 0.0)
    return cli


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return without_pauses(cli, monkeypatch)


def listing(
    revision: str = ONE, *more: str, shards: int = 2, name: str = MODEL, cache: str = DEFAULT_CACHE
) -> str:
    """`models` of a host that has `shards` of the model's two weight files, and small files."""
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    found = [[name, f"{n}" * 64, 1000] for n, name in enumerate(names[:shards], 1)]
    found += [[name, "a" * 40, 0] for name in more]
    model = {
        "model": name,
        "cache": cache,
        "path": f"{cache.replace('~', '/home/nvidia')}/hub/models--x",
        "refs": {"main": revision},
        "snapshots": [{"revision": revision, "files": found, "weights": names}],
        "unfinished": [],
        "partial": [],
        "size": 1000 * shards,
        "foreign": 0,
    }
    return f"{json.dumps(model)}\n" + NOTHING


NOTHING = '{"done": {"hub": "/hub"}}\n'
DONE = {
    "received": 1000,
    "there": 1000,
    "seconds": 2.0,
    "spent": {"receive": 1.0, "hash": 0.1, "write": 0.2},
    "usage": {"cpu": 0.5, "disk": 0.2, "read": 1.0, "written": 2.0},
}


class Node(Spark):
    """A host that plays the programs of transfer/node. `brings`: what it has after a copy."""

    def __init__(self, name: str, models: str = NOTHING, brings: str = "") -> None:
        super().__init__(name, {"models": models})
        self.brings = brings
        self.done: dict[str, Any] = {"done": DONE}
        self.pulls: dict[str, Any] = {}
        self.jobs: list[tuple[str, dict[str, Any]]] = []
        self.on(re.compile(r"python3 -m \S+ \w+ job\.json >"), self.start)
        self.on("grep '^{\"note\"'", self.look)
        self.on(re.compile(r"python3 -m \S+hub remove"), self.remove)

    def start(self, script: str) -> str:
        job = re.search(r"job\.json\" <<'\w+'\n(.*)\n", script)
        found = re.search(r"python3 -m \S+\.(\w+ \w+) job", script)
        assert job and found
        self.jobs.append((found[1], json.loads(job[1])))
        if found[1].endswith(("serve", "save")):
            addresses = self.jobs[-1][1]["addresses"]
            return f"ready /tmp/x 7 {json.dumps({'ready': [[a, 4000] for a in addresses]})}\n"
        if self.brings:
            self.texts["models"] = self.brings
        return 'ready /tmp/x 7 {"bytes": 0, "total": 1}\n'

    def look(self, _: str) -> str:
        if self.jobs[-1][0].endswith(("serve", "save")):
            return 'alive\n{"usage": {"cpu": 1.5, "disk": 0.1}}\n'
        pulls = self.jobs[-1][0] == "image_pull pull"
        return f"ended\n{json.dumps(self.pulls if pulls else self.done)}\n"

    def remove(self, _: str) -> str:
        self.texts["models"] = NOTHING
        return '{"done": {"bytes": 2000}}\n'

    def told(self, program: str) -> list[dict[str, Any]]:
        return [job for name, job in self.jobs if name == program]


def away(name: str) -> Spark:
    host = Node(name)
    host.down = Unreachable(f"{name}: no route to host", host=name, remedy="Is it on?")
    return host


def last(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


# ls


def test_ls_says_complete_or_why_not_and_skew(cli: Cli) -> None:
    hosts = [Node("spark-1"), Node("spark-2", listing()), Node("spark-3", listing(TWO, shards=1))]
    code, out, err = cli("model", "ls", hosts=hosts)
    assert (code, err) == (0, "")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert f"{MODEL} spark-2 111111111111 1.95 KiB complete" in rows
    assert any(
        row.startswith(f"{MODEL} spark-3 222222222222 1000 B incomplete: 1 weight file is missing")
        for row in rows
    )
    assert f"skew: {MODEL}: main is 111111111111 on spark-2; 222222222222 on spark-3" in rows
    assert [host.execs for host in hosts] == [1, 1, 1]


def test_ls_of_a_host_that_is_away_is_unknown_with_exit_3(cli: Cli) -> None:
    hosts = [Node("spark-1"), Node("spark-2", listing()), away("spark-3")]
    code, out, _ = cli("model", "ls", RECIPE, "--json", hosts=hosts)
    assert code == 3
    found = json.loads(out)
    assert found["unknown"] == {"spark-3": "spark-3: no route to host"}
    assert found["remedies"] == {"spark-3": "Is it on?"}
    assert [(row["host"], row["complete"]) for row in found["models"]] == [("spark-2", True)]


@pytest.mark.parametrize("verb", ["model", "image"])
def test_hosts_that_are_away_share_the_next_step(cli: Cli, verb: str) -> None:
    hosts = [Node("spark-1"), away("spark-2"), away("spark-3")]
    code, out, _ = cli(verb, "ls", hosts=hosts)
    assert code == 3
    assert out.splitlines()[-3:] == [
        "unknown: spark-2: spark-2: no route to host",
        "unknown: spark-3: spark-3: no route to host",
        "  next: Is it on?",
    ]


def test_a_node_without_python_is_unknown_and_not_empty(cli: Cli) -> None:
    code, out, _ = cli("model", "ls", "--hosts", "spark-2", hosts=[Node("spark-2", "no-python\n")])
    assert code == 3
    assert "unknown: spark-2: python3 is not installed" in out


# sync


def test_sync_copies_over_the_rails_and_reads_again(cli: Cli) -> None:
    source = Node("spark-2", listing())
    sink = Node("spark-3", brings=listing())
    code, out, err = cli("model", "sync", RECIPE, hosts=[Node("spark-1"), source, sink])
    assert (code, err) == (0, "")
    (serve,) = source.told("copy serve")
    (fetch,) = sink.told("copy fetch")
    assert serve["addresses"] == ["192.168.100.10", "192.168.101.10"]
    assert fetch["peers"] == [["192.168.100.10", 4000], ["192.168.101.10", 4000]]
    assert fetch["token"] == serve["token"]
    assert len(fetch["token"]) == 64
    assert fetch["through"] is None
    assert fetch["folder"] == f"~/.cache/huggingface/hub/models--{MODEL.replace('/', '--')}"
    assert fetch["refs"] == {"main": ONE}
    assert "from spark-2: 1000 B in 2.0 s" in out
    assert "1 changed" in out
    assert all(held.released for host in (source, sink) for held in host.held)
    assert fetch["token"] not in out


def test_sync_to_hosts_that_have_it_starts_nothing(cli: Cli) -> None:
    hosts = [Node("spark-2", listing()), Node("spark-3", listing())]
    code, out, _ = cli("model", "sync", RECIPE, hosts=[away("spark-1"), *hosts])
    assert code == 0
    assert "2 ok" in out
    assert [host.jobs for host in hosts] == [[], []]


def test_copies_of_one_commit_become_the_fullest(cli: Cli) -> None:
    whole = listing(ONE, "README.md")
    source, sink = Node("spark-2", whole), Node("spark-3", listing(), brings=whole)
    code, out, _ = cli("model", "sync", RECIPE, hosts=[Node("spark-1"), source, sink])
    assert code == 0
    assert sink.told("copy fetch")
    assert "1 changed" in out


def test_a_host_that_has_more_than_the_source_has_it_complete(cli: Cli) -> None:
    source, sink = Node("spark-2", listing()), Node("spark-3", listing(ONE, "README.md"))
    words = ("model", "sync", RECIPE, "--from", "spark-2")
    code, out, _ = cli(*words, hosts=[Node("spark-1"), source, sink])
    assert code == 0
    assert sink.jobs == []
    assert "2 ok" in out


def test_a_copy_over_a_file_of_its_own_has_arrived(cli: Cli) -> None:
    """spark-3 keeps its README.md, and gets what spark-2 has beside it."""
    source = Node("spark-2", listing(ONE, "LICENSE"))
    sink = Node("spark-3", listing(ONE, "README.md"), listing(ONE, "LICENSE", "README.md"))
    hosts = [Node("spark-1"), source, sink]
    code, _, err = cli("model", "sync", RECIPE, hosts=hosts)
    assert code == 1
    assert "differ: LICENSE on spark-2; README.md on spark-3" in err
    code, out, _ = cli("model", "sync", RECIPE, "--from", "spark-2", hosts=hosts)
    assert code == 0
    assert "1 changed" in out


def test_deep_looks_at_hosts_that_have_it(cli: Cli) -> None:
    source, sink = Node("spark-2", listing()), Node("spark-3", listing())
    words = (
        "model",
        "sync",
        MODEL,
        "--from",
        "spark-2",
        "--to",
        "pair",
        "--deep",
        "--streams",
        "3",
    )
    assert cli(*words, hosts=[source, sink])[0] == 0
    (fetch,) = sink.told("copy fetch")
    assert (fetch["deep"], fetch["streams"]) == (True, 3)


def test_encrypted_streams_come_through_ssh(cli: Cli) -> None:
    source, sink = Node("spark-2", listing()), Node("spark-3", brings=listing())
    words = ("model", "sync", RECIPE, "--from", "spark-2", "--encrypt")
    assert cli(*words, hosts=[source, sink])[0] == 0
    assert source.told("copy serve")[0]["addresses"] == ["127.0.0.1"]
    (fetch,) = sink.told("copy fetch")
    assert (fetch["through"], fetch["peers"]) == ("spark-2", [["127.0.0.1", 4000]])


def test_a_copy_that_did_not_arrive_is_a_failure(cli: Cli) -> None:
    """The program says that it is done; the second reading does not show it."""
    hosts = [Node("spark-2", listing()), Node("spark-3", brings=listing(shards=1))]
    code, out, _ = cli("model", "sync", RECIPE, hosts=[Node("spark-1"), *hosts])
    assert code == 1
    assert "after the copy: 1 weight file is missing" in out


@pytest.mark.parametrize(
    ("models", "words", "code", "says"),
    [
        (("", NOTHING, NOTHING), (), "MODEL002", "no host has it complete"),
        ((NOTHING, listing(), listing(TWO)), (), "MODEL002", "the complete copies differ"),
        (
            (NOTHING, listing(shards=1), NOTHING),
            ("--from", "spark-2"),
            "MODEL002",
            "spark-2: 1 wei",
        ),
        (
            (NOTHING, NOTHING, listing()),
            ("--to", "spark-1", "--from", "spark-3"),
            "MODEL003",
            "spark-1: no network shared with spark-3",
        ),
    ],
)
def test_sync_refuses_with_a_reason(
    models: tuple[str, ...], words: tuple[str, ...], code: str, says: str, cli: Cli
) -> None:
    hosts = [Node(f"spark-{n}", text or NOTHING) for n, text in enumerate(models, 1)]
    status, _, err = cli("model", "sync", RECIPE, *words, hosts=hosts)
    assert status == 1
    assert says in err
    assert f"spark-cluster explain {code}" in err
    assert [host.jobs for host in hosts] == [[], [], []]


def test_a_wanted_host_that_is_away_stops_before_anything(cli: Cli) -> None:
    source = Node("spark-2", listing())
    code, _, err = cli("model", "sync", RECIPE, hosts=[Node("spark-1"), source, away("spark-3")])
    assert code == 3
    assert "spark-3: no route to host" in err
    assert source.jobs == []


def test_a_host_lost_during_the_copy_is_unknown_and_the_source_let_go(cli: Cli) -> None:
    source, sink = Node("spark-2", listing()), Node("spark-3")
    gone = StateUnknown("spark-3: the connection broke", host="spark-3", remedy="Run it again.")
    sink.on("grep '^{\"note\"'", gone)
    code, out, _ = cli("model", "sync", RECIPE, hosts=[Node("spark-1"), source, sink])
    assert code == 3
    assert "unknown" in out
    assert all(held.released for held in source.held)


def test_a_corrupt_source_ends_with_4_and_names_the_file(cli: Cli) -> None:
    source, sink = Node("spark-2", listing()), Node("spark-3")
    sink.done = {"failed": f"blobs/{'2' * 64} is corrupt on the source", "reason": "corrupt"}
    code, out, _ = cli("model", "sync", RECIPE, "--json", hosts=[Node("spark-1"), source, sink])
    assert code == 4
    (done,) = [e for e in map(json.loads, out.splitlines()) if e.get("host") == "spark-3"
               and e["kind"] == "step_finished"]  # fmt: skip
    assert done["summary"] == "model-00002-of-00002.safetensors is corrupt on the source"
    assert done["error"]["code"] == "MODEL001"


@pytest.mark.parametrize("words", [("model", "sync"), ("model", "pull")])
def test_a_disk_without_room_says_how_to_make_some(cli: Cli, words: tuple[str, ...]) -> None:
    source, sink = Node("spark-2", listing()), Node("spark-3")
    no_room = "117000000000 bytes are needed and 5000000 are free below /hub"
    sink.done = source.done = {"failed": no_room, "reason": "space"}
    hosts = [Node("spark-1"), source, sink][-3 if words[1] == "sync" else -2 :]
    code, out, _ = cli(*words, RECIPE, hosts=hosts)
    said = " ".join(out.split())
    assert code == 1
    assert no_room in said
    assert "more: spark-cluster explain MODEL007" in said
    assert "`spark-cluster model rm` removes a model" in said


def test_several_groups_and_wrong_names_are_told(cli: Cli) -> None:
    code, _, err = cli("model", "sync", "qwen3")
    assert code == 2
    assert "'qwen3' is neither ORG/NAME" in err
    code, _, err = cli("model", "sync", RECIPE, "--from", "spark-9")
    assert code == 2
    assert "there is no host or group 'spark-9'" in err


def test_what_waits_for_a_host_that_failed_is_told(cli: Cli) -> None:
    """spark-1 shares a network with spark-2 only."""
    source, between, last_one = Node("spark-3", listing()), Node("spark-2"), Node("spark-1")
    between.done = {"failed": "No space left on device", "reason": "space"}
    words = ("model", "sync", RECIPE, "--to", "spark-1", "--to", "spark-2", "--json")
    code, out, _ = cli(*words, hosts=[last_one, between, source])
    assert code == 1
    said = {e["host"]: e["summary"] for e in map(json.loads, out.splitlines())
            if e["kind"] == "step_finished"}  # fmt: skip
    assert said["spark-2"] == "No space left on device"
    assert said["spark-1"] == "left out: it would come from spark-2, which did not get it"
    assert last_one.jobs == []


def test_only_links_that_were_set_are_a_change_too(cli: Cli) -> None:
    sink = Node("spark-3", brings=listing())
    sink.done = {"done": {**DONE, "received": 0, "there": 2000, "placed": 3}}
    hosts = [Node("spark-1"), Node("spark-2", listing()), sink]
    code, out, _ = cli("model", "sync", RECIPE, hosts=hosts)
    assert code == 0
    assert "1 changed" in out
    assert "1.95 KiB were there already; 3 links set" in out


# pull


def test_pull_downloads_once_and_copies(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    first = Node("spark-2", brings=listing())
    second = Node("spark-3", listing(shards=1), brings=listing())
    first.done = {"done": {**DONE, "files": 3, "bytes": 2000, "bad": [], "revision": ONE}}
    second.done = first.done
    code, out, err = cli("model", "pull", RECIPE, hosts=[first, second])
    assert (code, err) == (0, "")
    (job,) = second.told("pull pull")
    assert (job["model"], job["revision"], job["token"]) == (MODEL, "main", "hf_secret")
    assert job["endpoint"] == "http://hub.example"
    assert job["image"] == "nvcr.io/nvidia/vllm:25.11-py3"
    assert not first.told("pull pull"), "it has less of it than spark-3"
    assert first.told("copy fetch")
    assert "3 files verified, commit 111111111111" in out
    assert "hf_secret" not in out


@pytest.mark.parametrize("token", ["hf_secret\r", "hf_secret\nhf_other"])
def test_a_token_of_two_lines_is_refused_and_not_printed(
    token: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An env file with Windows' line ends gives the first."""
    monkeypatch.setenv("HF_TOKEN", token)
    host = Node("spark-2")
    said = cli("model", "pull", RECIPE, "--to", "spark-2", hosts=[host])
    assert_told(said, "HF_TOKEN has more than one line")
    assert "hf_secret" not in said.err
    assert host.jobs == []


def test_a_failed_download_copies_nothing(cli: Cli) -> None:
    first, second = Node("spark-2"), Node("spark-3")
    first.done = {"failed": "org/x is gated: its owner must let you in", "reason": "gated"}
    code, out, _ = cli("model", "pull", MODEL, "--on", "spark-2", hosts=[first, second])
    assert code == 1
    assert "is gated" in out
    assert "HF_TOKEN" in out
    assert second.jobs == []


# verify, rm


def test_verify_names_the_bad_file_and_the_way_out(cli: Cli) -> None:
    good, bad = Node("spark-2", listing()), Node("spark-3", listing())
    checked = {"files": 2, "bytes": 2000, "bad": [], "usage": {"cpu": 1.0}}
    good.done = {"done": checked}
    bad.done = {"done": {**checked, "bad": [[f"blobs/{'1' * 64}", "its sha256 hash is 00…"]]}}
    code, out, _ = cli("model", "verify", RECIPE, "--hosts", "pair", hosts=[good, bad])
    assert code == 4
    assert "model-00001-of-00002.safetensors: its sha256 hash is 00…" in out
    assert f"spark-cluster model sync {RECIPE} --from spark-2 --to spark-3 --deep" in out


def test_verify_of_a_model_that_is_nowhere(cli: Cli) -> None:
    code, _, err = cli("model", "verify", RECIPE, "--hosts", "pair",
                       hosts=[Node("spark-2"), Node("spark-3")])  # fmt: skip
    assert code == 1
    assert f"{MODEL} is in {DEFAULT_CACHE} on none of spark-2, spark-3" in err


def test_rm_refuses_while_a_container_serves_it(cli: Cli) -> None:
    labels = {f"{LABEL}.recipe": RECIPE, f"{LABEL}.model": "alias", f"{LABEL}.hub-model": MODEL}
    busy = Node("spark-2", listing())
    busy.texts["containers"] = (
        f"@@c ours 4f5e /vllm-head running 0 2026-11-21T03:15:42Z {json.dumps(labels)}\n"
    )
    code, _, err = cli("model", "rm", RECIPE, "--hosts", "spark-2", "--yes", hosts=[busy])
    assert code == 1
    assert "served by vllm-head on spark-2" in err
    assert "explain MODEL008" in err
    assert "remove job.json" not in "".join(busy.scripts)


def test_rm_asks_and_without_a_terminal_says_so(cli: Cli) -> None:
    host = Node("spark-2", listing())
    code, _, err = cli("model", "rm", RECIPE, "--hosts", "spark-2", hosts=[host])
    assert code == 2
    assert "1.95 KiB on spark-2" in err
    assert "--yes" in err
    assert "remove job.json" not in "".join(host.scripts)


def test_rm_removes_and_looks_again(cli: Cli) -> None:
    hosts = [Node("spark-1"), Node("spark-2", listing()), Node("spark-3", listing())]
    code, out, _ = cli("model", "rm", RECIPE, "-y", "-v", hosts=hosts)
    assert code == 0
    assert "1.95 KiB freed" in out
    assert "2 changed" in out
    assert "remove job.json" not in "".join(hosts[0].scripts)
    code, out, _ = cli("model", "rm", RECIPE, "-y", hosts=hosts)
    assert code == 0
    assert f"{MODEL} is in {DEFAULT_CACHE} on none of spark-1, spark-2, spark-3" in out


def test_rm_that_leaves_something_is_a_failure(cli: Cli) -> None:
    host = Node("spark-2", listing())
    host.on(re.compile(r"hub remove"), Completed(1, '{"failed": "busy", "reason": "disk"}\n', ""))
    code, out, _ = cli("model", "rm", RECIPE, "-y", "--hosts", "spark-2", hosts=[host])
    assert code == 1
    assert "busy" in out

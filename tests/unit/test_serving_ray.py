"""Who has joined Ray, and what is missing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.serving.ray import (
    RayNode,
    RayStatus,
    joined,
    nodes_script,
    parse,
    parse_nodes,
    parse_status,
    strangers,
)

DATA = Path(__file__).parent / "data" / "ray"
NODES = (DATA / "ray_api_v0_nodes.json").read_text()
STATUS = (DATA / "ray_status.txt").read_text()
HEAD, WORKER = "192.168.100.10", "192.168.100.11"


def test_nodes() -> None:
    found = parse(f"@@ray nodes\n{NODES}\n")
    assert found == RayStatus(
        (RayNode(HEAD, True, True, 1.0), RayNode(WORKER, True, False, 1.0)), 2, 2.0
    )
    assert joined(found, [HEAD, WORKER], 2) == []


def test_status() -> None:
    found = parse(f"@@ray status\n{STATUS}")
    assert found == RayStatus(None, 2, 2.0)
    assert joined(found, [HEAD, WORKER], 2) == []
    assert joined(found, [HEAD, WORKER, "192.168.100.12"], 3) == [
        "2 of 3 nodes have joined Ray.",
        "Ray has 2 of 3 GPUs.",
    ]


def test_status_counts_idle_nodes_and_no_others() -> None:
    text = STATUS.replace("Pending:\n (no pending nodes)", "Idle:\n 1 node_c\nPending:\n 1 node_d")
    assert parse_status(text).active == 3


def with_nodes(*nodes: RayNode) -> RayStatus:
    alive = [node for node in nodes if node.alive]
    return RayStatus(nodes, len(alive), sum(node.gpus for node in alive))


@pytest.mark.parametrize(
    ("nodes", "missing"),
    [
        (
            [],
            [
                f"{HEAD} has not joined Ray.",
                f"{WORKER} has not joined Ray.",
                "Ray has 0 of 2 GPUs.",
            ],
        ),
        (
            [RayNode(HEAD, True, True, 1)],
            [f"{WORKER} has not joined Ray.", "Ray has 1 of 2 GPUs."],
        ),
        (
            [RayNode(HEAD, True, True, 1), RayNode(WORKER, False, False, 1)],
            [f"{WORKER} had joined Ray and is dead.", "Ray has 1 of 2 GPUs."],
        ),
        (
            [RayNode(HEAD, True, True, 1), RayNode(WORKER, True, False, 0)],
            [f"{WORKER} has joined Ray without a GPU.", "Ray has 1 of 2 GPUs."],
        ),
        (
            [
                RayNode(HEAD, True, True, 1),
                RayNode(WORKER, False, False, 1),
                RayNode(WORKER, True, False, 1),
            ],
            [],
        ),
        (
            [RayNode(HEAD, True, True, 1), RayNode("10.0.0.9", True, False, 1)],
            [f"{WORKER} has not joined Ray.", "Ray has 1 of 2 GPUs."],
        ),
    ],
)
def test_missing(nodes: list[RayNode], missing: list[str]) -> None:
    assert joined(with_nodes(*nodes), [HEAD, WORKER], 2) == missing


def test_strangers() -> None:
    status = with_nodes(RayNode(HEAD, True, True, 1), RayNode("10.0.0.9", True, False, 1))
    assert strangers(status, [HEAD]) == ["10.0.0.9"]
    assert strangers(RayStatus(), [HEAD]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Ray does not answer"),
        ("@@ray nodes\nnot json", "no JSON"),
        ('@@ray nodes\n{"result": false, "msg": "starting"}', "starting"),
        ("@@ray status\nError: No such container: x", "No such container: x"),
        ("@@ray status\n", "printed nothing"),
    ],
)
def test_no_answer(text: str, words: str) -> None:
    found = parse(text)
    assert words in found.error
    assert found.active is None
    (sentence,) = joined(found, [HEAD], 1)
    assert sentence.startswith("Ray does not answer")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(
            st.sampled_from(["data", "result", "node_ip", "state", "resources_total", "GPU"]), inner
        ),
    ),
)


@given(JSON)
def test_any_json(found: object) -> None:
    status = parse_nodes(json.dumps(found))
    joined(status, [HEAD], 1)
    nested = {"data": {"result": {"result": found}}}
    joined(parse_nodes(json.dumps(nested)), [HEAD], 1)


@given(st.text())
def test_any_text(text: str) -> None:
    for whole in (text, f"@@ray nodes\n{text}", f"@@ray status\n{text}"):
        assert joined(parse(whole), [HEAD], 1)
    parse_status("Node status\n" + text)


@pytest.mark.parametrize(("curl_ends", "source"), [(0, "nodes"), (22, "status")])
def test_the_script_falls_back(tmp_path: Path, curl_ends: int, source: str) -> None:
    for name, body in (
        ("curl", f"#!/bin/sh\ncat {DATA}/ray_api_v0_nodes.json\nexit {curl_ends}\n"),
        ("docker", f'#!/bin/sh\n[ "$2" = "ray head" ] && cat {DATA}/ray_status.txt\n'),
    ):
        (tmp_path / name).write_text(body)
        (tmp_path / name).chmod(0o755)
    ran = subprocess.run(
        ["sh", "-eu"],
        input=nodes_script(8265, "ray head") + "echo after\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert ran.stdout.startswith(f"@@ray {source}\n")
    assert ran.stdout.endswith("after\n")
    found = parse(ran.stdout.removesuffix("after\n"))
    assert joined(found, [HEAD, WORKER], 2) == []
    assert (found.nodes is None) == (source == "status")

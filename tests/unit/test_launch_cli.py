"""`launch` over fake hosts: its end, its refusals, and the lines that it prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from spark_cluster.cli.views.closing import curl_line
from tests.command_line import Cli

from . import world
from .cases import write
from .world import INVENTORY, Spark, launching


def test_a_launch_ends_with_the_endpoint_and_the_next_command(cli: Cli) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "qwen3-vl-235b is ready: http://192.168.102.11:8000/v1" in said.out
    assert "curl http://192.168.102.11:8000/v1/chat/completions" in said.out
    assert "next: spark-cluster verify-rdma" in said.out
    assert [host.connections for host in hosts] == [1, 1]
    again = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert again.code == 0
    assert "qwen3-vl-235b is already up: http://192.168.102.11:8000/v1" in again.out


def test_the_printed_curl_line_is_sound_shell_and_json(cli: Cli, tmp_path: Path) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    (line,) = [line for line in said.out.splitlines() if line.startswith("  curl ")]
    fake = write(tmp_path / "bin/curl", '#!/bin/sh\nfor w; do printf "%s\\n" "$w"; done\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env={"PATH": str(tmp_path / "bin")},
        text=True,
        capture_output=True,
    )
    words = done.stdout.splitlines()
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == world.deployment().model


def test_no_wait_returns_once_the_server_is_started(cli: Cli) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "--no-wait", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "started, not yet ready" in said.out
    assert not any("/v1/completions" in script for script in hosts[0].scripts)


def test_a_refused_launch_starts_nothing(cli: Cli) -> None:
    hosts = [Spark("spark-2"), Spark("spark-3", {"image": ""})]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "SERVE002" in said.out
    assert "Nothing was started" in said.out
    assert [host.changes for host in hosts] == [[], []]
    assert [host.held for host in hosts] == [[], []]


def test_a_context_beyond_the_models_own_is_refused_unless_it_is_let_pass(cli: Cli) -> None:
    recipe = Path("playbooks/recipes/long.yaml")
    text = "name: long\nextends: qwen3-vl-235b\nargs: {max-model-len: 300000}\n"
    write(recipe, text)
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "long", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "RECIPE008" in said.out
    assert "max-model-len 300,000 is longer than the model's own 262,144: vLLM ends" in said.out
    assert [host.changes for host in hosts] == [[], []]
    write(recipe, text + 'env: {VLLM_ALLOW_LONG_MAX_MODEL_LEN: "1"}\n')
    said = cli("launch", "long", "-v", "-i", INVENTORY, hosts=hosts)
    assert "RECIPE008" not in said.out
    assert "sequences; max-model-len 300,000 is longer than the model's own 262,144," in said.out
    assert hosts[0].changes


def test_a_launch_says_which_recipe_it_extends(cli: Cli) -> None:
    write(
        Path("playbooks/recipes/small.yaml"),
        "name: small\nextends: qwen3-vl-235b\nnote: for the test\nrequires: {memory_gib: 1}\n",
    )
    hosts = [Spark("spark-2", {"image": ""}), Spark("spark-3")]
    said = cli("launch", "small", "-i", INVENTORY, hosts=hosts)
    assert "small.yaml extends" in said.out
    assert "for the test" in said.out


def test_a_launch_says_what_lint_warns_of(cli: Cli) -> None:
    write(
        Path("playbooks/recipes/risky.yaml"),
        "name: risky\nextends: qwen3-vl-235b\nargs: {swap-space: 4}\n",
    )
    hosts = [Spark("spark-2", {"image": ""}), Spark("spark-3")]
    said = cli("launch", "risky", "-i", INVENTORY, hosts=hosts)
    lines = [line for line in said.out.splitlines() if "lint: warning" in line]
    assert len(lines) == 1
    assert "RECIPE006 at " in lines[0]
    assert "risky.yaml:3: swap-space 4: CPU and GPU share one memory" in lines[0]
    events = [
        json.loads(line)
        for line in cli("launch", "risky", "--json", "-i", INVENTORY, hosts=hosts).out.splitlines()
    ]
    notes = [event["message"] for event in events if event["kind"] == "note"]
    assert any("swap-space 4" in note for note in notes)


def test_the_printed_curl_line_has_a_place_for_the_key() -> None:
    line = curl_line("http://a/v1/chat/completions", "m", has_key=True)
    done = subprocess.run(
        ["/bin/sh", "-c", f'curl() {{ printf "%s\\n" "$@"; }}\n{line}'],
        env={"VLLM_API_KEY": "sk_secret"},
        text=True,
        capture_output=True,
        timeout=20,
    )
    assert "sk_secret" not in line
    assert "Authorization: Bearer sk_secret" in done.stdout.splitlines()
    assert "Authorization" not in curl_line("http://a/v1", "m", has_key=False)

"""Secrets: where they come from, that docker gets them, and that nobody else sees them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from spark_cluster.actions.deploying import Choices, deploy, load_recipe
from spark_cluster.core.labels import LABEL
from spark_cluster.core.secret import Secret
from spark_cluster.engines.compose import compose
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.probe import PRELUDE
from spark_cluster.facts.secrets import SECRETS, SecretsFact
from spark_cluster.runner.outcome import with_secrets
from spark_cluster.steps import secrets as secrets_step
from spark_cluster.steps.base import NoParams
from spark_cluster.steps.rdma_verdict import Params, generate
from spark_cluster.steps.secrets import start
from spark_cluster.steps.serving import FirstToken, ask_canary
from spark_cluster.steps.view import View
from tests.command_line import Cli

from . import world
from .cases import refused, write
from .world import INVENTORY, Spark, journal

RECIPE = "qwen3-32b-fp8"
TOKEN = "hf_it's $HOME `id`"
FROM_THE_NODE = "user nvidia\nfile 600 nvidia\nname HF_TOKEN\n"

#: docker that keeps its arguments, the file it is given and that file's mode.
_DOCKER = """\
#!/bin/sh
printf '%s\\n' "$@" > "$OUT/arguments"
for word; do
  case $last in --env-file) cat "$word" > "$OUT/file"; stat -c %a "$word" > "$OUT/mode";; esac
  last=$word
done
exit ${DOCKER_STATUS:-0}
"""


def run_start(
    folder: Path, *, secrets: dict[str, str], text: str = "", status: int = 0
) -> subprocess.CompletedProcess[str]:
    """The change that starts the container, by a real sh and with a docker of the test's own."""
    write(folder / "bin/docker", _DOCKER).chmod(0o755)
    view = world.view("spark-2", {"spark-2": {"secrets": text}}, recipe=RECIPE, secrets=secrets)
    change = start(view)
    script = with_secrets([change]).replace("/run/spark-cluster", str(folder / "run"))
    return subprocess.run(
        ["/bin/sh"],
        input=f"set -eu\n{script}",
        env={
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "OUT": str(folder),
            "SPARK_HOME": str(folder / "home"),
            "DOCKER_STATUS": str(status),
        },
        text=True,
        capture_output=True,
        timeout=20,
    )


def test_docker_gets_the_controllers_from_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    done = run_start(tmp_path, secrets={"HF_TOKEN": TOKEN})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_text() == f"HF_TOKEN={TOKEN}\n"
    assert (tmp_path / "mode").read_text() == "600\n"
    assert TOKEN not in (tmp_path / "arguments").read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_docker_gets_the_nodes_own(tmp_path: Path) -> None:
    write(tmp_path / "home/.config/spark-cluster/env", f"OTHER=1\nHF_TOKEN={TOKEN}\n")
    done = run_start(tmp_path, secrets={}, text=FROM_THE_NODE)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_text() == f"HF_TOKEN={TOKEN}\n"


def test_without_a_token_docker_gets_an_empty_file(tmp_path: Path) -> None:
    done = run_start(tmp_path, secrets={})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_text() == ""


def test_the_file_is_gone_also_when_docker_fails(tmp_path: Path) -> None:
    assert run_start(tmp_path, secrets={"HF_TOKEN": TOKEN}, status=125).returncode == 125
    assert list((tmp_path / "run").iterdir()) == []


def test_no_value_is_in_the_commands_or_in_a_repr() -> None:
    view = world.view("spark-2", recipe=RECIPE, secrets={"HF_TOKEN": TOKEN})
    change = start(view)
    assert change.secrets == {"SECRET_HF_TOKEN": Secret(TOKEN)}
    for text in (change.commands, repr(change), repr(view.serving)):
        assert TOKEN not in text


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (None, 0o600, SecretsFact(user="me")),
        ("HF_TOKEN=x\n", 0o600, SecretsFact("600", "OWNER", "me", frozenset({"HF_TOKEN"}))),
        ("HF_TOKEN=\n#A=1\n B=2\nC=3", 0o644, SecretsFact("644", "OWNER", "me", frozenset({"C"}))),
    ],
)
def test_the_nodes_file_is_read_without_its_values(
    tmp_path: Path, content: str | None, mode: int, expected: SecretsFact
) -> None:
    path = tmp_path / ".config/spark-cluster/env"
    if content is not None:
        write(path, content).chmod(mode)
    context = ProbeContext(
        world.inventory().hosts["spark-2"], world.inventory(), world.deployment(RECIPE)
    )
    script = SECRETS.script(context)
    assert "HF_TOKEN" not in PRELUDE
    done = subprocess.run(
        ["/bin/sh"],
        input=f"SPARK_USER=me SPARK_HOME={tmp_path}\n{script}",
        text=True,
        capture_output=True,
        timeout=20,
    )
    assert done.stderr == ""
    assert "=" not in done.stdout
    owner = path.owner() if content is not None else ""
    found = SECRETS.parse(done.stdout)
    assert found == SecretsFact(expected.mode, owner, expected.user, expected.names)


def test_the_controllers_environment_is_asked_only_for_what_the_recipe_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    choices = Choices()
    for name, expected in ((RECIPE, {"HF_TOKEN": Secret(TOKEN)}), ("qwen3-vl-235b", {})):
        recipe = load_recipe(world.inventory(), name, choices)
        made, _ = deploy(world.inventory(), recipe, choices, world.RUN)
        assert made.secret_values == expected


def test_a_token_of_two_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a\nHF_EVIL=1")
    choices = Choices()
    recipe = load_recipe(world.inventory(), RECIPE, choices)
    error = refused(lambda: deploy(world.inventory(), recipe, choices, world.RUN))
    assert "HF_TOKEN has more than one line" in error.message
    assert "hf" not in error.message.lower().replace("hf_token", "")


def launching() -> Spark:
    up = {"containers": world.running("spark-2", recipe=RECIPE), "server": world.SERVER_UP}
    return Spark("spark-2").effect("docker run", **up)


def test_a_launch_hands_the_token_over_and_shows_it_nowhere(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    host = launching()
    plan = cli("plan", "launch", RECIPE, "--commands", "-v", "-i", INVENTORY, hosts=[host])
    assert plan.code == 0
    assert "HF_TOKEN=$SECRET_HF_TOKEN" in plan.out
    said = cli("launch", RECIPE, "-v", "-i", INVENTORY, hosts=[host])
    assert said.code == 0, said
    (ran,) = [script for script in host.scripts if "docker run --detach" in script]
    assert "SECRET_HF_TOKEN=hf_secret\n" in ran
    (book,) = journal(tmp_path)
    for text in (plan.out, plan.err, said.out, said.err, book.read_text()):
        assert "hf_secret" not in text
    assert "verify-rdma" not in said.out
    assert json.loads(book.read_text().splitlines()[0])["hosts"] == ["spark-2"]


# A server that asks for a key

KEYED = """\
name: keyed
extends: qwen3-vl-235b
secrets: [VLLM_API_KEY, HF_TOKEN]
"""


def keyed(folder: Path) -> Deployment:
    choices = Choices()
    recipe = load_recipe(world.inventory(), str(write(folder / "keyed.yaml", KEYED)), choices)
    return deploy(world.inventory(), recipe, choices, world.RUN)[0]


def of_keyed(view: View, folder: Path) -> View:
    return replace(view, deployment=keyed(folder))


def test_a_key_reaches_the_container_of_an_engine_that_is_offline(tmp_path: Path) -> None:
    """qwen3-vl-235b sets HF_HUB_OFFLINE: only the hub's token is of no use there."""
    for spec in keyed(tmp_path).containers:
        assert spec.secrets == ("VLLM_API_KEY",)
        assert spec.labels["spark-cluster.key"] == "VLLM_API_KEY"


def test_a_key_that_is_missing_is_no_trifle(tmp_path: Path) -> None:
    view = of_keyed(world.view("spark-2"), tmp_path)
    (problem,) = secrets_step.secrets.assess(view, NoParams()).problems
    assert problem.code == "SERVE012"
    assert problem.what == "VLLM_API_KEY is not set"


def test_canary_and_verdict_ask_with_the_key(tmp_path: Path) -> None:
    made = keyed(tmp_path)
    running = {}
    for spec in made.containers:
        labels = json.dumps({**spec.labels, f"{LABEL}.spec": spec.digest}, separators=(",", ":"))
        running[spec.host] = {
            "containers": f"@@c ours 4f5e /{spec.name} running 0 2026-11-21T03:15Z {labels}\n"
        }
    view = of_keyed(world.view("spark-2", running), tmp_path)
    for traffic in (ask_canary(view, FirstToken()), generate(view, Params())):
        assert traffic is not None
        assert "docker inspect --format" in traffic.script
        assert "Authorization: Bearer $_api_key" in traffic.script
    plain = ask_canary(world.view("spark-2"), FirstToken())
    assert plain is not None
    assert "docker" not in plain.script


def test_a_composed_server_does_not_start_without_its_key(tmp_path: Path) -> None:
    text = "name: keyed\nextends: qwen3-32b-fp8\nsecrets: [VLLM_API_KEY, HF_TOKEN]\n"
    choices = Choices()
    recipe = load_recipe(world.inventory(), str(write(tmp_path / "k.yaml", text)), choices)
    made, _ = deploy(world.inventory(), recipe, choices, world.RUN)
    assert "VLLM_API_KEY: ${VLLM_API_KEY:?is not set}" in compose(made)
    assert "HF_TOKEN: ${HF_TOKEN:-}" in compose(made)


# A secret in plain text

PLAIN = """\
name: plain
extends: qwen3-32b-fp8
env: {HF_TOKEN: hf_plain}
args: {api_key: sk_plain}
options:
  other: {why: for the test, env: {HF_TOKEN: hf_other}}
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("recipes", "show", "plain.yaml"),
        ("recipes", "show", "plain.yaml", "--json"),
        ("recipes", "lint", "plain.yaml"),
        ("compose", "plain.yaml"),
        ("recipes", "fit", "plain.yaml"),
        ("plan", "launch", "plain.yaml", "--commands", "-v"),
        ("launch", "plain.yaml", "--anyway", "-v"),
    ],
)
def test_a_secret_in_the_recipe_is_refused_and_shown_nowhere(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    write(Path("plain.yaml"), PLAIN)
    host = Spark("spark-2")
    said = cli(*arguments, "-i", INVENTORY, hosts=[host])
    for text in ("hf_plain", "sk_plain", "hf_other"):
        assert text not in said.out + said.err
    assert host.scripts == []
    if arguments[1] == "show":
        assert said.code == 0
        assert "***" in said.out
    else:
        assert said.code == 2
        assert "secrets: [" in said.out + said.err


def test_a_key_of_sparkruns_defaults_is_refused(cli: Cli) -> None:
    write(
        Path("theirs.yaml"),
        "model: example-org/Small\nruntime: vllm\ncontainer: example.org/it:0.16.0\n"
        "defaults:\n  api_key: sk_plain\n",
    )
    said = cli("compose", "theirs.yaml", "-i", INVENTORY)
    assert said.code == 2
    assert "theirs.yaml:5" in said.err
    assert "VLLM_API_KEY: ${VLLM_API_KEY}" in said.err
    shown = cli("recipes", "show", "theirs.yaml", "-i", INVENTORY)
    assert "sk_plain" not in said.err + shown.out

"""What one launch changes in its recipe: typed, checked, kept in the labels, launched again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.actions.deploying import Choices, load_recipe
from spark_cluster.core.error import InputError
from spark_cluster.core.labels import LABEL
from spark_cluster.facts.labels import checked
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.overrides import LONGEST, UNCHANGED, Overrides
from spark_cluster.watch.restarts import command
from spark_cluster.workload.launched import launched
from tests.command_line import Cli

from . import world
from .cases import write
from .switched import RECIPE, able, both, made, runs

PAIR = ("spark-2", "spark-3")
TYPED = Overrides.typed(
    port=8001,
    context=65536,
    args=("max-num-seqs=4", "gpu-memory-utilization=0.8", "enable-expert-parallel", "dtype=auto"),
    env=("VLLM_LOGGING_LEVEL=DEBUG",),
)


def test_they_are_in_the_command_the_environment_and_the_labels(switch: Inventory) -> None:
    plain, changed = made(switch, PAIR), made(switch, PAIR, overrides=TYPED)
    assert changed.port == 8001
    spec = changed.containers[0]
    said = " ".join(spec.command)
    for words in (
        "--max-model-len 65536", "--max-num-seqs 4", "--gpu-memory-utilization 0.8",
        "--enable-expert-parallel", "--dtype auto", "--port 8001",
    ):  # fmt: skip
        assert words in said
    assert "--max-model-len 65536" not in " ".join(plain.containers[0].command)
    assert spec.env["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert spec.digest != plain.containers[0].digest
    assert f"{LABEL}.overrides" not in plain.containers[0].labels
    assert Overrides.of_label(spec.labels[f"{LABEL}.overrides"]) == TYPED


def test_an_empty_value_takes_the_recipes_own_out(switch: Inventory) -> None:
    args = load_recipe(switch, RECIPE, Choices()).args
    assert "max-num-batched-tokens" in args
    out = made(switch, PAIR, overrides=Overrides.typed(args=("max_num_batched_tokens=",)))
    assert "--max-num-batched-tokens" not in out.containers[0].command
    with pytest.raises(InputError, match="--arg no-such= takes out what"):
        made(switch, PAIR, overrides=Overrides.typed(args=("no-such=",)))


def test_another_image(switch: Inventory) -> None:
    image = "registry.example/vllm:1"
    changed = made(switch, PAIR, overrides=Overrides.typed(image=image))
    assert {spec.image for spec in changed.containers} == {image}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"args": ("=4",)}, "does not begin with a name"),
        ({"args": ("a b=4",)}, "does not begin with a name"),
        ({"env": ("A-B=4",)}, "does not begin with a name"),
        ({"env": ("NAME",)}, "has no value"),
        ({"env": ("HF_TOKEN=hf_abc",)}, "for all to read"),
        ({"args": ("api-key=abc",)}, "for all to read"),
        ({"args": (f"seed={'1' * LONGEST}",)}, "characters, more than"),
        ({"image": "Not An Image"}, "--image: 'Not An Image' is no image name"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Overrides.typed(**words)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_lint_names_the_option_that_was_typed(cli: Cli, switch: Inventory) -> None:
    said = cli("launch", RECIPE, "--arg", "tensor-parallel-size=3", "-i", str(switch.path),
               hosts=both(switch))  # fmt: skip
    assert said.code == 2
    assert "--arg tensor-parallel-size" in said.err


LABELS = [
    "{", "[]", "null", '{"port":"8001"}', '{"port":8001,"more":1}', '{ "port":8001}',
    '{"args":{"a b":1}}',
    '{"env":{"A-B":1}}', '{"args":{"a":[1]}}', '{"port":8001,"port":8002}', "{}", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", LABELS)
def test_a_label_in_another_form_is_not_there(text: str) -> None:
    assert Overrides.of_label(text) is None
    assert checked({f"{LABEL}.overrides": text}) == {}


@given(
    st.builds(
        lambda port, args, env: Overrides.typed(
            port=port,
            args=[f"a{i}={each}" for i, each in enumerate(args)],
            env=[f"E{i}={each}" for i, each in enumerate(env)],
        ),
        st.none() | st.integers(1024, 65535),
        st.lists(st.text(max_size=20), max_size=4),
        st.lists(st.text(max_size=20), max_size=4),
    )
)
def test_label_and_words_ask_for_the_same(asked: Overrides) -> None:
    assert (Overrides.of_label(asked.label) or UNCHANGED) == asked
    words = list(asked.words())
    by_option: dict[str, list[str]] = {"--port": [], "--arg": [], "--env": []}
    for option, value in zip(words[::2], words[1::2], strict=True):
        by_option[option].append(value)
    port = int(by_option["--port"][0]) if by_option["--port"] else None
    again = Overrides.typed(port=port, args=by_option["--arg"], env=by_option["--env"])
    assert again == asked


def test_a_relaunch_keeps_them(cli: Cli, switch: Inventory) -> None:
    changed = made(switch, PAIR, overrides=TYPED)
    hosts = [able(name, changed) for name in PAIR]
    for host in hosts:
        host.texts["containers"] = runs(changed, host.name, "exited")
    said = cli("relaunch", "-i", str(switch.path),
               hosts=[*hosts, able("spark-1", made(switch, ("spark-3", "spark-1")))])  # fmt: skip
    assert "with other settings" not in said.out
    started = "".join(hosts[0].changes)
    assert "--max-model-len 65536" in started
    assert "VLLM_LOGGING_LEVEL=DEBUG" in started


def test_the_watcher_launches_the_same_again(switch: Inventory) -> None:
    changed = made(switch, PAIR, overrides=TYPED)
    facts = {
        host: world.facts(host, {"containers": runs(changed, host, "exited")}) for host in PAIR
    }
    (found,) = launched(facts)
    assert found.overrides == TYPED
    down = command(found.__class__(**{**vars(found), "hosts": {}}), switch)
    assert "--context 65536" in " ".join(down)
    assert "--env VLLM_LOGGING_LEVEL=DEBUG" in " ".join(down)


def test_status_shows_them(cli: Cli, switch: Inventory) -> None:
    changed = made(switch, PAIR, overrides=TYPED)
    hosts = [able(name, changed) for name in PAIR]
    for host in hosts:
        host.texts["containers"] = runs(changed, host.name)
    said = cli("status", "--hosts", ",".join(PAIR), "-i", str(switch.path), hosts=hosts)
    assert "launched with --port 8001 --context 65536 --arg max-num-seqs=4" in said.out


def test_a_plan_takes_them_for_a_launch_alone(cli: Cli, switch: Inventory) -> None:
    inventory = ("-i", str(switch.path))
    hosts = [able(name, made(switch, PAIR)) for name in PAIR]
    words = ("plan", "launch", RECIPE, "--context", "65536", "--commands")
    said = cli(*words, *inventory, hosts=hosts)
    assert "--max-model-len 65536" in said.out, said.out
    refused = cli("plan", "bootstrap", "--context", "65536", *inventory, hosts=both(switch))
    assert refused.code == 2
    assert "plan bootstrap takes no --context" in refused.err


def test_ollama_takes_its_context_elsewhere(tmp_path: Path, switch: Inventory) -> None:
    write(tmp_path / "x.yaml", "extends: ollama-qwen3-32b\nname: x\n")
    choices = Choices(overrides=Overrides.typed(context=8192), anyway=True)
    with pytest.raises(InputError, match="ollama takes its context"):
        load_recipe(switch, str(tmp_path / "x.yaml"), choices)

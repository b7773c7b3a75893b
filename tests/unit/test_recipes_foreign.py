"""Recipes of sparkrun and of spark-vllm-docker: read as ours, or refused at the line that has no
place here. The files in data/foreign have their shape and were written for these tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.error import InputError
from spark_cluster.document import Source
from spark_cluster.engines.placement import place as place_on
from spark_cluster.engines.table import ENGINES
from spark_cluster.recipes import command_line
from spark_cluster.recipes.command_line import CommandLine
from spark_cluster.recipes.foreign import adopt, is_foreign
from spark_cluster.recipes.foreign.template import BadTemplate, fill_braces, fill_format, words
from spark_cluster.recipes.lint import lint
from spark_cluster.recipes.loader import load, place
from spark_cluster.recipes.models import Recipe

from . import world
from .cases import refused_as_its_head_says, write

FOLDER = world.DATA / "foreign"
REFUSED = sorted((FOLDER / "refused").glob("*.yaml"))


def theirs(name: str) -> Recipe:
    return load(str(FOLDER / f"{name}.yaml"), {})


def args(recipe: Recipe) -> dict[str, object]:
    return {name: choice.value for name, choice in recipe.args.items()}


def env(recipe: Recipe) -> dict[str, str]:
    return {name: choice.text for name, choice in recipe.env.items()}


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_what_cannot_be_honoured_is_named_with_its_line(path: Path) -> None:
    refused_as_its_head_says(path, lambda: load(str(path), {}))


def test_a_recipe_of_spark_vllm_docker() -> None:
    recipe = theirs("eugr-two-nodes-awq")
    assert (recipe.name, recipe.engine, recipe.nodes, recipe.port) == (
        "eugr-two-nodes-awq", "vllm-ray", 2, 8010,
    )  # fmt: skip
    assert recipe.title == "vLLM serving a small mixture of experts over two nodes"
    assert recipe.model == "example-org/Small-MoE-AWQ"
    assert recipe.image == "vllm-node"
    assert args(recipe) == {
        "gpu-memory-utilization": "0.7",
        "tensor-parallel-size": "2",
        "max-model-len": "128000",
        "compilation-config": '{"cudagraph_mode":"PIECEWISE"}',
        "enable-auto-tool-choice": True,
        "tool-call-parser": "hermes",
        "distributed-executor-backend": "ray",
    }
    assert env(recipe) == {
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
        "NCCL_DEBUG": "WARN",
        "RAY_memory_monitor_refresh_ms": "0",
    }
    assert recipe.requires.memory_gib == pytest.approx(0.7 * 119.6, abs=0.05)


def test_what_people_write_into_recipes_of_sparkrun() -> None:
    recipe = theirs("sparkrun-as-people-write")
    assert (recipe.model, recipe.model_path) == ("example-org/Small", "/model")
    assert [(each.source, each.target, each.read_only) for each in recipe.mounts] == [
        ("~/models/small", "/model", True)
    ]
    assert args(recipe)["served-model-name"] == ("small", "little")
    assert (recipe.client_model, recipe.mods, recipe.clear_entrypoint) == (
        "small", ("fix-template",), True,
    )  # fmt: skip
    many, newer = recipe.profiles["many"], recipe.profiles["newer"]
    assert {name: choice.text for name, choice in many.args.items()} == {"max-num-seqs": "32"}
    assert {name: choice.text for name, choice in many.env.items()} == {
        "VLLM_LOGGING_LEVEL": "INFO"
    }
    assert not newer.args
    for said in ("draft_model has no effect", "patches has no effect", "newer names another image"):
        assert said in recipe.note
    (made,) = ENGINES["vllm"](recipe, place_on(recipe, world.inventory(), "pair", ("spark-2",)),
                              world.RUN, {}).containers  # fmt: skip
    assert (made.entrypoint, made.command[:2]) == ("vllm", ("serve", "/model"))
    assert made.command[2:6] == ("--served-model-name", "small", "little", "--max-num-seqs")


def test_the_command_that_sparkrun_makes_without_one() -> None:
    recipe = theirs("sparkrun-without-command")
    assert args(recipe) == {"reasoning-parser": "qwen3", "cuda-graph-bs": "1 2 4"}
    assert "language_model_only has no effect" in recipe.note


def test_a_recipe_of_sparkrun() -> None:
    recipe = theirs("sparkrun-two-nodes")
    assert (recipe.engine, recipe.nodes, recipe.port) == ("vllm-mp", 2, 8000)
    assert recipe.engine_version == "0.16.0"
    assert recipe.title == "Large dense model in FP8 on two Sparks"
    assert (recipe.served_name, recipe.client_model) == ("large-dense", "large-dense")
    assert recipe.shm_size == "32g"
    assert recipe.secrets == ("HF_TOKEN",)
    assert env(recipe) == {"OMP_NUM_THREADS": "1"}
    assert args(recipe) == {
        "max-model-len": "196608",
        "gpu-memory-utilization": "0.8",
        "tensor-parallel-size": "2",
        "speculative-config": '{"method":"mtp","num_speculative_tokens":2}',
        "compilation-config.cudagraph_mode": "PIECEWISE",
        "trust-remote-code": True,
        "served-model-name": "large-dense",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "distributed-executor-backend": "mp",
    }
    assert recipe.revision == "0123456789abcdef0123456789abcdef01234567"
    assert "privileged is not used" in recipe.note


def test_without_a_command_the_known_defaults_make_it() -> None:
    recipe = theirs("sparkrun-no-command")
    assert (recipe.engine, recipe.nodes, recipe.port) == ("vllm", 1, 8001)
    assert args(recipe) == {
        "tensor-parallel-size": "1",
        "max-model-len": "8192",
        "enable-prefix-caching": True,
    }


def test_sglang_gets_the_name_that_our_engine_looks_for() -> None:
    recipe = theirs("sparkrun-sglang")
    assert (recipe.engine, recipe.nodes, recipe.model) == ("sglang", 4, "example-org/Wide-MoE")
    assert args(recipe) == {
        "served-model-name": "wide-moe",
        "context-length": "65536",
        "mem-fraction-static": "0.8",
        "tp": "4",
        "trust-remote-code": True,
    }


def test_a_solo_recipe_of_spark_vllm_docker_is_for_one_host(tmp_path: Path) -> None:
    path = write(
        tmp_path / "Solo Model.yaml",
        'recipe_version: "1"\nname: Solo\ncontainer: vllm-node\nsolo_only: true\nbuild_args: [-x]\n'
        "defaults: {tensor_parallel: 2}\n"
        "command: exec vllm serve example-org/Solo -tp {tensor_parallel}"
        " --distributed-executor-backend ray\n",
    )
    recipe = load(str(path), {})
    assert (recipe.name, recipe.engine, recipe.nodes) == ("solo-model", "vllm", 1)
    assert args(recipe) == {"tensor-parallel-size": "1"}
    assert "builds no images" in recipe.note


@pytest.mark.parametrize(
    ("runtime", "command", "engine"),
    [
        ("vllm-ray", "vllm serve {model} -tp 2", "vllm-ray"),
        ("vllm", "vllm serve {model} -tp 2 --distributed-executor-backend ray", "vllm-ray"),
        ("vllm", "vllm serve {model} -tp=2", "vllm-mp"),
        ("vllm", "vllm serve {model} -tp 1 -pp 2", "vllm-mp"),
        ("vllm", "python3 -m vllm.entrypoints.openai.api_server --model {model} -tp 2", "vllm-mp"),
        ("sglang", "sglang serve --model-path {model} --tp-size 2", "sglang"),
        ("trtllm", "mpirun -n 2 trtllm-llmapi-launch trtllm-serve {model} --tp_size 2", "trtllm"),
    ],
)
def test_which_engine(tmp_path: Path, runtime: str, command: str, engine: str) -> None:
    path = write(
        tmp_path / "r.yaml",
        f"model: example-org/Small\nruntime: {runtime}\ncontainer: example.org/it:1.2\n"
        f"command: {command}\n",
    )
    recipe = load(str(path), {})
    assert (recipe.engine, recipe.nodes, recipe.model) == (engine, 2, "example-org/Small")
    if engine == "trtllm":
        assert args(recipe) == {"tp_size": "2"}


@pytest.mark.parametrize(
    ("container", "version"),
    [
        ("nvcr.io/nvidia/vllm:25.11-py3", "0.11.0"),
        ("nvcr.io/nvidia/vllm:26.05-py3", "0.20.1"),
        ("nvcr.io/nvidia/vllm:26.04-py3", "unknown"),
        ("example.org/vllm:0.16.0-t5", "0.16.0"),
        ("vllm/vllm-openai:v0.25.1", "0.25.1"),
        ("example.org:5000/vllm-node", "unknown"),
        ("registry.local:5000/nvidia/vllm:25.11-py3", "0.11.0"),
        ("registry.local:5000/mirror/nvidia/vllm:26.04-py3", "unknown"),
        ("registry.local:5000/our/vllm:25.11-py3", "unknown"),
        ("example.org/vllm:25.11", "unknown"),
        ("example.org/vllm:1.2.3", "unknown"),
        ("example.org/vllm:build-0.16.0", "unknown"),
    ],
)
def test_the_engine_version_is_read_off_the_image(
    tmp_path: Path, container: str, version: str
) -> None:
    text = f"model: example-org/Small\nruntime: vllm\ncontainer: {container}\n"
    assert load(str(write(tmp_path / "r.yaml", text)), {}).engine_version == version


def test_another_engines_tag_is_its_own_version(tmp_path: Path) -> None:
    text = (
        "model: example-org/Small\nruntime: trtllm\ncontainer: example.org/it:1.2.0\n"
        "defaults: {tensor_parallel: 2}\n"
    )
    assert load(str(write(tmp_path / "r.yaml", text)), {}).engine_version == "1.2.0"


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        (
            "runtime: vllm\nmodel: example-org/Small\ncontainer: example.org/it:tip\n",
            3,
            "Write `runtime_version:`",
        ),
        (
            'recipe_version: "1"\nname: S\ncontainer: our/vllm-node:tip\n'
            "command: vllm serve example-org/Small\n",
            3,
            "such as our/vllm-node:0.26.0",
        ),
        (
            "name: r\nextends: qwen3-32b-fp8\nengine_version: tip\n",
            3,
            "Write the release of vLLM that the image holds",
        ),
    ],
)
def test_an_unknown_version_is_told_in_a_field_that_they_have(
    tmp_path: Path, text: str, where: int, remedy: str
) -> None:
    recipe = load(str(write(tmp_path / "r.yaml", text)), {})
    (told,) = (finding for finding in lint(recipe) if finding.what.startswith("'"))
    assert place(recipe, told.loc).endswith(f":{where}")
    assert remedy in told.remedy


def test_a_version_against_the_image_is_told_in_a_field_that_they_have(tmp_path: Path) -> None:
    text = "runtime: vllm\nmodel: example-org/Small\nruntime_version: 0.26.0\n"
    path = write(tmp_path / "r.yaml", text + "container: nvcr.io/nvidia/vllm:25.11-py3\n")
    (told,) = lint(load(str(path), {}))
    assert told.what.endswith("holds vLLM 0.11.0, runtime_version says 0.26.0")
    assert told.remedy == "Set `runtime_version: 0.11.0`."


def test_the_version_that_the_remedy_asks_for_is_honoured(tmp_path: Path) -> None:
    text = "runtime: vllm\nmodel: example-org/Small\ncontainer: example.org/it:tip\n"
    path = write(tmp_path / "r.yaml", text + "runtime_version: 0.26.0\n")
    assert load(str(path), {}).engine_version == "0.26.0"


def test_ours_may_extend_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    text = (FOLDER / "sparkrun-no-command.yaml").read_text(encoding="utf-8")
    write(tmp_path / "playbooks" / "recipes" / "tiny.yaml", text)
    path = write(tmp_path / "mine.yaml", "name: mine\nextends: tiny\nargs: {max-num-seqs: 4}\n")
    recipe = load(str(path), {})
    assert (recipe.name, recipe.model) == ("mine", "example-org/Tiny-1B")
    assert args(recipe)["max-num-seqs"] == 4
    assert args(recipe)["max-model-len"] == "8192"


def test_it_is_deployed_as_ours_are() -> None:
    recipe = theirs("sparkrun-two-nodes")
    placement = place_on(recipe, world.inventory(), "pair", world.PAIR)
    made = ENGINES[recipe.engine](recipe, placement, "run", {})
    head, worker = (spec.command for spec in made.containers)
    assert head[:3] == worker[:3] == ("vllm", "serve", "example-org/Large-Dense-FP8")
    assert head[-4:] == ("--host", "0.0.0.0", "--port", "8000")
    assert worker[-1] == "--headless"
    assert made.client_model == "large-dense"
    assert made.containers[0].env["NCCL_NET"] == "IB"
    assert made.containers[0].shm_size == "32g"


def test_places_in_their_file() -> None:
    recipe = theirs("sparkrun-two-nodes")
    lines = recipe.path.read_text(encoding="utf-8").splitlines()

    def line(*loc: str) -> str:
        return lines[int(place(recipe, loc).rpartition(":")[2]) - 1]

    assert line("args", "max-model-len").startswith("  max_model_len:")
    assert line("args", "trust-remote-code").strip() == "--trust-remote-code"
    assert line("env", "OMP_NUM_THREADS").startswith("  OMP_NUM_THREADS:")
    assert line("image").startswith("container:")
    assert line("nodes").startswith("min_nodes:")


def test_ours_are_left_alone() -> None:
    for path in sorted((world.DATA / "recipes").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert not is_foreign({"engine": "vllm", "command": text})
    source = Source(Path("r.yaml"), {"extends": "base", "command": "x"}, None)
    assert adopt(source) is source


@pytest.mark.parametrize(
    ("head", "tool", "brace"),
    [
        ('recipe_version: "1"\nname: S\n', "spark-vllm-docker", "{{"),
        ("recipe_version: 1\nname: S\n", "spark-vllm-docker", "{{"),
        ('recipe_version: "1"\nruntime: vllm\n', "sparkrun", "{{"),
        ('recipe_version: "1"\nruntime: vllm\n', "sparkrun", "{"),
        ('sparkrun_version: "1"\n', "sparkrun", "{{"),
        ('recipe_version: "2"\n', "sparkrun", "{"),
        ('recipe_version: "2"\nname: S\n', "sparkrun", "{"),
        ("recipe_version: 1.0\n", "sparkrun", "{"),
        ("name: S\n", "sparkrun", "{"),
        ("", "sparkrun", "{"),
    ],
)
def test_the_format_is_told_as_its_reader_does(
    tmp_path: Path, head: str, tool: str, brace: str
) -> None:
    """Each with the braces that its format has for one."""
    close = brace.replace("{", "}")
    path = write(
        tmp_path / "r.yaml",
        f"{head}model: example-org/Small\ncontainer: example.org/it:1.2\n"
        f"command: vllm serve example-org/Small -cc '{brace}\"mode\":3{close}'\n",
    )
    recipe = load(str(path), {})
    assert recipe.tool == tool
    assert args(recipe)["compilation-config"] == '{"mode":3}'


@pytest.mark.parametrize("text", ['{"a":1}', "{}", '{"a":{"b":{}}}', "%h {1,2}", "{a,b}"])
def test_what_is_no_placeholder_stays_in_a_variable(tmp_path: Path, text: str) -> None:
    path = write(
        tmp_path / "r.yaml",
        "model: example-org/Small\nruntime: vllm\ncontainer: example.org/it:1.2\n"
        f"env: {{A: '{text}'}}\n",
    )
    assert env(load(str(path), {}))["A"] == text


# Templates


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("--port {port}", "--port 8000"),
        ("{base}/v1", "http://h:8000/v1"),
        ("""'{"a":{"b":1}}'""", """'{"a":{"b":1}}'"""),
    ],
)
def test_sparkruns_braces(template: str, filled: str) -> None:
    assert fill_braces(template, {"port": 8000, "base": "http://h:{port}"}) == filled


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("--port {port}", "--port 8000"),
        ("""'{{"a":{{"b":{port}}}}}'""", """'{"a":{"b":8000}}'"""),
    ],
)
def test_pythons_braces(template: str, filled: str) -> None:
    assert fill_format(template, {"port": 8000}) == filled


@pytest.mark.parametrize("template", ["{", "}", "{0}", "{port!r}", "{port:>3}", '{"a": 1}', "{}"])
def test_pythons_braces_that_are_none(template: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        fill_format(template, {"port": 8000})
    assert caught.value.remedy


def test_a_default_that_names_itself_ends() -> None:
    with pytest.raises(BadTemplate, match="a"):
        fill_braces("{a}", {"a": "x{a}"})


def test_the_words_of_a_command() -> None:
    command = (
        "# the server\nexport A=1\nB='two words' vllm serve \\ \n"
        "  org/model \\\n  --json '{\"a\":\n 1}' --host ::\n"
    )
    assert words(command) == (
        {"A": "1", "B": "two words"},
        ["vllm", "serve", "org/model", "--json", '{"a":\n 1}', "--host", "::"],
    )


@given(st.text(max_size=200))
def test_any_command_has_words_or_a_fault(command: str) -> None:
    try:
        _, found = words(command)
    except BadTemplate as bad:
        assert bad.remedy
    else:
        assert found


@given(st.text(alphabet="{}ab\"' $\\\n-=1", max_size=60))
def test_any_template_is_filled_or_a_fault(template: str) -> None:
    for fill in (fill_braces, fill_format):
        try:
            fill(template, {"a": 1})
        except BadTemplate as bad:
            assert bad.remedy


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "container", "runtime", "command", "defaults", "env", "min_nodes", "mods",
             "executor_config", "recipe_version", "mode", "distribution_config", "name"]
        ),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.text(max_size=20),
            st.sampled_from(["org/m", "img:1", "vllm serve org/m", "1", "2", "vllm"]),
            st.lists(st.text(max_size=5), max_size=2),
            st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
            st.dictionaries(
                st.sampled_from(["models", "entries", "description", "shm_size", "gpus"]),
                st.integers() | st.lists(st.integers(), max_size=2)
                | st.dictionaries(st.sampled_from(["entries"]), st.integers() | st.lists(
                    st.integers() | st.dictionaries(st.just("name"), st.integers()), max_size=2)),
            ),
        ),
    )
)  # fmt: skip
def test_any_file_becomes_a_recipe_or_an_error_with_a_place(data: dict[str, object]) -> None:
    source = Source(Path("theirs.yaml"), data, None)
    try:
        adopt(source)
    except InputError as error:
        assert error.place == "theirs.yaml:1"
        assert error.remedy


# Command lines


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-tp 2 -pp 1", CommandLine({"tensor-parallel-size": "2", "pipeline-parallel-size": "1"})),
        ("m --seed -1", CommandLine({"seed": "-1"}, ("m",))),
        ("--max_model_len=4K", CommandLine({"max-model-len": "4K"})),
        ("--trust-remote-code m", CommandLine({"trust-remote-code": True}, ("m",))),
        ("--no-enable-x m", CommandLine({"no-enable-x": True}, ("m",))),
        ("--a 1 --a 2", CommandLine({"a": "2"})),
        ("--a 1 2", CommandLine({"a": "1"}, (), ("a",))),
        ("--middleware a --middleware b", CommandLine({"middleware": "b"}, (), ("middleware",))),
        ("--x.y+ 1 --x.y+=2", CommandLine({"x.y+": "2"}, (), ("x.y+",))),
        ("-cc.mode=3", CommandLine({"compilation-config.mode": "3"})),
    ],
)
def test_a_command_line(line: str, found: CommandLine) -> None:
    assert command_line.parse(line.split()) == found

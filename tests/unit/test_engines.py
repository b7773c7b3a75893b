"""Engines: where a recipe goes, what it becomes, and that no value escapes its quotes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.engines.nccl import environment
from spark_cluster.engines.placement import Placement, place
from spark_cluster.engines.spec import (
    OPTIONAL,
    ContainerSpec,
    Deployment,
    Mount,
    ServeSpec,
    docker_exec,
    docker_run,
)
from spark_cluster.engines.table import ENGINES
from spark_cluster.engines.vllm_ray import deploy
from spark_cluster.facts import mesh
from spark_cluster.inventory.loader import load as load_inventory
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes import loader as recipes
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.models import Choice, EngineName, HostFolder, Recipe
from spark_cluster.serving.apis import APIS

from . import world
from .cases import refused, write

GOLDEN = world.DATA / "engines"

#: Recipe, profile, options: each becomes the commands in data/engines.
COMMANDS: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
    ("qwen3-vl-235b", None, ()),
    ("qwen3-vl-235b", None, ("pp",)),
    ("qwen3-vl-235b", None, ("dual-rail", "debug")),
    ("qwen3-vl-235b-thinking", None, ()),
    ("qwen3-vl-235b-nvfp4", None, ()),
    ("qwen3-vl-235b-mp", None, ()),
    ("qwen3-vl-235b-sglang", None, ()),
    ("qwen3-235b-trtllm", None, ()),
    ("qwen3-32b-fp8", None, ()),
    ("qwen3-32b-fp8", "throughput", ()),
    ("qwen3-32b-fp8", "latency", ()),
    ("qwen3-32b-fp8", "context", ("debug",)),
    ("qwen3-30b-a3b-fp8", None, ()),
    ("llama-3.3-70b-fp8", None, ()),
    ("llama-3.3-70b-fp8", "context", ()),
    ("ollama-qwen3-32b", None, ()),
    ("qwen3.8-27b-nvfp4", None, ()),
    ("qwen3.8-27b-nvfp4-pair", None, ()),
    ("qwen3.6-35b-a3b-nvfp4", None, ()),
    ("qwen3.5-122b-a10b-nvfp4", None, ()),
    ("nemotron-3-super-120b-nvfp4", None, ()),
    ("minimax-m2.7-nvfp4", None, ()),
    ("qwen3.8-flash-next-nvfp4", None, ()),
    ("qwen3.8-flash-next-nvfp4-pair", None, ()),
    ("glm-5.3-flash-nvfp4", None, ()),
    ("deepseek-v4-flash", None, ()),
    ("gpt-oss-120b", None, ()),
    ("glm-4.7-flash-awq", None, ()),
    ("qwen3.5-397b-int4", None, ()),
    ("mimo-v2.6-flash-trio", None, ()),
    ("minimax-m3-nvfp4", None, ()),
)


def recipe(**changes: Any) -> Recipe:
    path = places.shipped("playbooks") / "recipes" / f"{world.RECIPE}.yaml"
    loaded = recipes.load(str(path), {})
    changed = loaded.model_copy(update=changes)
    changed._chain = loaded.chain
    return changed


def placed(**changes: Any) -> Placement:
    return place(recipe(**changes), world.inventory(), "pair", world.PAIR)


def deployed(**changes: Any) -> Deployment:
    changed = recipe(**changes)
    there = place(changed, world.inventory(), "pair", world.PAIR)
    return deploy(changed, there, world.RUN, recipes.file_contents(changed))


def shipped(name: str, profile: str | None = None, options: tuple[str, ...] = ()) -> Deployment:
    """A recipe that ships with the program, on the pair or on its head, or around a switch."""
    path = places.shipped("playbooks") / "recipes" / f"{name}.yaml"
    found = choose(recipes.load(str(path), {}), profile, options)
    there = world.placed(found)
    return ENGINES[found.engine](found, there, world.RUN, recipes.file_contents(found))


def one_word_a_line(commands: list[str]) -> str:
    """Shell commands as a person compares them: each word on its own line."""
    return "\n\n".join(command.replace(" -", " \\\n  -") for command in commands) + "\n"


# Placement


def test_the_first_of_the_group_is_the_head() -> None:
    there = placed()
    assert there.head.name == "spark-2"
    assert [there.address(rank) for rank in (0, 1)] == ["192.168.100.10", "192.168.100.11"]
    assert [[rail.device for rail in rails] for rails in there.rails] == [["rocep1s0f1"]] * 2


def test_dual_takes_both_rails() -> None:
    assert [rail.device for rail in placed(rails="dual").rails[0]] == [
        "rocep1s0f1",
        "roceP2p1s0f1",
    ]


def test_a_group_of_the_wrong_size() -> None:
    names = ("spark-1", "spark-2", "spark-3")
    error = refused(lambda: place(recipe(), world.inventory(), "all", names))
    assert "needs 2 hosts and the group all has 3" in error.message
    assert "the hosts themselves" in error.remedy
    assert error.place == str(world.inventory().path)


def test_a_host_without_rails() -> None:
    error = refused(lambda: place(recipe(), world.inventory(), "odd", ("spark-1", "spark-2")))
    assert "spark-1 has 0 rails; qwen3-vl-235b uses 1 per host" in error.message
    assert "Add rails to spark-1" in error.remedy


def inventory_with(tmp_path: Path, *rails: str) -> Inventory:
    text = (places.shipped("inventory") / "sparks.yaml").read_text(encoding="utf-8")
    above, _, _ = text.partition("  spark-3:")
    lines = "".join(f"      - {rail}\n" for rail in rails)
    path = write(tmp_path / "sparks.yaml", f"{above}  spark-3:\n    rails:\n{lines}")
    return load_inventory(path)


FIRST = "{interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.11/24}"
SECOND = "{interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.11/24}"


def test_a_rail_too_few_for_dual(tmp_path: Path) -> None:
    with pytest.raises(InputError):  # the other end of spark-2's second rail is gone
        inventory_with(tmp_path, FIRST)
    short = inventory_with(tmp_path, FIRST, SECOND)
    host = short.hosts["spark-3"].model_copy(update={"rails": short.hosts["spark-3"].rails[:1]})
    host._name = "spark-3"
    short = short.model_copy(update={"hosts": {**short.hosts, "spark-3": host}})
    error = refused(lambda: place(recipe(rails="dual"), short, "pair", world.PAIR))
    assert "spark-3 has 1 rails; qwen3-vl-235b uses 2 per host" in error.message


def test_rails_in_another_order(tmp_path: Path) -> None:
    crossed = inventory_with(tmp_path, SECOND, FIRST)
    there = place(recipe(), crossed, "pair", world.PAIR)
    assert [there.address(rank) for rank in (0, 1)] == ["192.168.100.10", "192.168.100.11"]


# The deployment


def test_ranks_with_other_devices_keep_theirs_under_ray(tmp_path: Path) -> None:
    """vLLM copies the head's NCCL_ variables over the workers' own, which in a ring or with cables
    in different ports name another device."""
    other = [rail.replace("f1np1", "f0np0").replace("s0f1", "s0f0") for rail in (FIRST, SECOND)]
    crossed = inventory_with(tmp_path, *other)
    there = place(recipe(), crossed, "pair", world.PAIR)
    whole = deploy(recipe(), there, world.RUN, recipes.file_contents(recipe()))
    head, worker = whole.containers
    assert (head.env["NCCL_IB_HCA"], worker.env["NCCL_IB_HCA"]) == (
        "=rocep1s0f1:1", "=rocep1s0f0:1",
    )  # fmt: skip
    place_of = "/root/.config/vllm/ray_non_carry_over_env_vars.json"
    (mount,) = [mount for mount in head.mounts if mount.target == place_of]
    (file,) = [file for file in whole.files if file.path == mount.source]
    own = json.loads(file.content)
    assert {"NCCL_IB_HCA", "NCCL_SOCKET_IFNAME", "UCX_NET_DEVICES"} <= set(own)
    assert not {"NCCL_NET", "NCCL_IB_ADDR_RANGE", "VLLM_HOST_IP"} & set(own)
    assert not [mount for mount in worker.mounts if mount.target == place_of]


def test_ranks_alike_need_no_such_file() -> None:
    assert not [file for file in deployed().files if "carry_over" in file.path]


def test_every_engine_that_a_recipe_may_name_is_there() -> None:
    assert set(ENGINES) == set(get_args(EngineName))


@pytest.mark.parametrize(("name", "profile", "options"), COMMANDS)
def test_a_shipped_recipe_becomes_these_commands(
    name: str, profile: str | None, options: tuple[str, ...]
) -> None:
    """On a deliberate change: SPARK_CLUSTER_WRITE_GOLDEN=1 pytest, then read the diff."""
    whole = shipped(name, profile, options)
    commands = [docker_run(spec) for spec in whole.containers]
    commands += [docker_exec(whole.serve)] if whole.serve else []
    text = one_word_a_line(commands)
    path = (
        GOLDEN / f"{'+'.join([f'{whole.engine}-{name}', *filter(None, [profile]), *options])}.txt"
    )
    if os.environ.get("SPARK_CLUSTER_WRITE_GOLDEN"):
        write(path, text)
    assert text == path.read_text(encoding="utf-8")


def test_every_shipped_recipe_has_its_commands_in_the_tests() -> None:
    folder = places.shipped("playbooks") / "recipes"
    assert {path.stem for path in folder.glob("*.yaml")} == {name for name, _, _ in COMMANDS}
    assert len({path.name for path in GOLDEN.glob("*.txt")}) == len(COMMANDS)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in COMMANDS}))
def test_a_deployment_tells_all_that_the_steps_need(name: str) -> None:
    whole = shipped(name)
    head = whole.containers[0]
    assert head.labels["spark-cluster.model"] == whole.client_model
    assert head.labels["spark-cluster.hub-model"] == whole.model
    assert str(whole.port) in head.labels["spark-cluster.ports"].split(",")
    assert {spec.host for spec in whole.containers} == set(whole.hosts)
    assert whole.api in APIS
    assert len({spec.name for spec in whole.containers}) == len(whole.hosts)
    mounted = {mount.source for spec in whole.containers for mount in spec.mounts}
    assert {file.path for file in whole.files} <= mounted
    if len(whole.hosts) == 1:
        assert not head.devices
        assert not [key for key in head.env if key.startswith("NCCL_")]
        assert head.labels["spark-cluster.devices"] == ""
    else:
        assert all(spec.env["NCCL_NET"] == "IB" for spec in whole.containers)
        assert all(spec.devices == ("/dev/infiniband",) for spec in whole.containers)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in COMMANDS}))
def test_a_second_run_makes_the_same_specs(name: str) -> None:
    assert [spec.digest for spec in shipped(name).containers] == [
        spec.digest for spec in shipped(name).containers
    ]


def test_the_digest_of_the_first_recipe_is_what_it_was() -> None:
    """A change here makes every running container of it one that differs from its recipe."""
    assert [spec.digest for spec in world.deployment().containers] == [
        "5e0c2505231d",
        "9b91a5e1192c",
    ]


def test_a_pipeline_hands_on_one_way() -> None:
    whole = shipped("qwen3-vl-235b", None, ("pp",))
    assert whole.bytes_per_token is None
    needs = [spec.labels["spark-cluster.bytes-per-token"] for spec in whole.containers]
    assert needs == ["16384,0", "0,16384"]


def test_the_models_folder_is_where_the_engine_looks() -> None:
    assert shipped("qwen3-vl-235b").model_folder == (
        "~/.cache/huggingface/hub/models--QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ"
    )
    assert shipped("qwen3-32b-fp8").model_folder == "/opt/hf/hub/models--Qwen--Qwen3-32B-FP8"
    assert shipped("ollama-qwen3-32b").model_folder == ""


def test_a_secret_is_named_and_has_no_value_in_a_spec() -> None:
    whole = shipped("qwen3-32b-fp8")
    (spec,) = whole.containers
    assert spec.secrets == ("HF_TOKEN",)
    assert "--env-file /run/spark-cluster/vllm-qwen3-32b-fp8.env" in docker_run(spec)
    offline = replace(spec, secrets=())
    assert "--env-file" not in docker_run(offline)
    assert offline.digest != spec.digest
    assert not shipped("qwen3-vl-235b").containers[0].secrets


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("qwen3-vl-235b", "--served-model-name"),
        ("qwen3-vl-235b-mp", "--served-model-name"),
        ("qwen3-32b-fp8", "--served-model-name"),
        ("qwen3-vl-235b-sglang", "--served-model-name"),
        ("qwen3-235b-trtllm", "--served_model_name"),
    ],
)
def test_the_name_that_clients_use_is_told_to_the_server(
    tmp_path: Path, name: str, flag: str
) -> None:
    text = f"name: mine\nextends: {name}\n"
    argument = f"args: {{{flag.removeprefix('--')}: big}}\n"
    for fields in ("served_name: big\n", argument, f"served_name: big\n{argument}"):
        found = recipes.load(str(write(tmp_path / "mine.yaml", text + fields)), {})
        there = place(found, world.inventory(), "pair", world.PAIR[: found.nodes])
        made = ENGINES[found.engine](found, there, world.RUN, recipes.file_contents(found))
        command = made.serve.command if made.serve else made.containers[0].command
        assert [command[i + 1] for i, word in enumerate(command) if word == flag] == ["big"]
        assert made.client_model == "big"


def test_mpirun_uses_the_key_of_the_mesh_and_no_other() -> None:
    head, worker = shipped("qwen3-235b-trtllm").containers
    assert f"~/.ssh/{mesh.KEY}" in {mount.source for mount in head.mounts}
    assert not [m for m in worker.mounts if m.source.startswith("~/.ssh/id")]
    assert all(mount.read_only for mount in head.mounts if ".ssh" in mount.source)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_has_all_that_rdma_needs(rank: int) -> None:
    spec = world.deployment().containers[rank]
    words = shlex.split(docker_run(spec))
    assert "--device=/dev/infiniband" in words
    assert "--cap-add=IPC_LOCK" in words
    assert words[words.index("memlock=-1") - 1] == "--ulimit"
    assert words[words.index("nofile=1048576") - 1] == "--ulimit"
    assert words[words.index("--network") + 1] == "host"
    assert words[words.index("--ipc") + 1] == "host"
    assert words[words.index("--gpus") + 1] == "all"
    assert words[words.index("--shm-size") + 1] == "10.24g"
    assert "--privileged" not in words


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_has_the_environment_of_the_seeds(rank: int) -> None:
    env = world.deployment().containers[rank].env
    assert env["NCCL_NET"] == "IB"
    assert env["NCCL_NET_PLUGIN"] == "none"
    assert env["NCCL_IB_HCA"] == "=rocep1s0f1:1"
    assert env["NCCL_NET_GDR_LEVEL"] == "LOC"
    assert env["NCCL_NET_GDR_C2C"] == "0"
    assert env["NCCL_DMABUF_ENABLE"] == "0"
    assert env["NCCL_IB_ROCE_VERSION_NUM"] == "2"
    assert env["NCCL_IB_ADDR_FAMILY"] == "AF_INET"
    assert env["NCCL_IB_ADDR_RANGE"] == "192.168.100.0/24"
    assert "NCCL_IB_GID_INDEX" not in env
    assert {env[key] for key in env if key.endswith("_IFNAME") or key == "MN_IF_NAME"} == {
        "enp1s0f1np1"
    }
    assert env["VLLM_HOST_IP"] == f"192.168.100.{10 + rank}"
    assert env["RAY_memory_monitor_refresh_ms"] == "0"
    assert env["VLLM_ATTENTION_BACKEND"] == "TRITON_ATTN"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert "" not in env.values()


def test_dual_names_both_devices_and_no_single_network() -> None:
    env = environment(placed(rails="dual"), 1)
    assert env["NCCL_IB_HCA"] == "=rocep1s0f1:1,roceP2p1s0f1:1"
    assert "NCCL_IB_ADDR_RANGE" not in env
    assert env["NCCL_SOCKET_IFNAME"] == "enp1s0f1np1"


def test_the_recipe_may_override_a_variable() -> None:
    changed = recipe()
    env = {**changed.env, "NCCL_NET_PLUGIN": changed.env["NCCL_DEBUG"]}
    assert deployed(env=env).containers[0].env["NCCL_NET_PLUGIN"] == "INFO"


def test_the_head_starts_ray_and_the_worker_joins_it() -> None:
    head, worker = world.deployment().containers
    assert head.command[:3] == ("ray", "start", "--head")
    assert "--port=6379" in head.command
    assert "--node-ip-address=192.168.100.10" in head.command
    assert "--num-gpus=1" in head.command
    assert worker.command[:3] == ("ray", "start", "--address=192.168.100.10:6379")
    assert "--node-ip-address=192.168.100.11" in worker.command
    assert head.command[-1] == worker.command[-1] == "--block"
    assert (head.name, worker.name) == ("vllm-head", "vllm-worker")


def test_the_server_has_the_arguments_of_the_seed() -> None:
    serve = world.deployment().serve
    assert serve is not None
    assert (serve.host, serve.container) == ("spark-2", "vllm-head")
    assert " ".join(serve.command) == (
        "vllm serve QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ --tensor-parallel-size 2 "
        "--trust-remote-code --quantization awq --gpu-memory-utilization 0.70 "
        "--kv-cache-dtype fp8 --max-num-batched-tokens 2048 --scheduling-policy priority "
        "--mm-encoder-tp-mode data --distributed-executor-backend ray "
        "--served-model-name QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ --host 0.0.0.0 --port 8000"
    )


def test_docker_is_told_what_the_recipe_says_of_its_container() -> None:
    whole = deployed(
        security=("seccomp=unconfined",),
        nofile=65536,
        mounts=(HostFolder(source="~/lora", target="/lora", read_only=True),),
        rank_env={1: {"NCCL_DEBUG": Choice(value="TRACE"), "VLLM_X": Choice(value=1)}},
    )
    head, worker = whole.containers
    assert "--security-opt=seccomp=unconfined" in docker_run(head)
    assert head.ulimits["nofile"] == "65536"
    assert Mount("~/lora", "/lora", read_only=True) in head.mounts
    assert (worker.env["NCCL_DEBUG"], worker.env["VLLM_X"]) == ("TRACE", "1")
    assert "VLLM_X" not in head.env
    assert head.digest != deployed().containers[0].digest


def test_what_engines_compile_is_kept_by_recipe_rank_and_image(tmp_path: Path) -> None:
    """The image's ID is known on the host only, at the moment of its start."""
    whole = deployed(compile_caches=("/root/.cache/vllm",))
    text = docker_run(whole.containers[1])
    program(tmp_path, "docker", FAKE_DOCKER)
    shell = ["sh", "-c", f"PATH={tmp_path}:$PATH SPARK_HOME=/home/x\n{text}"]
    done = subprocess.run(shell, check=True, capture_output=True, text=True)
    kept = "/var/lib/spark-cluster/compiled/qwen3-vl-235b/rank-1/1d5e4b6f2a3c/root_.cache_vllm"
    assert f"{kept}:/root/.cache/vllm" in done.stdout
    gone = subprocess.run(
        ["sh", "-c", f"export PATH={tmp_path}:$PATH NO_IMAGE=1\n{text}"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert gone.returncode == 1
    assert "run" not in gone.stdout


#: Knows one image; prints what it is told to run.
FAKE_DOCKER = """#!/bin/sh
case "$1 $2" in
"image inspect") [ -z "$NO_IMAGE" ] && echo sha256:1d5e4b6f2a3c7d8e9f0011 ;;
*) echo "$@" ;;
esac
"""


@pytest.mark.parametrize(
    ("args", "drafts"),
    [
        ({"speculative-config": '{"method":"mtp","num_speculative_tokens":3}'}, []),
        ({"speculative-config": '{"method":"dflash","model":"z-lab/D"}'}, [("z-lab/D", "main")]),
        ({"speculative-config": '{"model":"a/b","revision":"v2"}'}, [("a/b", "v2")]),
        ({"speculative-config": '{"model":"/models/d/dflash"}'}, [("/models/d/dflash", "main")]),
        ({"speculative-config": "no JSON"}, []),
        ({"speculative_draft_model_path": "a/b"}, [("a/b", "main")]),
        ({}, []),
    ],
)
def test_the_drafts_are_those_that_the_arguments_name(
    args: dict[str, str], drafts: list[tuple[str, str]]
) -> None:
    found = recipe(args={name: Choice(value=value) for name, value in args.items()}).drafts
    assert [(each.model, each.revision) for each in found] == drafts


def test_a_false_argument_is_left_out() -> None:
    args = recipe().args
    off = {
        **args,
        "trust-remote-code": args["trust-remote-code"].model_copy(update={"value": False}),
    }
    serve = deployed(args=off).serve
    assert serve is not None
    assert "--trust-remote-code" not in serve.command
    assert "False" not in serve.command


def test_the_hook_is_mounted_read_only_from_a_path_that_names_its_content() -> None:
    whole = world.deployment()
    (file,) = whole.files
    assert file.path.startswith("/var/lib/spark-cluster/files/")
    assert file.path.endswith("/sitecustomize.py")
    for spec in whole.containers:
        hook = next(mount for mount in spec.mounts if mount.target.endswith("sitecustomize.py"))
        assert hook == Mount(file.path, "/usr/lib/python3.12/sitecustomize.py", read_only=True)
        words = shlex.split(docker_run(spec))
        assert f"{file.path}:/usr/lib/python3.12/sitecustomize.py:ro" in words


def test_labels_tell_all_that_a_teardown_must_know() -> None:
    head, worker = world.deployment().containers
    assert head.labels["spark-cluster.run"] == world.RUN
    assert head.labels["spark-cluster.group"] == "spark-2,spark-3"
    assert head.labels["spark-cluster.ports"] == "6379,8265,8000"
    assert head.labels["spark-cluster.bytes-per-token"] == "1540096"
    assert worker.labels["spark-cluster.ports"] == ""
    assert (head.labels["spark-cluster.rank"], worker.labels["spark-cluster.rank"]) == ("0", "1")


def test_the_digest_is_the_specs_whichever_run_makes_it() -> None:
    head = world.deployment().containers[0]
    other_run = replace(head, labels={**head.labels, "spark-cluster.run": "another"})
    assert other_run.digest == head.digest
    assert replace(head, env={**head.env, "X": "1"}).digest != head.digest
    assert replace(head, ulimits={}).digest != head.digest
    assert f"spark-cluster.spec={head.digest}" in shlex.split(docker_run(head))


# Quoting, by a real shell

_PRINT_ARGUMENTS = '#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done > "$ARGUMENTS"\n'


def program(folder: Path, name: str, text: str = _PRINT_ARGUMENTS) -> None:
    path = write(folder / name, text)
    path.chmod(0o755)


def words_of(folder: Path, command: str) -> list[str]:
    """The words that `docker` gets when sh runs the command."""
    arguments = folder / "arguments"
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "ARGUMENTS": str(arguments),
        "SPARK_HOME": "/home/some one",
    }
    done = subprocess.run(
        ["/bin/sh", "-u"],
        input=command.encode("utf-8", "surrogateescape"),
        env=environment,
        capture_output=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    return arguments.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


HOSTILE = (
    "a b",
    "it's",
    'say "hi"',
    "$HOME $(touch pwned) `touch pwned`",
    "; touch pwned #",
    "a\nb",
    "*",
    "\\",
    "-v",
    "",
    "é→",
    "!x",
    "& touch pwned",
)


def hostile_spec(value: str) -> ContainerSpec:
    return ContainerSpec(
        host="spark-2",
        rank=0,
        role="head",
        name=value,
        image=value,
        command=("ray", value),
        env={"KEY": value},
        labels={"label": value},
        mounts=(Mount(f"/{value}", f"/in/{value}", read_only=True), Mount(f"~/{value}", "/home")),
        devices=(f"/dev/{value}",),
        capabilities=(value,),
        ulimits={"memlock": value},
        shm_size=value or "1g",
        gpus=value or "all",
        entrypoint=value or "sh",
        secrets=("TOKEN",),
        security=(value,),
    )


def assert_arrives(folder: Path, value: str) -> None:
    spec = hostile_spec(value)
    words = words_of(folder, docker_run(spec))
    assert words == [
        *("run", "--detach", "--name", value),
        *("--entrypoint", value or "sh", "--gpus", value or "all"),
        *("--network", "host", "--ipc", "host", "--shm-size", value or "1g"),
        *(f"--device=/dev/{value}", f"--cap-add={value}"),
        *(f"--security-opt={value}", "--ulimit", f"memlock={value}"),
        *("--label", f"label={value}", "--label", f"spark-cluster.spec={spec.digest}"),
        *(word for name in OPTIONAL for word in ("--label", f"{name}=")),
        *("-e", f"KEY={value}", "--env-file", f"/run/spark-cluster/{value}.env"),
        *("-v", f"/{value}:/in/{value}:ro", "-v", f"/home/some one/{value}:/home"),
        *(value, "ray", value),
    ]
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("value", HOSTILE)
def test_docker_run_quotes_whatever_comes(tmp_path: Path, value: str) -> None:
    program(tmp_path, "docker")
    assert_arrives(tmp_path, value)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))
def test_docker_run_quotes_any_text(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = tmp_path_factory.mktemp("docker")
    program(folder, "docker")
    assert_arrives(folder, value)


@pytest.mark.parametrize("value", HOSTILE)
def test_docker_exec_quotes_twice_and_tells_how_it_ended(tmp_path: Path, value: str) -> None:
    program(tmp_path, "docker")
    program(tmp_path, "vllm", _PRINT_ARGUMENTS + "echo said; exit 3\n")
    serve = ServeSpec("spark-2", f"c {value}", ("vllm", "serve", value, "--port", "1"))
    *head, inner = words_of(tmp_path, docker_exec(serve))
    assert head == ["exec", "--detach", f"c {value}", "sh", "-c"]
    log = tmp_path / "log"
    inside = inner.replace(">/proc/1/fd/1", f">>{log}")
    assert words_of(tmp_path, inside) == ["serve", value, "--port", "1"]
    assert log.read_text().split("\n") == [
        "spark-cluster: vllm serve begins",
        "said",
        "spark-cluster: vllm serve exited with 3",
        "",
    ]
    assert not (tmp_path / "pwned").exists()

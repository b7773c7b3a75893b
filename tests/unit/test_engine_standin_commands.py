"""The stand-in's command lines: what the real programs take, and how they refuse."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import spark_cluster.lab.engine
from spark_cluster.engines.placement import place
from spark_cluster.engines.table import ENGINES
from spark_cluster.lab.engine import ray_flags, vllm_args
from spark_cluster.lab.image import OTHER_IMAGES
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.loader import file_contents, load

from . import world

BIN = Path(spark_cluster.lab.engine.__file__).parent / "bin"

RECIPE = [
    "serve",
    "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ",
    *("--tensor-parallel-size", "2", "--trust-remote-code", "--quantization", "awq"),
    *("--gpu-memory-utilization", "0.70", "--kv-cache-dtype", "fp8"),
    *("--max-num-batched-tokens", "2048", "--scheduling-policy", "priority"),
    *("--mm-encoder-tp-mode", "data", "--distributed-executor-backend", "ray"),
    *("--host", "0.0.0.0", "--port", "8000"),
]


def test_the_recipe_is_accepted() -> None:
    args = vllm_args.parse(RECIPE)
    assert args.model == "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ"
    assert args.get("tensor_parallel_size") == 2
    assert args.get("max_num_seqs") == 256
    assert "max_model_len" not in args.given


@pytest.mark.parametrize(
    ("extra", "name", "value"),
    [
        (["--tensor_parallel_size=4"], "tensor_parallel_size", 4),
        (["-tp", "4"], "tensor_parallel_size", 4),
        (["--max-model-len", "4K"], "max_model_len", 4096),
        (["--max-model-len", "4k"], "max_model_len", 4000),
        (["--no-enable-prefix-caching"], "enable_prefix_caching", False),
        (["--limit-mm-per-prompt", '{"image": 2}'], "limit_mm_per_prompt", {"image": 2}),
        (["--limit-mm-per-prompt.image", "2"], "limit_mm_per_prompt", {"image": "2"}),
        (["-O3"], "compilation_config", {"level": "3"}),
        (["--served-model-name", "a", "b"], "served_model_name", ["a", "b"]),
        (["--safetensors-load-strategy", "eager"], "safetensors_load_strategy", "eager"),
        (["--async-scheduling"], "async_scheduling", True),
        (["--disable-log-requests"], "disable_log_requests", True),
    ],
)
def test_flags_as_vllm_takes_them(extra: list[str], name: str, value: object) -> None:
    assert vllm_args.parse(["serve", "m", *extra]).get(name) == value


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--attention-backend", "X"], "unrecognized arguments: --attention-backend X"),
        (["--nnodes", "2"], "unrecognized arguments: --nnodes 2"),
        (["--kv-cache-dtype", "fp4"], "argument --kv-cache-dtype: invalid choice: 'fp4'"),
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--tensor-parallel-size"], "argument --tensor-parallel-size/-tp: expected one argument"),
    ],
)
def test_refusals_of_vllm(
    extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        vllm_args.parse([*RECIPE, *extra])
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("usage: ")
    assert f"error: {message}" in text


@pytest.mark.parametrize(
    ("version", "extra", "is_known"),
    [
        ("0.11.0", ["--nnodes", "2"], False),
        ("0.11.1", ["--nnodes", "2", "--node-rank", "1", "--master-addr", "10.0.0.1"], True),
        ("0.11.1", ["--attention-backend", "TRITON_ATTN"], False),
        ("0.20.1", ["--attention-backend", "TRITON_ATTN"], True),
        ("0.10.1", ["--disable-log-requests"], True),
        ("0.20.1", ["--disable-log-requests"], False),
    ],
)
def test_flags_come_and_go_with_the_release(
    version: str, extra: list[str], is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_LAB_VLLM_VERSION", version)
    if is_known:
        assert vllm_args.parse([*RECIPE, *extra]).given
    else:
        with pytest.raises(SystemExit):
            vllm_args.parse([*RECIPE, *extra])


def test_ray_start_flags() -> None:
    options = ray_flags.parse(
        ray_flags.TABLES["start"],
        [
            *("--head", "--block", "--port=6379", "--node-ip-address=192.168.100.10"),
            *("--dashboard-host=127.0.0.1", "--num-gpus=1", "--disable-usage-stats"),
        ],
    )
    assert options == {
        "head": True,
        "block": True,
        "port": 6379,
        "node_ip_address": "192.168.100.10",
        "dashboard_host": "127.0.0.1",
        "num_gpus": 1,
        "disable_usage_stats": True,
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--bogus"], "No such option: --bogus"),
        (["--num-gpus=x"], "Invalid value for '--num-gpus': 'x' is not a valid integer."),
        (["--port"], "Option '--port' requires an argument."),
        (["--head=1"], "Option '--head' does not take a value."),
        (["extra"], "Got unexpected extra argument (extra)"),
        (["--node_ip_address=1"], "No such option: --node_ip_address "),
    ],
)
def test_refusals_of_ray(argv: list[str], message: str) -> None:
    with pytest.raises(ray_flags.UsageError, match="^" + message.split("(")[0]):
        ray_flags.parse(ray_flags.TABLES["start"], argv)


def _run(program: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    full = {**os.environ, "NVIDIA_VISIBLE_DEVICES": "all", **env}
    return subprocess.run(
        [BIN / program, *argv], env=full, capture_output=True, text=True, timeout=60, check=False
    )


def test_ray_refuses_with_status_2() -> None:
    result = _run("ray", "start", "--head", "--bogus")
    assert result.returncode == 2
    assert "Usage: ray start [OPTIONS]" in result.stderr
    assert "Error: No such option: --bogus" in result.stderr


@pytest.mark.parametrize(
    ("recipe", "profile"),
    [
        *((name, None) for name in ("qwen3-vl-235b", "qwen3-vl-235b-mp", "qwen3-vl-235b-nvfp4")),
        *(
            (name, profile)
            for name in ("qwen3-32b-fp8", "qwen3-30b-a3b-fp8", "llama-3.3-70b-fp8")
            for profile in (None, "throughput", "latency", "context")
        ),
    ],
)
def test_the_shipped_recipes_are_accepted_by_the_vllm_of_their_image(
    recipe: str, profile: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = choose(load(recipe, {}), profile)
    release = OTHER_IMAGES.get(found.image, "0.11.0")
    assert found.engine_version.startswith(release)
    monkeypatch.setenv("SPARK_LAB_VLLM_VERSION", release)
    there = place(found, world.inventory(), "pair", world.PAIR[: found.nodes])
    made = ENGINES[found.engine](found, there, world.RUN, file_contents(found))
    lines = [made.serve.command] if made.serve else [spec.command for spec in made.containers]
    for line in lines:
        assert line[:2] == ("vllm", "serve")
        assert vllm_args.parse(line[1:]).model == found.model


def test_a_later_image_has_no_ray() -> None:
    assert _run("ray", "start", "--head", SPARK_LAB_VLLM_VERSION="0.20.1").returncode == 127


def test_ray_start_needs_an_address() -> None:
    result = _run("ray", "start", "--block")
    assert result.returncode == 1
    assert "`--address` is a required flag" in result.stderr


def test_ray_status_without_a_cluster(tmp_path: Path) -> None:
    result = _run("ray", "status", RAY_TMPDIR=str(tmp_path), RAY_ADDRESS="")
    assert result.returncode == 1
    assert "Could not find any running Ray instance" in result.stderr


def test_offline_without_the_model(tmp_path: Path) -> None:
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = _run("vllm", "serve", "a/b", "--port", "0", **env)
    assert result.returncode == 1
    assert "LocalEntryNotFoundError" in result.stdout


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--distributed-executor-backend ray", "only be set when distributed executor backend"),
        ("--tensor-parallel-size 4", "needs 2 GPUs in each"),
        ("--node-rank 2", "must be in [0, 2)"),
        ("--node-rank 0", "cannot have --headless"),
    ],
)
def test_nodes_that_do_not_go_together(flags: str, expected: str) -> None:
    argv = [
        "serve",
        "a/b",
        "--tensor-parallel-size",
        "2",
        "--nnodes",
        "2",
        "--node-rank",
        "1",
        "--headless",
    ]
    result = _run("vllm", *argv, *flags.split(), SPARK_LAB_VLLM_VERSION="0.20.1")
    assert result.returncode == 1
    assert expected in result.stdout


@pytest.mark.parametrize(
    ("query", "form", "expected"),
    [
        ("name,driver_version,memory.total", "csv,noheader", "NVIDIA GB10, 580.95.05, [N/A]"),
        ("compute_cap", "csv", "compute_cap\n12.1"),
        ("clocks.max.sm", "csv", "clocks.max.sm [MHz]\n3003 MHz"),
        ("clocks.max.sm", "csv,noheader,nounits", "3003"),
        ("persistence_mode, index", "csv,noheader", "Enabled, 0"),
    ],
)
def test_nvidia_smi_query(query: str, form: str, expected: str) -> None:
    result = _run("nvidia-smi", f"--query-gpu={query}", f"--format={form}")
    assert (result.returncode, result.stdout.strip()) == (0, expected)


def test_nvidia_smi_refuses_an_unknown_field() -> None:
    result = _run("nvidia-smi", "--query-gpu=name,colour", "--format=csv")
    assert result.returncode == 2
    assert 'Field "colour" is not a valid field to query.' in result.stdout


def test_nvidia_smi_table_and_list() -> None:
    table = _run("nvidia-smi").stdout.splitlines()
    assert len({len(line) for line in table[1:] if line.startswith(("|", "+"))}) == 1
    assert any("NVIDIA GB10" in line for line in table)
    assert any("Not Supported" in line for line in table)
    assert _run("nvidia-smi", "-L").stdout.startswith("GPU 0: NVIDIA GB10 (UUID: GPU-")

"""The stand-in's command lines: what the real programs take, and how they refuse."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import spark_cluster.lab.engine
from spark_cluster.lab.engine import ray_flags, vllm_args

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


def test_ray_start_flags() -> None:
    options = ray_flags.parse(
        ray_flags.START,
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
        ray_flags.parse(ray_flags.START, argv)


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

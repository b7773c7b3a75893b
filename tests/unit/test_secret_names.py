"""Which variables of a recipe hold a secret by their names, and which only sound like it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_cluster.evidence.redact import secret_values
from spark_cluster.recipes.models import Recipe
from spark_cluster.recipes.secret_names import in_plain
from tests.command_line import Cli

from .cases import write
from .world import INVENTORY

SECRET = [
    "LANGFUSE_SECRET_KEY", "AWS_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "WANDB_KEY", "OPENAI_API_KEY",
    "WANDB_APIKEY", "VLLM_API_KEYS", "DB_PASSWD", "RAY_REDIS_PASSWORD", "SSL_PASSPHRASE",
    "HF_TOKEN", "HF_TOKEN_2", "AWS_SESSION_TOKEN", "OAUTH_CLIENT_SECRET", "GITHUB_CREDENTIALS",
    "hf_token",
]  # fmt: skip

#: What engines, Ray, NCCL and the hub's client read, or people set beside them.
HARMLESS = {
    "KV_CACHE_DTYPE": "fp8_e4m3",
    "OLLAMA_KV_CACHE_TYPE": "q8_0",
    "VLLM_CPU_KVCACHE_SPACE": "40",
    "MAX_TOKENS": "4096",
    "VLLM_MAX_BAD_WORDS_TOTAL_TOKENS": "1024",
    "VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE": "163840",
    "VLLM_SHARED_EXPERTS_STREAM_TOKEN_THRESHOLD": "256",
    "VLLM_USE_FASTOKENS": "auto",
    "SGLANG_INIT_NEW_TOKEN_RATIO": "0.7",
    "TOKENIZERS_PARALLELISM": "false",
    "TIKTOKEN_CACHE_DIR": "/root/.cache/tiktoken",
    "HF_TOKEN_PATH": "/root/.cache/token",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "RAY_AUTH_TOKEN_PATH": "/run/ray/token",
    "RAY_TLS_SERVER_KEY": "/etc/ray/server.key",
    "GOOGLE_APPLICATION_CREDENTIALS": "~/gcp/account.json",
    "RAY_TRIM_AUTOSCALER_SSH_KEYS": "some",
    "SSLKEYLOGFILE": "/tmp/keys",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
    "LANGFUSE_PUBLIC_KEY": "pk-lf-1234",
    "MONKEY": "patch",
    "OPENAI_API_KEY": "EMPTY",
}


def found(env: dict[str, str]) -> list[str]:
    recipe = Recipe.model_validate(
        {
            "name": "r", "title": "R", "engine": "vllm", "image": "example.org/vllm:0.14.0",
            "engine_version": "0.14.0", "model": "org/model", "nodes": 1,
            "requires": {"memory_gib": 10}, "env": env,
        }
    )  # fmt: skip
    return [str(loc[-1]) for loc in in_plain(recipe)]


@pytest.mark.parametrize("name", SECRET)
def test_the_name_gives_a_secret_away(name: str) -> None:
    assert found({name: "p"}) == [name]
    assert secret_values({name: "correct-horse"}) == ["correct-horse"]  # and evidence knows it


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_sounds_like_it(name: str) -> None:
    assert found({name: HARMLESS[name]}) == []


def test_they_are_refused_and_shown_nowhere(cli: Cli) -> None:
    planted = {
        "LANGFUSE_SECRET_KEY": "sk-lf-1234", "AWS_SECRET_KEY": "abcplant", "DB_PASSWD": "pplant",
        "WANDB_KEY": "qplant", "OPENAI_API_KEY": "rplant",
    }  # fmt: skip
    text = f"name: mine\nextends: qwen3-32b-fp8\nenv: {json.dumps(planted)}\n"
    write(Path("mine.yaml"), text)
    said = cli("recipes", "lint", "mine.yaml", "--json", "-i", INVENTORY)
    rows = json.loads(said.out)["findings"]
    assert [(row["code"], row["loc"][1]) for row in rows] == [("RECIPE007", n) for n in planted]
    for line, code in (
        ("recipes show mine.yaml", 0),
        ("recipes show mine.yaml --json", 0),
        ("compose mine.yaml --anyway", 2),
    ):
        said = cli(*line.split(), "-i", INVENTORY)
        assert said.code == code
        assert not [value for value in planted.values() if value in said.out + said.err]

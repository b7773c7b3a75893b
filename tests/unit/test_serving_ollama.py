"""Ollama's native API: what its answers mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.serving import ollama
from spark_cluster.serving.api import parse_health

MARK = "\n@@http 200 0.1 s \n"


def test_the_models_that_are_listed() -> None:
    body = {"models": [{"name": "a:latest"}, {"name": "b:8b"}, {"x": 1}, "c", {"name": 7}]}
    assert ollama.listed(parse_health(json.dumps(body) + MARK)) == ("a:latest", "b:8b")


@pytest.mark.parametrize(
    ("name", "there"), [("a", True), ("a:latest", True), ("b", False), ("b:8b", True), ("c", False)]
)
def test_a_name_without_a_tag_is_the_latest(name: str, there: bool) -> None:
    assert ollama.has(("a:latest", "b:8b"), name) is there


@pytest.mark.parametrize(
    ("body", "ok", "tokens", "error"),
    [
        ('{"response": " two", "eval_count": 1, "prompt_eval_count": 6}', True, 1, ""),
        ('{"response": "", "eval_count": 0}', False, 0, "the answer holds no token"),
        ("[]", False, 0, "the answer holds no token"),
    ],
)
def test_a_canary(body: str, ok: bool, tokens: int, error: str) -> None:
    found = ollama.parse_completion(body + MARK)
    assert (found.ok, found.completion_tokens, found.error) == (ok, tokens, error)


def test_a_refusal_in_ollamas_words() -> None:
    found = ollama.parse_completion('{"error":"model not found"}\n@@http 404 0.1 s \n')
    assert (found.ok, found.error) == (False, "HTTP 404: model not found")


def test_the_canary_asks_for_one_token() -> None:
    script = ollama.canary_script(11434, "m", timeout=5)
    assert "http://127.0.0.1:11434/api/generate" in script
    assert '"num_predict": 1' in script


@given(st.text())
def test_whatever_comes(text: str) -> None:
    ollama.parse_completion(text)
    ollama.parse_completion(text + MARK)
    ollama.listed(parse_health(text + MARK))

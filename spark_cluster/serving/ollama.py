"""Ollama's native API: curl scripts that run on the head, and parsers of what they print."""

from __future__ import annotations

from typing import Any

from spark_cluster.serving.api import (
    PROMPT,
    Completion,
    Response,
    Said,
    completion,
    count_of,
    get,
    json_object,
    post,
    response,
)


def tags_script(port: int, *, timeout: float = 5) -> str:
    """`/api/tags`: the models that are there."""
    return get(port, "/api/tags", timeout)


def listed(answer: Response) -> tuple[str, ...]:
    """The names that `/api/tags` lists; none for any other answer."""
    models = json_object(answer.body).get("models") if answer.ok else None
    entries = models if isinstance(models, list) else []
    names = (entry.get("name") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str))


def has(models: tuple[str, ...], name: str) -> bool:
    """Whether the model is listed; a name without a tag is the one tagged `latest`."""
    return (name if ":" in name else f"{name}:latest") in models


def canary_script(port: int, model: str, *, timeout: float) -> str:
    """One token from `/api/generate`; the first request also loads the model."""
    body = {"model": model, "prompt": PROMPT, "stream": False, "options": {"num_predict": 1}}
    return post(port, "/api/generate", body, timeout)


def parse_completion(text: str) -> Completion:
    """What `canary_script` printed."""
    return completion(response(text), _said, "answer")


def _said(found: dict[str, Any]) -> Said:
    text = found.get("response")
    tokens, prompt = count_of(found, "eval_count"), count_of(found, "prompt_eval_count")
    return text if isinstance(text, str) else "", tokens, prompt

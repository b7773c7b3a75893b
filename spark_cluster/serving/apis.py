"""The ways in which engines are asked, by the name that a deployment gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from spark_cluster.serving import api, ollama
from spark_cluster.serving.api import Completion


class Canary(Protocol):
    """A script that asks for one token."""

    def __call__(self, port: int, model: str, *, timeout: float) -> str: ...


@dataclass(frozen=True)
class Api:
    """`root` is what clients call the base of the address; `chat` is a path that takes `messages`,
    `well` one that answers 200 while the server is well (`health` asks for it).
    `has_model` says whether the models that `health` listed hold this one."""

    root: str
    chat: str
    well: str
    health: Callable[[int], str]
    canary: Canary
    parse_canary: Callable[[str], Completion]
    has_model: Callable[[tuple[str, ...], str], bool]


APIS = {
    "openai": Api(
        root="/v1",
        chat="/v1/chat/completions",
        well="/health",
        health=api.health_script,
        canary=api.canary_script,
        parse_canary=api.parse_completion,
        has_model=lambda *_: True,
    ),
    "ollama": Api(
        root="",
        chat="/api/chat",
        well="/api/tags",
        health=ollama.tags_script,
        canary=ollama.canary_script,
        parse_canary=ollama.parse_completion,
        has_model=ollama.has,
    ),
}

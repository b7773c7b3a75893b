"""Fake hosts on which ranks run: what they move, and how many tokens they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import world
from .world import Spark

#: Units of four octets that 32 tokens move over the recipe's rail, each way.
UNITS = 32 * 1540096 // 4


def engine(tokens: int, running: int = 1, health: int = 200, prompt: int = 6) -> str:
    """What the server says on rank 0's host."""
    return (
        f"\n@@http {health} 0.01 s \n"
        f'vllm:num_requests_running{{engine="0"}} {running}.0\n'
        f'vllm:generation_tokens_total{{engine="0"}} {tokens}.0\n'
        f'vllm:prompt_tokens_total{{engine="0"}} {prompt}.0\n'
        "\n@@http 200 0.01 s \n"
    )


GPU = "gpu,NVIDIA GB10, 580.95.05\n"


def asks_health(script: str) -> bool:
    """`status` asks by itself; verify-rdma within its probe."""
    return "/health" in script and world.MARK not in script


class Rank(Spark):
    """A host on which a rank runs. Between two readings it moves `units` and generates `tokens`."""

    def __init__(self, name: str, *, units: int = 0, tokens: int = 0, running: int = 1) -> None:
        super().__init__(name, {"containers": world.running(name), "gpu": f"{GPU}app,4211, x\n"})
        self.units, self.tokens, self.requests = units, tokens, running
        self.readings = self.total = 0
        self.head = name == "spark-2"
        self.at: dict[int, Callable[[], object]] = {}
        self.on(asks_health, "\n@@http 200 0.01 s \n")

    def probe(self, script: str) -> str:
        self.readings += 1
        if self.readings in self.at:
            self.at[self.readings]()
        self.total += self.tokens
        self.texts["counters"] = world.moved(self.texts["counters"], "rocep1s0f1", self.units)
        old = f"rdma:uptime:{86400 + 5 * (self.readings - 1)}.25"
        new = f"rdma:uptime:{86400 + 5 * self.readings}.25"
        self.texts["counters"] = self.texts["counters"].replace(old, new)
        if self.head:
            self.texts["engine"] = engine(self.total, self.requests)
        return super().probe(script)


def pair(units: int = 0, tokens: int = 0, running: int = 1) -> list[Rank]:
    return [Rank(name, units=units, tokens=tokens, running=running) for name in world.PAIR]


def with_third(hosts: Sequence[Rank]) -> list[Spark]:
    return [Spark("spark-1"), *hosts]

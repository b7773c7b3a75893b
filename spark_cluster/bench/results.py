"""What a benchmark leaves behind: a run, its levels, every request. All times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from spark_cluster.document import Document

#: Raised when a field changes its meaning.
SCHEMA = 1

Kind = Literal["sweep", "prefill", "image"]


class Request(Document):
    """One measured request.

    `start` since the level's begin; `ttft` until the first token, `latency` until the last, both
    since `start`, None if no token came; `gaps` between the chunks of tokens. `error` says why it
    failed: what else stands there is how far it came.
    """

    start: float
    ttft: float | None = None
    latency: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    gaps: tuple[float, ...] = ()
    error: str = ""

    @property
    def tpot(self) -> float | None:
        """Seconds per token after the first; None for less than two tokens."""
        if self.ttft is None or self.latency is None or self.output_tokens < 2:
            return None
        return (self.latency - self.ttft) / (self.output_tokens - 1)

    @property
    def prefill_per_second(self) -> float | None:
        """Prompt tokens per second until the first token."""
        return self.prompt_tokens / self.ttft if self.ttft else None


class Spread(Document):
    """A figure over the requests of a level; percentiles as stats.percentile defines them."""

    p50: float
    p95: float
    p99: float
    mean: float


class Summary(Document):
    """A level's figures over the requests that succeeded.

    `errors` counts the others by reason. Rates are per second of the level. `tpot` is a request's
    mean time per token after the first, `itl` any gap between two chunks. `prefill_per_second`:
    a request's prompt tokens by its `ttft`.
    """

    ok: int
    failed: int
    errors: Mapping[str, int] = {}
    prompt_tokens: int
    output_tokens: int
    requests_per_second: float
    prompt_per_second: float
    output_per_second: float
    ttft: Spread | None = None
    latency: Spread | None = None
    tpot: Spread | None = None
    itl: Spread | None = None
    prefill_per_second: Spread | None = None

    def share(self, figure: str, share: str) -> float | None:
        """`p50`, `p95`, `p99` or `mean` of a figure; None if no request had it."""
        found: Spread | None = getattr(self, figure)
        return None if found is None else float(getattr(found, share))


class Rail(Document):
    """One RDMA device of a rank during a level. `unit` is B or packets; per token: of the prompts
    and the answers together, since each of them passes all layers."""

    device: str
    tx: int | None = None
    rx: int | None = None
    unit: Literal["B", "packets"] = "B"
    tx_per_token: float | None = None
    rx_per_token: float | None = None
    errors: Mapping[str, int] = {}
    note: str = ""


class HostFigures(Document):
    """A host beside a level. `watts` and `sm_mhz` are the GPU's samples, in order."""

    host: str
    rank: int
    rails: tuple[Rail, ...] = ()
    watts: tuple[float, ...] = ()
    sm_mhz: tuple[float, ...] = ()
    problem: str = ""


class Level(Document):
    """One setting of a run, measured.

    `value` is what varies: concurrency, prompt tokens, or an image's edge in pixels. `seconds`
    from the first request's start to the last token. `unsent`: requests given up after too many
    failures. `cached_tokens`: prompt tokens that the server's prefix cache answered, of
    `looked_up`. `server_ttft` and `server_itl`: means by the server's own clock. `client_cpu`: this
    program's share of one core.
    """

    name: str
    value: int
    concurrency: int
    seconds: float
    requests: tuple[Request, ...] = ()
    unsent: int = 0
    cached_tokens: int | None = None
    looked_up: int | None = None
    server_ttft: float | None = None
    server_itl: float | None = None
    client_cpu: float | None = None
    hosts: tuple[HostFigures, ...] = ()
    notes: tuple[str, ...] = ()
    summary: Summary


class Server(Document):
    """What the endpoint says of itself."""

    endpoint: str
    model: str
    root: str = ""
    owned_by: str = ""
    version: str = ""
    max_model_len: int | None = None


class Run(Document):
    """A whole run. `deployment` and `recipe` are what ran, `hosts` their facts, where known."""

    schema_version: int = SCHEMA
    program: str
    tool: str = "spark-cluster bench"
    kind: Kind
    run: str
    started: str
    ended: str
    server: Server
    arguments: Mapping[str, Any]
    prompts: str = ""
    deployment: Mapping[str, Any] = {}
    recipe: Mapping[str, Any] = {}
    hosts: Mapping[str, Mapping[str, Any]] = {}
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    levels: tuple[Level, ...] = ()

    @property
    def title(self) -> str:
        """`sweep 20261121-031500-9f3a`."""
        return f"{self.kind} {self.run}"

    @property
    def has_failures(self) -> bool:
        """Whether a request failed, or was not sent for failures."""
        return any(level.summary.failed or level.unsent for level in self.levels)

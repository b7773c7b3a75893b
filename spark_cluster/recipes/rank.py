"""The memory of one rank, as a sum: share of the host, weights, reserve, KV cache, tokens. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spark_cluster.core.units import GIB
from spark_cluster.recipes.demand import Demand
from spark_cluster.recipes.model_config import ModelConfig

#: What vLLM needs beside weights and KV cache: activations, graphs, NCCL, CUDA. A line through
#: the two launches that the project's notes have all numbers of, on hosts of 119.6 GiB:
#: 235B AWQ, 2 ranks, 2048 batched tokens: 0.70 x 119.6 - 117 GB / 2 - 25.77 = 3.47 GiB;
#: Qwen3-32B-FP8, 1 rank, 16384 batched tokens: 0.90 x 119.6 - 32 - 66.25 = 9.39 GiB.
#: Two points make a line and prove nothing about a third; hence the margin in fit.py.
RESERVE_BYTES = int(2.62 * GIB)
RESERVE_BYTES_PER_BATCHED_TOKEN = 433 * 1024

#: vLLM hands the KV cache out in blocks of so many tokens.
BLOCK_TOKENS = 16

#: vLLM's own layouts for latent attention, in bytes a token and layer: 512 values of one byte with
#: their scales, and 64 rotary ones of two (FlashMLA's sparse format).
_LATENT_BYTES = {"fp8_ds_mla": 656}

_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2,
          "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}  # fmt: skip


@dataclass(frozen=True)
class Rank:
    """The sum of one rank, in bytes. `draft`: the weights of drafts, in `weights` already, which
    every rank holds whole."""

    demand: Demand
    config: ModelConfig | None
    total: int
    weights: int
    draft: int = 0

    @property
    def budget(self) -> float:
        """What the engine may use; all of it when it chooses its share itself."""
        return (self.demand.fraction or 1.0) * self.total

    @property
    def share(self) -> float:
        return (self.weights - self.draft) / self.demand.ranks + self.draft

    @property
    def reserve(self) -> int:
        """SGLang's share holds weights and KV cache only; the rest of the memory is beside it."""
        if not self.demand.is_vllm:
            return 0
        return RESERVE_BYTES + RESERVE_BYTES_PER_BATCHED_TOKEN * self.demand.batched_tokens

    @property
    def kv(self) -> float:
        if self.demand.kv_bytes is not None:
            return self.demand.kv_bytes
        return self.budget - self.share - self.reserve

    @property
    def context(self) -> int | None:
        return self.demand.context or (self.config.context if self.config else None)

    @property
    def layers(self) -> int:
        """Those of this rank whose cache grows with the sequence."""
        assert self.config is not None
        growing = self.config.layers if self.config.growing is None else self.config.growing
        return math.ceil(growing / self.demand.pipeline)

    @property
    def kv_heads(self) -> int:
        """With more ranks than KV heads each rank keeps a copy of one."""
        assert self.config is not None
        return max(1, self.config.kv_heads // self.demand.tensor)

    @property
    def element(self) -> int | None:
        if self.config is None:
            return None
        dtype = self.demand.kv_dtype
        return _BYTES.get(self.config.dtype if dtype == "auto" else dtype)

    @property
    def token(self) -> int | None:
        """A key and a value per layer and KV head; a latent vector per layer where there is one.
        What is drafted for a token is not in it."""
        if self.config is None or self.config.other:
            return None
        if self.config.latent is not None and self.demand.kv_dtype in _LATENT_BYTES:
            return self.layers * _LATENT_BYTES[self.demand.kv_dtype]
        if self.element is None:
            return None
        if self.config.latent is not None:
            return self.layers * self.config.latent * self.element
        return 2 * self.layers * self.kv_heads * self.config.head_dim * self.element

    @property
    def tokens(self) -> int | None:
        if self.token is None:
            return None
        return max(0, int(self.kv / self.token) // BLOCK_TOKENS * BLOCK_TOKENS)

    @property
    def longest(self) -> float | None:
        """Bytes of one sequence of full length."""
        return self.token * self.context if self.token and self.context else None

    @property
    def fits(self) -> bool:
        return self.kv > 0 and self.kv >= (self.longest or 0)

"""What a recipe for Ollama asks of the memory: its server's variables and its Modelfile. Pure.

Source: Ollama's documentation of the Modelfile and its FAQ on parallel requests and the KV cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from spark_cluster.recipes.demand import Demand

#: Where a recipe's Modelfile is mounted; without one the model is served as it comes.
MODELFILE = "/Modelfile"

#: Bytes of an element of the KV cache; llama.cpp packs 32 of them with one scale of two bytes.
KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}

_CONTEXT = re.compile(r"^[ \t]*PARAMETER[ \t]+num_ctx[ \t]+([0-9]{1,9})[ \t]*$", re.I | re.M)


def demand(env: Mapping[str, str], modelfile: str = "") -> Demand:
    """`env` are the container's variables, `modelfile` the text of the recipe's, if it has one.

    Each of the parallel sequences has a context of its own. Ollama ignores a value that is no
    number; so do we.
    """
    named = _CONTEXT.findall(modelfile)
    flash = env.get("OLLAMA_FLASH_ATTENTION", "0").lower() in ("1", "true")
    return Demand(
        engine="ollama",
        context=_count(named[-1] if named else env.get("OLLAMA_CONTEXT_LENGTH", "")),
        sequences=_count(env.get("OLLAMA_NUM_PARALLEL", "")) or 1,
        kv_dtype=env.get("OLLAMA_KV_CACHE_TYPE", "f16").lower() if flash else "f16",
    )


def _count(text: str) -> int | None:
    return int(text) or None if re.fullmatch("[0-9]{1,9}", text) else None

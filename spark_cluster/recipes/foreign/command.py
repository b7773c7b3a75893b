"""What a server's command line asks for, as the fields of a recipe of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spark_cluster.core.units import GIB
from spark_cluster.recipes import command_line, demand
from spark_cluster.recipes.command_line import Value
from spark_cluster.recipes.fit import NOMINAL_BYTES
from spark_cluster.recipes.foreign import template
from spark_cluster.recipes.foreign.environment import environment
from spark_cluster.recipes.foreign.theirs import Theirs
from spark_cluster.recipes.lint_versions import held, ngc, vllm

_PYTHON = ("python", "python3")

#: Arguments that each rank gets from spark-cluster.
_RANKS = ("nnodes", "node-rank", "master-addr", "master-port", "headless", "dist-init-addr")

_ANYWHERE = ("0.0.0.0", "::")

_RELEASE = re.compile(r":v?(\d+\.\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Server:
    """`family` is vllm, sglang or trtllm; `args` lack what stands in fields of their own. `path` is
    the model's folder in the container, if the command serves one."""

    family: str
    model: str
    port: int
    args: dict[str, Value]
    path: str = ""

    @property
    def is_vllm(self) -> bool:
        return self.family == "vllm"


def read(theirs: Theirs, words: Sequence[str], model: str) -> Server:
    """The words of the command. `model` is that of the recipe's own field, empty if it has none.

    Raises InputError.
    """
    family, rest = _program(theirs, words)
    line = command_line.parse(rest)
    if family == "vllm" and line.unknown:
        raise theirs.refuse(
            ("command",),
            f"vLLM has no argument {line.unknown[0]}",
            f"Write it out, with two dashes and a blank before its value. Of those with one it has "
            f"{', '.join(vllm().short_names)}.",
        )
    if line.several:
        raise theirs.refuse(
            ("command",),
            f"{', '.join(line.several)} has more than one value, a recipe of ours holds one",
            "Leave one of them.",
        )
    args = dict(line.args)
    named = [*line.rest, *(str(args.pop(k)) for k in ("model", "model-path") if k in args)]
    for name in _RANKS:
        if name in args:
            raise theirs.refuse(
                ("command",), f"{name} is given to each rank by spark-cluster", "Remove it there."
            )
    host = args.pop("host", _ANYWHERE[0])
    if host not in _ANYWHERE:
        raise theirs.refuse_argument(
            "host", f"{host!r}: the API listens on all addresses", "Set it to 0.0.0.0."
        )
    if family == "trtllm":
        args = {name.replace("-", "_"): value for name, value in args.items()}
    if family == "sglang":
        args = {_TO_SGLANG.get(name, name): value for name, value in args.items()}
    path = named[0] if model and len(named) == 1 and named[0].startswith("/") else ""
    named = [model] if path else named
    return Server(family, _model(theirs, named, model), _port(theirs, args), args, path)


#: The name by which our engine looks for it (engines/sglang.py).
_TO_SGLANG = {"tp-size": "tp", "tensor-parallel-size": "tp"}


def _program(theirs: Theirs, words: Sequence[str]) -> tuple[str, Sequence[str]]:
    first = tuple(words[:3])
    if first[:2] == ("vllm", "serve"):
        return "vllm", words[2:]
    if first[:2] == ("sglang", "serve"):
        return "sglang", words[2:]
    if first[:1] and first[0] in _PYTHON and first[1:2] == ("-m",):
        module = first[2] if len(first) > 2 else ""
        if module == "vllm.entrypoints.openai.api_server":
            return "vllm", words[3:]
        if module == "sglang.launch_server":
            return "sglang", words[3:]
    if "trtllm-serve" in words:
        rest = list(words[words.index("trtllm-serve") + 1 :])
        return "trtllm", rest[1:] if rest[:1] == ["serve"] else rest
    raise theirs.refuse(
        ("command",),
        f"spark-cluster has no engine for {' '.join(words[:2])!r}",
        "It has those for `vllm serve`, `python3 -m sglang.launch_server` and `trtllm-serve`.",
    )


def _model(theirs: Theirs, named: Sequence[str], model: str) -> str:
    if len(set(named)) > 1:
        raise theirs.refuse(
            ("command",), f"what is {named[1]!r}?", "Only the model stands there without a dash."
        )
    chosen = named[0] if named else model
    if model and chosen != model:
        raise theirs.refuse(
            ("model",), f"it is {model}, and the command serves {chosen}", "Make them the same."
        )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", chosen):
        raise theirs.refuse(
            ("model",) if model else ("command",),
            f"{chosen!r} is no model of the Hugging Face cache",
            "Name it as huggingface.co does: org/name.",
        )
    return chosen


def _port(theirs: Theirs, args: dict[str, Value]) -> int:
    given = args.pop("port", "8000")
    if not str(given).isdecimal():
        raise theirs.refuse_argument("port", f"{given!r} is no number", "Correct it.")
    return int(str(given))


def words(
    theirs: Theirs, fill: Callable[[str, Mapping[str, Any]], str], values: Mapping[str, Any]
) -> tuple[dict[str, str], list[str]]:
    """The variables that the recipe's command sets, and its words, with `values` put in.

    Raises InputError.
    """
    try:
        return template.words(fill(theirs.text("command"), values))
    except template.BadTemplate as bad:
        raise theirs.refuse_template(("command",), bad) from bad


def image(theirs: Theirs, *, is_built: bool = False) -> str:
    """The recipe's image. `is_built`: the other tool makes it. Raises InputError."""
    container = theirs.text("container")
    if is_built or theirs.data.get("build_args"):
        theirs.remark(f"{container} must be on the hosts: spark-cluster builds no images.")
    return container


def recipe(
    theirs: Theirs,
    container: str,
    given: Sequence[str],
    model: str,
    set_before: Mapping[str, str],
    *,
    ray: bool = False,
    told: str = "",
) -> dict[str, Any]:
    """The fields of a recipe of ours. `given` are the words of its command, `set_before` the
    variables that this sets; `ray`: the recipe wants Ray; `told` is the engine's version if it
    says so. Raises InputError."""
    server = read(theirs, given, model)
    fields = _fields(theirs, server, theirs.hosts(), ray=ray)
    return {
        **fields,
        **environment(theirs, fields["engine"], set_before),
        "name": theirs.name(),
        "title": theirs.title(),
        "image": container,
        "engine_version": _release(container, told, is_vllm=server.is_vllm),
    }


# How many hosts, and which of our engines


def _fields(theirs: Theirs, server: Server, hosts: tuple[int, int], *, ray: bool) -> dict[str, Any]:
    """The recipe's fields that follow from the command."""
    try:
        wanted = demand.of_arguments(server.family, server.args)
    except demand.BadArgument as bad:
        raise theirs.refuse_argument(bad.name, bad.what, "Correct the value.") from bad
    nodes = wanted.ranks
    least, most = hosts
    if str(server.args.get("data-parallel-size", "1")) != "1":
        raise theirs.refuse_argument(
            "data-parallel-size",
            "spark-cluster serves one copy of a model",
            "Remove it, and launch the recipe once for each group of hosts.",
        )
    if not least <= nodes <= min(most, 8):
        allowed = f"{least}" if least == most else f"{least} to {min(most, 8)}"
        raise theirs.refuse(
            _where_nodes(theirs),
            f"the command makes {nodes} ranks, one for the GPU of each host, and the recipe "
            f"allows {allowed}",
            "Set tensor_parallel x pipeline_parallel to the number of hosts.",
        )
    engine = server.family
    args = dict(server.args)
    if server.is_vllm:
        backend = args.pop("distributed-executor-backend", None)
        engine = "vllm" if nodes == 1 else "vllm-ray" if ray or backend == "ray" else "vllm-mp"
        if nodes > 1:
            args["distributed-executor-backend"] = engine.removeprefix("vllm-")
    names = args.get("served-model-name", "")
    served = names[0] if isinstance(names, tuple) else str(names)
    return {
        "engine": engine,
        "model": server.model,
        "nodes": nodes,
        "port": server.port,
        "args": args,
        "requires": {"memory_gib": _memory(wanted)},
        **({"served_name": served} if served else {}),
        **({"model_path": server.path} if server.path else {}),
    }


def _where_nodes(theirs: Theirs) -> tuple[str, ...]:
    names = ("min_nodes", "max_nodes", "cluster_only", "solo_only")
    return next(((name,) for name in names if name in theirs.data), ("command",))


def _memory(wanted: demand.Demand) -> float:
    """What the engine takes of a Spark: vLLM does not start with less free."""
    fraction = wanted.fraction or demand.VLLM_FRACTION
    return round(fraction * NOMINAL_BYTES / GIB, 1)


def _release(container: str, told: str, *, is_vllm: bool) -> str:
    """The engine's version: as told, or as the image's name has it, or `unknown`. Of vLLM there
    are releases 0.x only: another number is a date, or a number of whoever made the image."""
    if told:
        return told
    if ngc(container) is not None:
        return held(container) or "unknown"
    tag = _RELEASE.search(container.rpartition("/")[2])
    if tag is None or container.startswith("nvcr.io/"):
        return "unknown"
    return tag[1] if tag[1].startswith("0.") or not is_vllm else "unknown"

"""The rules of lint.py that are more than a row of lint.yaml. Each yields what it finds.

Sources: NCCL 2.30 and vLLM, their source; the project's notes on two Sparks of January 2026;
public threads where a number is given.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from packaging.version import Version

from spark_cluster.recipes import demand
from spark_cluster.recipes.lint_finding import Finding, Loc, error, value_of, warning
from spark_cluster.recipes.lint_settings import Rule, given_by_us, settings
from spark_cluster.recipes.lint_versions import release, vllm
from spark_cluster.recipes.models import Recipe, spelled
from spark_cluster.recipes.secret_names import in_plain
from spark_cluster.serving.api import API_KEY

_NOTES = "two Sparks in January 2026"

#: A launch with this fault is refused, also with --anyway: it would show the value.
SECRET_IN_PLAIN = "RECIPE007"


def arguments_of_the_engine(recipe: Recipe) -> Iterator[Finding]:
    for name in recipe.args:
        remedy = given_by_us().get(name.replace("_", "-"))
        if remedy is not None and value_of(recipe.args[name]) is not None:
            what = f"{name} is given to the engine by spark-cluster itself"
            yield error(("args", name), "RECIPE005", what, remedy)


def misspelt(recipe: Recipe) -> Iterator[Finding]:
    listed = {name for name, row in vllm().rows() if row.kind == "args"}
    known = {*listed, *vllm().common_arguments, *given_by_us()}
    for given in recipe.args if recipe.engine.startswith("vllm") else ():
        # A switch that is on by default is turned off by its other name.
        name = given.partition(".")[0].removeprefix("no-")
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if near and name not in known and name.replace("_", "-") != near[0]:
            what = f"{name} is nearly {near[0]}: vllm serve ends if it does not know an argument"
            yield warning(("args", given), "RECIPE006", what, f"Did you mean `{near[0]}`?")


def parallel(recipe: Recipe) -> Iterator[Finding]:
    """A Spark has one GPU: ranks and hosts are equally many."""
    if recipe.engine == "ollama":
        return
    try:
        wanted = demand.of_recipe(recipe)
    except demand.BadArgument as bad:
        yield error(("args", bad.name), "RECIPE005", str(bad), "Correct the value.")
        return
    name = demand.NAMES["tensor"][0]
    if wanted.ranks != recipe.nodes:
        what = (
            f"tensor parallel {wanted.tensor} x pipeline parallel {wanted.pipeline} makes "
            f"{wanted.ranks} ranks of one GPU each, and the recipe has {recipe.nodes} hosts"
        )
        remedy = f"Set `nodes: {wanted.ranks}`, or the two so that they make {recipe.nodes}."
        yield error(_where(recipe, "tensor", name), "RECIPE005", what, remedy)
    data = value_of(recipe.args.get("data-parallel-size"))
    if data not in (None, "1"):
        what = f"data-parallel-size {data}: the ranks of this engine serve one copy of the model"
        remedy = "Remove it, and launch the recipe on each group of hosts."
        yield error(("args", "data-parallel-size"), "RECIPE005", what, remedy)


def _where(recipe: Recipe, what: str, default: str) -> Loc:
    names = {name.replace("_", "-"): name for name in recipe.args}
    found = next((names[name] for name in demand.NAMES[what] if name in names), default)
    return ("args", found)


def executor(recipe: Recipe) -> Iterator[Finding]:
    name = "distributed-executor-backend"
    backend = value_of(recipe.args.get(name))
    version = release(recipe.engine_version)
    wanted = {"vllm-ray": "ray", "vllm-mp": "mp"}.get(recipe.engine)
    if wanted is None:
        return
    if backend not in (None, wanted):
        what = f"{name} is {backend!r}, and the engine is {recipe.engine}"
        yield error(("args", name), "RECIPE005", what, f"Set it to {wanted}, or change `engine:`.")
    if wanted == "ray" and backend is None and version and version >= Version(vllm().ray_explicit):
        what = f"vLLM {version} takes its mp executor over several hosts unless told otherwise"
        yield error(("args",), "RECIPE005", what, f"Add `{name}: ray` to `args:`.")
    first = vllm().mp_over_hosts
    if wanted == "mp" and version and version < Version(first):
        what = f"vLLM {version} has no mp executor over several hosts; {first} brought it"
        yield error(("engine",), "RECIPE003", what, "Set `engine: vllm-ray`, or a newer image.")


def ray(recipe: Recipe) -> Iterator[Finding]:
    if recipe.engine != "vllm-ray":
        return
    name = "RAY_memory_monitor_refresh_ms"
    given = value_of(recipe.env.get(name))
    is_zero = given == "0" or (name in recipe.env and recipe.env[name].value is False)
    if not is_zero:
        said = f"is {given}" if given else "is not set"
        what = f"{name} {said}: Ray counts GPU memory as its own on a Spark and kills workers"
        kind = error if given else warning
        loc = ("env", name) if name in recipe.env else ("env",)
        yield kind(loc, "RECIPE006", what, f'Set {name}: "0" in `env:`.', _NOTES)


def secrets(recipe: Recipe) -> Iterator[Finding]:
    for loc in in_plain(recipe):
        field, name = loc
        if field == "env":
            what = (
                f"the value of {name} stands in the recipe; it would be in command lines and logs"
            )
            yield error(loc, SECRET_IN_PLAIN, what, _as_secret(recipe, str(name)))
            continue
        what = f"the value of {name} stands in the recipe, and `ps` would show it to everyone"
        variable = "HF_TOKEN" if str(name).endswith("token") else API_KEY
        remedy = _as_secret(recipe, variable)
        if variable == API_KEY and not recipe.engine.startswith("vllm"):
            remedy = (
                f"Remove it: {recipe.engine} takes it as an argument. Put a proxy that asks "
                "for a key before the server."
            )
        yield error(loc, SECRET_IN_PLAIN, what, remedy)


def _as_secret(recipe: Recipe, variable: str) -> str:
    where = f"export it where you launch, or put it into {recipe.secrets_file} on the host"
    return (
        f"Take it out, write `secrets: [{variable}]` (in one of sparkrun's format: "
        f"`{variable}: ${{{variable}}}` in `env:`), and {where}."
    )


def served(recipe: Recipe) -> Iterator[Finding]:
    given = recipe.served_argument
    if given and recipe.served_name and given != recipe.served_name:
        name = next(name for name in recipe.args if spelled(name) == "served-model-name")
        what = f"{name} is {given}, and served_name of the recipe {recipe.served_name}"
        yield error(
            ("args", name), "RECIPE005", what, "Remove the argument, or make them the same."
        )


def seen_failing(recipe: Recipe) -> Iterator[Finding]:
    is_awq = "awq" in recipe.model.lower()
    if recipe.engine == "sglang" and recipe.nodes > 1 and is_awq:
        what = "SGLang with AWQ over several hosts hung after NCCL's start, before loading"
        yield warning(("engine",), "RECIPE006", what, "Use engine vllm-ray or vllm-mp.", _NOTES)
    version = release(recipe.engine_version)
    is_fp8 = (
        value_of(recipe.args.get("quantization")) == "fp8" and "fp8" not in recipe.model.lower()
    )
    old = version is not None and version <= Version("0.10.1.1")
    if recipe.engine.startswith("vllm") and is_fp8 and old:
        what = "quantization fp8 of a model that is not FP8 failed on a GB10 (cutlass_scaled_mm)"
        remedy = "Use the model's FP8 release and remove `quantization`."
        source = "nvcr.io/nvidia/vllm:25.09-py3, November 2025"
        yield warning(("args", "quantization"), "RECIPE006", what, remedy, source)


#: vLLM whose Qwen3-VL cannot be divided by layers: the inner model has no architecture (vllm issue
#: 43271). Read in the wheels of 0.16.0 (not yet) to 0.30.0 (mended); seen with 0.23.0.
_NO_STAGES = (Version("0.17.0"), Version("0.30.0"))


def pipeline_of_qwen3_vl(recipe: Recipe) -> Iterator[Finding]:
    version = release(recipe.engine_version)
    if not recipe.engine.startswith("vllm") or version is None:
        return
    name = "pipeline-parallel-size"
    divided = value_of(recipe.args.get(name)) not in (None, "1")
    told = "architectures" in (value_of(recipe.args.get("hf-overrides")) or "")
    if divided and "qwen3-vl" in recipe.model.lower() and not told:
        first, mended = _NO_STAGES
        if first <= version < mended:
            what = (
                f"vLLM {version} ends with `No model architectures are specified` when it divides "
                "Qwen3-VL by layers"
            )
            remedy = (
                f"Use vLLM {mended} or newer, or add hf-overrides "
                '\'{"text_config": {"architectures": ["Qwen3MoeForCausalLM"]}}\''
                " (Qwen3ForCausalLM for a dense model)."
            )
            yield error(("args", name), "RECIPE006", what, remedy, "vllm issue 43271")


RULES: tuple[Rule, ...] = (
    arguments_of_the_engine, settings("download-dir"), misspelt, parallel, executor,
    settings("asynchronous"), ray, secrets, served, settings("unified-memory"), seen_failing,
    pipeline_of_qwen3_vl,
)  # fmt: skip

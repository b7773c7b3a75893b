"""Recipes of sparkrun (format 2, and 1 with its fields): model, runtime, container, defaults, and
maybe a command.

Fields as its RECIPES.md and core/recipe.py have them. Without a command sparkrun makes one of
those defaults that it knows; so do we.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spark_cluster.recipes.foreign import command, template
from spark_cluster.recipes.foreign.formats import formats
from spark_cluster.recipes.foreign.theirs import Theirs

_SIZE = re.compile(r"([0-9.]+)\s*([kmg])(?:i?b)?", re.IGNORECASE)


def convert(theirs: Theirs) -> dict[str, Any]:
    """The fields of a recipe of ours. Raises InputError."""
    runtime = _runtime(theirs)
    theirs.only(formats().sparkrun)
    others = _distributed(theirs)
    if others:
        theirs.remark(f"Also needed in every host's cache: {', '.join(others)}.")
    is_built = theirs.text("builder", "docker-pull") != "docker-pull"
    container = command.image(theirs, is_built=is_built)
    model = theirs.text("model")
    if ":" in model:
        raise theirs.refuse(
            ("model",), f"{model}: no engine of ours serves GGUF files", "Name another release."
        )
    values = {**theirs.defaults(), "model": model}
    set_before, words = _words(theirs, runtime, values)
    served = values.get("served_model_name")
    if served and "--served-model-name" not in words and runtime in ("vllm", "sglang"):
        words += ["--served-model-name", *str(served).split()]
    revision = theirs.text("model_revision", "")
    if revision and "--revision" not in words:
        words += ["--revision", revision]
    fields = command.recipe(
        theirs,
        container,
        words,
        model,
        set_before,
        ray=theirs.text("runtime", "") in ("vllm-ray", "eugr-vllm"),
        told=theirs.text("runtime_version", ""),
    )
    return {
        **fields,
        **_executor(theirs),
        **theirs.mods(),
        **_volumes(theirs),
        **_variants(theirs, runtime, values, fields["args"]),
    }


def _volumes(theirs: Theirs) -> dict[str, Any]:
    """`volumes`, but for the hub's cache, which every container of ours has."""
    mounts = []
    given = theirs.data.get("volumes") or []
    for number, volume in enumerate(given if isinstance(given, list) else [given]):
        source, _, rest = str(volume).partition(":")
        target, _, way = rest.partition(":")
        if not source.startswith(("/", "~/")) or not target.startswith("/") or way not in _WAYS:
            raise theirs.refuse(
                ("volumes", number), f"{volume!r} cannot be honoured", "Write /FOLDER:/FOLDER[:ro]."
            )
        if (source.rstrip("/"), target) != _CACHE:
            mounts.append({"source": source, "target": target, "read_only": way == "ro"})
    return {"mounts": mounts} if mounts else {}


_WAYS = ("", "ro", "rw")
_CACHE = ("~/.cache/huggingface", "/root/.cache/huggingface")


def _variants(
    theirs: Theirs, runtime: str, values: Mapping[str, Any], args: Mapping[str, Any]
) -> dict[str, Any]:
    """`variants` as profiles: what their values make of the command, and their variables."""
    profiles: dict[str, Any] = {}
    for name, given in theirs.mapping("variants").items():
        if not isinstance(given, dict):
            raise theirs.refuse(
                ("variants", name), "must hold fields", f"The value there is {given!r}."
            )
        own = {key: value for key, value in given.items() if key not in _NO_VALUES}
        _, words = _words(theirs, runtime, {**values, **own})
        changed = command.read(theirs, words, str(values["model"])).args
        if given.get("container"):
            theirs.remark(f"The variant {name} names another image: launch it with --image.")
        profiles[name] = {
            "why": str(given.get("description") or f"the variant {name}"),
            "args": {key: value for key, value in changed.items() if args.get(key) != value},
            "env": {key: str(value) for key, value in (given.get("env") or {}).items()},
        }
    return {"profiles": profiles} if profiles else {}


#: What a variant says that is no value of the command.
_NO_VALUES = ("description", "env", "container", "patches")


def version(data: Mapping[str, Any]) -> str:
    """The format's number as sparkrun reads it: its own unless the file says otherwise."""
    return str(data.get("sparkrun_version", data.get("recipe_version", "2")))


def _runtime(theirs: Theirs) -> str:
    """The family of engines; empty if only the command tells."""
    given = theirs.text("runtime", "")
    known = formats().runtimes
    if given and given not in known:
        raise theirs.refuse(
            ("runtime",),
            f"spark-cluster has no engine for {given}",
            f"It reads {', '.join(known)}.",
        )
    return known.get(given, "" if theirs.data.get("command") else "vllm")


def _words(
    theirs: Theirs, runtime: str, values: dict[str, Any]
) -> tuple[dict[str, str], list[str]]:
    if not theirs.data.get("command"):
        return {}, _made(theirs, runtime, values)
    fill = template.fill_either if version(theirs.data) == "1" else template.fill_braces
    return command.words(theirs, fill, values)


def _made(theirs: Theirs, runtime: str, values: dict[str, Any]) -> list[str]:
    """The command that sparkrun makes when the recipe has none."""
    family = formats().families[runtime]
    words = list(family.program)
    words += ["--model-path", values["model"]] if runtime == "sglang" else [values["model"]]
    for key, value in theirs.defaults().items():
        flag = family.flag(key, value)
        if not flag:
            if key not in (*family.flags, *family.same):
                theirs.remark(
                    f"{key} has no effect: without a `command:` sparkrun gives it to no engine."
                )
            continue
        try:
            template.refuse_leftovers(str(value))
        except template.BadTemplate as bad:
            raise theirs.refuse(("defaults", key), str(bad), bad.remedy) from bad
        words += [f"--{flag}"]
        if not isinstance(value, bool):
            # Names hold no blanks: what has some is several.
            names = str(value).split() if key == "served_model_name" else []
            words += names or [str(value)]
    return words


def _distributed(theirs: Theirs) -> list[str]:
    """The models that sparkrun copies to the hosts beside the recipe's own."""
    at = ("distribution_config", "models")
    models = theirs.mapping(at[0]).get(at[1]) or {}
    if not isinstance(models, dict):
        raise theirs.refuse(at, "must hold fields", f"The value there is {models!r}.")
    entries = models.get("entries") or []
    if not isinstance(entries, list):
        raise theirs.refuse((*at, "entries"), "must be a list", f"The value there is {entries!r}.")
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [str(name) for name in names if name not in ("{model}", theirs.data.get("model"))]


def _executor(theirs: Theirs) -> dict[str, Any]:
    config, as_ours = theirs.mapping("executor_config"), formats().as_ours
    for key, value in config.items():
        loc = ("executor_config", key)
        if key in ("privileged", "auto_remove"):
            if value:
                theirs.remark(f"{key} is not used: {_INSTEAD[key]}.")
        elif key in as_ours:
            if value not in as_ours[key]:
                raise theirs.refuse(
                    loc, f"{value!r} cannot be honoured", f"Remove it; {_CONTAINERS}."
                )
        elif key != "shm_size":
            raise theirs.refuse(loc, "is not known", f"Remove it; {_CONTAINERS}.")
    cleared = {"clear_entrypoint": True} if config.get("entrypoint") == "" else {}
    if "shm_size" not in config:
        return cleared
    match = _SIZE.fullmatch(str(config["shm_size"]))
    if match is None:
        loc = ("executor_config", "shm_size")
        raise theirs.refuse(loc, f"{config['shm_size']!r} is no size", "Write it as 16gb.")
    return {**cleared, "shm_size": f"{match[1]}{match[2].lower()}"}


_INSTEAD = {
    "privileged": "the RDMA devices and IPC_LOCK are given one by one",
    "auto_remove": "a container that ended is kept for its log until teardown",
}
_CONTAINERS = (
    "our containers have all GPUs, the host's network and IPC, the image's own entrypoint, and "
    "are not started again by docker"
)

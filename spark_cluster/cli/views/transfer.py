"""What `model` and `image` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_cluster.actions import remedies
from spark_cluster.cli.running import Active
from spark_cluster.cli.terminal import Console, add_row, new_table
from spark_cluster.core.error import SparkError
from spark_cluster.core.result import Result
from spark_cluster.core.units import human_bytes
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.models import IMAGES, ModelsFact
from spark_cluster.recipes.naming import NamedModel
from spark_cluster.runner.transfer import Transfer
from spark_cluster.transfer.cache import MAIN, CachedModel, skew

Found = Mapping[str, Facts | SparkError]


def models_data(
    found: Found, fact: Fact[ModelsFact], only: NamedModel | None, caches: list[str]
) -> dict[str, Any]:
    """Rows by model, folder and host, the skew of each model, and the hosts of which nothing is
    known. Hosts are compared within a folder; `caches` are those that were read."""
    revision = only.revision if only else MAIN
    unknown: dict[str, str] = {}
    nexts: dict[str, str] = {}
    held: dict[str, dict[str, dict[str, CachedModel]]] = {}
    for host, outcome in found.items():
        if isinstance(outcome, SparkError):
            unknown[host], nexts[host] = outcome.message, outcome.remedy
        elif outcome[fact].error:
            unknown[host] = outcome[fact].error
            nexts[host] = "Mend on the host what this names, and run it again."
        else:
            for model in outcome[fact].found:
                if only is None or model.name == only.name:
                    held.setdefault(model.name, {}).setdefault(model.cache, {})[host] = model
    rows = [
        _row(host, model, revision)
        for places in held.values()
        for models in places.values()
        for host, model in models.items()
    ]
    return {
        "model": only.name if only else None,
        "caches": caches,
        "models": rows,
        "skew": {name: said for name, places in held.items() if (said := _skew(places, revision))},
        "unknown": unknown,
        "remedies": nexts,
    }


def _skew(places: Mapping[str, Mapping[str, CachedModel]], revision: str) -> str:
    said = {cache: skew(models, revision) for cache, models in places.items()}
    parts = [
        f"in {cache}: {text}" if len(said) > 1 else text for cache, text in said.items() if text
    ]
    return "; ".join(parts)


def _row(host: str, model: CachedModel, revision: str) -> dict[str, Any]:
    return {
        "model": model.name,
        "host": host,
        "cache": model.cache,
        "complete": model.complete(revision),
        "faults": list(model.faults(revision)),
        "revision": model.commit(revision),
        "unfinished": list(model.unfinished),
        "refs": dict(model.refs),
        "size_bytes": model.size,
        "foreign_entries": model.foreign,
        "path": model.path,
    }


def show_models(console: Console, data: Mapping[str, Any]) -> None:
    apart = any(each["cache"] != data["caches"][0] for each in data["models"])
    titles = ("model", "host", *(["cache"] if apart else []), "revision", "size", "state")
    shown = new_table(*titles, right=("size",))
    for each in data["models"]:
        state = "complete" if each["complete"] else f"incomplete: {'; '.join(each['faults'])}"
        others = [commit[:12] for commit in each["unfinished"] if commit != each["revision"]]
        if others:
            state += f"; {', '.join(others)} was begun and is not complete"
        if each["foreign_entries"]:
            state += f"; {each['foreign_entries']} entries are not the SSH user's"
        add_row(
            shown, each["model"], each["host"], *([each["cache"]] if apart else []),
            each["revision"][:12] or "none", human_bytes(each["size_bytes"]), state,
        )  # fmt: skip
    if data["models"]:
        console.table(shown)
    elif not data["unknown"]:
        what = f"no copy of {data['model']}" if data["model"] else "no model"
        console.line(f"{what} is in {' or '.join(data['caches'])}")
    for model, said in data["skew"].items():
        console.line(f"skew: {model}: {said}")
    _unknown(console, data)


def _unknown(console: Console, data: Mapping[str, Any]) -> None:
    nexts = remedies.after(data["remedies"])
    for host, why in data["unknown"].items():
        console.line(f"unknown: {host}: {why}")
        if host in nexts:
            console.line(f"  next: {nexts[host]}")


def images_data(found: Found, only: str | None) -> dict[str, Any]:
    """Rows by name and host; `skew` names the images that differ."""
    unknown: dict[str, str] = {}
    nexts: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for host, outcome in found.items():
        if isinstance(outcome, SparkError):
            unknown[host], nexts[host] = outcome.message, outcome.remedy
        elif outcome[IMAGES].error:
            unknown[host] = f"docker says: {outcome[IMAGES].error}"
            nexts[host] = remedies.DOCKER
        else:
            rows += [
                {"image": name, "host": host, "id": image.id, "size_bytes": image.size}
                for image in outcome[IMAGES].images
                if only is None or image is outcome[IMAGES].named(only)
                for name in [name for name in image.names if "@" not in name] or image.names
            ]
    rows.sort(key=lambda row: row["image"])
    ids: dict[str, dict[str, str]] = {}
    for row in rows:
        if "@" not in row["image"]:  # a digest is the same image, whatever ID its store gives it
            ids.setdefault(row["image"], {})[row["host"]] = row["id"]
    differing = {name: hosts for name, hosts in ids.items() if len(set(hosts.values())) > 1}
    return {"images": rows, "skew": differing, "unknown": unknown, "remedies": nexts}


def show_images(console: Console, data: Mapping[str, Any]) -> None:
    shown = new_table("image", "host", "id", "size", right=("size",))
    for each in data["images"]:
        size = human_bytes(each["size_bytes"])
        add_row(shown, each["image"], each["host"], each["id"][7:19], size)
    if data["images"]:
        console.table(shown)
    elif not data["unknown"]:
        console.line("docker has no such image on these hosts")
    for name, hosts in data["skew"].items():
        parts = ", ".join(f"{image_id[7:19]} on {host}" for host, image_id in hosts.items())
        console.line(
            f"skew: {name}: {parts}; `spark-cluster image sync {name} --from HOST` "
            "makes them the same"
        )
    _unknown(console, data)


def finish(active: Active, results: list[Result], transfer: Transfer, data: dict[str, Any]) -> int:
    """The end of a verb, with the numbers of its copies for --json."""
    copies = [copied.as_data() for copied in transfer.copied]
    return active.finish(results, data={**data, "copies": copies} if copies else data)

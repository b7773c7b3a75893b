"""A docker compose file of a recipe for one host, from the very spec that `launch` starts.

Source: the Compose specification. `$` is doubled wherever Compose would look for a variable.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from spark_cluster.core.error import InputError
from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import quote
from spark_cluster.engines.spec import IMAGE_ID, ContainerSpec, Deployment, Mount
from spark_cluster.recipes.overrides import Overrides
from spark_cluster.recipes.secret_names import HUB_TOKENS

#: Seconds between two looks at the server's health, and how long one may take.
_INTERVAL, _TIMEOUT, _RETRIES = 30, 10, 3


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as a person reads them."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def refuse_several(recipe: str, asked: str, nodes: int, place: str | None = None) -> None:
    """Raises InputError for a recipe of several hosts: Compose knows one. `asked` is what commands
    call the recipe."""
    if nodes != 1:
        raise InputError(
            f"{recipe} needs {nodes} hosts; docker compose knows one",
            place=place,
            remedy=f"`spark-cluster launch {quote(asked)}` starts it on all of them.",
        )


def compose(deployment: Deployment, *, anyway: bool = False) -> str:
    """The file's text; `anyway` stands in the command line at its head. Raises InputError for a
    recipe of several hosts."""
    refuse_several(deployment.recipe, deployment.asked, len(deployment.hosts))
    spec = deployment.containers[0]
    document: dict[str, Any] = {"services": {spec.name: _service(deployment, spec)}}
    contents = {file.path: file.content for file in deployment.files}
    configs = {
        _config_name(mount): {"content": _plain(contents[mount.source])}
        for mount in spec.mounts
        if mount.source in contents
    }
    if configs:
        document["configs"] = configs
    head = _head(deployment, spec, _command(deployment, spec, anyway=anyway), bool(configs))
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return "".join(f"# {line}\n" for line in head) + text


def _head(
    deployment: Deployment, spec: ContainerSpec, command: str, has_configs: bool
) -> list[str]:
    lines = [f"{deployment.model} on one Spark, made by `{command}`."]
    if spec.secrets:
        names = ", ".join(spec.secrets)
        lines.append(f"{names}: in a file .env beside this one, mode 600; never in this file.")
    if has_configs:
        lines.append("`configs.content` needs Compose 2.23.1 or newer.")
    return lines


def _command(deployment: Deployment, spec: ContainerSpec, *, anyway: bool) -> str:
    """The command line that makes the same file, with the choices that the labels hold."""
    words = ["spark-cluster", "compose", quote(deployment.asked)]
    for flag, label in (("--profile", "profile"), ("--with", "options")):
        chosen = spec.labels.get(f"{LABEL}.{label}")
        words += [flag, quote(chosen)] if chosen else []
    overrides = Overrides.of_label(spec.labels.get(f"{LABEL}.overrides", ""))
    words += [quote(word) for word in overrides.words()] if overrides else []
    return " ".join([*words, "--anyway"] if anyway else words)


def _service(deployment: Deployment, spec: ContainerSpec) -> dict[str, Any]:
    ours = {file.path for file in deployment.files}
    configs = [
        {"source": _config_name(mount), "target": mount.target}
        for mount in spec.mounts
        if mount.source in ours
    ]
    environment = {
        **{key: _plain(value) for key, value in spec.env.items()},
        **{name: _from_outside(name) for name in spec.secrets},
    }
    # Compose cannot ask docker for the image's ID: its pinned digest, or its name, stands for it.
    image = deployment.image_digest[7:19] or re.sub(r"[^\w.-]+", "_", spec.image)
    gpus = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    service = {
        "image": spec.image,
        "container_name": spec.name,
        "restart": "unless-stopped",
        "network_mode": "host",
        "ipc": "host",
        "entrypoint": [_plain(spec.entrypoint)] if spec.entrypoint else None,
        "command": [_plain(word) for word in spec.command],
        "security_opt": list(spec.security) or None,
        "environment": environment or None,
        "volumes": [_volume(mount, image) for mount in spec.mounts if mount.source not in ours],
        "configs": configs or None,
        "ulimits": {name: int(value) for name, value in spec.ulimits.items()},
        "deploy": {"resources": {"reservations": {"devices": [gpus]}}},
        "healthcheck": {
            "test": ["CMD", *(_plain(word) for word in deployment.health)],
            "interval": f"{_INTERVAL}s",
            "timeout": f"{_TIMEOUT}s",
            "retries": _RETRIES,
            "start_period": f"{deployment.ready_seconds:.0f}s",
        },
    }
    return {key: value for key, value in service.items() if value is not None}


def _from_outside(name: str) -> str:
    """A token of the hub may be missing; without another secret Compose shall not start."""
    return f"${{{name}:-}}" if name in HUB_TOKENS else f"${{{name}:?is not set}}"


def _plain(text: str) -> str:
    return text.replace("$", "$$")


def _volume(mount: Mount, image: str) -> str:
    suffix = ":ro" if mount.read_only else ""
    return f"{_plain(mount.source.replace(IMAGE_ID, image))}:{_plain(mount.target)}{suffix}"


def _config_name(mount: Mount) -> str:
    """Of the place in the container: `/Modelfile` is `modelfile`."""
    return "".join(c if c.isalnum() else "-" for c in mount.target.strip("/")).lower()

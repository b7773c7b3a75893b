"""A recipe as the user writes it: what to serve, with what, and why each choice is so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from spark_cluster.document import Document

#: docker: [registry/]name[:tag][@digest]; loose on purpose, docker itself judges the rest.
_IMAGE = re.compile(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Choice(Document):
    """A value and the reason for it. In `env`, a null value leaves the variable out, also one
    that the engine would set itself."""

    value: str | bool | int | float | None
    why: str = ""

    @property
    def text(self) -> str:
        """As a command line or an environment wants it."""
        if isinstance(self.value, bool):
            return "1" if self.value else "0"
        return str(self.value)


def _choice(value: Any) -> Any:
    return value if isinstance(value, dict | Choice) else {"value": value}


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        raise ValueError(f"{value!r} is no image name | For example nvcr.io/nvidia/vllm:25.11-py3.")
    return value


def _variables(value: Mapping[str, Choice]) -> Mapping[str, Choice]:
    for name in value:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no environment variable | Letters, digits and '_'.")
    return value


def _folder(value: str) -> str:
    """docker would take a bare name for one of its volumes."""
    if not value.startswith(("/", "~/")):
        raise ValueError(f"{value!r} is no folder on the hosts | Begin it with / or ~/.")
    return value


AnyChoice = Annotated[Choice, BeforeValidator(_choice)]
Variables = Annotated[Mapping[str, AnyChoice], AfterValidator(_variables)]


class Requires(Document):
    """What a host must have free before a launch, in GiB."""

    memory_gib: float = Field(gt=0)
    disk_gib: float = Field(default=1.0, ge=0)


class Shape(Document):
    """The numbers of the model that decide how much its ranks exchange."""

    layers: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    bytes_per_element: int = Field(default=2, gt=0)


class FileMount(Document):
    """A file that ships with the recipe, mounted read-only into every container."""

    source: str
    target: str = Field(pattern=r"^/")
    why: str = ""


class RayPorts(Document):
    """Where Ray listens on the head."""

    port: int = Field(default=6379, ge=1024, le=65535)
    dashboard_port: int = Field(default=8265, ge=1024, le=65535)


class Measured(Document):
    """What somebody saw, and where: never a promise."""

    what: str
    value: str
    where: str = ""


class Recipe(Document):
    """See playbooks/recipes/qwen3-vl-235b.yaml for a full example."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    note: str = ""
    extends: str | None = None
    engine: Literal["vllm-ray"]
    image: Annotated[str, AfterValidator(_image)]
    engine_version: str
    model: str
    nodes: int = Field(ge=1, le=8)
    rails: Literal["single", "dual"] = "single"
    port: int = Field(default=8000, ge=1024, le=65535)
    ray: RayPorts = RayPorts()
    args: Mapping[str, AnyChoice] = {}
    env: Variables = Field(default={})
    model_cache: Annotated[str, AfterValidator(_folder)] = "~/.cache/huggingface"
    files: tuple[FileMount, ...] = ()
    shm_size: str = Field(default="10.24g", pattern=r"^[0-9.]+[bkmg]$")
    requires: Requires
    shape: Shape | None = None
    ready_minutes: float = Field(default=90, gt=0)
    measured: tuple[Measured, ...] = ()
    _chain: tuple[Path, ...] = PrivateAttr(default=())

    @property
    def path(self) -> Path:
        """The file that was asked for."""
        return self._chain[0]

    @property
    def chain(self) -> tuple[Path, ...]:
        """The recipe's own file and those that it extends, nearest first."""
        return self._chain

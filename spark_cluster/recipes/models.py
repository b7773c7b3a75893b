"""A recipe as the user writes it: what to serve, with what, and why each choice is so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo

from spark_cluster.document import Document, word

#: docker: [registry/]name[:tag][@digest]; loose on purpose, docker itself judges the rest.
_IMAGE = re.compile(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?")
#: A recipe's name, which is that of its file.
NAME = r"^[a-z0-9][a-z0-9._-]*$"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


T = TypeVar("T")

EngineName = Literal["vllm-ray", "vllm-mp", "vllm", "sglang", "trtllm", "ollama"]
ONE_HOST = ("vllm", "ollama")
SEVERAL_HOSTS = ("vllm-ray", "vllm-mp", "trtllm")


class Choice(Document):
    """A value and the reason for it; a list for an argument that takes several. In `env`, a null
    value leaves the variable out, also one that the engine would set itself."""

    value: str | bool | int | float | tuple[str | int | float, ...] | None
    why: str = ""

    @property
    def text(self) -> str:
        """As a command line or an environment wants it."""
        if isinstance(self.value, bool):
            return "1" if self.value else "0"
        return " ".join(self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """As a command line wants it, behind the argument's name."""
        if isinstance(self.value, tuple):
            return tuple(map(str, self.value))
        return (str(self.value),)


def _choice(value: Any) -> Any:
    return value if isinstance(value, dict | Choice) else {"value": value}


def image_name(value: str) -> str:
    """As it is. Raises ValueError for what docker would not take as one."""
    if not _IMAGE.fullmatch(value):
        raise ValueError(f"{value!r} is no image name | For example nvcr.io/nvidia/vllm:25.11-py3.")
    return value


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is no environment variable | Letters, digits and '_'.")
    return name


def _variables(value: Mapping[str, Choice]) -> Mapping[str, Choice]:
    for name in value:
        _variable(name)
    return value


def spelled(name: str, joint: str = "-") -> str:
    """An argument's name with `joint` for its `-` and `_`; behind a dot is a field's name."""
    first, dot, rest = name.partition(".")
    return re.sub("[-_]", joint, first) + dot + rest


def spell(args: Mapping[str, T], joint: str = "-") -> dict[str, T]:
    """The arguments, so spelled. One that would take another's name keeps its own."""
    found: dict[str, T] = {}
    for name, value in args.items():
        one = spelled(name, joint)
        is_taken = one in found or one in args
        found[name if is_taken else one] = value
    return found


def _arguments(args: Mapping[str, Choice], info: ValidationInfo) -> Mapping[str, Choice]:
    """As the engine's own command line has them: with underscores for TensorRT-LLM, with dashes for
    the others. A recipe may write either."""
    joint = "_" if info.data.get("engine") == "trtllm" else "-"
    found = spell(args, joint)
    for name in found:
        if name != spelled(name, joint):
            message = f"{name} and {spelled(name, joint)} are one argument"
            raise ValueError(f"{message} | Write it once.")
    return found


def _overlaid(overlays: Mapping[str, Overlay], info: ValidationInfo) -> Mapping[str, Overlay]:
    return {
        name: overlay.model_copy(update={"args": _arguments(overlay.args, info)})
        for name, overlay in overlays.items()
    }


def _folder(value: str) -> str:
    """docker would take a bare name for one of its volumes."""
    if not value.startswith(("/", "~/")):
        raise ValueError(f"{value!r} is no folder on the hosts | Begin it with / or ~/.")
    return value


def _hosts(nodes: int, info: ValidationInfo) -> int:
    """Some engines know one host only, some need several."""
    engine = info.data.get("engine")
    if engine in ONE_HOST and nodes != 1:
        raise ValueError(f"{engine} serves on one host | Write nodes: 1, or take another engine.")
    if engine in SEVERAL_HOSTS and nodes == 1:
        raise ValueError(f"{engine} joins several hosts | For one host: engine: vllm.")
    return nodes


def _drafts(args: Mapping[str, Choice]) -> Iterator[Draft]:
    """What the arguments call a draft; a value that is no JSON is lint's to tell."""
    for name, choice in args.items():
        match spelled(name):
            case "speculative-config":
                try:
                    given = json.loads(choice.text)
                except ValueError:
                    continue
                if isinstance(given, dict) and isinstance(given.get("model"), str):
                    yield Draft(model=given["model"], revision=str(given.get("revision") or "main"))
            case "speculative-draft-model-path" | "speculative-draft-model" | "spec-model":
                told = args.get(f"{name.removesuffix('-path')}-revision")
                yield Draft(model=choice.text, revision=told.text if told else "main")


AnyChoice = Annotated[Choice, BeforeValidator(_choice)]
VariableName = Annotated[str, AfterValidator(_variable)]
Variables = Annotated[Mapping[str, AnyChoice], AfterValidator(_variables)]


class Requires(Document):
    """What a host must have free before a launch, in GiB. `download_gib` comes on top of the disk
    while the model is not there and the engine may fetch it."""

    memory_gib: float = Field(gt=0)
    disk_gib: float = Field(default=1.0, ge=0)
    download_gib: float = Field(default=0.0, ge=0)


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


class HostFolder(Document):
    """A folder or file of the hosts in every container; `~/` is the SSH user's home."""

    source: Annotated[str, AfterValidator(_folder)]
    target: str = Field(pattern=r"^/[^:]+$")
    read_only: bool = False
    why: str = ""


class Draft(Document):
    """A second model, which guesses tokens for the first: named by the engine's own argument."""

    model: str
    revision: str = "main"


class Overlay(Document):
    """A profile or an option: what it changes in the recipe, and why.

    `args` and `env` go over the recipe's own; a null value leaves one out.
    """

    why: str
    args: Mapping[str, AnyChoice] = {}
    env: Variables = Field(default={})
    rails: Literal["single", "dual"] | None = None


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
    """See playbooks/recipes/qwen3-vl-235b.yaml for a full example.

    `served_name` is what clients call the model, if not `model`. `rendezvous_port` is where the
    ranks of an engine without Ray find each other on the head; each engine has its usual one.
    `profiles` exclude each other, `options` do not. `known_broken` says why a launch fails today.
    `secrets` are variables for the container, from the controller's environment or from
    `secrets_file` on the node. `image_digest` is what the image's tag must mean. `security` are
    docker's --security-opt, `nofile` its limit of open files, `mounts` folders of the hosts.
    `compile_caches` are folders of the container that are kept on each host, by recipe, rank and
    image. `rank_env` goes over `env` for single ranks. `swap: on` is for a model that loads only
    with swap. `model_path` is the model's folder in the containers, where `mounts` bring it and not
    the cache. `mods` are scripts that change the image: a launch names one that they changed.
    `clear_entrypoint` is for an image whose ENTRYPOINT would take our command for its arguments.
    `source` says where the arguments come from, `ran` on which Sparks this project ran them: empty
    means on none.
    """

    name: str = Field(pattern=NAME)
    title: str
    note: str = ""
    extends: str | None = None
    engine: EngineName
    image: Annotated[str, AfterValidator(image_name)]
    engine_version: str
    model: str
    nodes: Annotated[int, Field(ge=1, le=8), AfterValidator(_hosts)]
    rails: Literal["single", "dual"] = "single"
    port: int = Field(default=8000, ge=1024, le=65535)
    ray: RayPorts = RayPorts()
    served_name: str = ""
    rendezvous_port: int | None = Field(default=None, ge=1024, le=65535)
    args: Annotated[Mapping[str, AnyChoice], AfterValidator(_arguments)] = {}
    env: Variables = Field(default={})
    image_digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    rank_env: Mapping[int, Variables] = {}
    security: tuple[Annotated[str, Field(pattern=r"^[a-z-]+[=:][\w./:-]+$")], ...] = ()
    nofile: int | None = Field(default=None, ge=1024, le=1073741816)
    mounts: tuple[HostFolder, ...] = ()
    clear_entrypoint: bool = False
    model_path: str = Field(default="", pattern=r"^(/[\w./-]+)?$")
    mods: tuple[Annotated[str, Field(pattern=r"^[\w][\w./-]*$")], ...] = ()
    compile_caches: tuple[Annotated[str, Field(pattern=r"^/[\w./-]+$")], ...] = ()
    swap: Annotated[Literal["off", "on"], BeforeValidator(word)] = "off"
    source: str = ""
    ran: str = ""
    model_cache: Annotated[str, AfterValidator(_folder)] = "~/.cache/huggingface"
    files: tuple[FileMount, ...] = ()
    shm_size: str = Field(default="10.24g", pattern=r"^[0-9.]+[bkmg]$")
    requires: Requires
    shape: Shape | None = None
    ready_minutes: float = Field(default=90, gt=0)
    first_token_minutes: float = Field(default=3, gt=0)
    profiles: Annotated[Mapping[str, Overlay], AfterValidator(_overlaid)] = {}
    options: Annotated[Mapping[str, Overlay], AfterValidator(_overlaid)] = {}
    known_broken: str = ""
    secrets: tuple[VariableName, ...] = ()
    secrets_file: Annotated[str, AfterValidator(_folder)] = "~/.config/spark-cluster/env"
    measured: tuple[Measured, ...] = ()
    _chain: tuple[Path, ...] = PrivateAttr(default=())
    _asked: str = PrivateAttr(default="")
    _tool: str = PrivateAttr(default="")
    _typed: Mapping[tuple[str | int, ...], str] = PrivateAttr(default={})

    @property
    def path(self) -> Path:
        """The file that was asked for."""
        return self._chain[0]

    @property
    def chain(self) -> tuple[Path, ...]:
        """The recipe's own file and those that it extends, nearest first."""
        return self._chain

    def typed_as(self, typed: Mapping[tuple[str | int, ...], str]) -> Recipe:
        """A copy that knows which of its fields an option of the command line gave."""
        copy = self.model_copy()
        copy._typed = dict(typed)
        return copy

    def typed(self, loc: tuple[str | int, ...]) -> str:
        """The option that gave this field; empty if it stands in a file."""
        return self._typed.get(loc, "")

    @property
    def asked(self) -> str:
        """What commands call it: its name, or the file as it was given."""
        return self._asked or self.name

    @property
    def tool(self) -> str:
        """The tool in whose format the recipe's own file is; empty for ours."""
        return self._tool

    @property
    def revision(self) -> str:
        """The branch, tag or commit of the model that the engine is told to serve."""
        given = self.args.get("revision")
        return "main" if given is None or given.value in (None, False) else given.text

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The models beside `model` that the engine loads, as its arguments name them: in vLLM's
        speculative-config, or by SGLang's speculative-draft-model-path. One that names the model
        itself, or a folder of it, is none."""
        found = list(_drafts(self.args))
        return tuple(each for each in found if "/" in each.model and each.model != self.model)

    @property
    def client_model(self) -> str:
        """The model's name in requests."""
        return self.served_name or self.served_argument or self.model

    @property
    def served_argument(self) -> str:
        """The name that an argument of the engine gives the model, empty if none does."""
        given = (self.args.get(name) for name in ("served-model-name", "served_model_name"))
        return next((choice.words[0] for choice in given if choice and choice.value), "")

    @property
    def downloads(self) -> bool:
        """Whether the engine may fetch a model that is not there."""
        offline = self.env.get("HF_HUB_OFFLINE")
        return offline is None or offline.value in (None, False, 0, "0", "")

"""What a service is: a folder here with service.yaml, and a compose file or a systemd unit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from spark_cluster.core.data_files import parse_yaml, read_text
from spark_cluster.document import Document
from spark_cluster.services.compose import MARK, compose_file, filled

#: In a folder that we made: without it, what is in there was somebody's before us.
FOLDER_MARK = ".spark-cluster"

_LOOPBACK = "127.0.0.1"

#: On all addresses of the host, on its loopback only, or as the service does by itself.
Listen = Literal["", "all", "local"]


class Generated(Document):
    """A secret: random bytes as hex after a prefix, made on the host once, kept for ever."""

    name: str = Field(pattern="^[A-Z][A-Z0-9_]*$")
    size: int = Field(default=32, ge=8)
    prefix: str = ""


class Service(Document):
    """`folder`, `env_file` and `main_file` (compose file or unit) are in the SSH user's home.

    `name` is the folder's, `template` the text of `file` in it, and `parts` the names of its
    compose services. `port` is the one to look at, `ports` are all that the host must have free;
    `health` is a path that answers 200. A unit runs `package` of this `version`, in a virtual
    environment. `limits` is told at every `up`. `login` says how to come in: {host} and {env} are
    filled in. `local`: it listens on the loopback only unless told otherwise.
    """

    name: str
    kind: Literal["compose", "unit"]
    file: str
    template: str
    parts: tuple[str, ...] = ()
    port: int
    ports: tuple[int, ...]
    health: str = Field(pattern="^/")
    folder: str = Field(pattern="^~/")
    main_file: str = Field(pattern="^~/")
    env_file: str = Field(pattern="^~/")
    secrets: tuple[Generated, ...]
    limits: tuple[str, ...]
    login: tuple[str, ...]
    package: str = ""
    version: str = ""
    local: bool = False

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Service:
        if bool(self.package and self.version) != (self.kind == "unit"):
            raise ValueError("a unit, and no compose file, has package and version")
        if self.port not in self.ports:
            raise ValueError("port is one of ports")
        return self

    @property
    def venv(self) -> str:
        """The virtual environment of a unit."""
        return f"{self.folder}/venv"

    def listen(self, wanted: Listen) -> str:
        """The address to listen on: the service's own default if nothing is wanted."""
        local = self.local if not wanted else wanted == "local"
        return _LOOPBACK if local else "0.0.0.0"

    def render(self, listen: str, address: str) -> str:
        """The main file, for an address to listen on and an address to be reached at."""
        values = {"LISTEN": listen, "ADDRESS": reached(listen, address)}
        if self.kind == "compose":
            return compose_file(self.name, self.template, values)
        return f"{MARK} {self.name} up`.\n{filled(self.template, values)}"


def load(name: str) -> Service:
    """The service of the folder `name`. Raises pydantic's ValidationError."""
    fields = parse_yaml(read_text("spark_cluster.services", name, "service.yaml"))
    template = read_text("spark_cluster.services", name, fields["file"])
    parts = tuple(parse_yaml(template)["services"]) if fields["kind"] == "compose" else ()
    return Service.model_validate({"name": name, "template": template, "parts": parts, **fields})


def reached(listen: str, address: str) -> str:
    """What a browser calls the host: on its loopback, it comes through `ssh -L`."""
    return "localhost" if listen == _LOOPBACK else address

"""What a service is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

#: In the first line of each file of ours: a file without it belongs to somebody else.
MARK = "# Written by `spark-cluster services"

#: On our containers: the digest of the compose file that they were made from. On our volumes: the
#: service's name, for a label that changes would make compose want another volume.
LABEL = "spark-cluster.service"

#: In a folder that we made: without it, what is in there was somebody's before us.
FOLDER_MARK = ".spark-cluster"

_LOOPBACK = "127.0.0.1"

#: On all addresses of the host, on its loopback only, or as the service does by itself.
Listen = Literal["", "all", "local"]


@dataclass(frozen=True)
class Generated:
    """A secret: random bytes as hex after a prefix, made on the host once, kept for ever."""

    name: str
    size: int = 32
    prefix: str = ""


@dataclass(frozen=True)
class Service:
    """`folder`, `env_file` and `main_file` (compose file or unit) are in the SSH user's home.

    `port` is the one to look at, `ports` are all that the host must have free; `health` is a path
    that answers 200. `render` gives the main file for an address to listen on and an address to be
    reached at. `parts` are the names of the compose services. `limits` is told at every `up`.
    `login` says how to come in: {host} and {env} are filled in.
    """

    name: str
    kind: Literal["compose", "unit"]
    port: int
    ports: tuple[int, ...]
    health: str
    folder: str
    main_file: str
    env_file: str
    secrets: tuple[Generated, ...]
    render: Callable[[str, str], str]
    limits: tuple[str, ...]
    login: tuple[str, ...]
    parts: tuple[str, ...] = ()
    local: bool = False

    def listen(self, wanted: Listen) -> str:
        """The address to listen on: the service's own default if nothing is wanted."""
        local = self.local if not wanted else wanted == "local"
        return _LOOPBACK if local else "0.0.0.0"


def reached(listen: str, address: str) -> str:
    """What a browser calls the host: on its loopback, it comes through `ssh -L`."""
    return "localhost" if listen == _LOOPBACK else address


def env(values: Mapping[str, str]) -> dict[str, str]:
    """Variables whose value is a secret of the same name: `{"A": "B"}` is A=${B}."""
    return {name: "${" + secret + "}" for name, secret in values.items()}

"""What a container registry says of an image, asked as docker would ask it: the size of its layers.

Also who this node is to a registry: what `docker login` left in the SSH user's home, or root's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib import error, parse, request

from spark_cluster.transfer.node import files
from spark_cluster.transfer.node.files import Failed

#: What `docker.io` means, and under which name docker login keeps its password (docker's
#: registry/config.go).
_HUB, _HUB_LOGIN = "registry-1.docker.io", "https://index.docker.io/v1/"
_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
#: The machine's name in the kernel's words and in the registry's.
_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
_SECONDS = 30


@dataclass(frozen=True)
class Reference:
    """An image's name taken apart: `reference` is a digest, else a tag."""

    host: str
    path: str
    reference: str

    @property
    def url(self) -> str:
        """Without TLS on loopback alone, as docker does."""
        loopback = re.fullmatch(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?", self.host)
        return f"{'http' if loopback else 'https'}://{self.host}/v2/{self.path}"

    @property
    def login(self) -> str:
        """The registry's name in docker's config.json."""
        return _HUB_LOGIN if self.host == _HUB else self.host


def reference(image: str) -> Reference:
    """docker's rule: the first part is a registry if it has a dot or a port, or is localhost."""
    name, _, digest = image.partition("@")
    first, slash, rest = name.partition("/")
    if not slash or not (re.search(r"[.:]", first) or first == "localhost"):
        first, rest = "docker.io", name
    path, colon, tag = rest.rpartition(":")
    path, tag = (path, tag) if colon and "/" not in tag else (rest, "")
    host = first
    if host in ("docker.io", "index.docker.io"):
        host = _HUB
        path = path if "/" in path else f"library/{path}"
    return Reference(host, path, digest or tag or "latest")


# Who this node is


def credentials(login: str) -> tuple[str, str]:
    """User and password or token for a registry; empty: nobody."""
    for home in dict.fromkeys((os.environ.get("SPARK_HOME", ""), os.environ.get("HOME", ""))):
        try:
            text = (Path(home) / ".docker/config.json").read_text(encoding="utf-8")
            found = _configured(json.loads(text), login)
        except (OSError, subprocess.SubprocessError):
            continue
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if found[1]:
            return found
    return "", ""


def _configured(config: dict[str, Any], login: str) -> tuple[str, str]:
    helper = config.get("credHelpers", {}).get(login) or config.get("credsStore")
    if helper:
        asked = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=login, capture_output=True, text=True,
            timeout=_SECONDS, **files.as_user(),
        )  # fmt: skip
        if asked.returncode == 0:
            said = json.loads(asked.stdout)
            return str(said["Username"]), str(said["Secret"])
    kept = config.get("auths", {}).get(login, {}).get("auth", "")
    user, _, password = base64.b64decode(kept).decode().partition(":")
    return user, password


def docker_header(image: str) -> dict[str, str]:
    """X-Registry-Auth, with which docker's API is told who pulls; nothing for nobody."""
    login = reference(image).login
    user, password = credentials(login)
    if not password:
        return {}
    said = {"username": user, "password": password, "serveraddress": login}
    if user == "<token>":
        said = {"identitytoken": password, "serveraddress": login}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}


# What it says of an image


def layer_bytes(image: str) -> int:
    """Bytes of the image's layers for this machine, each once, as they travel (packed).

    Raises Failed.
    """
    where = reference(image)
    try:
        headers = {"Accept": ", ".join(_TYPES)}
        manifest, headers = _manifest(where, where.reference, headers)
        if "manifests" in manifest:
            manifest, _ = _manifest(where, _for_this_machine(image, manifest), headers)
        return sum({layer["digest"]: int(layer["size"]) for layer in manifest["layers"]}.values())
    except error.HTTPError as refused:
        denied = refused.code in (401, 403)
        why = "wants a login" if denied else f"says HTTP {refused.code}"
        raise Failed("no-image", f"{image}: {where.host} {why}") from None
    except (OSError, HTTPException) as failed:
        raise Failed("registry", f"{where.host} does not answer as a registry: {failed}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Failed("registry", f"{where.host} does not answer as a registry") from None


def _for_this_machine(image: str, index: dict[str, Any]) -> str:
    machine = os.uname().machine
    wanted = _ARCHITECTURES.get(machine, machine)
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        if platform.get("os") == "linux" and platform.get("architecture") == wanted:
            return str(entry["digest"])
    raise Failed("no-image", f"{image} has no image for {wanted}")


def _manifest(
    where: Reference, named: str, headers: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The manifest, and the headers with which the registry gave it."""
    url = f"{where.url}/manifests/{named}"
    try:
        body = _get(url, headers)
    except error.HTTPError as refused:
        if refused.code != 401:
            raise
        headers = {**headers, **_let_in(where, refused.headers.get("WWW-Authenticate", ""))}
        body = _get(url, headers)
    if named.startswith("sha256:") and hashlib.sha256(body).hexdigest() != named[7:]:
        raise Failed("digest", f"{where.host}/{where.path}: what it gives as {named} is not that")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("no manifest")
    return found, headers


def _let_in(where: Reference, challenge: str) -> dict[str, str]:
    """The header that a registry asks for (docs: Docker Registry Token Authentication)."""
    user, password = credentials(where.login)
    basic = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    own = {"Authorization": basic} if password else {}
    kind, _, fields = challenge.partition(" ")
    if kind.lower() != "bearer":
        return own
    said = dict(re.findall(r'(\w+)="([^"]*)"', fields))
    asks = {"service": said.get("service", ""), "scope": f"repository:{where.path}:pull"}
    answer = json.loads(_get(f"{said['realm']}?{parse.urlencode(asks)}", own))
    return {"Authorization": f"Bearer {answer.get('token') or answer['access_token']}"}


def _get(url: str, headers: dict[str, str]) -> bytes:
    asked = request.Request(url)
    for name, value in headers.items():
        asked.add_unredirected_header(name, value)  # a password is for nobody else
    with request.urlopen(asked, timeout=_SECONDS) as answer:
        return bytes(answer.read())

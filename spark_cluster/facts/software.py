"""Versions that must be the same on every host: the container toolkit and the images."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines


@dataclass(frozen=True)
class Image:
    """`id` is the content's, `digest` the registry's (empty for one that was built or loaded)."""

    id: str
    digest: str = ""


@dataclass(frozen=True)
class SoftwareFact:
    """`toolkit` is nvidia-container-toolkit's version, empty if it is not there. `images` is by
    `repository:tag`."""

    toolkit: str = ""
    images: dict[str, Image] = field(default_factory=dict)


def _script(_: ProbeContext) -> str:
    template = quote("image {{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}}")
    return f"""\
nvidia-ctk --version 2>/dev/null | sed 's/^/toolkit /'
docker image ls --no-trunc --digests --format {template} 2>/dev/null
true
"""


_VERSION = re.compile(r"version v?(\d[\w.+~-]{0,40})", re.ASCII)


def parse(text: str) -> SoftwareFact:
    lines = Lines(text)
    versions = (_VERSION.search(rest) for rest in lines.every("toolkit"))
    images: dict[str, Image] = {}
    for rest in lines.every("image"):
        name, content, digest = (*rest.split(), "", "", "")[:3]
        if content and "<none>" not in name:
            images[name] = Image(content, digest.removeprefix("<none>"))
    return SoftwareFact(next((found[1] for found in versions if found), ""), images)


SOFTWARE = Fact("software", _script, parse)

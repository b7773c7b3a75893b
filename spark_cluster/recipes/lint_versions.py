"""What vLLM's releases added and dropped, what its images hold, how its arguments are spelt, as far
as recipes have to do with it: vllm.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Literal

from packaging.version import InvalidVersion, Version

from spark_cluster.core.data_files import read_yaml
from spark_cluster.document import Document


class Row(Document):
    """Variables or arguments of vLLM that came or went together. `instead` is what to write in
    their place, `effect` what happens to who writes them all the same, `source` who saw it."""

    kind: Literal["env", "args"]
    names: tuple[str, ...]
    since: str | None = None
    gone: str | None = None
    instead: str = ""
    effect: str
    source: str


class WheelNccl(Document):
    """The NCCL in the wheels of the releases from `first` to `last`."""

    first: str
    last: str
    nccl: str


class Vllm(Document):
    """The file; its comments say what each field means and who says so."""

    releases: tuple[Row, ...]
    mp_over_hosts: str
    ray_explicit: str
    ray_not_required: str
    ngc_releases: Mapping[str, str]
    ngc_without_ray: str
    wheel_nccl: tuple[WheelNccl, ...]
    fork_variables: tuple[str, ...]
    fork_arguments: tuple[str, ...]
    fork_value: str
    common_arguments: tuple[str, ...]
    short_names: Mapping[str, str]
    switches: tuple[str, ...]
    collected: tuple[str, ...]
    lists: tuple[str, ...]

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Each name with its row."""
        return ((name, row) for row in self.releases for name in row.names)


@cache
def vllm() -> Vllm:
    """What is known of vLLM."""
    return read_yaml(Vllm, "spark_cluster.recipes", "vllm.yaml")


#: NVIDIA's image, also in a registry that mirrors it.
_NGC = re.compile(r"(?:\S+/)?nvidia/vllm:(\d\d\.\d\d)(?!\d)")

#: vLLM's own image, and the release in its tag (`v0.28.0`, `v0.24.0-ubuntu2404`).
_OPENAI = re.compile(r"(?:\S+/)?vllm/vllm-openai(?:@|:|$)")
_OPENAI_RELEASE = re.compile(r"(?:\S+/)?vllm/vllm-openai:v(\d+\.\d+\.\d+)(?![\d.])")

#: The fork local-inference-lab/vllm in eugr's images.
_FORK = re.compile(r"(?:\S+/)?\S*b12x\S*")


def ngc(image: str) -> str | None:
    """Year and month of NVIDIA's image of vLLM (`25.11`: as texts they are in order), None for any
    other image."""
    match = _NGC.match(image)
    return match[1] if match else None


def held(image: str) -> str | None:
    """The release of vLLM that the image's name tells; None if it tells none."""
    month = ngc(image)
    if month is not None:
        return vllm().ngc_releases.get(month)
    match = _OPENAI_RELEASE.match(image)
    return match[1] if match else None


def is_openai(image: str) -> bool:
    """Whether it is vLLM's own image, also in a registry that mirrors it."""
    return bool(_OPENAI.match(image))


def is_fork(image: str) -> bool:
    """Whether the image's name says that it holds the fork with the b12x kernels."""
    return bool(_FORK.fullmatch(image))


def wheel_nccl(version: Version) -> str | None:
    """The NCCL in the wheel of this release of vLLM; None if nobody has looked."""
    minor = Version(f"{version.major}.{version.minor}")
    for row in vllm().wheel_nccl:
        if Version(row.first) <= version and minor <= Version(row.last):
            return row.nccl
    return None


def release(text: str) -> Version | None:
    """The release in `0.10.1.1+381074ae.nv25.09`, without what comes after the plus; None if the
    text is no version."""
    try:
        return Version(Version(text).base_version)
    except InvalidVersion:
        return None

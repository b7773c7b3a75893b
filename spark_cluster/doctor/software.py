"""The same versions on every host. Sparks that serve together drift apart one update at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import Cluster
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import DOCKER
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.software import SOFTWARE

_VERSIONS: tuple[tuple[str, str, Callable[[Facts], str]], ...] = (
    ("HOST022", "kernel", lambda facts: facts[HOST].kernel),
    ("GPU004", "NVIDIA driver", lambda facts: facts[GPU].driver),
    ("DOCKER004", "docker", lambda facts: facts[DOCKER].version),
    ("DOCKER005", "nvidia-container-toolkit", lambda facts: facts[SOFTWARE].toolkit),
)


def versions(cluster: Cluster) -> Iterator[Finding]:
    for code, what, version in _VERSIONS:
        read = {host.name: version(facts) for host, facts in cluster.hosts()}
        yield from _odd(code, what, read)


def firmware(cluster: Cluster) -> Iterator[Finding]:
    devices = dict.fromkeys(rail.device for host, _ in cluster.hosts() for rail in host.rails)
    for device in devices:
        read = {
            host.name: facts[HARDWARE].firmware.get(device, "") for host, facts in cluster.hosts()
        }
        yield from _odd("RDMA009", f"firmware of {device}", read)


def _odd(code: str, what: str, read: Mapping[str, str]) -> Iterator[Finding]:
    """The hosts that differ from the most (from the first, if it is even)."""
    known = {host: version for host, version in read.items() if version}
    if len(set(known.values())) < 2:
        return
    usual, _ = Counter(known.values()).most_common(1)[0]
    example = next(host for host, version in known.items() if version == usual)
    for host, version in known.items():
        if version != usual:
            yield find(code, f"{what} {version}, {example} has {usual}", host=host)


def images(cluster: Cluster) -> Iterator[Finding]:
    """One tag, one content. Images that no known recipe uses are only told."""
    names = dict.fromkeys(name for _, facts in cluster.hosts() for name in facts[SOFTWARE].images)
    for name in names:
        read = {
            host.name: image
            for host, facts in cluster.hosts()
            if (image := facts[SOFTWARE].images.get(name)) is not None
        }
        first_host, first = next(iter(read.items()))
        for host, image in read.items():
            same = image.id == first.id or (image.digest and image.digest == first.digest)
            if not same:
                yield find(
                    "SERVE003",
                    f"{name} is {_short(image.id)} here and {_short(first.id)} on {first_host}",
                    severity=None if name in cluster.images else Severity.NOTE,
                    host=host,
                )


def _short(content: str) -> str:
    return content.removeprefix("sha256:")[:12]


RULES = (versions, firmware, images)

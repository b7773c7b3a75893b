"""What NCCL's logs of the running containers say: connections that broke, releases."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.doctor.catalogue import CATALOGUE, find
from spark_cluster.doctor.cluster import Cluster
from spark_cluster.doctor.finding import Finding
from spark_cluster.facts.rdma import NCCL
from spark_cluster.inventory.owners import owners
from spark_cluster.rdma import nccl_releases
from spark_cluster.rdma.nccl_events import describe, gravest
from spark_cluster.rdma.nccl_log import NcclWitness
from spark_cluster.rdma.owners import between


def _witnesses(cluster: Cluster) -> dict[str, NcclWitness]:
    found = {host.name: facts[NCCL] for host, facts in cluster.hosts()}
    return {name: witness for name, witness in found.items() if witness.says_anything}


def events(cluster: Cluster) -> Iterator[Finding]:
    """What NCCL gave up for, on the ranks that still run."""
    known = owners(cluster.inventory)
    for name, witness in _witnesses(cluster).items():
        first = gravest(witness.events)
        if first is None or first.kind.code not in CATALOGUE:
            continue
        ends = between(first.local, first.remote, known)
        what = f"NCCL's log: {describe(first)}" + (f"; {ends.removesuffix('.')}" if ends else "")
        yield find(first.kind.code, what, fix=first.kind.remedy, host=name)


def releases(cluster: Cluster) -> Iterator[Finding]:
    """Ranks whose NCCL differs; releases that are reported to hang, unless this job has ended well
    with them."""
    found = {name: w for name, w in _witnesses(cluster).items() if w.version}
    size = max((witness.nranks or 0 for witness in found.values()), default=0)
    first = next(iter(found), "")
    well = all(witness.ended_well for witness in found.values())
    for name, witness in found.items():
        if witness.version != found[first].version:
            what = f"NCCL is {witness.version} and on {first} {found[first].version}"
            yield find("RDMA035", what, host=name)
        reported = nccl_releases.told(
            witness.version, max(size, len(found)), witness.build, doubtful=False
        )
        for said in reported if not well else ():
            yield find("RDMA036", said.removesuffix("."), host=name)


RULES = (events, releases)

"""May NCCL connect the ranks of a ring? By its cables, by its subnets, by its release. Pure.

NCCL_IB_SUBNET_AWARE_ROUTING and NCCL_IB_SUBNET_PREFIX_LEN are known from NCCL 2.30.7 on (its tags;
earlier releases pass over them without a word): without them NCCL takes its first device for every
peer, and a ring's first device faces only one of them.
"""

from __future__ import annotations

from packaging.version import Version

from spark_cluster.core.error import InputError
from spark_cluster.engines.placement import Placement
from spark_cluster.inventory import rings
from spark_cluster.recipes.lint_finding import Finding, error, warning
from spark_cluster.recipes.lint_versions import ngc, release, vllm, wheel_nccl
from spark_cluster.recipes.models import Recipe

CODE = "RECIPE009"

#: The first NCCL that chooses the device by the peer's subnet.
SUBNET_AWARE = Version("2.30.7")


def refuse_equal_ports(placement: Placement, place: str) -> None:
    """Raises InputError for a ring whose cables join equal ports: no setting helps."""
    fault = rings.fault(placement.group, placement.hosts) if placement.is_ring else ""
    if fault:
        raise InputError(fault, place=place, remedy=rings.REMEDY, code=CODE)


def findings(recipe: Recipe, placement: Placement) -> tuple[Finding, ...]:
    """What is wrong with this recipe on a ring; nothing elsewhere."""
    if not placement.is_ring:
        return ()
    found = []
    if placement.prefix_length is None:
        what = (
            "no one prefix length tells the subnets of the ring's cables apart, and NCCL compares "
            "the addresses of all devices by one"
        )
        remedy = "Use the same prefix length on all cables, such as /30 or /24."
        found.append(error(("rails",), CODE, what, remedy))
    return (*found, *_release(recipe))


def _release(recipe: Recipe) -> tuple[Finding, ...]:
    needs = f"a ring needs NCCL {SUBNET_AWARE} or newer, which chooses the cable by the subnet"
    version = release(recipe.engine_version) if recipe.engine.startswith("vllm") else None
    wheels = vllm().wheel_nccl
    own = version is None or ngc(recipe.image) is not None
    holds = None if own or version is None else wheel_nccl(version)
    if own or version is None or (holds is None and version >= Version(wheels[0].first)):
        what = f"{needs}; which NCCL {recipe.image} holds is not known"
        remedy = (
            f"Ask it: `docker run --rm --gpus all {recipe.image} python3 -c 'import torch; "
            "print(torch.cuda.nccl.version())'`."
        )
        return (warning(("image",), CODE, what, remedy),)
    if holds is not None and Version(holds) >= SUBNET_AWARE:
        return ()
    what = (
        f"{needs}, and vLLM {version} comes with {holds or f'one before {wheels[0].nccl}'}: it "
        "would connect ports that share no cable, and end with `ibv_modify_qp` error 110"
    )
    remedy = (
        f"Use an image with vLLM {wheels[-1].first} or newer; if this one has a newer NCCL, "
        "launch it with --anyway."
    )
    return (error(("image",), CODE, what, remedy),)

"""The rules of lint.py about NCCL's environment (engines/nccl.py makes it; recipes go over it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from spark_cluster.recipes.lint_finding import Finding, error, warning
from spark_cluster.recipes.models import Recipe

#: GPUDirect does not work on a GB10; NCCL_NET_GDR_C2C is 1 since 2.27 and goes over the level.
_GDR_OFF = {"NCCL_NET_GDR_LEVEL": "LOC", "NCCL_NET_GDR_C2C": "0", "NCCL_DMABUF_ENABLE": "0"}

#: What the engines take from the inventory, for each host its own.
_PER_HOST = (
    "NCCL_IB_HCA", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME",
    "UCX_NET_DEVICES", "OMPI_MCA_btl_tcp_if_include", "MN_IF_NAME",
)  # fmt: skip


def _text(recipe: Recipe, name: str) -> str | None:
    """The value that a rank gets from the recipe; None if it is absent or null."""
    choice = recipe.env.get(name)
    return None if choice is None or choice.value is None else choice.text


def gid_index(recipe: Recipe) -> Iterator[Finding]:
    name = "NCCL_IB_GID_INDEX"
    given = _text(recipe, name)
    if given is not None:
        what = (
            f"{name} is pinned to {given!r}: the index differs between hosts and moves when a link "
            "flaps, vLLM copies the driver's value to every worker, and an empty value is 0"
        )
        remedy = "Remove it: NCCL finds the GID by RoCE version, address family and network."
        source = "nccl issues 1333 and 2157"
        yield error(("env", name), "RECIPE004", what, remedy, source)


def transport(recipe: Recipe) -> Iterator[Finding]:
    name = "NCCL_NET"
    if name in recipe.env and _text(recipe, name) in (None, ""):
        what = (
            "NCCL_NET is left out while NCCL_IB_HCA is set: without a usable device NCCL 2.28.9 "
            "fell back to sockets, and the job succeeded four to eight times slower"
        )
        yield error(("env", name), "RECIPE004", what, "Remove the line: it is IB then.")
    elif _text(recipe, name) not in (None, "IB"):
        what = f"NCCL_NET is {_text(recipe, name)}: the ranks will not use RDMA"
        remedy = "Remove the line, unless a measurement over sockets is what you want."
        yield warning(("env", name), "RECIPE004", what, remedy)
    if _text(recipe, "NCCL_IB_DISABLE") not in (None, "0", ""):
        what = "NCCL_IB_DISABLE switches RDMA off, and NCCL_NET=IB then fails at once"
        yield error(("env", "NCCL_IB_DISABLE"), "RECIPE004", what, "Remove it.")


def gpu_direct(recipe: Recipe) -> Iterator[Finding]:
    for name, off in _GDR_OFF.items():
        if name not in recipe.env or _text(recipe, name) == off:
            continue
        said = _text(recipe, name)
        what = (
            f"{name} is {said if said is not None else 'left out'}: GPUDirect does not work on a "
            f"GB10, and only all three of {', '.join(_GDR_OFF)} turn it off"
        )
        yield error(("env", name), "RECIPE004", what, f"Remove the line: it is {off}.")


def per_host(recipe: Recipe) -> Iterator[Finding]:
    for name in _PER_HOST:
        given = _text(recipe, name)
        if given is not None:
            what = f"{name} is {given!r} on every host, whichever port its cable is in"
            remedy = "Remove it: each rank gets its own from the inventory."
            yield warning(("env", name), "RECIPE004", what, remedy)
    if _text(recipe, "VLLM_HOST_IP") is not None:
        what = "VLLM_HOST_IP gives all ranks one address"
        remedy = "Remove it: each rank gets its own."
        yield error(("env", "VLLM_HOST_IP"), "RECIPE004", what, remedy)


def plugin(recipe: Recipe) -> Iterator[Finding]:
    name = "NCCL_NET_PLUGIN"
    given = _text(recipe, name)
    net = _text(recipe, "NCCL_NET") if "NCCL_NET" in recipe.env else "IB"
    if given not in (None, "", "none") and net == "IB":
        what = f"{name} is {given}, and with NCCL_NET=IB NCCL's own transport is used, not a plugin"
        remedy = "Remove it. To try a plugin, set NCCL_NET to the name that the plugin has, too."
        yield warning(("env", name), "RECIPE004", what, remedy)


def log_file(recipe: Recipe) -> Iterator[Finding]:
    name = "NCCL_DEBUG_FILE"
    if _text(recipe, name) not in (None, ""):
        what = (
            f"{name} takes NCCL's lines out of docker's log: launch, verify-rdma and doctor read "
            "them there"
        )
        yield warning(("env", name), "RECIPE004", what, "Remove it.")


NCCL_RULES: tuple[Callable[[Recipe], Iterator[Finding]], ...] = (
    gid_index,
    transport,
    gpu_direct,
    per_host,
    plugin,
    log_file,
)

"""TensorRT-LLM: mpirun in the head's container starts a rank in each, over an sshd of their own.

Source: NVIDIA's guide to TensorRT-LLM on two Sparks (container, variables, commands). Not from
there: who may log in. The guide mounts the user's whole ~/.ssh everywhere; here the head has the
key that `spark-cluster mesh` made on its host, and a worker only the list of whom it lets in. No
private key leaves its host, none is in an image or in this repository.
"""

from __future__ import annotations

from collections.abc import Mapping

from spark_cluster.engines import common
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment, HostFile, Mount
from spark_cluster.recipes.models import Recipe

#: The key of `spark-cluster mesh` (facts/mesh.py, which stands above this module).
_KEY = "~/.ssh/id_ed25519_spark_cluster"

_SSHD_PORT = 2233
_ETC = "/etc/spark-cluster"

#: Waits for `docker exec`, and ends at once when docker says so.
_HEAD = "trap exit TERM; sleep infinity & wait"


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    port = recipe.rendezvous_port or _SSHD_PORT
    ssh = _ssh_files(placement, port)
    ranks = [
        common.Rank(
            "trtllm",
            ("sh", "-c", _HEAD) if rank == 0 else ("sh", f"{_ETC}/worker.sh"),
            _environment(placement, rank),
            (recipe.port,) if rank == 0 else (port,),
            ssh[rank],
            _keys(rank),
        )
        for rank in range(recipe.nodes)
    ]
    return common.deploy(
        recipe,
        placement,
        run,
        contents,
        ranks,
        serve=_serve_command(recipe),
        serve_name="trtllm-serve",
        needs_ssh=True,
    )


def _ssh_files(placement: Placement, port: int) -> list[dict[str, HostFile]]:
    """What each rank's container needs to reach the others, or to be reached. A session of sshd
    begins with an empty environment: it takes the container's, of its own rank."""
    addresses = [placement.address(rank) for rank in range(len(placement.hosts))]
    config = common.shipped("trtllm_ssh_config", PORT=str(port)) + "".join(
        f"Host {address}\n    HostKeyAlias {address}\n" for address in addresses[1:]
    )
    head = {"hostfile": "".join(f"{address}\n" for address in addresses), "ssh_config": config}
    workers = [
        {
            "sshd_config": common.shipped("trtllm_sshd_config", PORT=str(port), ADDRESS=address),
            "worker.sh": common.shipped("trtllm_worker.sh"),
        }
        for address in addresses[1:]
    ]
    return [
        {f"{_ETC}/{name}": common.host_file(name, text) for name, text in rank.items()}
        for rank in (head, *workers)
    ]


def _keys(rank: int) -> tuple[Mount, ...]:
    """The head's key and whom it knows; a worker's own host key and whom it lets in."""
    head = {_KEY: "key", "~/.ssh/known_hosts": "known_hosts"}
    worker = {
        "/etc/ssh/ssh_host_ed25519_key": "host_key.mounted",
        "~/.ssh/authorized_keys": "authorized_keys",
    }
    sources = head if rank == 0 else worker
    return tuple(Mount(source, f"{_ETC}/{name}", True) for source, name in sources.items())


def _environment(placement: Placement, rank: int) -> dict[str, str]:
    interface = placement.sockets[rank].interface
    return {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_orte_default_hostfile": f"{_ETC}/hostfile",
        "OMPI_MCA_rmaps_ppr_n_pernode": "1",
        "OMPI_MCA_oob_tcp_if_include": interface,
        "OMPI_MCA_plm_rsh_args": f"-F {_ETC}/ssh_config",
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
    }


def _serve_command(recipe: Recipe) -> tuple[str, ...]:
    return (
        *("mpirun", "trtllm-llmapi-launch", "trtllm-serve", recipe.model),
        *common.flags(recipe),
        # TensorRT-LLM calls the model as it was asked for it, and older ones lack the flag.
        *(common.served_name(recipe, "served_model_name") if recipe.served_name else ()),
        *("--host", "0.0.0.0", "--port", str(recipe.port)),
    )

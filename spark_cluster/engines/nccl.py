"""The NCCL environment and the container flags that RDMA needs, the same for every engine.

Sources: NCCL 2.30.7 (src/transport/net_ib), NVIDIA's DGX Spark guides, measurements of two Sparks
in January 2026. They must be in the container's own environment: Ray's workers inherit that, not
the environment of the shell that starts the server.
"""

from __future__ import annotations

from spark_cluster.engines.placement import Placement

#: Without all three NCCL uses sockets even on a healthy fabric.
RDMA_DEVICES = ("/dev/infiniband",)
RDMA_CAPABILITIES = ("IPC_LOCK",)

#: Locked memory is for RDMA. Open files are for the engines, which open one per shard, connection
#: and library: containerd 2.1.5 gives containers 1024, where 1048576 was usual (docker's notes of
#: 29.0.0).
ULIMITS = {"memlock": "-1", "stack": "67108864", "nofile": "1048576"}


def environment(placement: Placement, rank: int) -> dict[str, str]:
    """The variables of one rank: only this rank's devices, only the chosen rails, GDR off.

    NCCL_IB_GID_INDEX is left out: the index differs between hosts and moves when addresses come and
    go, and vLLM copies the driver's value over every worker's. NCCL picks the GID itself by RoCE
    version, address family and (on a single rail) the rail's network.

    In a ring each port faces another host: NCCL must neither take two ports for one device
    (NCCL_IB_MERGE_NICS) nor connect by a port that does not face the peer, which ends in
    `ibv_modify_qp` 110. NCCL_IB_SUBNET_AWARE_ROUTING sees to that, by as many bits of the address
    as NCCL_IB_SUBNET_PREFIX_LEN says (24 if it says nothing). Both are known from NCCL 2.30.7 on
    only; rings.py says what that means for a recipe.
    """
    rails = placement.rails[rank]
    interface = placement.sockets[rank].interface
    variables = {
        "NCCL_NET": "IB",
        "NCCL_NET_PLUGIN": "none",
        "NCCL_IB_HCA": "=" + ",".join(f"{rail.device}:1" for rail in rails),
        "NCCL_IB_ROCE_VERSION_NUM": "2",
        "NCCL_IB_ADDR_FAMILY": "AF_INET",
        "NCCL_NET_GDR_LEVEL": "LOC",
        "NCCL_NET_GDR_C2C": "0",
        "NCCL_DMABUF_ENABLE": "0",
        "NCCL_SOCKET_IFNAME": interface,
        "GLOO_SOCKET_IFNAME": interface,
        "TP_SOCKET_IFNAME": interface,
        "UCX_NET_DEVICES": interface,
        "OMPI_MCA_btl_tcp_if_include": interface,
        "MN_IF_NAME": interface,
    }
    if len(placement.networks) == 1:
        variables["NCCL_IB_ADDR_RANGE"] = str(rails[0].network)
    else:
        variables["NCCL_IB_SUBNET_AWARE_ROUTING"] = "1"
        if placement.prefix_length is not None:
            variables["NCCL_IB_SUBNET_PREFIX_LEN"] = str(placement.prefix_length)
    if placement.is_ring:
        variables["NCCL_IB_MERGE_NICS"] = "0"
    return variables

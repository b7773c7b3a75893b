"""The diagnoses of what a job's log and ib_write_bw tell: code, title, why it matters, how it is
mended.

Apart from core/diagnosis.py for its length; read them there.
"""

from __future__ import annotations

ENTRIES: tuple[tuple[str, str, str, str], ...] = (
    (
        "RDMA020",
        "A half delivers far less than its link",
        "The link reports its full speed and a measurement with ib_write_bw reached less than half "
        "of what such a half delivers (92 to 112 Gb/s at 200 Gb/s), or far less than the other "
        "halves. Link speed is no proof. At some 13 Gb/s under clean counters it is most likely a "
        "NIC that came back to the bus while the host ran (NET026), as several owners report; "
        "cable and switch were not it.",
        "Make sure that nothing else used the link (`spark-cluster status`) and measure again. "
        "Then disarm the hotplug on all hosts (`mv /etc/nvidia/cx7-hotplug-enabled "
        "/etc/nvidia/cx7-hotplug-enabled.off`), shut all down with the cables in, start them "
        "together, and measure again. If it stays, compare the half's PCIe width and speed "
        "(`lspci -vv`) with the other host's. Another cable comes last, and with the hosts off.",
    ),
    (
        "RDMA021",
        "A half could not be measured",
        "ib_write_bw gave no result, so nothing is known about this half. The usual causes: the "
        "device or its address is missing, rdma_ucm is not loaded, memory cannot be locked, or a "
        "firewall drops UDP port 4791.",
        "`spark-cluster bootstrap` sets addresses and modules; the line names what ib_write_bw "
        "said. Then measure again.",
    ),
    (
        "RDMA022",
        "Both halves together deliver little more than one",
        "Each half is its own PCIe Gen5 x4 link, so both at once should reach nearly twice one "
        "half (161 to 212 Gb/s). Less means that they share something: one route, one PCIe link, "
        "or the CPU.",
        "Check that each half has its own subnet and `ip route get PEER` names its own interface; "
        "then the PCIe width of both halves (`lspci -vv`).",
    ),
    (
        "RDMA030",
        "An RDMA connection could not be made",
        "NCCL's call of ibv_modify_qp failed for good. It tries 34 times, over a minute, and says "
        "so at the level INFO, which is no failure; the line of the level WARN is. Error 110 "
        "(ETIMEDOUT): the two ports do not reach each other. In a ring NCCL pairs devices by their "
        "number, so cables that join equal ports, or a release before 2.30.7 without "
        "NCCL_IB_SUBNET_AWARE_ROUTING, pair ports that share no cable. Error 22 (EINVAL): usually "
        "a pinned NCCL_IB_GID_INDEX that is another GID on this host.",
        "The reason names both addresses: ping one from the other, over the same rail, with jumbo "
        "frames. In a ring each cable joins port 0 of one host and port 1 of the next. Leave "
        "NCCL_IB_GID_INDEX out.",
    ),
    (
        "RDMA031",
        "An RDMA transfer ended with an error",
        "A connection that was made broke. Status 12 (retry exceeded) says that the peer "
        "acknowledged nothing for seconds: its process or host died, its port went down, or "
        "packets are lost. Status 13 says that the peer was there and never ready. Status 5 only "
        "follows another error.",
        "Look first at the other rank, whose own log or kernel may say why it ended: memory that "
        "ran out is the usual cause. If it lived on, look at the link: `spark-cluster doctor` and "
        "`spark-cluster verify-rdma --probe`.",
    ),
    (
        "RDMA032",
        "Memory could not be registered for RDMA",
        "NCCL locks its buffers in memory and registers them with the NIC. Cannot allocate memory "
        "(ENOMEM) means a small memlock limit without IPC_LOCK, or a kernel that has no contiguous "
        "memory left for the NIC: on 7.0.0-1019-nvidia and 7.0.0-31 KHO was seen to take the CMA, "
        "and then /proc/meminfo has CmaTotal 0 and a CmaFree above it.",
        "`ulimit -l` in the container must say unlimited, as `spark-cluster launch` sets it. If it "
        "does, and `grep Cma /proc/meminfo` on the host shows the above: boot with kho=off, or "
        "take kernel 6.17.0-1031 with driver 580.173.02. Not every host needs it.",
    ),
    (
        "RDMA033",
        "The RDMA device failed while the job ran",
        "The NIC told of a fatal event: the device or a queue of it is of no more use to this "
        "process, and NCCL ends. The peers see transfers that end with an error.",
        "Read `journalctl -k` of that host at that time for mlx5, AER and the cable's removal, or "
        "ask `spark-cluster doctor`. Once the port is ACTIVE again, `spark-cluster verify-rdma "
        "--probe` (a device that came back may be slow, NET026), then `spark-cluster relaunch`. "
        "If it is slow or does not come back: shut all hosts down with the cables in and start "
        "them together.",
    ),
    (
        "RDMA034",
        "A rank never completed its start",
        "A communicator of NCCL started on this rank (Init START) and its log says neither that it "
        "is complete nor that rings are connected. The others may be through, so that nothing "
        "fails and nothing goes on.",
        "Compare the logs of all ranks: which one is missing, on which address each listens, "
        "which release each runs. If the log was cut off, take all of it.",
    ),
    (
        "RDMA035",
        "The ranks run different releases of NCCL",
        "NCCL does not promise that two releases speak with each other, and two builds of one "
        "release may differ in their faults. It happens where images differ, or where one "
        "container takes a library from its host.",
        "Run the same image on all hosts: `spark-cluster launch` compares them, "
        "`spark-cluster image sync` copies one.",
    ),
    (
        "RDMA036",
        "A release of NCCL that is reported to hang",
        "Others saw jobs hang with this release between Sparks, each under a condition that the "
        "line names. It is a report and no proof: the same release may run for weeks, and of "
        "2.28.9 one build is faulty and another is not.",
        "If your job hangs without an error, take the release that the line names, which is not "
        "among those reported. `ls -lL` of libnccl.so.2 in the container tells builds apart.",
    ),
)

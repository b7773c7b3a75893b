"""The diagnoses of what owners report of Sparks' firmware, kernels, drivers and settings: code,
title, why it matters and who says so, how it is mended.

Apart from core/diagnosis.py for its length; read them there.
"""

from __future__ import annotations

ENTRIES: tuple[tuple[str, str, str, str], ...] = (
    (
        "NET025",
        "Uncorrectable PCIe errors at the ConnectX",
        "The NIC or the port above it has counted errors that PCIe could not mend, or the kernel "
        "logged some (AER). RDMA connections end with them, and a NIC that was reset for them may "
        "be slow (NET026). The counters are the kernel's own; that a reboot helps is one owner's "
        "report.",
        "Look whether they grow: `spark-cluster watch` tells. Stop the job, shut all hosts of the "
        "fabric down with the cables in, and start them together. If they come back, suspect the "
        "hardware: keep `spark-cluster evidence` for its maker. Do not rescan the PCIe bus: that "
        "has hung a host.",
    ),
    (
        "NET026",
        "The ConnectX came back to the bus while the host ran",
        "It was removed and added again (a cable was pulled, a peer rebooted, or it was reset), "
        "and mlx5_core got no answer about the slot's power. After that it delivers some 13 Gb/s "
        "until a cold start, while the link says 200G and all counters are clean. Two owners "
        "report it alike; no word of NVIDIA's on it is known here. The line about insufficient "
        "power (27W) is on healthy Sparks, too, and is not counted.",
        "`spark-cluster verify-rdma --probe` shows whether it is slow. Then, on all hosts: disarm "
        "the hotplug (`mv /etc/nvidia/cx7-hotplug-enabled /etc/nvidia/cx7-hotplug-enabled.off`), "
        "leave the cables in, shut all down, and start them together. Pulling the cable brings "
        "the fault back; a rescan of the PCIe bus has hung a host, and mstflint while the NIC is "
        "being removed has ended in a kernel panic.",
    ),
    (
        "NET027",
        "The ConnectX is taken off the bus when its cable goes",
        "NVIDIA's hotplug is armed: without a cable, or when the peer goes down, all four "
        "functions leave the bus, and what comes back may be slow (NET026). It saves some 18 W "
        "while no cable is in. How it works is in NVIDIA's kernel; that a peer's reboot triggers "
        "it is one owner's report.",
        "Nothing, if the hosts are started together and no cable is touched. To be safe from it: "
        "`mv /etc/nvidia/cx7-hotplug-enabled /etc/nvidia/cx7-hotplug-enabled.off` on all hosts, "
        "then shut all down with the cables in and start them together.",
    ),
    (
        "RDMA037",
        "A ConnectX firmware of which NICs that vanish are reported",
        "With 28.45.4028 (board NVD0000000087) some owners' NICs vanished from the bus or fell to "
        "13 Gb/s, and 28.47.1088 is said to be better. It is one source; many Sparks run this "
        "firmware at their full speed.",
        "Leave it while `spark-cluster verify-rdma --probe` is content. Else update by NVIDIA's "
        "own way (DGX dashboard or `fwupdmgr update`) when nothing runs and the cables are in, "
        "all hosts alike, then shut down and start again. An ASUS GX10 whose system firmware is "
        "older than 0104 may run its NIC slower than 32GT/s x4: `lspci -vv` tells.",
    ),
    (
        "HOST024",
        "The kernel's contiguous memory (CMA) is wrong",
        "CmaFree is above CmaTotal: the kernel's live-update memory (KHO) has taken what was set "
        "aside for devices. RDMA memory then cannot be registered once the GPU has filled the "
        "memory: ibv_reg_mr_iova2 ends with Cannot allocate memory (RDMA032). Reported of "
        "7.0.0-1019-nvidia and the HWE kernel 7.0.0-31, by several owners and in NVIDIA's kernel "
        "repository; not every such host fails.",
        "If launches fail in ibv_reg_mr: add kho=off to GRUB_CMDLINE_LINUX in /etc/default/grub, "
        "`update-grub`, and reboot all hosts together; or take kernel 6.17.0-1031 with driver "
        "580.173.02. If nothing fails, leave it.",
    ),
    (
        "HOST025",
        "Containers may open few files",
        "Engines open a file per shard, connection and library, and end while loading with `Too "
        "many open files` (Errno 24). containerd from 2.1.5 on, which comes with docker 29, gives "
        "containers 1024 instead of 1048576 (docker's notes of 29.0.0). `spark-cluster launch` "
        "asks for 1048576 itself; containers that something else starts get the default.",
        "Nothing for what `spark-cluster launch` starts. Elsewhere: `--ulimit "
        "nofile=1048576:1048576`, or default-ulimits in /etc/docker/daemon.json, which takes a "
        "restart of docker with nothing running.",
    ),
    (
        "HOST026",
        "vm.swappiness is 0",
        "The kernel then swaps only when it has nothing left, too late on memory that the GPU "
        "shares: three hosts of one owner locked up. With swap off it does nothing.",
        "`sysctl vm.swappiness=60`, the kernel's default, and remove the line that sets it: `grep "
        "-r swappiness /etc/sysctl.conf /etc/sysctl.d`.",
    ),
    (
        "GPU005",
        "A driver of which a deadlock is reported",
        "With drivers of the branch 590 engines stand still while they capture CUDA graphs. It is "
        "in the notes of spark-vllm-docker; NVIDIA's recipes name 580.159.03 and 580.173.02.",
        "Install a driver of the branch 580 on all hosts and reboot them together, cables in. "
        "Until then `--enforce-eager` avoids the capture, and costs speed.",
    ),
    (
        "GPU006",
        "The NVIDIA driver logged that it got no memory",
        "Each line is one allocation that failed. Healthy starts log them, too: 55 in two days on "
        "one host, 198 on another that was stuck. By itself it is no fault and no cause.",
        "Nothing. If a launch hangs or a host froze as well, look at the memory: `spark-cluster "
        "status`, and 4 GiB must stay available.",
    ),
)

"""The diagnoses that only the doctor makes: code, title, why it matters, how it is mended.

Apart from core/diagnosis.py for its length; read them there.
"""

from __future__ import annotations

ENTRIES: tuple[tuple[str, str, str, str], ...] = (
    (
        "NET010",
        "The interface is switched off",
        "The netdev exists and has no UP flag: someone ran `ip link set … down`, or "
        "NetworkManager left it unmanaged. A cable in it shows no carrier until it is up.",
        "`ip link set dev NAME up`, then `spark-cluster bootstrap` so that it stays up.",
    ),
    (
        "NET011",
        "The cable is in the other port",
        "The port that the inventory names has no link, and a half of the other QSFP port has. "
        "Addresses and RDMA devices are set up on halves that nobody is connected to.",
        "Correct `interface:` and `device:` in the inventory; `spark-cluster init` writes what is "
        "cabled. Or shut both hosts down, move the cable to the port that the inventory names "
        "(port 1 goes to port 1), and start them together: moved while they run, the NIC may stay "
        "slow (NET026).",
    ),
    (
        "NET012",
        "One half of a port is missing",
        "Each QSFP port is two PCIe devices. One of them is there and the other is not, so half "
        "of the bandwidth is gone and a job that names both devices fails. A cable takes both "
        "halves or none, so this is the bus or the NIC.",
        "`lspci | grep -i mellanox` shows four functions on a healthy Spark, and `journalctl -k -g "
        "mlx5` may say why one went. Leave the cable in, shut all hosts down and start them "
        "together. Do not pull the cable: that is the reported trigger of a NIC that stays at 13 "
        "Gb/s (NET026). Do not rescan the PCIe bus: that has hung a host.",
    ),
    (
        "NET013",
        "The link is slower than 200 Gb/s",
        "Each half of a linked QSFP port reports 200000 Mb/s. Less means that the NIC came up "
        "badly, for which a restart with the cable in is the reported cure, or a cable or switch "
        "port that does no 200G.",
        "`ethtool NAME` shows what both ends can do. If both can do 200G: disarm the hotplug "
        "(NET027), shut all hosts down with the cables in, and start them together. On a switch, "
        "set the port to 200G. Another cable (QSFP56, 200G) comes last, with the hosts off.",
    ),
    (
        "NET014",
        "The PCIe link of a half is narrow or slow",
        "A half is PCIe Gen5 x4 (32 GT/s a lane). With fewer or slower lanes it delivers a "
        "fraction of its bandwidth while the Ethernet link still says 200G.",
        "`lspci -vv` shows LnkSta beside LnkCap. Power all hosts off with the cables in, unplug AC "
        "for a minute, start them together. If it stays: on an ASUS GX10 a system firmware before "
        "0104 is reported to do this; update it by its maker's way, then it is the hardware.",
    ),
    (
        "NET015",
        "The MTU differs",
        "netplan's file, the kernel and the peer must have the same MTU. A file that is right and "
        "a kernel that is wrong is a fault now; the other way round, after the next boot. With "
        "1500 bytes RoCE uses an active MTU of 1024 instead of 4096.",
        "`spark-cluster bootstrap` writes the file and sets the kernel.",
    ),
    (
        "NET016",
        "The interface lacks the inventory's address",
        "The link is up, and the kernel does not have the address that the peers, NCCL and the "
        "RoCE GID need.",
        "`spark-cluster bootstrap` applies the netplan files through the network guard.",
    ),
    (
        "NET017",
        "IPv6 addresses on a rail",
        "Each IPv6 address takes slots in the RoCE GID table. The index of the IPv4 GID moves, "
        "differently on each host, and whatever pins an index then uses the wrong address.",
        "`spark-cluster bootstrap` turns IPv6 off on the rails.",
    ),
    (
        "NET018",
        "Two halves are in one subnet",
        "With both halves in one subnet the kernel answers for either address on either half, and "
        "RDMA connections fail at random or use one half only.",
        "Give each half its own subnet in the inventory, run `spark-cluster bootstrap`, and remove "
        "the address that is too many: `ip addr del ADDRESS dev NAME`.",
    ),
    (
        "NET019",
        "NetworkManager has a connection of its own on a managed interface",
        "A profile such as 'Wired connection 1' runs on an interface that netplan configures. "
        "Whichever is activated last decides the addresses and the MTU, often after a reboot.",
        "`nmcli connection delete NAME`, then `spark-cluster bootstrap`. Not over an SSH "
        "connection that comes in on that interface: it would end, and its address with it.",
    ),
    (
        "NET020",
        "The cluster uses Wi-Fi or the default route's interface",
        "A default route over a rail sends the host's whole traffic into a cable that ends at the "
        "peer. On Wi-Fi the job is slow and ends when the radio does.",
        "Remove the gateway from the rail's configuration; name QSFP halves or enP7s7 in the "
        "inventory.",
    ),
    (
        "NET021",
        "Forwarded packets are dropped",
        "Docker sets the FORWARD policy to DROP. Where a host passes packets on between its rails "
        "that looks like a dead cable; where none are passed on it harms nobody.",
        "Allow it between the rails: `iptables -I DOCKER-USER -i RAIL -o RAIL -j ACCEPT`, both "
        "ways, or cable the hosts so that none has to forward.",
    ),
    (
        "NET022",
        "A needed port is filtered",
        "Workers reach Ray's head on 6379, peers exchange RoCE on UDP 4791 (a ConnectX by itself, "
        "soft-RoCE through the kernel), clients reach the API on 8000. A filter that drops them "
        "makes the launch wait until its time is up.",
        "Remove the rule that the finding names, or allow the port on the rail before it: "
        "`iptables -I INPUT -i RAIL -p tcp --dport PORT -j ACCEPT`; with ufw, `ufw allow in on "
        "RAIL to any port PORT`. Not on all interfaces: whoever reaches Ray's ports runs code.",
    ),
    (
        "NET023",
        "A firewall drops what arrives on a rail",
        "NCCL, Gloo and Ray's workers listen on ports that the kernel chooses: a rail that is "
        "filtered carries no job, though it may answer a ping.",
        "Allow everything on the rails: `iptables -I INPUT -i RAIL -j ACCEPT`, or remove the rule "
        "that the finding names where it is defined.",
    ),
    (
        "RDMA005",
        "The RoCE v2 GID is for another address",
        "The device's GIDs map an address that is not the inventory's, so peers that look for the "
        "inventory's find no way. It happens after an address was changed by hand.",
        "`spark-cluster bootstrap` sets the address. If the GID stays, with nothing served, set "
        "the link down and up: `ip link set dev NAME down; ip link set dev NAME up`.",
    ),
    (
        "RDMA006",
        "The RDMA connection manager is not there",
        "/dev/infiniband/rdma_cm needs the module rdma_ucm. It was seen missing after boot on one "
        "of two equal hosts; perftest -R and every program that connects by rdma_cm fail.",
        "`spark-cluster bootstrap` loads the module, and at each boot.",
    ),
    (
        "RDMA007",
        "User space cannot reach the RDMA devices",
        "The kernel has RDMA devices and /dev/infiniband has no uverbs files: NCCL finds no "
        "device and, unless NCCL_NET=IB, falls back to sockets without an error.",
        "`modprobe ib_uverbs`; install rdma-core, which loads it at boot.",
    ),
    (
        "RDMA008",
        "RDMA error counters are not zero",
        "Packets were lost or connections given up. The numbers are totals since boot, so they "
        "may tell of a cable that was mended long ago: what counts is whether they grow.",
        "Note the number, run a job, look again: `spark-cluster verify-rdma` measures growth "
        "during a job. If it grows: MTU of both ends, switch, PCIe errors (NET025); another "
        "cable last, with the hosts off (NET026).",
    ),
    (
        "RDMA009",
        "The ConnectX firmware differs between hosts",
        "Two firmware versions on one fabric have shown lower bandwidth and RoCE connections that "
        "end early.",
        "When nothing runs, with the cables in: update both to the same by NVIDIA's DGX dashboard "
        "or `fwupdmgr update`, then shut both down and start them together. Not to 28.45.4028 "
        "(RDMA037).",
    ),
    (
        "HOST010",
        "The host does not answer",
        "Nothing is known about this host. What the other hosts say of their rails to it may be "
        "a consequence.",
        "See whether it has power and answers `ping`, then `ssh HOST`. A Spark whose memory ran "
        "out hangs without a word and needs a power cycle; its peers may lose their NIC "
        "meanwhile, so take down what they serve and restart them with it (NET027).",
    ),
    (
        "HOST011",
        "Little memory is available",
        "CPU and GPU share one memory. A Spark that runs out freezes without an OOM kill and "
        "needs a power cycle. Owners of three-host clusters keep 4 GiB available at all times; "
        "below that it is critical here.",
        "Stop what the finding names if it is not wanted; `spark-cluster teardown` stops what is "
        "ours. Lower gpu_memory_utilization if it is the model.",
    ),
    (
        "HOST012",
        "The page cache is large",
        "The CUDA driver counts page cache as used memory, so a launch may refuse though the "
        "memory could be had at once.",
        "`spark-cluster launch` drops it first. By hand: "
        "`sync; echo 1 > /proc/sys/vm/drop_caches`.",
    ),
    (
        "HOST013",
        "Locked memory is limited at login",
        "RDMA buffers are locked memory. With the default limit, tools that run outside "
        "containers fail to register memory.",
        "`spark-cluster bootstrap` writes the limit; it holds from the next login.",
    ),
    (
        "HOST014",
        "logind removes a user's semaphores at logout",
        "With RemoveIPC=yes, the default, logind deletes shared memory and semaphores of a user "
        "(uid 1000 or more) when the last session ends, unless the user lingers. A worker that "
        "runs as that user with --ipc host then blocks for ever, or ends in SemLock with "
        "FileNotFoundError. What runs as root in a container is spared.",
        "`loginctl enable-linger USER`, which holds at once; or RemoveIPC=no in "
        "/etc/systemd/logind.conf, which holds from the next boot.",
    ),
    (
        "HOST015",
        "The clocks of two hosts differ",
        "Logs of different ranks cannot be put in order, and downloads fail when a certificate "
        "seems not yet valid.",
        "`timedatectl set-ntp true` on both; `timedatectl` shows whether it took.",
    ),
    (
        "HOST016",
        "The clock is not synchronized",
        "Nothing keeps this host's clock right; it drifts by seconds a day.",
        "`timedatectl set-ntp true`; check that the host reaches a time server.",
    ),
    (
        "HOST017",
        "The model cache lies on a slow file system",
        "A rank reads more than 100 GB of weights at each start. From a container's overlay, a "
        "network share or a rotating disk that takes ten times as long as from the NVMe.",
        "Move the cache to the internal NVMe, and set the recipe's model_cache to it.",
    ),
    (
        "HOST018",
        "Little disk space is left",
        "An engine's image needs about 20 GiB twice while it is unpacked; docker, logs and "
        "downloads fail in odd ways on a full disk.",
        "`docker system df` shows what images take, `docker image rm NAME` frees one; "
        "`spark-cluster model ls` shows the models, `model rm` frees one. `docker system prune` "
        "also removes stopped containers, and with them the logs of a launch that failed.",
    ),
    (
        "HOST019",
        "Files in the model cache belong to someone else",
        "A container that ran as root left files that the SSH user cannot replace: the next "
        "download fails with 'permission denied', or fetches everything again elsewhere.",
        "`chown -R USER: CACHE` as root.",
    ),
    (
        "HOST020",
        "Nothing guards against running out of memory",
        "The kernel's own OOM killer comes too late on unified memory. earlyoom or systemd-oomd "
        "end the largest process while the host can still answer. earlyoom's own limit is a "
        "tenth of the memory, below which a full recipe runs by design: it would end the engine.",
        'With nothing served, `apt install earlyoom`, put EARLYOOM_ARGS="-m 2 -s 100" into '
        "/etc/default/earlyoom, and `systemctl restart earlyoom`. It then acts when 2 percent are "
        "available, whatever swap there is.",
    ),
    (
        "HOST021",
        "Processes were killed for want of memory",
        "The kernel ended processes since the last boot. If one of them was a rank, its siblings "
        "wait for it for ever.",
        "`journalctl -k -g 'Killed process'` names them. Lower gpu_memory_utilization or the "
        "context length, and tear down what hangs.",
    ),
    (
        "HOST022",
        "The kernel differs between hosts",
        "Two kernels mean two mlx5 and NVIDIA driver builds: ranks behave differently, and a "
        "fault shows on one host only.",
        "Install on one the kernel of the other that serves well (`apt install linux-image-…`), "
        "then reboot all together. A full upgrade of all may bring 7.0.0-1019-nvidia or the HWE "
        "kernel 7.0.0-31 (HOST024), or a driver 590 (GPU005): look before at what it would take.",
    ),
    (
        "HOST023",
        "Read-ahead is small",
        "Weights are read in one long sequence. With the default of 128 KiB an NVMe disk delivers "
        "a fraction of what it can, and a start takes minutes longer.",
        "`echo 8192 > /sys/block/DISK/queue/read_ahead_kb`; a udev rule makes it last.",
    ),
    (
        "DOCKER003",
        "The SSH user may not use docker",
        "Our own commands use sudo and work. Commands that one types by hand need sudo, too.",
        "`usermod -aG docker USER` and log in again. The group is as good as root, so it is a "
        "choice: `spark-cluster bootstrap --set docker.group=true`.",
    ),
    (
        "DOCKER004",
        "Docker differs between hosts",
        "Small differences do no harm; large ones change defaults, such as cgroups or the "
        "firewall.",
        "Update docker to the same version on all hosts when nothing runs: the update ends all "
        "containers. docker 29 brings a lower limit of open files (HOST025).",
    ),
    (
        "DOCKER005",
        "The NVIDIA container toolkit differs between hosts",
        "The toolkit decides which driver files a container gets; a rank may then see another "
        "CUDA than its siblings.",
        "`apt install --only-upgrade nvidia-container-toolkit` on all hosts.",
    ),
    (
        "GPU002",
        "The GPU is stuck at a low clock",
        "After a crash or a power event a GB10 may stay near 700 MHz or 30 W under full load, at "
        "a third of its speed, until it loses all power.",
        "Shut all hosts of the fabric down, cables in, unplug AC and USB-C of this one for some "
        "minutes, start them together. Use NVIDIA's own 240 W supply.",
    ),
    (
        "GPU003",
        "The GPU's clocks are held back",
        "The driver lowers the clocks for heat, for power, or on a signal of the hardware. One "
        "slow rank slows all of them.",
        "Check the air around the host and its supply (240 W, NVIDIA's own). "
        "`nvidia-smi -q -d PERFORMANCE` lists the reasons.",
    ),
    (
        "GPU004",
        "The NVIDIA driver differs between hosts",
        "Two ranks with different drivers may load different kernels, run at different speeds, or "
        "fail in NCCL's handshake.",
        "Install the same driver on all hosts, not one of the branch 590 (GPU005), and reboot them "
        "together with the cables in.",
    ),
    (
        "SERVE010",
        "A container of an earlier run is left",
        "It does no work and is in the way of the next launch. Its log may still say why the run "
        "ended.",
        "`docker logs NAME` if the reason matters, then `spark-cluster teardown`.",
    ),
    (
        "SERVE011",
        "A process outside our containers holds the GPU",
        "After a reboot or a crash a rank may live on without its container. It holds unified "
        "memory, and the next launch does not fit.",
        "Find out what it is (`ps -fp PID`); `kill PID` if nobody wants it.",
    ),
    (
        "SERVE015",
        "The server ended, and its container runs on",
        "Ray's containers outlive the server that was started in the head's: docker calls them "
        "running, and nothing answers. The line says with which status the server ended and which "
        "rank died, as far as its log has it; vLLM ends with status 0 after it has lost a rank. Of "
        "RDMA nothing can be said meanwhile.",
        "`spark-cluster relaunch --evidence` keeps the logs of all ranks, takes down and launches "
        "again. Why the rank died, `journalctl -k` of its host may say (memory), or the end of its "
        "own log: `spark-cluster logs`.",
    ),
)

"""The table of diagnoses: what `spark-cluster explain CODE` says.

One entry a code. Steps and verdicts name the code; the text stands here only.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core import (
    diagnosis_doctor,
    diagnosis_hosts,
    diagnosis_logs,
    diagnosis_models,
    diagnosis_monitor,
    diagnosis_recipes,
)


@dataclass(frozen=True)
class Diagnosis:
    """`why` it matters, and how it is mended (`fix`)."""

    code: str
    title: str
    why: str
    fix: str


_TABLE = (
    Diagnosis(
        "NET001",
        "The interface is not there",
        "A half of a QSFP port has no netdev. On today's DGX OS all four halves go 15 to 20 s "
        "after a boot without any cable, or when the last one is pulled (dgx-spark-mlnx-hotplug); "
        "with one cable in, the empty port stays and is DOWN. Older images keep all of them, "
        "without a carrier. So none at all means no cable, a peer that is off, or a NIC that fell "
        "off the bus; one port alone, that the inventory names an interface that is not there.",
        "`ip -br link` on the host lists what is there. If others are there, correct `interface:` "
        "in the inventory. If none is: shut the hosts down, see that the cable is in at both "
        "ends, and start them together. A cable that is plugged into a running host may leave the "
        "NIC at some 13 Gb/s (NET026).",
    ),
    Diagnosis(
        "NET002",
        "The interface has no carrier",
        "The netdev exists and the link is down: the other end is not plugged in, is plugged into "
        "the other port (port 1 goes to port 1), or the peer is off.",
        "See whether the peer is on, and look at both ends of the cable: same port on both hosts, "
        "one cable between them. Pull or move it with the hosts off only: a NIC that loses its "
        "cable while it runs may come back slow (NET026).",
    ),
    Diagnosis(
        "NET003",
        "Another netplan file configures the same interface",
        "netplan merges all files: two owners of one interface give it both sets of addresses, and "
        "which MTU wins depends on the files' names.",
        "Remove the interface from the other file; or `spark-cluster bootstrap --take-over` "
        "removes a file that configures nothing else, and `spark-cluster undo network` brings it "
        "back.",
    ),
    Diagnosis(
        "NET004",
        "Jumbo frames do not pass between two hosts",
        "A 9000 byte frame sent with 'do not fragment' got no answer. With a smaller MTU anywhere "
        "on the way, RoCE falls back to an active MTU of 1024 bytes, or large messages are lost "
        "while small pings work.",
        "Set MTU 9000 on both ends (`spark-cluster bootstrap`) and on every switch port between. "
        "If small pings fail too, the cable or the address is wrong.",
    ),
    Diagnosis(
        "NET005",
        "netplan rejects the configuration",
        "`netplan generate` failed on a copy of the configuration with our file added; nothing was "
        "applied.",
        "Read the line that netplan names. A broken file that was there before must be mended "
        "first.",
    ),
    Diagnosis(
        "NET006",
        "The network change was reverted",
        "After the change the host did not answer over a new connection, or its peers did not "
        "answer on the fabric. The guard on the host put the old configuration back.",
        "See what the guard's log says: `journalctl -t spark-cluster` on the host. Correct the "
        "inventory, then run `spark-cluster plan bootstrap` before the next try.",
    ),
    Diagnosis(
        "NET007",
        "The change would touch the interface that SSH came in on",
        "If that interface fails, nobody reaches the host any more; the guard could put it back "
        "only after its time limit.",
        "Reach the host over another interface, or allow it with --allow-management-interface.",
    ),
    Diagnosis(
        "NET008",
        "The run whose network should come back has no snapshot",
        "The network guard keeps the netplan files of before each change of ours in "
        "/var/lib/spark-cluster/guard on the host. That run changed nothing there.",
        "`spark-cluster history --nodes` names the runs that did; without --to, `undo network` "
        "goes back to before the first of them.",
    ),
    Diagnosis(
        "NET024",
        "The network guard of another run is still armed",
        "A run changed the network and was never confirmed: its controller died, or works right "
        "now. The guard on the host will put the old files back, also over what we would write.",
        "Wait until `spark-cluster history --nodes` says confirmed or reverted, three minutes at "
        "most, then run again.",
    ),
    Diagnosis(
        "RDMA001",
        "The RDMA device is not there",
        "The netdev exists and /sys/class/infiniband has no device for it: the mlx5_ib driver is "
        "not loaded, or the inventory names the wrong device.",
        "`rdma link show` lists the devices; `modprobe mlx5_ib` loads the driver.",
    ),
    Diagnosis(
        "RDMA002",
        "The RDMA port is not ACTIVE",
        "A port that is DOWN or INIT carries nothing; NCCL skips it and, unless NCCL_NET=IB, falls "
        "back to sockets without an error.",
        "`ip link` of the netdev: both ends must be up, and the peer on. The cable's turn comes "
        "last, with the hosts off (NET026).",
    ),
    Diagnosis(
        "RDMA003",
        "No RoCE v2 GID for the host's address",
        "RoCE v2 needs a GID that maps the rail's IPv4 address. It is missing while the interface "
        "has no address, and its index moves when IPv6 addresses come and go.",
        "Run `spark-cluster bootstrap`: it sets the address and turns IPv6 off on the rail.",
    ),
    Diagnosis(
        "RDMA004",
        "The RDMA device belongs to another interface",
        "The inventory pairs a netdev with an RDMA device of the other half or port; traffic would "
        "leave on an interface without the expected address.",
        "Correct `device:` in the inventory; `rdma link show` prints the pairs.",
    ),
    Diagnosis(
        "RDMA010",
        "Tokens were generated and RDMA carried nothing",
        "The job fell back to TCP sockets, four to eight times slower. The usual causes: the "
        "container lacks /dev/infiniband, IPC_LOCK or memlock, or NCCL_IB_HCA names a device that "
        "is not there.",
        "`docker inspect` the containers, or `spark-cluster teardown` and `spark-cluster launch`: "
        "launch sets all of them and NCCL_NET=IB, which fails instead of falling back.",
    ),
    Diagnosis(
        "RDMA011",
        "RDMA carried only part of the job",
        "One rank, one direction or the wrong rail: collective traffic always flows both ways "
        "between all ranks, so something else carried the rest.",
        "Read the table: the row with no traffic names the host and the rail.",
    ),
    Diagnosis(
        "RDMA012",
        "RDMA runs with errors or with the wrong volume",
        "Counters of retransmission or of lost packets grew during the run, or the bytes per token "
        "are far from what the model needs.",
        "Look at the error columns of the table and at the MTU on both ends; `spark-cluster "
        "doctor` tells of PCIe errors. Change the cable with the hosts off only (NET026).",
    ),
    Diagnosis(
        "RDMA013",
        "No tokens were generated",
        "Without tokens there is nothing to prove: the counters stand still on a healthy idle "
        "cluster, too.",
        "See whether the server answers: `spark-cluster status`.",
    ),
    Diagnosis(
        "RDMA014",
        "The transport could not be determined",
        "A counter, a rank or the generation could not be read; the verdict is unknown rather than "
        "guessed.",
        "The reasons name what was unreadable. Mend that, then verify again.",
    ),
    Diagnosis(
        "RDMA015",
        "Generation is stuck",
        "Requests are running, no token comes and RDMA carries nothing, while the API answers: one "
        "rank waits for ever for another (a wedge). /health does not see it. On a GB10 the GPUs "
        "then show about 96 % at under 30 W.",
        "If it lasts longer than your longest prompt takes (`spark-cluster verify-rdma --watch`), "
        "`spark-cluster relaunch --evidence` keeps the logs of all ranks and launches again.",
    ),
    Diagnosis(
        "RDMA016",
        "A rank is dead",
        "A rank's process is gone. The server's /health does not look at its ranks and stays 200. "
        "The next request hangs for as long as its client waits, or fails and ends the server: "
        "without Ray, NCCL on the other GPUs waits for the lost rank.",
        "`spark-cluster relaunch --evidence` keeps the logs of all ranks, takes down and launches "
        "again. `docker logs` of the named container and `journalctl -k` of its host say why it "
        "ended.",
    ),
    Diagnosis(
        "RDMA017",
        "The container lacks what RDMA needs",
        "NCCL opens the device files in /dev/infiniband and locks its buffers in memory. Without "
        "the files, or with a small memlock limit and no IPC_LOCK, it takes TCP sockets, and "
        "without NCCL_NET=IB it says nothing.",
        "Start the container with --device=/dev/infiniband --cap-add=IPC_LOCK --ulimit memlock=-1, "
        "as `spark-cluster launch` does.",
    ),
    Diagnosis(
        "RDMA018",
        "NCCL's variables select no device, or the wrong one",
        "NCCL_IB_HCA lists the devices that NCCL may use: `=` exactly these, `^` all but these, "
        "otherwise by prefix. A device that is not there is passed over without an error; "
        "NCCL_NET=Socket and NCCL_IB_DISABLE turn RDMA off.",
        "Set NCCL_IB_HCA to the rail's device (`rdma link show`) in the container's own "
        "environment, or leave it out of the recipe: launch sets it for each rank.",
    ),
    Diagnosis(
        "RDMA019",
        "The GID of the rail moved",
        "RoCE addresses a port by an index into its GID table. The index differs between hosts and "
        "moves when an address comes or goes or a link flaps; connections made with the old index "
        "break, and a pinned NCCL_IB_GID_INDEX names another address.",
        "Leave NCCL_IB_GID_INDEX unset, as launch does, and launch again. `spark-cluster "
        "bootstrap` turns off IPv6 on the rails, so that the index stays.",
    ),
    Diagnosis(
        "HOST001",
        "The host lacks a program",
        "A step needs a program that is not installed.",
        "Install the package that the message names.",
    ),
    Diagnosis(
        "HOST002",
        "Swap is in use",
        "On unified memory a GPU process that is swapped out stalls the whole host. Some tight "
        "recipes are made to run with swap, and then it is meant.",
        "With nothing served, `spark-cluster bootstrap` turns swap off; not while more is swapped "
        "out than the memory has room for. For a recipe that needs it: `spark-cluster bootstrap "
        "--set swap.state=keep`.",
    ),
    Diagnosis(
        "HOST003",
        "A reading came back empty",
        "A program that must print something printed nothing: the state of the host is not known, "
        "and not taken for good.",
        "Run the program that the message names on the host and see what it says.",
    ),
    Diagnosis(
        "DOCKER001",
        "Docker does not work",
        "The docker daemon does not answer on this host.",
        "`systemctl status docker`; install docker.io or docker-ce if it is absent. If it hangs: "
        "`spark-cluster teardown --force`, then `sudo systemctl restart docker`.",
    ),
    Diagnosis(
        "DOCKER002",
        "Containers get no GPU",
        "Containers are started with `--gpus all`. Docker fulfils it by NVIDIA's hook, from 29.2 "
        "on by CDI where the GPU is described. Without either it fails, and also with the hook "
        "where nvidia-container-runtime.mode is cdi and docker older (sources of both).",
        "No toolkit: install nvidia-container-toolkit, then with nothing running `nvidia-ctk "
        "runtime configure --runtime=docker` and restart docker. mode cdi: docker 29.2 or newer, "
        "or `nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto`.",
    ),
    Diagnosis(
        "GPU001",
        "nvidia-smi sees no GPU",
        "The driver is not loaded or the GPU fell off the bus.",
        "`nvidia-smi` on the host says why; a reboot reloads the driver. Reboot all hosts of the "
        "fabric together: one that goes down may take its peer's NIC off the bus (NET027).",
    ),
    Diagnosis(
        "SERVE001",
        "Too little memory is available",
        "CPU and GPU share the memory of a Spark. A launch that does not fit freezes the host "
        "without an OOM kill.",
        "Stop what holds the memory (`spark-cluster status`, `spark-cluster teardown`), or choose "
        "a smaller recipe.",
    ),
    Diagnosis(
        "SERVE002",
        "The container image is missing",
        "The recipe's image is not on the host, and launch does not download silently.",
        "`docker pull` the image on one host, then `spark-cluster image sync RECIPE` brings it to "
        "the others over the fabric.",
    ),
    Diagnosis(
        "SERVE003",
        "The image differs between hosts",
        "A moving tag was pulled on different days: two ranks with different NCCL or vLLM builds "
        "hang or crash.",
        "`spark-cluster image sync RECIPE --from HOST` brings that host's image to the others.",
    ),
    Diagnosis(
        "SERVE004",
        "Model files are missing or incomplete",
        "With HF_HUB_OFFLINE=1 every rank loads from its own cache; a missing shard ends the "
        "launch after minutes.",
        "`spark-cluster model pull MODEL` downloads it once and copies it to the others over the "
        "fabric; `spark-cluster model sync MODEL` copies what one host has already.",
    ),
    Diagnosis(
        "SERVE005",
        "A port is in use",
        "Something else listens where Ray or the API server must listen.",
        "Stop it (`ss -ltnp` names the process), or change the recipe's port.",
    ),
    Diagnosis(
        "SERVE006",
        "Another run is in the way",
        "Containers of another recipe, or of a run that failed, hold the GPU and the ports.",
        "`spark-cluster teardown` removes what carries our labels.",
    ),
    Diagnosis(
        "SERVE007",
        "The engine failed to start",
        "The engine's process ended, or its log shows a failure, before it served a token.",
        "The last lines of the log are shown. The containers are left as evidence; "
        "`spark-cluster teardown` removes them.",
    ),
    Diagnosis(
        "SERVE008",
        "Still there after teardown",
        "A container, a process or a port survived the removal.",
        "`spark-cluster teardown --force`; if a process stays, reboot, all hosts of the fabric "
        "together (NET027). docs/on-call.md says what each line means.",
    ),
    Diagnosis(
        "SERVE009",
        "A container of ours ended",
        "A rank's container is not running any more: the job cannot continue.",
        "`docker logs NAME` on the host shows why; `spark-cluster teardown` clears the rest.",
    ),
    Diagnosis(
        "SERVE012",
        "A secret is missing, or others may read it",
        "An engine that may fetch its model needs the token of a gated one; without VLLM_API_KEY a "
        "server that should ask for a key would answer everyone. A secret comes from the "
        "environment of `spark-cluster`, or from a file on the node that nobody else may read; it "
        "stands in no argument, plan or log. `docker inspect` on the host shows it: the engine "
        "reads it from its environment.",
        "`export NAME=…` where spark-cluster runs; or a line NAME=… in "
        "~/.config/spark-cluster/env on the node, with chmod 600. `spark-cluster model pull` and "
        "HF_HUB_OFFLINE in the recipe make HF_TOKEN unnecessary.",
    ),
    Diagnosis(
        "SERVE013",
        "What starts a rank again has something to wait for",
        "`launch --restart-at-boot` leaves a supervisor on each host, which starts the rank again "
        "when it ends and after a boot. They hear each other over the fabric (TCP, port 29477): "
        "all ranks of a launch begin together. The line says what this one waits for.",
        "`journalctl -t spark-cluster` on the host tells its story. If it does not hear another "
        "host: a firewall on that port, or a supervisor that does not run there (`spark-cluster "
        "status`).",
    ),
    Diagnosis(
        "SERVE014",
        "Less memory than before the launch",
        "After a teardown nothing of ours is left, and less memory is available, or more hugepages "
        "are in use, than before the launch: other programs have grown since, or the driver has "
        "not given it back. `relaunch` and `failover` go on: the launch measures what it needs.",
        "Look at the processes that the line names. If none of them is large, the driver holds the "
        "memory: reboot, all hosts of the fabric together (NET027).",
    ),
    Diagnosis(
        "SSH001",
        "A node does not reach another by SSH",
        "rsync of model files from node to node, mpirun and scp need a login without a question.",
        "`spark-cluster mesh` makes a key on each node and lets the others know it. If it says so "
        "afterwards, the line names what ssh said: a firewall on port 22, another "
        "AuthorizedKeysFile, or AllowUsers in sshd_config.",
    ),
)

_MORE = (
    *diagnosis_doctor.ENTRIES,
    *diagnosis_hosts.ENTRIES,
    *diagnosis_logs.ENTRIES,
    *diagnosis_models.ENTRIES,
    *diagnosis_recipes.ENTRIES,
    *diagnosis_monitor.ENTRIES,
)

DIAGNOSES = {
    diagnosis.code: diagnosis for diagnosis in (*_TABLE, *(Diagnosis(*entry) for entry in _MORE))
}


def explain(code: str) -> Diagnosis | None:
    """The diagnosis of `code`, whatever its case; None if there is none."""
    return DIAGNOSES.get(code.upper())

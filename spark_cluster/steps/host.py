"""Is this a host that the steps can work on?"""

from __future__ import annotations

from spark_cluster.core.step import Assessment, found
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS
from spark_cluster.steps.base import NoParams, problem, step
from spark_cluster.steps.view import View

_PACKAGES = {
    "ip": "iproute2", "netplan": "netplan.io", "ping": "iputils-ping", "rdma": "iproute2",
    "sysctl": "procps", "modprobe": "kmod", "swapoff": "util-linux", "systemd-run": "systemd",
    "docker": "docker.io", "nvidia-smi": "the NVIDIA driver", "ss": "iproute2", "curl": "curl",
    "flock": "util-linux", "timeout": "coreutils",
}  # fmt: skip


@step("host", "Check that programs and interfaces are there", NoParams, reads=(HOST, LINKS))
def host(view: View, _: NoParams) -> Assessment:
    host = view.facts[HOST]
    problems = [
        problem(
            "HOST001",
            f"{program} is not installed",
            f"Install {_PACKAGES[program]} on {view.name}.",
        )
        for program in host.missing
    ]
    links = view.facts[LINKS].links
    for item in view.host.interfaces:
        if item.interface not in links:
            there = ", ".join(sorted(name for name in links if name != "lo"))
            problems.append(
                problem("NET001", f"{item.interface} is not there; {view.name} has {there}")
            )
        elif links[item.interface].up and not links[item.interface].carrier:
            problems.append(problem("NET002", f"{item.interface} has no carrier"))
    return found(*problems, notes=(f"{host.os}, kernel {host.kernel}, {host.arch}",))

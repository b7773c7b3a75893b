"""One file per step: facts and a wanted state in, a difference and commands out. All pure.

To add a step: a file with `assess` and `STEP`, a line in `registry()`, its cases in
tests/unit/steps/cases/.
"""

from __future__ import annotations

from spark_cluster.core.step import AnyStep


def registry() -> dict[str, AnyStep]:
    """Every step by the name that playbooks use."""
    from spark_cluster.steps import (
        containers,
        docker,
        fit,
        gpu,
        host,
        host_files,
        ipv6,
        jumbo_ping,
        launch_snapshot,
        memlock,
        mesh,
        monitor,
        monitor_services,
        mtu,
        netplan,
        netplan_undo,
        page_cache,
        preflight,
        rdma_devices,
        rdma_modules,
        rdma_verdict,
        restart_at_boot,
        secrets,
        services,
        serving,
        shared_memory,
        swap,
        teardown_check,
    )

    modules = (
        containers, docker, fit, gpu, host, host_files, ipv6, jumbo_ping, launch_snapshot, memlock,
        mtu, netplan, page_cache, rdma_devices, rdma_modules, rdma_verdict, restart_at_boot,
        secrets, shared_memory, swap, teardown_check,
    )  # fmt: skip
    several = (preflight, serving, mesh, netplan_undo, monitor, monitor_services, services)
    steps: list[AnyStep] = [module.STEP for module in modules]
    steps += [step for module in several for step in module.STEPS]
    return {step.name: step for step in steps}

"""Hosts, rails, containers, the server and its work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from spark_cluster.actions.status import (
    ContainerStatus,
    EndpointStatus,
    HostStatus,
    RailStatus,
    StatusReport,
    VerdictStatus,
)
from spark_cluster.cli.views.unknown import after
from spark_cluster.core.shell import quote
from spark_cluster.core.units import human_age, human_bytes
from spark_cluster.facts.supervisor import RUNS
from spark_cluster.places import short
from spark_cluster.terminal.printing import Shown


def lines(report: StatusReport, *, verbose: bool) -> Iterator[Shown]:
    """A host a paragraph, then the last verdict."""
    yield ((f"inventory {short(Path(report.inventory))}", "dim"),)
    nexts = next_steps(report.hosts)
    for each in report.hosts:
        if each["state"] == "unknown":
            yield "  ", ("unknown", "bold magenta"), f"  {each['host']}: {each['reason']}"
            if each["host"] in nexts:
                yield f"             next: {nexts[each['host']]}"
            continue
        yield "  ", ("up", "green"), f"       {each['host']}: {_host(each)}"
        yield from (f"             {line}" for line in _details(each, verbose=verbose))
    if report.verdict is not None:
        yield f"  {verdict_text(report.verdict)}"


def next_steps(rows: Sequence[HostStatus]) -> dict[str, str]:
    """After which unknown host which remedy is told."""
    return after({e["host"]: e["remedy"] for e in rows if e["state"] == "unknown"})


def _host(each: HostStatus) -> str:
    swap = f"swap on ({', '.join(each['swap'])})" if each["swap"] else "swap off"
    available, total = each["memory_available"], each["memory_total"]
    parts = [f"{human_bytes(available)} of {human_bytes(total)} available", swap]
    if each["load"]:
        parts.append(f"load {each['load'][0]:g} on {each['cores'] or '?'} cores")
    if each["uptime_seconds"] is not None:
        parts.append(f"up {human_age(each['uptime_seconds'])}")
    return ", ".join(parts)


def _details(each: HostStatus, *, verbose: bool) -> Iterator[str]:
    yield f"GPU {gpu_text(each)}"
    if verbose:
        processes = ", ".join(each["gpu_processes"]) or "none"
        yield f"GPU {', '.join(each['gpu']) or 'not found'}; processes: {processes}"
    for rail in each["rails"]:
        yield _rail(rail)
    if each["docker_error"]:
        yield f"docker: {each['docker_error']}"
    for container in each["containers"]:
        yield _container(container, each["healthy"])
    yield from serving(each)


def serving(each: HostStatus) -> Iterator[str]:
    """The server's work, what comes back by itself, who holds the host."""
    if each["endpoint"] is not None and not _ended(each):
        yield endpoint_text(each["endpoint"])
    yield from supervisor(each)
    if each["lock"]:
        yield f"in use: {each['lock']}"
    if each["files_lock"]:
        yield f"models and images in use: {each['files_lock']}"


def gpu_text(each: HostStatus) -> str:
    """`96 %, 31 W, 2100 of 3003 MHz, 61 °C`."""
    readings = (
        (each["gpu_utilization"], "%"), (each["gpu_watts"], "W"), (each["gpu_sm_mhz"], ""),
    )  # fmt: skip
    parts = [f"{value:.0f} {unit}".strip() for value, unit in readings if value is not None]
    if each["gpu_sm_mhz"] is not None:
        highest = each["gpu_max_sm_mhz"]
        parts[-1] += f" of {highest:.0f} MHz" if highest is not None else " MHz"
    if each["gpu_celsius"] is not None:
        parts.append(f"{each['gpu_celsius']:.0f} °C")
    return ", ".join(parts) or "gives no readings"


def _rail(rail: RailStatus) -> str:
    text = f"rail {rail['interface']} ({rail['device']}): {rail['state']}"
    text += f", {rail['rate']}" if rail["rate"] else ""
    text += f", {rate_text(rail, 'tx')} out, {rate_text(rail, 'rx')} in"
    return f"{text}, {errors_text(rail)}"


def rate_text(rail: RailStatus, way: str) -> str:
    """`1.2 GiB/s`, `300 packets/s`, or `unknown`."""
    value = rail["tx_per_second"] if way == "tx" else rail["rx_per_second"]
    if value is None:
        return "unknown"
    return f"{human_bytes(value)}/s" if rail["unit"] == "B" else f"{value:,.0f} packets/s"


def errors_text(rail: RailStatus) -> str:
    """The sum since boot, and what grew just now, by name."""
    if rail["state"] == "absent":
        return "errors unknown"
    total = sum(rail["errors"].values())
    if not total:
        return "no errors"
    grown = ", ".join(f"{name} +{value}" for name, value in rail["errors_grown"].items())
    return f"{total} errors since boot, " + (f"now {grown}" if grown else "none now")


def verdict_text(verdict: VerdictStatus) -> str:
    """`RDMA verdict: rdma, 12 min ago, on qwen3-vl-235b`."""
    age = human_age(verdict["age_seconds"])
    text = f"RDMA verdict: {verdict['kind']}, {age} ago, on {verdict['recipe']}"
    if not verdict["current"]:
        text += f" of an earlier launch ({verdict['run']}), not on what runs now"
    elif verdict["kind"] != "rdma":
        text += f": {verdict['reason']}"
    return text


def _container(container: ContainerStatus, healthy: bool | None) -> str:
    text = (
        f"{container['name']} ({container['recipe']}, rank {container['rank']}) {state(container)}"
    )
    if container["state"] == "running" and container["rank"] == "0":
        text += f"; {health(container, healthy)}"
    if container["overrides"] and container["rank"] == "0":
        text += f"; launched with {' '.join(map(quote, container['overrides']))}"
    return text


def state(container: ContainerStatus) -> str:
    """`running for 3 h, restarted 0 times`, or how it ended."""
    if container["state"] != "running":
        return f"{container['state']}, exit code {container['exit_code']}"
    uptime, times = container["uptime_seconds"], container["restarts"]
    since = f"since {container['started'][:19]}"
    text = f"running {since if uptime is None else f'for {human_age(uptime)}'}"
    return f"{text}, restarted {times} times" if times else text


def _ended(each: HostStatus) -> bool:
    """Whether the server in a container of the host has ended: nobody has to ask it anything."""
    return any(container["server_ended"] is not None for container in each["containers"])


def health(container: ContainerStatus, healthy: bool | None) -> str:
    """Whether the server answers, on which port; or how it ended, while its container runs on."""
    from spark_cluster.serving.apis import APIS

    if container["server_ended"] is not None:
        return f"the server in it {container['server_ended']['what']}"
    known = APIS.get(container["api"], APIS["openai"])
    answers = {True: "answers", False: "does not answer yet", None: "was not asked"}[healthy]
    return f"{known.well} {answers} on port {container['port']}"


def endpoint_text(endpoint: EndpointStatus) -> str:
    """Requests, tokens, the KV cache, the first token's time; what is not known is left out."""
    if endpoint["error"]:
        return f"the server gives no metrics: {endpoint['error']}"
    forms = (
        (endpoint["running"], "{:.0f} requests running"),
        (endpoint["waiting"], "{:.0f} waiting"),
        (endpoint["tokens_per_second"], "{:.1f} tokens/s"),
        (endpoint["prompt_tokens_per_second"], "{:.1f} prompt tokens/s"),
        (endpoint["kv_cache_usage"], "KV cache {:.0%} full"),
        (endpoint["ttft_seconds"], "first token after {:.2f} s"),
    )
    known = [form.format(value) for value, form in forms if value is not None]
    return ", ".join(known) or "the server's metrics are none that we know"


def supervisor(each: HostStatus) -> Iterator[str]:
    """Whether the host starts its rank again, and what that waits for; an orphan is named."""
    found = each["restarts_at_boot"]
    if found is None:
        return
    text = f"restarts at boot: {found['recipe'] or 'an unknown recipe'}, rank {found['rank']}"
    if not found["enabled"]:
        text += ", but its unit is not enabled"
    if not found["active"]:
        text += ", but its unit does not run"
    elif found["says"] != RUNS:
        text += f"; {found['says'] or 'it has said nothing yet'}"
    yield text

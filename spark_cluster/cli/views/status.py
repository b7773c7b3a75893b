"""Reading and printing for `status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spark_cluster.actions import remedies
from spark_cluster.actions.status_rows import TWICE, before_of, row, unknown
from spark_cluster.cli.running import looking
from spark_cluster.cli.terminal import Console
from spark_cluster.core.error import SparkError
from spark_cluster.core.units import human_age, human_bytes
from spark_cluster.facts.supervisor import RUNS
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.runner.last_verdict import last_verdict

#: Seconds for one look: it takes two, and a minute where docker and nvidia-smi hang.
_SECONDS = 75.0

Row = dict[str, Any]


def read(inventory: Inventory, names: list[str]) -> list[Row]:
    """One row a host; `state` is `up` or `unknown`, with the reason and the remedy."""
    with looking(inventory, names) as session:
        outcomes = session.each(session.alive, lambda host: host.read(TWICE, timeout=_SECONDS))
        rows = []
        for name in names:
            outcome = session.lost.get(name) or outcomes[name]
            if isinstance(outcome, SparkError):
                rows.append(unknown(name, outcome.message, outcome.remedy))
            else:
                rows.append(row(inventory.hosts[name], before_of(outcome), outcome))
        return rows


def verdict_row(inventory: Inventory, rows: list[Row]) -> Row | None:
    """The last RDMA verdict that this controller gave; `current`: on the launch that runs now."""
    last = last_verdict(inventory.path)
    if last is None:
        return None
    runs = {c["run"] for row in rows for c in row.get("containers", ()) if c["state"] == "running"}
    return {
        "kind": last.kind,
        "code": last.code,
        "reason": last.reason,
        "when": last.when.isoformat(),
        "age_seconds": round(last.age()),
        "by": last.verb,
        "recipe": last.recipe,
        "run": last.run,
        "current": last.run in runs,
    }


def show(
    console: Console, inventory: Inventory, rows: list[Row], verdict: Row | None, *, verbose: bool
) -> None:
    console.line((f"inventory {short(inventory.path)}", "dim"))
    nexts = next_steps(rows)
    for each in rows:
        if each["state"] == "unknown":
            console.line("  ", ("unknown", "bold magenta"), f"  {each['host']}: {each['reason']}")
            if each["host"] in nexts:
                console.line(f"             next: {nexts[each['host']]}")
            continue
        console.line("  ", ("up", "green"), f"       {each['host']}: {_host(each)}")
        for line in _details(each, verbose=verbose):
            console.line(f"             {line}")
    if verdict is not None:
        console.line(f"  {verdict_text(verdict)}")


def next_steps(rows: list[Row]) -> dict[str, str]:
    """After which unknown host which remedy is told."""
    return remedies.after({e["host"]: e["remedy"] for e in rows if e["state"] == "unknown"})


def _host(each: Row) -> str:
    swap = f"swap on ({', '.join(each['swap'])})" if each["swap"] else "swap off"
    available, total = each["memory_available"], each["memory_total"]
    parts = [f"{human_bytes(available)} of {human_bytes(total)} available", swap]
    if each["load"]:
        parts.append(f"load {each['load'][0]:g} on {each['cores'] or '?'} cores")
    if each["uptime_seconds"] is not None:
        parts.append(f"up {human_age(each['uptime_seconds'])}")
    return ", ".join(parts)


def _details(each: Row, *, verbose: bool) -> Iterator[str]:
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
    if each["endpoint"] is not None and not ended(each):
        yield endpoint_text(each["endpoint"])
    yield from supervisor(each)
    yield from locks(each)


def gpu_text(each: Row) -> str:
    """`96 %, 31 W, 2100 of 3003 MHz, 61 °C`."""
    units = (("gpu_utilization", "%"), ("gpu_watts", "W"), ("gpu_sm_mhz", ""))
    parts = [f"{each[key]:.0f} {unit}".strip() for key, unit in units if each[key] is not None]
    if each["gpu_sm_mhz"] is not None:
        highest = each["gpu_max_sm_mhz"]
        parts[-1] += f" of {highest:.0f} MHz" if highest is not None else " MHz"
    if each["gpu_celsius"] is not None:
        parts.append(f"{each['gpu_celsius']:.0f} °C")
    return ", ".join(parts) or "gives no readings"


def _rail(rail: Row) -> str:
    text = f"rail {rail['interface']} ({rail['device']}): {rail['state']}"
    text += f", {rail['rate']}" if rail["rate"] else ""
    text += f", {rate_text(rail, 'tx')} out, {rate_text(rail, 'rx')} in"
    return f"{text}, {errors_text(rail)}"


def rate_text(rail: Row, way: str) -> str:
    """`1.2 GiB/s`, `300 packets/s`, or `unknown`."""
    value = rail[f"{way}_per_second"]
    if value is None:
        return "unknown"
    return f"{human_bytes(value)}/s" if rail["unit"] == "B" else f"{value:,.0f} packets/s"


def errors_text(rail: Row) -> str:
    """The sum since boot, and what grew just now, by name."""
    if rail["state"] == "absent":
        return "errors unknown"
    total = sum(rail["errors"].values())
    if not total:
        return "no errors"
    grown = ", ".join(f"{name} +{value}" for name, value in rail["errors_grown"].items())
    return f"{total} errors since boot, " + (f"now {grown}" if grown else "none now")


def verdict_text(verdict: Row) -> str:
    """`RDMA verdict: rdma, 12 min ago, on qwen3-vl-235b`."""
    age = human_age(verdict["age_seconds"])
    text = f"RDMA verdict: {verdict['kind']}, {age} ago, on {verdict['recipe']}"
    if not verdict["current"]:
        text += f" of an earlier launch ({verdict['run']}), not on what runs now"
    elif verdict["kind"] != "rdma":
        text += f": {verdict['reason']}"
    return text


def _container(container: Row, healthy: bool | None) -> str:
    text = (
        f"{container['name']} ({container['recipe']}, rank {container['rank']}) {state(container)}"
    )
    if container["state"] == "running" and container["rank"] == "0":
        text += f"; {health(container, healthy)}"
    return text


def state(container: Row) -> str:
    """`running for 3 h, restarted 0 times`, or how it ended."""
    if container["state"] != "running":
        return f"{container['state']}, exit code {container['exit_code']}"
    uptime, times = container["uptime_seconds"], container["restarts"]
    since = f"since {container['started'][:19]}"
    text = f"running {since if uptime is None else f'for {human_age(uptime)}'}"
    return f"{text}, restarted {times} times" if times else text


def ended(each: Row) -> bool:
    """Whether the server in a container of the host has ended: nobody has to ask it anything."""
    return any(container["server_ended"] is not None for container in each["containers"])


def health(container: Row, healthy: bool | None) -> str:
    """Whether the server answers, on which port; or how it ended, while its container runs on."""
    from spark_cluster.serving.apis import APIS

    if container["server_ended"] is not None:
        return f"the server in it {container['server_ended']['what']}"
    known = APIS.get(container["api"], APIS["openai"])
    answers = {True: "answers", False: "does not answer yet", None: "was not asked"}[healthy]
    return f"{known.well} {answers} on port {container['port']}"


def endpoint_text(endpoint: Row) -> str:
    """Requests, tokens, the KV cache, the first token's time; what is not known is left out."""
    if endpoint["error"]:
        return f"the server gives no metrics: {endpoint['error']}"
    forms = (
        ("running", "{:.0f} requests running"),
        ("waiting", "{:.0f} waiting"),
        ("tokens_per_second", "{:.1f} tokens/s"),
        ("prompt_tokens_per_second", "{:.1f} prompt tokens/s"),
        ("kv_cache_usage", "KV cache {:.0%} full"),
        ("ttft_seconds", "first token after {:.2f} s"),
    )
    known = [form.format(endpoint[key]) for key, form in forms if endpoint[key] is not None]
    return ", ".join(known) or "the server's metrics are none that we know"


def supervisor(each: Row) -> Iterator[str]:
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


def locks(each: Row) -> Iterator[str]:
    """Who holds the host, if anyone does."""
    if each["lock"]:
        yield f"in use: {each['lock']}"
    if each["files_lock"]:
        yield f"models and images in use: {each['files_lock']}"

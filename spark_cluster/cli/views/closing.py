"""The last lines of a run for a person: what came of it, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spark_cluster.cli.views import monitor, services
from spark_cluster.cli.views.unknown import not_reached
from spark_cluster.core.event import RunFinished
from spark_cluster.serving.api import API_KEY

_PROOFS = {
    "ready": "that the model is loaded and the server answers",
    "canary": "that the server gives a token",
    "rdma-verdict": "that its tokens travel by RDMA",
}


def lines(event: RunFinished) -> Iterator[str]:
    """Nothing where the counts say all."""
    data = event.data
    match event.verb.split():
        case ["launch"]:
            yield from _launch(event.exit_code, data)
        case ["teardown"]:
            yield from _teardown(data)
        case ["monitor", "up"] if "host" in data and event.exit_code == 0:
            yield from monitor.started(data)
        case ["monitor", "down"] if "unknown" in data:
            for host in data["unknown"]:
                again = f"monitor down --hosts {host}"
                yield not_reached(host, "its exporters may still run", again)
        case ["services", _, "up"] if "url" in data and event.exit_code == 0:
            yield from services.started(data)
        case ["services", _, "down"] if "unknown" in data:
            yield from services.stopped(data)
        case _:
            yield from _not_begun(data)


def _not_begun(data: Mapping[str, Any]) -> Iterator[str]:
    if data.get("begun") is False:
        yield "Nothing was changed: what stands above is in the way."


def _teardown(data: Mapping[str, Any]) -> Iterator[str]:
    yield from _not_begun(data)
    for host in data.get("unknown", ()):
        more = " (--wait 30m waits for it)"
        yield not_reached(host, "what runs there may still run", "teardown --resume", more)
    if data.get("clear"):
        what = data["recipe"] or "ours"
        yield f"nothing of {what} runs on {', '.join(data['clear'])}"


def _launch(code: int, data: Mapping[str, Any]) -> Iterator[str]:
    name = data.get("name", "")
    if data.get("begun") is False:
        yield "Nothing was started: what stands above is in the way."
    elif code == 0:
        yield from _serves(name, data)
        return
    elif "verdict" in data:
        yield f"{name} is up and answers: {data['endpoint']}"
        yield "Its tokens do not travel by RDMA as they should: see the verdict above."
    else:
        yield (
            "The containers are left as they are, for their logs. "
            "`spark-cluster teardown` removes them."
        )
    if data.get("wanted_restarts") and not data.get("restarts_on"):
        yield f"nothing starts {name} again at boot until a launch with --restart-at-boot"


def _serves(name: str, data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name} is {_state(data)}: {data['endpoint']}"
    for step in data["not_verified"] if data["waited"] else ():
        yield f"not verified: {_PROOFS[step]}; the playbook has no step {step}"
    yield curl_line(data["chat"], data["model"], has_key=data["has_key"])
    if data["restarts_on"]:
        yield (
            f"restarts at boot on {', '.join(data['restarts_on'])}, and when a rank ends, until "
            "`spark-cluster teardown`"
        )
    if len(data["hosts"]) > 1:
        yield f"next: spark-cluster verify-rdma{' --watch' if 'verdict' in data else ''}"


def _state(data: Mapping[str, Any]) -> str:
    """What may be said of a launch that ended well."""
    was_up, unproven = data["already_up"], data["not_verified"]
    if not data["waited"]:
        return "already up" if was_up else "started, not yet ready"
    if not unproven:
        return "already up" if was_up else "ready"
    answers = not {"ready", "canary"} & set(unproven)
    said = "ready" if answers else "started"
    return f"{'already up' if was_up else said}, but not verified"


def curl_line(url: str, model: str, *, has_key: bool) -> str:
    """A request to try; the key, if there is one, is for the reader's shell to put in."""
    body = '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 32}'
    key = f' -H "Authorization: Bearer ${API_KEY}"' if has_key else ""
    return f"  curl {url}{key} -H 'Content-Type: application/json' -d '{body % model}'"

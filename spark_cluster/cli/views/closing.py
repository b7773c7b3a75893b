"""The last lines of a run for a person: what came of it, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_cluster.cli.views import monitor, services
from spark_cluster.core.event import RunFinished
from spark_cluster.serving.api import API_KEY

_PROOFS = {
    "ready": "that the model is loaded and the server answers",
    "canary": "that the server gives a token",
    "rdma-verdict": "that its tokens travel by RDMA",
}


def lines(event: RunFinished) -> list[str]:
    """Empty where the counts say all."""
    data = event.data
    match event.verb.split():
        case ["launch"]:
            return _launch(event.exit_code, data)
        case ["teardown"]:
            return _teardown(data)
        case ["monitor", "up"] if "host" in data and event.exit_code == 0:
            return list(monitor.started(data))
        case ["monitor", "down"] if "unknown" in data:
            return _monitor_down(data)
        case ["services", _, "up"] if "url" in data and event.exit_code == 0:
            return list(services.started(data))
        case ["services", _, "down"] if "unknown" in data:
            return list(services.stopped(data))
    return _not_begun(data)


def _not_begun(data: Mapping[str, Any]) -> list[str]:
    if data.get("begun") is False:
        return ["Nothing was changed: what stands above is in the way."]
    return []


def _teardown(data: Mapping[str, Any]) -> list[str]:
    said = _not_begun(data)
    for name in data.get("unknown", ()):
        said.append(
            f"unknown: {name} was not reached; what runs there may still run. "
            "Run `spark-cluster teardown --resume` when it answers (--wait 30m waits for it)."
        )
    if data.get("clear"):
        what = data["recipe"] or "ours"
        said.append(f"nothing of {what} runs on {', '.join(data['clear'])}")
    return said


def _monitor_down(data: Mapping[str, Any]) -> list[str]:
    return [
        f"unknown: {host} was not reached; its exporters may still run. "
        f"Run `spark-cluster monitor down --hosts {host}` when it answers."
        for host in data["unknown"]
    ]


def _launch(code: int, data: Mapping[str, Any]) -> list[str]:
    name = data.get("name", "")
    if data.get("begun") is False:
        said = ["Nothing was started: what stands above is in the way."]
    elif code == 0:
        return _serves(name, data)
    elif "verdict" in data:
        said = [
            f"{name} is up and answers: {data['endpoint']}",
            "Its tokens do not travel by RDMA as they should: see the verdict above.",
        ]
    else:
        said = [
            "The containers are left as they are, for their logs. "
            "`spark-cluster teardown` removes them."
        ]
    if data.get("wanted_restarts") and not data.get("restarts_on"):
        said.append(f"nothing starts {name} again at boot until a launch with --restart-at-boot")
    return said


def _serves(name: str, data: Mapping[str, Any]) -> list[str]:
    unproven = data["not_verified"] if data["waited"] else ()
    said = [f"{name} is {_state(data)}: {data['endpoint']}"]
    said += [f"not verified: {_PROOFS[step]}; the playbook has no step {step}" for step in unproven]
    said.append(curl_line(data["chat"], data["model"], has_key=data["has_key"]))
    if data["restarts_on"]:
        said.append(
            f"restarts at boot on {', '.join(data['restarts_on'])}, and when a rank ends, until "
            "`spark-cluster teardown`"
        )
    if len(data["hosts"]) > 1:
        more = " --watch" if "verdict" in data else ""
        said.append(f"next: spark-cluster verify-rdma{more}")
    return said


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

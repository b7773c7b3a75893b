"""The command line of Ray 2.51 (`ray start|stop|status`), and click's way to refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from .wire import Json

# name -> kind; from `ray start --help` and its hidden options.
START: Mapping[str, str] = {
    **dict.fromkeys(
        [
            "--node-ip-address",
            "--address",
            "--node-name",
            "--redis-username",
            "--redis-password",
            "--redis-shard-ports",
            "--worker-port-list",
            "--plasma-directory",
            "--object-spilling-directory",
            "--autoscaling-config",
            "--temp-dir",
            "--tracing-startup-hook",
            "--labels",
            "--labels-file",
            "--cgroup-path",
            "--dashboard-host",
        ],
        "text",
    ),
    **dict.fromkeys(
        [
            "--port",
            "--object-manager-port",
            "--node-manager-port",
            "--min-worker-port",
            "--max-worker-port",
            "--ray-client-server-port",
            "--memory",
            "--object-store-memory",
            "--num-cpus",
            "--num-gpus",
            "--dashboard-port",
            "--dashboard-agent-listen-port",
            "--dashboard-agent-grpc-port",
            "--runtime-env-agent-port",
            "--metrics-export-port",
            "--system-reserved-memory",
        ],
        "integer",
    ),
    **dict.fromkeys(
        [
            "--head",
            "--block",
            "--no-redirect-output",
            "--enable-object-reconstruction",
            "--no-monitor",
            "--ray-debugger-external",
            "--disable-usage-stats",
            "--enable-resource-isolation",
            "--verbose",
            "-v",
        ],
        "flag",
    ),
    "--include-dashboard": "boolean",
    "--include-log-monitor": "boolean",
    "--system-reserved-cpu": "float",
    "--resources": "json",
    "--system-config": "json",
    "--log-style": "auto|record|pretty",
    "--log-color": "auto|false|true",
}
STOP: Mapping[str, str] = {
    "--force": "flag",
    "-f": "flag",
    "--grace-period": "integer",
    "-g": "integer",
    "--log-style": "auto|record|pretty",
    "--log-color": "auto|false|true",
    "--verbose": "flag",
    "-v": "flag",
}
STATUS: Mapping[str, str] = {"--address": "text", "--verbose": "flag", "-v": "flag"}

# Known to Ray, not to the stand-in.
OTHER = [
    "attach",
    "check-open-ports",
    "cluster-dump",
    "cpp",
    "dashboard",
    "debug",
    "disable-usage-stats",
    "down",
    "drain-node",
    "enable-usage-stats",
    "exec",
    "get",
    "get-head-ip",
    "get-worker-ips",
    "global-gc",
    "health-check",
    "install-nightly",
    "job",
    "kill-random-node",
    "kuberay-autoscaler",
    "list",
    "local-dump",
    "logs",
    "memory",
    "metrics",
    "microbenchmark",
    "monitor",
    "rsync-down",
    "rsync-up",
    "sanity-check",
    "stack",
    "submit",
    "summary",
    "symmetric-run",
    "teardown",
    "timeline",
    "up",
]


class UsageError(Exception):
    """The text after `Error: `; the exit code is 2."""


def _value(option: str, kind: str, text: str) -> object:
    if kind in ("integer", "float"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            raise UsageError(
                f"Invalid value for '{option}': '{text}' is not a valid {kind}."
            ) from None
    if kind == "boolean":
        if text.lower() in ("1", "true", "t", "yes", "y", "on"):
            return True
        if text.lower() in ("0", "false", "f", "no", "n", "off"):
            return False
        raise UsageError(f"Invalid value for '{option}': '{text}' is not a valid boolean.")
    if kind == "json":
        try:
            return json.loads(text)
        except ValueError:
            raise UsageError(f"Invalid value for '{option}': '{text}' is not valid JSON.") from None
    if "|" in kind and text not in kind.split("|"):
        choices = ", ".join(f"'{item}'" for item in kind.split("|"))
        raise UsageError(f"Invalid value for '{option}': '{text}' is not one of {choices}.")
    return text


def parse(table: Mapping[str, str], argv: Sequence[str]) -> Json:
    """Options as click parses them: `--name value` or `--name=value`, `_` is not `-`."""
    found: Json = {}
    rest = list(argv)
    while rest:
        item = rest.pop(0)
        name, equals, text = item.partition("=")
        if not item.startswith("-"):
            raise UsageError(f"Got unexpected extra argument ({item})")
        kind = table.get(name)
        if kind is None:
            raise UsageError(_no_such(name, table))
        key = {"-v": "verbose", "-f": "force", "-g": "grace_period"}.get(
            name, name.lstrip("-").replace("-", "_")
        )
        if kind == "flag":
            if equals:
                raise UsageError(f"Option '{name}' does not take a value.")
            found[key] = True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"Option '{name}' requires an argument.")
            text = rest.pop(0)
        found[key] = _value(name, kind, text)
    return found


def _no_such(name: str, table: Mapping[str, str]) -> str:
    from difflib import get_close_matches

    near = sorted(get_close_matches(name, list(table)))
    if not near:
        return f"No such option: {name}"
    if len(near) == 1:
        return f"No such option: {name} Did you mean {near[0]}?"
    return f"No such option: {name} (Possible options: {', '.join(near)})"

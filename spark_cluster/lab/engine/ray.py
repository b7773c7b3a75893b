"""`ray start`, `ray stop` and `ray status`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from . import ray_flags
from .logs import err, out, ray_line, set_process_name, stat_fields
from .node import RayNode, ray_folder
from .ray_logs import session_folder
from .release import has_ray
from .tables import read_json
from .wire import Json, Wire

DEFAULT_PORT = 6379
DASHBOARD_PORT = 8265
NO_CLUSTER = (
    "ConnectionError: Could not find any running Ray instance. Please specify the one to connect "
    "to by setting the `--address` flag or `RAY_ADDRESS` environment variable."
)
LINES = read_json("ray_start.json")
"""What `ray start` prints: the line of scripts.py that says it, its level, its text."""


class StartError(Exception):
    """`ray start` cannot go on; exit code 1."""


# -- the traces that Ray leaves in its temporary folder -------------------------------------


def local_nodes() -> list[Json]:
    """The Ray nodes of this container that live: their address, id, process."""
    folder = f"{ray_folder()}/spark-lab"
    found = []
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib is slow to import
    except OSError:
        return []
    for name in names:
        try:
            with open(f"{folder}/{name}") as file:  # noqa: PTH123
                entry = json.load(file)
            started = stat_fields(int(entry["pid"]))[19]
        except (OSError, ValueError, KeyError):
            continue
        if started == entry["started"]:
            found.append(entry)
    return found


def find_address(given: str = "") -> str:
    """`--address`, RAY_ADDRESS, or the cluster that this container belongs to."""
    address = given or os.environ.get("RAY_ADDRESS", "")
    if address and address != "auto":
        return address.removeprefix("ray://")
    nodes = local_nodes()
    return str(nodes[-1]["gcs"]) if nodes else ""


def split_address(text: str) -> tuple[str, int]:
    """`IP:PORT` -> both."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise StartError(f"ValueError: Malformed address: {text}. Expected '<host>:<port>'.")
    return host, int(port)


def _record(node: RayNode) -> str:
    folder = f"{ray_folder()}/spark-lab"
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    path = f"{folder}/{os.getpid()}"
    entry = {
        "pid": os.getpid(),
        "started": stat_fields()[19],
        "gcs": f"{node.gcs[0]}:{node.gcs[1]}",
        "node_id": node.info["node_id"],
        "ip": node.ip,
    }
    with open(path, "w") as file:  # noqa: PTH123
        json.dump(entry, file)
    return path


# -- ray start ------------------------------------------------------------------------------


def _own_ip(options: Json) -> str:
    from .sysfs import primary_ip

    ip = str(options.get("node_ip_address") or "")
    if not ip:
        saved = os.environ.pop("VLLM_HOST_IP", None)
        ip = primary_ip()
        if saved is not None:
            os.environ["VLLM_HOST_IP"] = saved
    import socket

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((ip, 0))
    except OSError as error:
        raise StartError(
            f"RuntimeError: The raylet failed to start: cannot listen on {ip}: {error}. "
            "Is --node-ip-address an address of this node?"
        ) from error
    return ip


def _start_head(options: Json, ip: str) -> tuple[RayNode, str]:
    from .dashboard import routes
    from .gcs import Gcs
    from .httpd import Server

    port = int(options.get("port") or DEFAULT_PORT)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    session = f"session_{stamp}_{int(time.time() * 1e6) % 10**6:06d}_{os.getpid()}"
    try:
        gcs = Gcs(port, session)
    except OSError as error:
        raise StartError(
            f"ConnectionError: Ray is trying to start at {ip}:{port}, but is already running at "
            f"{ip}:{port}. Please specify a different port using the `--port` flag of `ray start` "
            f"command. ({error})"
        ) from error
    gcs.start()
    url = ""
    if options.get("include_dashboard", True):
        host = str(options.get("dashboard_host") or "127.0.0.1")
        host = "127.0.0.1" if host == "localhost" else host
        wanted = options.get("dashboard_port")
        for candidate in [wanted] if wanted else range(DASHBOARD_PORT, DASHBOARD_PORT + 50):
            try:
                server = Server(host, int(str(candidate)), routes(gcs.snapshot))
            except OSError:
                continue
            server.start()
            url = f"{host if host != '0.0.0.0' else ip}:{server.port}"
            break
        else:
            raise StartError(f"ValueError: Failed to bind the dashboard on {host}:{wanted}")
    return RayNode((ip, port), ip, True, options), url


def _print(*parts: str, **values: object) -> None:
    """The lines of these parts of LINES, in the order of scripts.py."""
    for line, level, text in sorted(row for part in parts for row in LINES[part]):
        _say(line, text.format_map(values), level)


def _say(line: int, text: str, level: str = "INFO") -> None:
    out(ray_line(f"scripts.py:{line}", text, level))


def _serve(options: Json) -> int:
    head = bool(options.get("head"))
    ip = _own_ip(options)
    if head:
        if options.get("disable_usage_stats") or os.environ.get("RAY_USAGE_STATS_ENABLED") == "0":
            out(ray_line("usage_lib.py:447", "Usage stats collection is disabled."))
        _say(914, f"Local node IP: {ip}")
        node, url = _start_head(options, ip)
    else:
        _say(1095, f"Local node IP: {ip}")
        node, url = RayNode(split_address(options["address"]), ip, False, options), ""
    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread: the handler interrupts whoever holds a lock that stop() needs.
        signal.signal(number, lambda *_: threading.Thread(target=node.stop).start())
    problem = node.join(60.0)
    if problem:
        raise StartError(
            f"RuntimeError: Failed to get cluster ID from GCS server "
            f"{node.gcs[0]}:{node.gcs[1]}: {problem}"
        )
    path = _record(node)
    if head:
        parts = ("head", "dashboard") if url else ("head",)
        given = f"_node_ip_address='{ip}'" if "node_ip_address" in options else ""
        _print(*parts, ip=ip, port=node.gcs[1], url=url, given=given)
    else:
        _print("worker")
    session = str(node.session)
    if options.get("block"):
        _print("block", logs=session_folder(ray_folder(), session))
    else:
        _detach(session)
    code = node.run()
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108
    if code:
        _print("lost")
    return code


_parent_pipe = -1


def _detach(session: str) -> None:
    """Let the waiting parent return 0; log to the container's log, or to Ray's folder."""
    os.write(_parent_pipe, b"0")
    os.close(_parent_pipe)
    target = f"{session_folder(ray_folder(), session)}/raylet.out"
    if __file__.startswith("/opt/spark-lab/") and os.access("/proc/1/fd/1", os.W_OK):
        target = "/proc/1/fd/1"
    log = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _refuse(line: int, text: str) -> int:
    _say(line, text, "PANIC")
    err(f"Error: {text}")
    return 1


def start(argv: Sequence[str]) -> int:
    """`ray start`."""
    global _parent_pipe
    options = ray_flags.parse(ray_flags.TABLES["start"], argv)
    if not options.get("head"):
        if not options.get("address"):
            return _refuse(
                1046, "`--address` is a required flag unless starting a head node with `--head`."
            )
        for flag in ("port", "redis_shard_ports", "include_dashboard"):
            if flag in options:
                name = "--" + flag.replace("_", "-")
                text = f"`{name}` should only be specified when starting head node with `--head`."
                return _refuse(1065, text)
    set_process_name("raylet")
    if not options.get("block"):
        reader, _parent_pipe = os.pipe()
        if os.fork():
            os.close(_parent_pipe)
            return 0 if os.read(reader, 1) == b"0" else 1
        os.setsid()
    try:
        return _serve(options)
    except StartError as error:
        err(f"Traceback (most recent call last):\n{error}")
        return 1


# -- ray stop, ray status ---------------------------------------------------------------------


def stop(argv: Sequence[str]) -> int:
    """`ray stop`: ends the nodes of this container."""
    options = ray_flags.parse(ray_flags.TABLES["stop"], argv)
    grace = float(options.get("grace_period", 16))
    pids = [int(entry["pid"]) for entry in local_nodes()]
    if not pids:
        out("Did not find any active Ray processes.")
        return 0
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL if options.get("force") else signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and local_nodes():
        time.sleep(0.1)
    left = len(local_nodes())
    if left:
        err(
            f"Stopped only {len(pids) - left} out of {len(pids)} Ray processes within the grace "
            f"period {int(grace)} seconds."
        )
        return 1
    out(f"Stopped all {len(pids)} Ray processes.")
    return 0


def status(argv: Sequence[str]) -> int:
    """`ray status`: from the live head."""
    from .dashboard import status_text

    options = ray_flags.parse(ray_flags.TABLES["status"], argv)
    address = find_address(str(options.get("address") or ""))
    if not address:
        err(f"Traceback (most recent call last):\n{NO_CLUSTER}")
        return 1
    try:
        wire = Wire.connect(*split_address(address), limit=5.0)
        answer = wire.ask({"op": "nodes"})
    except (OSError, StartError) as error:
        err(f"Ray cluster is not found at {address}\n({error})")
        return 1
    out(status_text(answer["nodes"]))
    return 0


def main() -> int:
    """The command `ray`."""
    from .dashboard import VERSION

    if not has_ray():
        err("ray: not found in this image (spark-lab)")
        return 127
    argv = sys.argv[1:]
    if argv[:1] == ["--version"]:
        out(f"ray, version {VERSION}")
        return 0
    verb = argv[0] if argv else ""
    commands = {"start": start, "stop": stop, "status": status}
    if verb not in commands:
        if verb in ray_flags.TABLES["other"]:
            err(f"Error: `ray {verb}` is not part of the lab's stand-in.")
        else:
            usage = "Usage: ray [OPTIONS] COMMAND [ARGS]...\nTry 'ray --help' for help.\n"
            reason = f"No such command '{verb}'." if verb else "Missing command."
            err(f"{usage}\nError: {reason}")
        return 2
    if "--help" in argv:
        out(f"Usage: ray {verb} [OPTIONS]\n\nOptions:")
        for name, kind in ray_flags.TABLES[verb].items():
            out(f"  {name} {'' if kind == 'flag' else kind.upper()}")
        return 0
    try:
        return commands[verb](argv[1:])
    except ray_flags.UsageError as error:
        err(f"Usage: ray {verb} [OPTIONS]\nTry 'ray {verb} --help' for help.\n\nError: {error}")
        return 2

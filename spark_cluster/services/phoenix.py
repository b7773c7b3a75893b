"""Arize Phoenix as a systemd user unit with a virtual environment of its own, as the seeds ran it.

Authentication is on: with it Phoenix refuses traces without the key that is generated here.
"""

from __future__ import annotations

from spark_cluster.services.service import MARK, Generated, Service

#: Seen to start and to answer with this unit's environment under Python 3.11.
VERSION = "20.26.1"

#: Where its data was in the seeds.
DATA = "~/.local/share/phoenix"
VENV = f"{DATA}/venv"

_GRPC = 4317
_PORT = 6006


def _unit(listen: str, _: str) -> str:
    return f"""\
{MARK} phoenix up`.
[Unit]
Description=Arize Phoenix: traces of LLM calls
After=network-online.target

[Service]
EnvironmentFile=%h/.config/spark-cluster/phoenix.env
Environment=PHOENIX_WORKING_DIR=%h/.local/share/phoenix
Environment=PHOENIX_HOST={listen} PHOENIX_PORT={_PORT} PHOENIX_GRPC_PORT={_GRPC}
Environment=PHOENIX_ENABLE_AUTH=True PHOENIX_TELEMETRY_ENABLED=False
ExecStart=%h/.local/share/phoenix/venv/bin/phoenix serve
Restart=on-failure
RestartSec=10
MemoryMax=4G

[Install]
WantedBy=default.target
"""


PHOENIX = Service(
    name="phoenix",
    kind="unit",
    port=_PORT,
    ports=(_PORT, _GRPC),
    health="/healthz",
    folder=DATA,
    main_file="~/.config/systemd/user/phoenix.service",
    env_file="~/.config/spark-cluster/phoenix.env",
    secrets=(
        Generated("PHOENIX_SECRET"),
        Generated("PHOENIX_ADMIN_SECRET", prefix="a"),
        Generated("PHOENIX_DEFAULT_ADMIN_INITIAL_PASSWORD", size=12),
    ),
    render=_unit,
    limits=("It may take 4 GiB of memory (MemoryMax), which the GPU then lacks.",),
    login=(
        "user admin@localhost, password: PHOENIX_DEFAULT_ADMIN_INITIAL_PASSWORD in {env} on {host}",
        "send traces with the header `Authorization: Bearer` and PHOENIX_ADMIN_SECRET from there",
    ),
)

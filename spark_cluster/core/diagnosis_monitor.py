"""The diagnoses of monitoring and services: code, title, why it matters, how it is mended.

Apart from core/diagnosis.py for its length; read them there.
"""

from __future__ import annotations

ENTRIES: tuple[tuple[str, str, str, str], ...] = (
    (
        "MON001",
        "A program of the monitoring is not there",
        "With --packages the monitoring runs Debian's prometheus and prometheus-node-exporter "
        "instead of container images, and they are not installed on the host.",
        "On the host: `apt-get install prometheus prometheus-node-exporter`, then "
        "`systemctl disable --now prometheus`: ours runs with its own configuration.",
    ),
    (
        "MON002",
        "A port of the monitoring is in use",
        "Prometheus listens on 9090, Grafana on 3000, node_exporter on 9100, dcgm-exporter on "
        "9400. An exporter that runs there already is used as it is; anything else is in the way.",
        "Stop what holds the port (`ss -ltnp` names it), or choose another host with --host.",
    ),
    (
        "MON003",
        "A program of the monitoring does not answer",
        "It was started and its port gives no answer: it ended, or its configuration is refused.",
        "`docker logs spark-cluster-NAME` on the host says why, with --packages "
        "`journalctl -u spark-cluster-NAME`.",
    ),
    (
        "MON004",
        "A host rebooted",
        "Its boot id changed while `spark-cluster watch` looked. What served there is gone, and "
        "the other ranks wait for it for ever.",
        "`spark-cluster evidence` collects the journal of the boot before and what pstore kept; "
        "then `spark-cluster teardown` and launch again.",
    ),
    (
        "MON005",
        "The server stopped answering",
        "The engine was ready, its container runs, and its port gives no answer any more.",
        "`spark-cluster logs` shows the last lines of all ranks; then `spark-cluster teardown` and "
        "launch again.",
    ),
    (
        "MON006",
        "A restart did not bring it back",
        "`spark-cluster watch --restart` took the recipe down and its launch failed; nothing of it "
        "serves since. The watcher tries again, with a growing pause and at most --cap times in "
        "six hours, until it serves or somebody else works on these hosts.",
        "`spark-cluster history` shows why the launch failed; mend that. `spark-cluster launch` "
        "brings it back at once, `spark-cluster watch --pause` leaves it down.",
    ),
    (
        "SVC001",
        "A file of the service is not ours",
        "A unit or compose file of that name is there and was not written by spark-cluster; it may "
        "hold settings that somebody needs.",
        "Move it away if it is not needed: `up` then writes ours. Or go on using it as it is.",
    ),
    (
        "SVC002",
        "The host lacks what the service runs on",
        "Langfuse and Helicone need `docker compose`, Phoenix needs python3 with venv and a user "
        "whose units run (systemd --user).",
        "Install on the host: `apt-get install docker-compose-v2` (or docker-compose-plugin from "
        "Docker's own packages), `apt-get install python3-venv`.",
    ),
    (
        "SVC003",
        "A port of the service is in use",
        "Something else listens where the service must listen.",
        "Stop it (`ss -ltnp` names it), or choose another host with --host.",
    ),
    (
        "SVC004",
        "The service does not answer",
        "It was started and its port gives no answer in time. A first start makes databases and "
        "takes minutes; a container that restarts again and again never gets there.",
        "Look at its log: `docker compose logs` in its folder, or `journalctl --user -u phoenix`; "
        "then `spark-cluster services NAME status`.",
    ),
)

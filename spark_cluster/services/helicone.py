"""Helicone's all-in-one image by docker compose, with the limits that the seeds found.

The image's supervisor sets the passwords of the Postgres, the MinIO and the sessions inside it,
over whatever the container is given. So its ports are on the host's loopback unless told otherwise.
"""

from __future__ import annotations

from typing import Any

from spark_cluster.services.compose import compose_file
from spark_cluster.services.service import Generated, Service, env, reached

_WEB = 3001
_JAWN = 8585
_STORE = 9080


def _compose(listen: str, address: str) -> str:
    at = reached(listen, address)
    web, jawn = f"http://{at}:{_WEB}", f"http://{at}:{_JAWN}"
    services: dict[str, Any] = {
        "helicone": {
            "image": "docker.io/helicone/helicone-all-in-one:latest",
            "ports": [
                f"{listen}:{_WEB}:3000",
                f"{listen}:{_JAWN}:8585",
                f"{listen}:{_STORE}:9080",
            ],
            "environment": {
                "SITE_URL": web,
                "BETTER_AUTH_URL": web,
                "NEXT_PUBLIC_APP_URL": web,
                "NEXT_PUBLIC_HELICONE_JAWN_SERVICE": jawn,
                "NEXT_PUBLIC_IS_ON_PREM": "true",
                "S3_ENDPOINT": f"http://{at}:{_STORE}",
                **env({"BETTER_AUTH_SECRET": "BETTER_AUTH_SECRET"}),
            },
            "volumes": [
                "postgres:/var/lib/postgresql",
                "clickhouse:/var/lib/clickhouse",
                "minio:/data",
            ],
            "mem_limit": "8g",
        }
    }
    return compose_file("helicone", services, ("postgres", "clickhouse", "minio"))


HELICONE = Service(
    name="helicone",
    kind="compose",
    port=_WEB,
    ports=(_WEB, _JAWN, _STORE),
    health="/",
    folder="~/llm/helicone",
    main_file="~/llm/helicone/docker-compose.yml",
    env_file="~/llm/helicone/.env",
    secrets=(Generated("BETTER_AUTH_SECRET"),),
    render=_compose,
    limits=(
        "Its AI gateway has no ARM64 build: log with headers instead of through the proxy.",
        "The image has fixed passwords for its own Postgres and MinIO: its ports are on the host's "
        "loopback only. Reach them with ssh -L 3001:localhost:3001 -L 8585:localhost:8585 "
        "-L 9080:localhost:9080; --listen all opens them to the network.",
        "It is run as `latest`, which docker fetches once; it may take 8 GiB of memory.",
    ),
    login=(
        "sign up on its page, then sign in; the first user is yours to make",
        "it sends no mail: if it wants your address verified, on {host}: cd ~/llm/helicone && "
        "docker compose exec --user postgres helicone psql helicone_test --command "
        r'''"UPDATE \"user\" SET \"emailVerified\" = true WHERE email = 'YOUR ADDRESS'"''',
    ),
    parts=("helicone",),
    local=True,
)

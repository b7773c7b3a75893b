"""Langfuse by docker compose: web and worker, postgres, clickhouse, redis as in the seeds, and the
object store that Langfuse 3 cannot do without.

Only the web port is published: a redis on the host's 6379 would be in Ray's way.
"""

from __future__ import annotations

from typing import Any

from spark_cluster.services.compose import compose_file
from spark_cluster.services.service import Generated, Service, env, reached

_VERSION = "3.200.0"
_PORT = 3100
_BUCKET = "langfuse"

#: Bytes of a GB10's memory that each container may take: unified memory, so the GPU's, too.
_MEMORY = {
    "langfuse-web": "2g",
    "langfuse-worker": "2g",
    "postgres": "1g",
    "clickhouse": "4g",
    "redis": "512m",
    "minio": "1g",
}


def _health(*command: str) -> dict[str, Any]:
    return {"test": ["CMD-SHELL", " ".join(command)], "interval": "5s", "timeout": "5s",
            "retries": 30}  # fmt: skip


def _common() -> dict[str, str]:
    """What web and worker share."""
    return {
        **env({"SALT": "SALT", "ENCRYPTION_KEY": "ENCRYPTION_KEY", "REDIS_AUTH": "REDIS_AUTH"}),
        "DATABASE_URL": "postgresql://langfuse:${POSTGRES_PASSWORD}@postgres:5432/langfuse",
        "CLICKHOUSE_MIGRATION_URL": "clickhouse://clickhouse:9000",
        "CLICKHOUSE_URL": "http://clickhouse:8123",
        "CLICKHOUSE_USER": "langfuse",
        "CLICKHOUSE_PASSWORD": "${CLICKHOUSE_PASSWORD}",
        "CLICKHOUSE_CLUSTER_ENABLED": "false",
        "REDIS_HOST": "redis",
        "LANGFUSE_S3_EVENT_UPLOAD_BUCKET": _BUCKET,
        "LANGFUSE_S3_EVENT_UPLOAD_REGION": "auto",
        "LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT": "http://minio:9000",
        "LANGFUSE_S3_EVENT_UPLOAD_FORCE_PATH_STYLE": "true",
        "LANGFUSE_S3_EVENT_UPLOAD_ACCESS_KEY_ID": "langfuse",
        "LANGFUSE_S3_EVENT_UPLOAD_SECRET_ACCESS_KEY": "${MINIO_ROOT_PASSWORD}",
        "TELEMETRY_ENABLED": "false",
    }


def _web(address: str) -> dict[str, str]:
    """A user and a project with keys, made at the first start; nobody else can sign up."""
    return {
        "NEXTAUTH_URL": f"http://{address}:{_PORT}",
        "HOSTNAME": "0.0.0.0",
        "AUTH_DISABLE_SIGNUP": "true",
        "LANGFUSE_INIT_ORG_ID": "spark-cluster",
        "LANGFUSE_INIT_PROJECT_ID": "vllm",
        "LANGFUSE_INIT_USER_EMAIL": "admin@example.com",
        "LANGFUSE_INIT_USER_NAME": "admin",
        **env(
            {
                "NEXTAUTH_SECRET": "NEXTAUTH_SECRET",
                "LANGFUSE_INIT_USER_PASSWORD": "LANGFUSE_INIT_USER_PASSWORD",
                "LANGFUSE_INIT_PROJECT_PUBLIC_KEY": "LANGFUSE_PUBLIC_KEY",
                "LANGFUSE_INIT_PROJECT_SECRET_KEY": "LANGFUSE_SECRET_KEY",
            }
        ),
    }


def _compose(listen: str, address: str) -> str:
    stores = ("postgres", "clickhouse", "redis", "minio")
    ready = {name: {"condition": "service_healthy"} for name in stores}
    services: dict[str, Any] = {
        "langfuse-web": {
            "image": f"docker.io/langfuse/langfuse:{_VERSION}",
            "depends_on": ready,
            "ports": [f"{listen}:{_PORT}:3000"],
            "environment": {**_common(), **_web(reached(listen, address))},
        },
        "langfuse-worker": {
            "image": f"docker.io/langfuse/langfuse-worker:{_VERSION}",
            "depends_on": {name: dict(condition) for name, condition in ready.items()},
            "environment": _common(),
        },
        "postgres": {
            "image": "docker.io/library/postgres:17",
            "environment": {
                "POSTGRES_USER": "langfuse",
                "POSTGRES_DB": "langfuse",
                "POSTGRES_PASSWORD": "${POSTGRES_PASSWORD}",
            },
            "volumes": ["postgres:/var/lib/postgresql/data"],
            "healthcheck": _health("pg_isready -U langfuse"),
        },
        "clickhouse": {
            "image": "docker.io/clickhouse/clickhouse-server:25.8",
            "user": "101:101",
            "environment": {
                "CLICKHOUSE_DB": "default",
                "CLICKHOUSE_USER": "langfuse",
                "CLICKHOUSE_PASSWORD": "${CLICKHOUSE_PASSWORD}",
            },
            "volumes": ["clickhouse:/var/lib/clickhouse"],
            "healthcheck": _health("wget -q --spider http://127.0.0.1:8123/ping"),
        },
        "redis": {
            "image": "docker.io/library/redis:7",
            "environment": env({"REDIS_AUTH": "REDIS_AUTH"}),
            # In a file, so that no process list shows the password; and redis in the place of the
            # shell, which would not heed docker's TERM.
            "command": [
                "sh",
                "-c",
                "umask 077; printf 'requirepass %s\\nmaxmemory-policy noeviction\\n' "
                '"$$REDIS_AUTH" >/tmp/redis.conf && exec redis-server /tmp/redis.conf',
            ],
            "volumes": ["redis:/data"],
            "healthcheck": _health('REDISCLI_AUTH="$$REDIS_AUTH" redis-cli ping'),
        },
        "minio": {
            "image": "docker.io/minio/minio:RELEASE.2025-04-22T22-12-26Z",
            "entrypoint": ["sh", "-c"],
            "command": [f"mkdir -p /data/{_BUCKET} && exec minio server --address :9000 /data"],
            "environment": {
                "MINIO_ROOT_USER": "langfuse",
                "MINIO_ROOT_PASSWORD": "${MINIO_ROOT_PASSWORD}",
            },
            "volumes": ["minio:/data"],
            "healthcheck": _health("mc ready local"),
        },
    }
    for name, limit in _MEMORY.items():
        services[name]["mem_limit"] = limit
    return compose_file("langfuse", services, ("postgres", "clickhouse", "redis", "minio"))


LANGFUSE = Service(
    name="langfuse",
    kind="compose",
    port=_PORT,
    ports=(_PORT,),
    health="/api/public/health",
    folder="~/llm/langfuse",
    main_file="~/llm/langfuse/docker-compose.yml",
    env_file="~/llm/langfuse/.env",
    secrets=(
        Generated("POSTGRES_PASSWORD"),
        Generated("CLICKHOUSE_PASSWORD"),
        Generated("REDIS_AUTH"),
        Generated("MINIO_ROOT_PASSWORD"),
        Generated("SALT"),
        Generated("ENCRYPTION_KEY"),  # exactly 64 hex digits
        Generated("NEXTAUTH_SECRET"),
        Generated("LANGFUSE_INIT_USER_PASSWORD", size=12),
        Generated("LANGFUSE_PUBLIC_KEY", size=16, prefix="pk-lf-"),
        Generated("LANGFUSE_SECRET_KEY", size=16, prefix="sk-lf-"),
    ),
    render=_compose,
    limits=(
        "Its containers may take 10.5 GiB of memory together, which the GPU then lacks.",
        "Media uploads are off: they need an object store that browsers reach.",
    ),
    login=(
        "user admin@example.com, password: LANGFUSE_INIT_USER_PASSWORD in {env} on {host}",
        "clients use LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY from there",
    ),
    parts=tuple(_MEMORY),
)

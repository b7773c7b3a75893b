"""`evidence`: no secret leaves, and a host or a docker that hangs takes nothing else along."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.error import StateUnknown
from spark_cluster.doctor.catalogue import find
from spark_cluster.evidence import script as scripts
from spark_cluster.evidence import unpack
from spark_cluster.evidence.index import About, Part, page
from spark_cluster.evidence.items import DOCKER_SECONDS, GDB_SECONDS, LIBRARY, Item, items
from spark_cluster.evidence.redact import learn, learned, redact, redact_files, secret_values
from spark_cluster.facts.base import ProbeContext
from spark_cluster.runner import evidence as collecting
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli

from . import world
from .world import INVENTORY, Spark, down

CONTEXT = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())
ITEMS = items(CONTEXT, "1h")

#: Ways in which a secret stands in what we collect, and the secret.
PLANTED = [
    ('"Env": ["HF_TOKEN=plant-01-x", "A=b"]', "plant-01-x"),
    ('  "WANDB_API_KEY=plant 02 with words",', "plant 02 with words"),
    ('"MY_SECRET_VALUE=a\\"plant-03"', "plant-03"),
    ('"PGPASSWORD=plant-04"', "plant-04"),
    ("hf_abcdefgh1234567890", "abcdefgh1234567890"),
    ("Authorization: Bearer plant05abcdef", "plant05abcdef"),
    ("{'authorization': 'Basic cGxhbnQwNjpwbGFudDA2'}", "cGxhbnQwNjpwbGFudDA2"),
    ("curl -H 'Authorization: token plant-07'", "plant-07"),
    ('          password: "plant-08 with words"', "plant-08 with words"),
    ("          password: plant-09 two words", "plant-09 two words"),
    ("        psk=plant-10", "plant-10"),
    ("vllm serve m --api-key plant-11 --port 8000", "plant-11"),
    ("vllm serve m --api-key=plant-12", "plant-12"),
    ('"--api-key",\n                "plant-13",', "plant-13"),
    ("non-default args: {'api_key': ['plant-14'], 'port': 8000}", "plant-14"),
    ("https://bob:plant-15@registry.example/v2", "plant-15"),
    ("HUGGING_FACE_HUB_TOKEN=plant-16 vllm serve", "plant-16"),
    ("aws_secret_access_key = plant-17", "plant-17"),
    ("export OPENAI_API_KEY='plant-18'", "plant-18"),
    ("sk-plant19abcdefghijklmnop", "plant19abcdefghijklmnop"),
    (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nplant20\n-----END OPENSSH PRIVATE KEY-----",
        "plant20",
    ),
    ("Set-Cookie: session=plant-21; Path=/", "plant-21"),
    ('{"access_token": "plant-22", "x": 1}', "plant-22"),
    ('message {\\"apiKey\\": \\"plant-23\\"}', "plant-23"),
    ("curl -sS -u bob:plant-24 http://x", "plant-24"),
    ("curl --user=bob:plant-25 http://x", "plant-25"),
    ('"--proxy-user",\n  "bob:plant-26"', "plant-26"),
    ("sshpass -p plant-27 ssh x", "plant-27"),
    ("mysql -u root -pplant-28", "plant-28"),
    ("requirepass plant-29", "plant-29"),
    ("LANGFUSE_SALT=plant-30", "plant-30"),
    ("REDIS_AUTH=plant-31", "plant-31"),
    ('"auth": "cGxhbnQtMzI="', "cGxhbnQtMzI="),
    ("clientSecret: plant-33", "plant-33"),
    ("https://plant-34-token@git.example/a", "plant-34-token"),
    ("https://x.example/a?X-Amz-Signature=plant35&b=1", "plant35"),
    ("AIzaSyplant36plant36plant36plant36plant36", "plant36"),
    ("HF_TO\x1b[1mKEN=plant-37", "plant-37"),
    ("hf_plant\x1b[0;32m38abcdefgh", "38abcdefgh"),
    ("hf_plant\u200b39abcdefgh", "39abcdefgh"),
    ("API_KEY\x1b]0;x\x07=plant-40", "plant-40"),
]

INNOCENT = [
    "vllm:generation_tokens_total{engine=\"0\"} 72.0",
    "vllm:time_to_first_token_seconds_sum{engine=\"0\"} 1.5",
    "'max_num_batched_tokens': 8192, 'tokenizer': 'Qwen/Qwen3', max_tokens=32",
    "--max-num-batched-tokens 8192 --tokenizer Qwen/Qwen3 --served-model-name a",
    "/sys/class/infiniband/rocep1s0f1/ports/1/hw_counters/packet_seq_err:7",
    "KeyError: 'model'",
    "max_pkeys: 128",
    "link/ether 4c:bb:47:00:00:01 brd ff:ff:ff:ff:ff:ff",
    "NCCL INFO NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; OOB enp1s0f1np1:192.168.100.10<0>",
    "http://192.168.100.10:8000/v1 and https://github.com/a/b@main",
    "Nov 21 03:15:00 spark-2 sshd[1]: Accepted publickey for ada from 10.0.0.1 port 22",
    "Nov 21 03:15:00 spark-2 sshd[1]: Accepted password for ada from 10.0.0.1 port 22",
    "docker run -u 1000:1000 --user 0:0 --rm image; signal=11, path: /a/b",
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), PLANTED)
def test_a_secret_is_blacked_out(text: str, secret: str) -> None:
    clean = redact(f"before\n{text}\nafter\n")
    assert secret not in clean
    assert "***" in clean
    assert clean.startswith("before\n")
    assert clean.endswith("after\n")


@pytest.mark.parametrize("text", INNOCENT)
def test_the_rest_stays(text: str) -> None:
    assert redact(text) == text


def test_redaction_keeps_dockers_json_whole() -> None:
    text = json.dumps([{"Config": {"Env": ["HF_TOKEN=a b", "NCCL_NET=IB"], "Key": "v"}}], indent=2)
    assert json.loads(redact(text)) == [
        {"Config": {"Env": ["HF_TOKEN=***", "NCCL_NET=IB"], "Key": "***"}}
    ]


def test_what_one_file_gives_away_is_blacked_out_in_all() -> None:
    files = {
        "spark-2/docker/inspect.json": b'["HF_TOKEN=correct-horse", "KEY_FILE=/run/key-file"]',
        "spark-3/docker/top.txt": b"python x correct-horse /run/key-file",
    }
    assert (
        redact_files(files, learned(files))["spark-3/docker/top.txt"]
        == b"python x *** /run/key-file"
    )
    assert learn("      password: wifi with words\n") == {"wifi with words"}


def test_the_controllers_own_secrets_are_known() -> None:
    environment = {"HF_TOKEN": "correct-horse", "PATH": "/usr/bin", "SSH_KEY": "/home/a/.ssh/id"}
    assert secret_values(environment) == ["correct-horse"]


# On the host


def packed(files: dict[str, bytes]) -> str:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return base64.encodebytes(stream.getvalue()).decode()


def run(wanted: list[Item], path: str = "") -> Part:
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.defpath}
    done = subprocess.run(
        ["sh"],
        input=scripts.script(wanted),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=True,
    )
    assert done.stderr == ""
    return unpack.parse("spark-2", done.stdout, wanted)


def test_each_item_has_its_own_limit() -> None:
    found = run(
        [
            Item("a/slow.txt", "echo begun; sleep 600", seconds=1),
            Item("top.txt", "echo top"),
            Item("a/many.txt", 'echo one; echo two >"$OUT/a/two.txt"; exit 3'),
            Item("a/missing.txt", "no-such-program-of-ours"),
        ]
    )
    assert found.problem == ""
    assert found.failed == {"a/slow.txt": "did not end within 1 s"}
    assert found.files["a/slow.txt"] == b"begun\n"
    assert found.files["top.txt"] == b"top\n"
    assert (found.files["a/many.txt"], found.files["a/two.txt"]) == (b"one\n", b"two\n")
    assert b"not found" in found.files["a/missing.txt"]


def test_a_process_that_cannot_be_stopped_holds_nobody_up(tmp_path: Path) -> None:
    """`timeout` does not come back from a process that waits in the kernel."""
    fake = tmp_path / "timeout"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    found = run([Item("stuck.txt", "echo never", seconds=1)], str(tmp_path))
    assert found.failed == {"stuck.txt": "did not end within 1 s and could not be stopped"}


def test_docker_that_hangs_costs_docker_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brisk = LIBRARY.replace(f"timeout -k 1 {DOCKER_SECONDS} docker", "timeout -k 1 2 docker")
    assert brisk != LIBRARY
    monkeypatch.setattr(scripts, "LIBRARY", brisk)
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\nsleep 600\n")
    fake.chmod(0o755)
    wanted = [item for item in ITEMS if item.path in ("docker/ps.txt", "memory.txt")]
    found = run(wanted, str(tmp_path))
    assert found.failed == {}  # docker's own limit ended it, within the item's
    assert b"docker ps" in found.files["docker/ps.txt"]
    assert b"MemTotal" in found.files["memory.txt"]


def test_docker_has_time_on_a_host_under_load() -> None:
    without = "docker/records.txt"
    docker = [item for item in ITEMS if item.path.startswith("docker/") and item.path != without]
    limits = [item.seconds for item in docker]
    assert DOCKER_SECONDS >= 20
    assert min(limits) >= DOCKER_SECONDS + 10
    assert scripts.seconds(ITEMS) <= 90


@pytest.mark.parametrize(("device", "asked"), [("nvidia-uvm", True), ("nvidiactl", False)])
def test_gdb_leaves_no_rank_stopped(tmp_path: Path, device: str, asked: bool) -> None:
    """A gdb that is killed while it attaches, on a process of this test in place of a rank."""
    (stacks,) = (item for item in ITEMS if item.path == "engine/stacks.txt")
    brisk = replace(stacks, shell=stacks.shell.replace(str(GDB_SECONDS), "1"))
    (tmp_path / "dev").mkdir()
    with (tmp_path / "dev" / device).open("w") as held:
        rank = subprocess.Popen(["sleep", "60"], stdout=held)
    try:
        for name, text in {
            "docker": (
                f'case $1 in top) printf "PID\\n{rank.pid}\\n";; image) echo null;; '
                "*) echo vllm-head;; esac"
            ),
            "gdb": 'trap "" TERM; echo "Thread 1"; kill -STOP "$2"; exec sleep 60',
        }.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        found = run([brisk], str(tmp_path))
        state = Path(f"/proc/{rank.pid}/stat").read_text().split()[2]
    finally:
        rank.kill()
        rank.wait()
    assert (found.failed, state) == ({}, "S")
    name = f"engine/stacks-{rank.pid}.txt"
    assert found.files.get(name, b"").startswith(b"Thread 1\n") is asked
    assert (name.encode() in found.files["engine/stacks.txt"]) is asked


def test_gdb_has_time_for_a_process_of_torchs_size() -> None:
    (seconds,) = (item.seconds for item in ITEMS if item.path == "engine/stacks.txt")
    assert seconds >= GDB_SECONDS + 10
    assert "timeout -s KILL $_left gdb" in "".join(item.shell for item in ITEMS)


def full(folder: Path, *places: str) -> str:
    """A `df` by which these places have 100 KiB left; for PATH."""
    fake = folder / "df"
    fake.write_text(
        f"""#!/bin/sh
_free=1000000
case "$2" in {"|".join(places)}) _free=100 ;; esac
echo "Filesystem 1024-blocks Used Available Capacity Mounted on"
echo "/dev/x 1000000 0 $_free 1% $2"
"""
    )
    fake.chmod(0o755)
    return str(folder)


def test_with_a_full_disk_it_is_collected_in_memory(tmp_path: Path) -> None:
    wanted = [Item("a.txt", "echo $OUT"), Item("b.txt", "head -c 3000000 /dev/zero")]
    found = run(wanted, full(tmp_path, "/tmp", "/run"))
    assert found.failed == {}
    assert found.files["a.txt"].startswith(b"/dev/shm/spark-cluster-evidence.")
    assert len(found.files["b.txt"]) == scripts.IN_MEMORY_LIMIT
    assert found.note == "/tmp had no room: collected in /dev/shm, at most 1 MiB an item"
    assert not list(Path("/dev/shm").glob("spark-cluster-evidence.*"))
    part = Part("spark-2", found.files, note=found.note)
    assert f"- spark-2: {found.note}" in page(About("now", "i", "1"), [part], [])
    assert collecting.redacted([part], [])[0].note == found.note


def test_a_host_without_room_anywhere_says_so(tmp_path: Path) -> None:
    path = full(tmp_path, "/tmp", "/run", "/dev/shm")
    done = subprocess.run(
        ["sh"],
        input=scripts.script([Item("a.txt", "echo a")]),
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{path}:{os.environ['PATH']}"},
    )
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr == "no 32 MiB to write to in /tmp, /run and /dev/shm\n"


def test_nothing_is_left_on_the_host(tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("spark-cluster-evidence.*"))
    run([Item("a.txt", "echo a")])
    assert set(Path("/tmp").glob("spark-cluster-evidence.*")) <= before


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item.path))
def test_the_shell_of_each_item_is_sound(item: Item) -> None:
    subprocess.run(["sh", "-n"], input=LIBRARY + item.shell, text=True, check=True)
    assert item.seconds <= 60


def test_every_item_has_a_file_of_its_own() -> None:
    paths = [item.path for item in ITEMS]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("since", "form"),
    [
        ("1h", "--since -1h"),
        ("2026-11-21T03:15:00", "--since 2026-11-21T03:15:00"),
        ("", "-b 0 -n"),
    ],
)
def test_the_journal_since(since: str, form: str) -> None:
    found = {item.path: item.shell for item in items(CONTEXT, since)}
    assert form in found["kernel/journal-this-boot.txt"]


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_an_archive_that_broke_off_gives_what_came(cut: float) -> None:
    noise = os.urandom(40_000)
    text = packed({"a.txt": b"whole", "b.bin": noise, "c.txt": b"never"})
    found = unpack.parse("spark-2", text[: int(len(text) * cut) // 4 * 4], [])
    assert found.problem.startswith("what the host sent broke off")
    assert "c.txt" not in found.files


def test_no_archive_at_all() -> None:
    assert unpack.parse("spark-2", "sh: base64: not found!", []).problem
    assert unpack.parse("spark-2", "", []).files == {}


# The index


def test_the_index_says_first_what_looks_wrong() -> None:
    parts = [
        Part("spark-2", {"docker/ps.txt": b""}, {"docker/ps.txt": "did not end within 15 s"}),
        Part("spark-3", problem="not collected: no route"),
    ]
    findings = [
        find("HOST010", "no route", host="spark-3"),
        find("NET002", "no carrier", host="spark-2"),
    ]
    about = About("2026-11-21 03:15:00 UTC", "inv.yaml", "1.0", "1h")
    text = page(about, parts, findings)
    order = [
        "# What",
        "spark-3: not collected",
        "spark-2: NET002",
        "spark-2: docker/ps.txt did not",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "spark-3: HOST010" not in text
    assert "`spark-cluster explain NET002`" in text
    assert "[docker/ps.txt](spark-2/docker/ps.txt)" in text


# The verb


def giving(name: str) -> Spark:
    """A host whose every item holds every planted secret."""
    text = "\n".join(line for line, _ in PLANTED) + "\nNCCL INFO and so on\n"
    files = {item.path: text.encode() for item in ITEMS}
    files["docker/logs-vllm-head.txt"] = text.encode() + b"correct-horse-battery\n"
    files["docker/inspect.json"] += b'"X_TOKEN=correct-horse-battery"\n'
    files["collected.txt"] = "".join(f"0 {item.path}\n" for item in ITEMS).encode()
    host = Spark(name)
    host.on("spark-cluster-evidence", packed(files))
    return host


def archive(said: Any) -> dict[str, str]:
    path = Path(said.lines[-1]["path"])
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as found:
        return {
            member.name.partition("/")[2]: body.read().decode()
            for member in found
            if (body := found.extractfile(member)) is not None
        }


def test_no_planted_secret_leaves(cli: Cli) -> None:
    hosts = [giving("spark-2"), giving("spark-3")]
    said = cli(
        "evidence", "--json", "--since", "1h", "-i", INVENTORY, "--hosts", "spark-2,spark-3",
        hosts=hosts,
    )  # fmt: skip
    assert said.code == 0, said.out + said.err
    found = archive(said)
    for name, text in found.items():
        for _, secret in PLANTED:
            assert secret not in text, name
        assert "correct-horse-battery" not in text
    for host in ("spark-2", "spark-3"):
        for item in ITEMS:
            assert "NCCL INFO and so on" in found[f"{host}/{item.path}"]
    assert next(iter(found)) == "index.md"
    assert "spark-cluster" in found["controller/versions.txt"]
    assert "hosts:" in found["controller/inventory.yaml"]


def test_a_host_that_hangs_takes_nothing_else_along(cli: Cli) -> None:
    hangs = Spark("spark-3").on(
        "spark-cluster-evidence",
        StateUnknown("spark-3: no end within 95 s", host="spark-3", remedy="Look at it."),
    )
    hosts = [down("spark-1"), giving("spark-2"), hangs]
    said = cli("evidence", "-i", INVENTORY, "-o", "e.tar.gz", hosts=hosts)
    assert said.code == 3
    assert "spark-3: not collected: spark-3: no end within 95 s" in said.out
    assert "spark-1: not collected: spark-1: no route to host" in said.out
    assert said.out.count("no route to host") == 1
    with tarfile.open("e.tar.gz") as found:
        names = found.getnames()
    assert "e/spark-2/docker/ps.txt" in names
    assert not [name for name in names if name.startswith("e/spark-3/")]


def test_a_host_whose_shell_says_nothing(cli: Cli) -> None:
    mute = Spark("spark-2").on("spark-cluster-evidence", Completed(137, "", "Killed"))
    said = cli("evidence", "-i", INVENTORY, "--hosts", "spark-2", hosts=[mute])
    assert said.code == 3
    assert re.search(r"spark-2: not collected: sent no evidence within \d+ s Killed", said.out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--since", "yesterday"], "--since yesterday is no time"),
     (["-o", "/no/such/folder/e.tar.gz", "--hosts", "spark-2"], "cannot be written")],
)  # fmt: skip
def test_what_a_user_may_get_wrong(cli: Cli, arguments: list[str], says: str) -> None:
    said = cli("evidence", "-i", INVENTORY, *arguments, hosts=[giving("spark-2")])
    assert said.code == 2
    assert says in said.err


@pytest.mark.parametrize("output", ["/no/such/folder/e.tar.gz", "."])
def test_a_place_that_cannot_be_written_is_found_before_the_collection(
    cli: Cli, output: str
) -> None:
    host = giving("spark-2")
    said = cli("evidence", "-i", INVENTORY, "--hosts", "spark-2", "-o", output, hosts=[host])
    assert (said.code, host.execs) == (2, 0)
    assert "`spark-cluster evidence --output FILE`" in said.err


def test_an_archive_that_is_not_whole_leaves_nothing(cli: Cli) -> None:
    Path(".e.tar.gz.part").symlink_to("/dev/full")
    said = cli(
        "evidence", "-i", INVENTORY, "--hosts", "spark-2", "-o", "e.tar.gz",
        hosts=[giving("spark-2")],
    )  # fmt: skip
    assert said.code == 2
    assert "e.tar.gz cannot be written: No space left on device" in said.err
    assert list(Path().iterdir()) == []


def test_one_exec_a_host_for_the_evidence_and_one_for_the_doctor(cli: Cli) -> None:
    hosts = [giving("spark-2")]
    cli("evidence", "-i", INVENTORY, "--hosts", "spark-2", hosts=hosts)
    assert (hosts[0].connections, hosts[0].execs) == (1, 2)


def test_our_journal_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "spark-cluster/journal"
    folder.mkdir(parents=True)
    for number in range(25):
        (folder / f"20261121-0315{number:02d}-aaaa-launch.jsonl").write_text("{}\n")
    found = collecting.controller(world.inventory())
    kept = sorted(name for name in found if name.startswith("journal/"))
    assert len(kept) == 20
    assert kept[0] == "journal/20261121-031505-aaaa-launch.jsonl"

"""Reading and writing known_hosts."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.error import HostKeyRejected
from spark_cluster.transport import known_hosts
from spark_cluster.transport.known_hosts import HostKey, lookup, record


def key(name: str = "spark-1", seed: int = 1, kind: str = "ssh-ed25519") -> HostKey:
    return HostKey(name, kind, base64.b64encode(bytes([seed]) * 24).decode())


def hashed(name: str) -> str:
    salt = b"s" * 20
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("Spark-1", 22, "spark-1"),
        ("10.0.0.1", 2222, "[10.0.0.1]:2222"),
        ("fd00::1", 22, "fd00::1"),
        ("fd00::1", 2222, "[fd00::1]:2222"),
    ],
)
def test_key_name(host: str, port: int, name: str) -> None:
    assert known_hosts.key_name(host, port) == name


@pytest.mark.parametrize(
    ("names", "asked", "known"),
    [
        ("spark-1", "spark-1", True),
        ("spark-1,10.0.0.1", "10.0.0.1", True),
        ("spark-1", "spark-10", False),
        ("spark-?", "spark-1", True),
        ("*.lab,!spark-2.lab", "spark-1.lab", True),
        ("*.lab,!spark-2.lab", "spark-2.lab", False),
        ("[spark-1]:22", "spark-1", False),
        ("[spark-1]:2222", "[spark-1]:2222", True),
        ("[*.lab]:2222", "[a.lab]:2222", True),
        ("Spark-1", "spark-1", True),
        (hashed("spark-1"), "spark-1", True),
        (hashed("spark-1"), "spark-2", False),
        ("|1|broken", "spark-1", False),
    ],
)
def test_names(tmp_path: Path, names: str, asked: str, known: bool) -> None:
    file = tmp_path / "known"
    file.write_text(f"{names} ssh-ed25519 {key().key} a comment\n")
    assert bool(lookup([file], asked)) is known


def test_what_is_not_a_key(tmp_path: Path) -> None:
    file = tmp_path / "known"
    good = key()
    file.write_text(
        f"# {good.line}\nspark-1 ssh-ed25519\nspark-1 ssh-ed25519 not*base64\n"
        f"@cert-authority {key(seed=3).line}@revoked {key(seed=4).line}{key(seed=4).line}"
        f"\x00\n{good.line}"
    )
    assert lookup([file, tmp_path / "absent", tmp_path], "spark-1") == [good]
    assert good in known_hosts.lookup([file], good.name)
    assert key(seed=4) not in known_hosts.lookup([file], key(seed=4).name)


def test_a_new_file_is_private(tmp_path: Path) -> None:
    file = tmp_path / "new" / "known"
    record(file, [key(), key(kind="ssh-rsa", seed=2), key()])
    assert file.read_text() == key().line + key(kind="ssh-rsa", seed=2).line
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.stat().st_ino
    record(file, [key()])
    assert file.stat().st_ino == before
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    record(link, [key()])
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == key().line


def test_another_key_is_refused_without_replace(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(key(seed=9).line)
    with pytest.raises(HostKeyRejected) as caught:
        record(file, [key()])
    assert key().fingerprint in caught.value.message
    assert key(seed=9).fingerprint in caught.value.message
    assert file.read_text() == key(seed=9).line


def test_replace_takes_out_all_old_keys_of_the_host_only(tmp_path: Path) -> None:
    file = tmp_path / "known"
    others = f"# mine\n{hashed('spark-2')} ssh-ed25519 {key(seed=8).key}\n@revoked {key().line}"
    old = key(seed=9).key
    file.write_text(
        f"{others}spark-1 ssh-ed25519 {old}\nspark-1,spark-3 ssh-rsa {old} both\n"
        f"{hashed('spark-1')} ssh-ed25519 {old}\n"
    )
    new = key(seed=2)
    record(file, [new], replace=True)
    assert file.read_text() == f"{others}spark-3 ssh-rsa {old} both\n{new.line}"
    assert lookup([file], "spark-1") == [new]


@given(st.lists(st.one_of(st.binary(max_size=60), st.just(key("other").line.encode()))))
def test_other_lines_stay_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    old = b"\n".join(lines)
    file = tmp_path_factory.mktemp("known") / "known"
    file.write_bytes(old)
    record(file, [key()])
    gap = b"" if not old or old.endswith(b"\n") else b"\n"
    assert file.read_bytes() == old + gap + key().line.encode()
    record(file, [key(seed=2)], replace=True)
    assert file.read_bytes() == old + gap + key(seed=2).line.encode()


def test_fingerprint_is_opensshs() -> None:
    blob = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    shown = HostKey("github.com", "ssh-ed25519", blob).fingerprint
    assert shown == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"

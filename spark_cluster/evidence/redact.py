"""What must not leave the house: secrets in the evidence, by their name or by their form.

In doubt it blacks out: evidence with a `***` too many is still evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from spark_cluster.recipes.secret_names import SECRET_WORDS

MASK = "***"

#: Shorter values are not searched for elsewhere: they would black out innocent words.
_LEARN = 8

#: The part of a name that makes it a secret's. Tokens of text are none.
_WORD = (
    r"(?:(?<![a-z0-9])(?:token(?!s|i|_ids?\b|_seconds)|keys?|secrets?|psk|pass|pwd)"
    r"|(?:hf|auth|access|api|bot|user|refresh)token(?!s|i)|(?:api|access|private|secret|wep)keys?"
    r"|passw(?:or)?ds?|passphrase|credentials?)"
)
_NAME = rf"{_WORD}(?:[_.-][\w.-]*|\d+)?"
_QUOTED = r'\\"[^"\\\n]+\\"|"(?:[^"\\\n]|\\.)+"' + r"|'(?:[^'\\\n]|\\.)+'"
_QUOTE = re.compile(r"\\?[\"']")

#: An entry of docker inspect's Env: to the end of the JSON string. The name may hold the word
#: anywhere.
_ENTRY = re.compile(
    rf'("[A-Z0-9_]{{0,80}}?(?:{SECRET_WORDS}|KEY)[A-Z0-9_]{{0,80}}=)'
    r'((?:[^"\\\n]|\\.)+)(?=")'
)
#: `password: two words` alone on its line, as in netplan's YAML and in ini files.
_LINE = re.compile(
    rf"^([ \t]*(?:- )?[\"']?[\w.-]{{0,80}}?{_NAME}[\"']?[ \t]*[:=][ \t]*)"
    r"(?![\"'\[{*\s])(\S[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_ASSIGNED = re.compile(
    rf"({_NAME}\\?[\"']?\s*[:=]\s*)({_QUOTED}|\[[^\]\n]*\]|[^\s\"'\[{{,;&)}}\]]+)", re.IGNORECASE
)
#: `--api-key VALUE`, also as two elements of a list, each on a line of its own.
_OPTION = re.compile(
    rf"((?<!-)--(?=[a-z])[\w-]{{0,80}}?{_NAME}[\"']?,?\s+[\"']?)(?!--)([^\s\"',\]]+)", re.IGNORECASE
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization\\?[\"']?\s*[:=]\s*\\?[\"']?|(?:set-)?cookie:\s*"
    r"|x-api-key\\?[\"']?\s*[:=]\s*\\?[\"']?)([^\"'\\\r\n]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)(?=\S*\d)([\w.~+/=-]{8,})", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']{0,200}:)([^\s/@\"']+)(?=@)", re.IGNORECASE
)
_BLOCK = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(.*?)(?=-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)

#: Tokens that are known by their form: Hugging Face, OpenAI and its likes, NVIDIA, GitHub, GitLab,
#: AWS, Slack, JSON web tokens.
_FORM = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[\w-]{16,}|nvapi-[\w-]{16,}|gh[opsur]_[A-Za-z0-9]{16,}"
    r"|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{12,}|xox[abpr]-[\w-]{10,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
)

#: Those that may reach over lines, and those that do not.
_ACROSS = (_BLOCK, _OPTION)
_WITHIN = (_ENTRY, _HEADER, _LINE, _ASSIGNED, _BEARER, _ADDRESS)

#: A line without any of these words holds nothing for the patterns of one line. A log's every line
#: counts tokens: that says nothing.
_HINTS = (
    "token", "key", "secret", "psk", "pass", "pwd", "credential", "auth", "cookie", "bearer", "://",
    "hf_", "sk-", "nvapi-", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "akia",
    "xox", "eyj",
)  # fmt: skip
_TEXT = re.compile(r"tokens|tokeni[sz]")


def redact(text: str, known: Iterable[str] = ()) -> str:
    """`text` with a mask for every secret that its name or form gives away, and for those that are
    `known`."""
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, MASK)
    for pattern in _ACROSS:
        text = pattern.sub(_masked, text)
    return "\n".join(map(_redact_line, text.split("\n")))


def _redact_line(line: str) -> str:
    words = _TEXT.sub("", line.lower())
    if not any(hint in words for hint in _HINTS):
        return line
    for pattern in _WITHIN:
        line = pattern.sub(_masked, line)
    return _FORM.sub(MASK, line)


def _masked(found: re.Match[str]) -> str:
    """What stands before the secret, and the mask in the secret's own quotes: JSON stays JSON."""
    quote = _QUOTE.match(found[2])
    around = quote[0] if quote is not None and found[2].endswith(quote[0]) else ""
    return f"{found[1]}{around}{MASK}{around}"


def learn(text: str) -> set[str]:
    """Values that stand beside a secret's name in docker's environments and in files of a line a
    setting: they may also stand where no name is, in a log or in a list of processes."""
    found = {match[2] for pattern in (_ENTRY, _LINE) for match in pattern.finditer(text)}
    return {value for value in (each.strip() for each in found) if _telling(value)}


def _telling(value: str) -> bool:
    """Whether it may be searched for elsewhere: no path and no number."""
    return len(value) >= _LEARN and not value.startswith("/") and not value.isdigit()


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Those values of an environment whose names look like a secret's."""
    return [
        value
        for name, value in environment.items()
        if value and _ENTRY.match(f'"{name.upper()}=x"') and _telling(value)
    ]


def redact_all(files: dict[str, bytes], known: Iterable[str] = ()) -> dict[str, bytes]:
    """Every file, with what the others gave away."""
    texts = {path: content.decode("utf-8", errors="replace") for path, content in files.items()}
    secrets = {value for value in known if len(value) >= _LEARN}
    for path, text in texts.items():
        if path.endswith(("docker/inspect.json", "network/netplan.txt")):
            secrets |= learn(text)
    return {path: redact(text, secrets).encode() for path, text in texts.items()}

"""What must not leave the house: secrets in the evidence, by their name or by their form.

In doubt it blacks out: evidence with a `***` too many is still evidence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping

from spark_cluster.recipes.secret_names import SECRET_WORDS

MASK = "***"

#: In place of a file that could not be looked through.
LEFT_OUT = b"left out: this host's files could not be searched for secrets in time\n"

#: Shorter values are not searched for elsewhere: they would black out innocent words.
_LEARN = 8

#: The part of a name that makes it a secret's. Tokens of text are none.
_WORD = (
    r"(?:(?<![a-z0-9])(?:token(?!s|i|_ids?\b|_seconds)|keys?|secrets?|psk|pass|pwd)"
    r"|(?:hf|auth|access|api|bot|user|refresh)token(?!s|i)"
    r"|(?:api|access|private|secret|wep|auth)keys?|(?:client|app|shared|hook)secrets?"
    r"|passw(?:or)?ds?|passphrase|passcode|sshpass|bindpw|credentials?|creds"
    r"|(?<![a-z])(?:jwt|salt|csrf|otp|pat|dsn)|signature|webhook|basic_?auth)"
)
_NAME = rf"{_WORD}(?:[_.-][\w.-]{{0,80}}|\d{{1,9}})?"
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
#: `--api-key VALUE`, also as two elements of a list, each on a line of its own; which options are
#: secrets', is looked up by their names.
_OPTION = re.compile(
    r"((?<!-)--([a-z][\w-]{0,120})[\"']?,?\s{1,200}[\"']?)(?!--)([^\s\"',\]]+)", re.IGNORECASE
)
_SECRETS = re.compile(rf"{_NAME}$", re.IGNORECASE)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization\\?[\"']?\s*[:=]\s*\\?[\"']?|(?:set-)?cookie:\s*"
    r"|x-api-key\\?[\"']?\s*[:=]\s*\\?[\"']?)([^\"'\\\r\n]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)(?=\S*\d)([\w.~+/=-]{8,})", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']{0,200}:)([^\s/@\"']+)(?=@)", re.IGNORECASE
)
#: `https://TOKEN@host`, and a signed address's parameters.
_URL = re.compile(r"(\bhttps?://)([^\s/:@\"']{8,200})(?=@)|([?&]sig=)([^&\s\"']+)", re.IGNORECASE)
#: `curl -u user:password`; `docker run -u 1000:1000` is none.
_USER = re.compile(
    r"((?<![\w-])(?:-u|--(?:proxy-)?user)[\"']?,?[\s=]*[\"']?[^\s:\"'=]{1,200}:)"
    r"(?!\d+(?:\W|$))([^\s\"',]+)"
)
_PROGRAM = re.compile(r"(\bsshpass\s+-p\s*|\bmysql\w*\s[^\n|;]{0,200}?-p)(?!assw)([^\s\"']+)")
_SAID = re.compile(
    r"(\b(?:requirepass|bindpw)\s+|\bpassword\s+(?:is\s+|for\s+[^\s:]{1,100}:\s*))(\S+)",
    re.IGNORECASE,
)
#: REDIS_AUTH=, and docker's own `"auth": "…"`.
_AUTH = re.compile(r"(\b[A-Z0-9_]{0,80}AUTH=|\"auth\":\s*)([^\s,]+)")
_BLOCK = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(.*?)(?=-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)

#: Tokens that are known by their form: Hugging Face, OpenAI and its likes, NVIDIA, GitHub, GitLab,
#: AWS, Slack, Google, npm, PyPI, Docker, Grafana, Vault, Groq, Replicate, Tailscale, Telegram, JSON
#: web tokens.
_FORM = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[\w-]{16,}|nvapi-[\w-]{16,}|gh[opsur]_[A-Za-z0-9]{16,}"
    r"|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{12,}|xox[abpr]-[\w-]{10,}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{16,}|npm_\w{16,}|pypi-[\w-]{16,}|dckr_pat_[\w-]{10,}"
    r"|gl(?:sa|c)_\w{16,}|hv[sb]\.[\w-]{16,}|gsk_\w{16,}|xai-[\w-]{16,}|r8_\w{16,}"
    r"|tskey-[\w-]{10,}|bot\d{6,}:[\w-]{20,}|hooks\.slack\.com/services/\S+"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
)

#: Those that may reach over lines, and those that do not.
_ACROSS = (_BLOCK, _USER)
_WITHIN = (_ENTRY, _HEADER, _LINE, _ASSIGNED, _BEARER, _ADDRESS, _URL, _PROGRAM, _SAID, _AUTH)

#: A line without any of these words holds nothing for the patterns of one line. A log's every line
#: counts tokens: that says nothing.
_HINTS = (
    "token", "key", "secret", "psk", "pass", "pwd", "credential", "auth", "cookie", "bearer", "://",
    "hf_", "sk-", "nvapi-", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "akia",
    "xox", "eyj", "aiza", "ya29.", "npm_", "pypi-", "dckr_", "glsa_", "glc_", "hvs.", "hvb.",
    "gsk_", "xai-", "r8_", "tskey-", "hooks.", "cred", "webhook", "bindpw", "mysql",
)  # fmt: skip
_TEXT = re.compile(r"tokens|tokeni[sz]")
#: Words too short to be looked for anywhere.
_SHORT = re.compile(r"(?<![a-z])(?:jwt|salt|csrf|otp|pat|dsn)(?![a-z])|[?&]sig=|signature|bot\d{6}")


#: Colours and the other sequences of a terminal, and what is not seen: between the letters of a
#: secret it would hide it from every pattern.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_UNSEEN = re.compile(
    "[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_BREAK = re.compile("\r\n?|[\x85\u2028\u2029]")


def visible(text: str) -> str:
    """`text` as lines of what is seen: no colours, no controls, nothing of width zero."""
    text = _UNSEEN.sub("", _SEQUENCE.sub("", text)).replace("\x00", " ")
    return _BREAK.sub("\n", text)


def redact(text: str, known: Iterable[str] = ()) -> str:
    """`text`, made `visible`, with a mask for every secret that its name or form gives away, and
    for those that are `known`."""
    text = visible(text)
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, MASK)
    for pattern in _ACROSS:
        text = pattern.sub(_masked, text)
    text = _OPTION.sub(_masked_option, text)
    return "\n".join(map(_redact_line, text.split("\n")))


def _redact_line(line: str) -> str:
    words = _TEXT.sub("", line.lower())
    if not any(hint in words for hint in _HINTS) and not _SHORT.search(words):
        return line
    for pattern in _WITHIN:
        line = pattern.sub(_masked, line)
    return _FORM.sub(MASK, line)


def _masked(found: re.Match[str]) -> str:
    """What stands before the secret, and the mask in the secret's own quotes: JSON stays JSON."""
    before, secret = (part for part in found.groups() if part is not None)
    quote = _QUOTE.match(secret)
    around = quote[0] if quote is not None and secret.endswith(quote[0]) else ""
    return f"{before}{around}{MASK}{around}"


def _masked_option(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}" if _SECRETS.search(found[2]) else found[0]


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


def learned(files: Mapping[str, bytes], known: Iterable[str] = ()) -> set[str]:
    """The `known` secrets and those that a file of these gives away."""
    secrets = {value for value in known if len(value) >= _LEARN}
    for path, content in files.items():
        if path.endswith(("docker/inspect.json", "network/netplan.txt")):
            secrets |= learn(visible(_text(content)))
    return secrets


def redact_files(
    files: Mapping[str, bytes], secrets: set[str], *, seconds: float = 120.0
) -> dict[str, bytes]:
    """Every file without secrets, the short ones first. What cannot be looked through within the
    time is left out: a host may send what is slow to search."""
    deadline = time.monotonic() + seconds
    clean: dict[str, bytes] = {}
    for path, content in sorted(files.items(), key=lambda item: len(item[1])):
        late = time.monotonic() > deadline
        clean[path] = LEFT_OUT if late else redact(_text(content), secrets).encode()
    return {path: clean[path] for path in files}


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")

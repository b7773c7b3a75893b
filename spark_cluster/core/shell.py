"""Small helpers for writing POSIX sh. Pure."""

from __future__ import annotations

import shlex

quote = shlex.quote

#: Seconds that docker has for an answer: a daemon that hangs must not hang the script.
ANSWER_SECONDS = 20

#: How a script asks docker.
ASK_DOCKER = f"timeout -k 2 {ANSWER_SECONDS} docker"

#: The line that ends our here-documents; no file of ours contains it.
_END = "SPARK_CLUSTER_END_OF_FILE"


def held_folder(name: str) -> str:
    """Commands that begin a script which is held: a folder `$_dir` of its own, and whatever ends
    the script, the processes `$_pids` and the folder end with it."""
    return f"""\
_dir=$(mktemp -d /tmp/{name}.XXXXXX) || exit 70
_pids=
_end() {{
  [ -z "$_pids" ] || kill -TERM $_pids 2>/dev/null
  wait
  rm -rf "$_dir"
}}
trap _end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
"""


def unwaited(name: str, program: str, seconds: int) -> str:
    """Commands that define the function `name`: it runs `program` with its arguments and puts what
    it says into `$_said`. Its status is the program's, or 124 if there is none after `seconds`; in
    that case the script does not run the program again.

    A process that waits in the kernel does not heed KILL, and `timeout` would wait for it: it is
    left behind, and holds none of the script's own descriptors.
    """
    return f"""\
{name}() {{
  _said="{program} gave no answer within {seconds} s"
  [ -z "${{{name}_hangs:-}}" ] || return 124
  _out=$(
    {{ sh -c 'timeout -s KILL {seconds} {program} "$@" 2>&1; echo "@@ended $?"' sh "$@" \
      </dev/null 2>/dev/null & }} | timeout {seconds + 1} cat
  ) || :
  case $_out in
    *"@@ended 137" | "${{_out%@@ended *}}") {name}_hangs=1; return 124 ;;
  esac
  _said=${{_out%@@ended *}}
  return "${{_out##*@@ended }}"
}}
"""


def here_document(path: str, content: str) -> str:
    """A command that writes `content`, which ends with a newline, to `path`, a word of the shell.

    Raises ValueError for a content that holds the end marker.
    """
    if _END in content:
        raise ValueError(f"{path}: the content holds the here-document's end marker")
    return f"cat > {path} <<'{_END}'\n{content}{_END}\n"


def write_file(path: str, content: str, mode: int) -> str:
    """Commands that put `content` at `path` atomically: a new file beside it, then a rename.

    The content is on the disk before the rename: after a power cut it is the old or the new file,
    and not an empty one.
    `content` must end with a newline (a here-document always does).
    """
    temporary = quote(f"{path}.spark-cluster.new")
    return (
        f"mkdir -p {quote(path.rpartition('/')[0] or '/')}\n"
        f"(umask 077 && {here_document(temporary, content)})\n"
        f"chmod {mode:04o} {temporary}\n"
        f"sync {temporary}\n"
        f"mv -f {temporary} {quote(path)}\n"
    )


def wait_for(condition: str, *, seconds: int, what: str) -> str:
    """Commands that wait for `condition`, at most `seconds`; then fail and say `what`."""
    return (
        f"_deadline=$(($(date +%s) + {seconds}))\n"
        f"until {condition}; do\n"
        f'  if [ "$(date +%s)" -ge "$_deadline" ]; then\n'
        f"    echo {quote(f'not within {seconds} s: {what}')} >&2; exit 1\n"
        f"  fi\n"
        f"  sleep 0.2\n"
        f"done\n"
    )

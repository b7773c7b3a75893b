"""Our containers without docker: its records on disk, and the processes in their cgroups.

For the hour in which the daemon hangs or is gone and the containers go on without it.
"""

from __future__ import annotations

from spark_cluster.engines.spec import LABEL

#: Goes through the records: `_id`, `_name` and the record's file `_f`.
_EACH = f"""\
  _root=$(sed -n 's/.*"data-root"[^"]*"\\([^"]*\\)".*/\\1/p' /etc/docker/daemon.json 2>/dev/null)
  for _f in "${{_root:-/var/lib/docker}}"/containers/*/config.v2.json; do
    grep -qF '"{LABEL}.recipe"' "$_f" 2>/dev/null || continue
    _id=$(basename "$(dirname "$_f")")
    _name=$(grep -o '"Name":"/[^"]*"' "$_f" | head -n 1 | cut -d'"' -f4)
"""

#: Prints what `docker inspect` and `docker top` print in facts/docker.py. Not the whole record: it
#: holds the container's environment, and that may hold a secret.
RECORDS = f"""\
{_EACH}\
    _labels=$(grep -o '"Labels":{{[^}}]*}}' "$_f" | head -n 1)
    _exit=$(grep -o '"ExitCode":[0-9]*' "$_f" | head -n 1 | cut -d: -f2)
    _since=$(grep -o '"StartedAt":"[^"]*"' "$_f" | head -n 1 | cut -d'"' -f4)
    _pids=$(cd /proc && grep -lsF "$_id" [0-9]*/cgroup | cut -d/ -f1)
    _state=ended
    [ -z "$_pids" ] || _state=running
    printf 'c /%s %s %s %s %s\\n' "${{_name#/}}" $_state "${{_exit:-0}}" "${{_since:--}}" \
      "${{_labels#*:}}"
    for _p in $_pids; do
      printf 'p %s %s\\n' $_p "$(tr '\\0\\n' '  ' < /proc/$_p/cmdline 2>/dev/null)"
    done
  done
"""

#: Prints the name of each and the file of its log, one JSON object a line.
LOGS = f"""\
{_EACH}\
    echo "${{_name#/}} ${{_f%/*}}/$_id-json.log"
  done
"""

#: Prints NAME:PID of each process of each.
PROCESSES = f"""\
{{
{RECORDS}}} | while read -r _kind _what _rest; do
  case $_kind in c) _of=${{_what#/}} ;; p) echo "$_of:$_what" ;; esac
done
"""

#: Prints PORT/API of each head that runs, as facts/engine.py asks docker for them.
HEADS = f"""\
{{
{RECORDS}}} | while read -r _kind _name _state _exit _since _labels; do
  _label() {{ printf '%s' "$_labels" | grep -o '"{LABEL}.'"$1"'":"[^"]*"' | cut -d'"' -f4; }}
  [ "$_kind $_state $(_label role)" != 'c running head' ] || echo "$(_label port)/$(_label api)"
done
"""

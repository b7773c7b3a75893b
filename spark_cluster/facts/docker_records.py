"""Our containers without docker: its records on disk, and the processes in their cgroups.

For the hour in which the daemon hangs or is gone and the containers go on without it.
"""

from __future__ import annotations

from spark_cluster.core.framing import MARK
from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import NOTES

#: Prints our labels in the record, `"name":"value"` a line. A quote inside a value is escaped.
_OURS = f"""grep -oE '"{LABEL}\\.[a-z-]+":"[^"\\]*"'"""

#: Goes through the records with our label: `_id`, `_name`, the record's file `_f`, and `_is` as in
#: core/ours.py, of which docker's record of the image is asked here.
_ALL = f"""\
  _root=$(sed -n 's/.*"data-root"[^"]*"\\([^"]*\\)".*/\\1/p' /etc/docker/daemon.json 2>/dev/null)
  for _f in "${{_root:-/var/lib/docker}}"/containers/*/config.v2.json; do
    grep -qF '"{LABEL}.recipe"' "$_f" 2>/dev/null || continue
    _id=$(basename "$(dirname "$_f")")
    _name=$(grep -o '"Name":"/[^"]*"' "$_f" | head -n 1 | cut -d'"' -f4)
    _is=unclear
    if [ -f {NOTES}/"$_id" ]; then
      _is=ours
    else
      _of=$(grep -o '"Image":"sha256:[0-9a-f]*"' "$_f" | head -n 1 | cut -d'"' -f4)
      for _image in "${{_root:-/var/lib/docker}}"/image/*/imagedb/content/sha256/"${{_of#*:}}"; do
        [ ! -f "$_image" ] || _is=ours
        ! grep -qsF '"{LABEL}.recipe":' "$_image" || _is=theirs
      done
    fi
"""

#: The same for those that are ours.
_EACH = f"""\
{_ALL}\
    [ $_is = ours ] || continue
"""

#: Prints what `docker inspect` and `docker top` print in facts/docker.py. Not the whole record: it
#: holds the container's environment, and that may hold a secret.
RECORDS = f"""\
{_ALL}\
    _labels=$({_OURS} "$_f" | paste -s -d , -)
    _exit=$(grep -o '"ExitCode":[0-9]*' "$_f" | head -n 1 | cut -d: -f2)
    _since=$(grep -o '"StartedAt":"[^"]*"' "$_f" | head -n 1 | cut -d'"' -f4)
    _pids=$(cd /proc && grep -lsF "$_id" [0-9]*/cgroup | cut -d/ -f1)
    _state=ended
    [ -z "$_pids" ] || _state=running
    printf '%s %s %s\\n' "{MARK}c $_is $_id /${{_name#/}}" \
      "$_state ${{_exit:-0}} ${{_since:--}}" "{{$_labels}}"
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
{_EACH}\
    for _p in $(cd /proc && grep -lsF "$_id" [0-9]*/cgroup | cut -d/ -f1); do
      echo "${{_name#/}}:$_p"
    done
  done
"""

#: Prints our labels of each that runs, a line each, for `_label` of core/ours.py.
HEADS = f"""\
{_EACH}\
    grep -lsF "$_id" /proc/[0-9]*/cgroup | grep -q . || continue
    {_OURS} "$_f" | paste -s -d , -
  done
"""

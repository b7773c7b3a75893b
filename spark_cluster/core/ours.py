"""Which containers are ours: the shell that finds out.

A label proves nothing: it comes with the image. Launch notes the id that docker gave a container in
a folder of root's, and a container of that id is ours. One without a note (of a release before the
notes, or of a compose file of ours) is ours if somebody gave it the label, and theirs if it has the
label from its image: whoever may start containers with labels is root on that host anyway. Where
docker does not tell, it is neither: nothing is done to it, and it is told.
"""

from __future__ import annotations

import re

from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import ASK_DOCKER

#: Root's folder of empty files, each named by docker's id of a container that launch has made.
NOTES = "/var/lib/spark-cluster/containers"

#: A container's id as docker prints it.
ID = re.compile(r"[0-9a-f]{12,64}", re.ASCII)

#: Defines `_whose ID`, which sets `_is`: ours, theirs or unclear.
WHOSE = f"""\
_whose() {{
  _is=ours
  [ ! -f {NOTES}/"$1" ] || return 0
  _is=unclear
  _of=$({ASK_DOCKER} inspect --format '{{{{.Image}}}}' "$1" 2>/dev/null) || return 0
  _of=$({ASK_DOCKER} image inspect --format '{{{{json .Config.Labels}}}}' "$_of" 2>/dev/null) ||
    return 0
  case $_of in
    *'"{LABEL}.recipe":'*) _is=theirs ;;
    null | '{{'*'}}') _is=ours ;;
  esac
}}
"""

#: Defines `_ours [FILTER...]`, which prints the ids of our containers. It ends as docker ps
#: does.
OURS = f"""\
{WHOSE}_ours() {{
  _listed=$({ASK_DOCKER} ps --quiet --no-trunc --filter label={LABEL}.recipe "$@" 2>/dev/null) ||
    return
  for _each in $_listed; do
    _whose "$_each"
    [ $_is != ours ] || echo "$_each"
  done
}}
"""

#: Shell pattern of what is no port.
NO_PORT = "'' | 0* | *[!0-9]* | ??????*"

#: Defines `_label NAME`, which prints the value of our label in `$_labels`, docker's JSON, if it
#: has no other characters than names and numbers have. A quote inside a value is escaped there.
LABELS = f"""\
_label() {{
  case $_labels in *'"{LABEL}.'"$1"'":"'*) ;; *) return ;; esac
  _value=${{_labels#*'"{LABEL}.'"$1"'":"'}}
  _value=${{_value%%'"'*}}
  case $_value in *[!A-Za-z0-9.,_-]*) ;; *) printf '%s\n' "$_value" ;; esac
}}
"""


def note(run: str) -> str:
    """Shell that notes the container `$_id` as one of ours. `run` is for whoever looks there."""
    return (
        f"mkdir -p -m 700 {NOTES}\n"
        f'case $_id in "" | *[!0-9a-f]*) ;; *)\n'
        f'  echo {run} >{NOTES}/"$_id"\n  sync {NOTES}/"$_id" ;;\nesac\n'
    )


def forget(container: str) -> str:
    """Shell that removes the note of the container of this id, and the folder after the last."""
    if not ID.fullmatch(container):
        return ""
    return f"rm -f {NOTES}/{container}\nrmdir {NOTES} 2>/dev/null || true\n"

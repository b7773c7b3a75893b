# The supervisor of a rank, as POSIX sh: what is the same on every host. steps/supervisor.py writes the
# settings and functions before it that differ.
#
# All ranks of a launch must have been started together: one that ends, or whose host was rebooted,
# ends the job of all. The head decides. Each start of all ranks is an epoch with a name of its own,
# and each rank says over the fabric in which epoch it is:
#
#     -          its container does not run, and it could run now
#     waits      its container does not run, and something is missing for it
#     NAME       its container runs in this epoch
#     failed-E   the others are in epoch E, and it is not
#
# The head begins an epoch when all others say `-`, and ends it (says `-`) when its own container
# ends, when another rank failed, or when one has not joined in time. The others stop their rank when
# the head is in another epoch than theirs, and start it only for an epoch that they saw begin. Who
# does not answer has changed nothing: a cable that is out for a moment restarts nobody.
#
# A container is only ever started, never made: what teardown removed stays removed.
# shellcheck shell=sh
set -u
umask 022
cd /

# What is told goes to the journal when it changes, and lies here for `spark-cluster status`.
tell() {
  [ "$*" = "$told" ] || echo "rank $RANK of $RECIPE: $*"
  told=$*
  put says "$*"
}
put() { printf '%s\n' "$2" >"$FOLDER/$1.new" && mv -f "$FOLDER/$1.new" "$FOLDER/$1"; }
publish() { put state "$LAUNCH $1"; }
now() { cut -d. -f1 /proc/uptime; }
docker() { timeout -k 5 60 docker "$@"; }

# is: running, ended, absent, foreign (of another launch), or silent (docker gives no answer).
look() {
  is=silent
  if ! said=$(docker container inspect --format "$FORMAT" "$CONTAINER" 2>&1); then
    case $said in *"No such"*) is=absent ;; esac
    return
  fi
  set -- $said
  is=ended started=$2 status=$3
  [ "$1" != true ] || is=running
  [ "$4" = "$RUN" ] || is=foreign
}

# epoch: that of the container if it runs as we started it, else `-`; last: that of its last start.
recall() {
  epoch=- last=-
  if [ -r "$FOLDER/mine" ]; then
    read -r last at born <"$FOLDER/mine"
    if [ "$is" = running ] && [ "$at" = "$started" ]; then epoch=$last; fi
  elif [ "$is" = running ]; then
    # Launch has started it, together with the others.
    epoch=$LAUNCH last=$LAUNCH born=$(now)
    put mine "$epoch $started $born"
  fi
}
forget() { put mine "- - 0"; }

# heard: what the rank on HOST=ADDRESS says; nothing, and why, if it cannot be heard.
ask() {
  heard='' why=''
  said=$(curl -sf --noproxy '*' -m 3 "http://${1#*=}:$PORT/state" </dev/null 2>/dev/null |
    head -c 99 | tr -cd '[:alnum:] ._-')
  case $said in
    "$LAUNCH "*) heard=${said#"$LAUNCH "} ;;
    '') why="${1%%=*} does not answer on ${1#*=}:$PORT" ;;
    *) why="${1%%=*} serves another launch (${said%% *})" ;;
  esac
}

# The other ranks read our folder. As nobody: it is a server on the fabric.
listen() {
  [ -n "$OWN" ] || return 0
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then return 0; fi
  setpriv --reuid=65534 --regid=65534 --clear-groups python3 -I -m http.server "$PORT" \
    --bind "$OWN" --directory "$FOLDER" >/dev/null 2>&1 &
  server=$!
}

# Whether the fabric is there for this rank, in both directions and at full size.
ready() {
  for each in $RAILS; do  # INTERFACE/ADDRESS/DEVICE
    interface=${each%%/*} device=${each##*/} address=${each#*/}
    address=${address%/*}
    if ! ip -4 -o addr show dev "$interface" 2>/dev/null | grep -qF " $address/"; then
      tell "waits: $interface does not have the address $address"
      return 1
    fi
    [ -n "$device" ] || continue
    if ! grep -qs ACTIVE "/sys/class/infiniband/$device/ports/1/state"; then
      tell "waits: the RDMA device $device is not ACTIVE"
      return 1
    fi
    if [ ! -e /dev/infiniband/rdma_cm ]; then
      tell "waits: /dev/infiniband/rdma_cm is not there"
      return 1
    fi
  done
  for each in $PINGS; do  # INTERFACE/ADDRESS/BYTES
    interface=${each%%/*} bytes=${each##*/} address=${each#*/}
    address=${address%/*}
    if ! ping -q -n -M do -c 1 -W 2 -s "$bytes" -I "$interface" "$address" >/dev/null 2>&1; then
      tell "waits: $address does not answer a $bytes byte ping from $interface"
      return 1
    fi
  done
}

# The host as launch makes it, just before a start.
prepare() {
  if [ ! -e "$NOTE" ]; then
    # For teardown, which puts back what was. Not the memory: so early it is no measure.
    mkdir -p "${NOTE%/*}"
    (
      umask 077
      {
        echo "run $LAUNCH"
        awk 'NR > 1 {print "swap", $1}' /proc/swaps
        traces | sed -n 's/^shm [0-9]* /shm /p; /^segment /p; /^semaphores /p; /^hugepages /p'
      } >"$NOTE.new"
    )
    mv -f "$NOTE.new" "$NOTE"
  fi
  [ "$SWAP" != off ] || swapoff -a || echo "rank $RANK of $RECIPE: swap could not be turned off"
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

begin() {
  prepare
  if said=$(docker start "$CONTAINER" 2>&1) && look && [ "$is" = running ]; then
    put mine "$1 $started $(now)"
    publish "$1"
    tell "started $CONTAINER"
  else
    put mine "$1 - $(now)"
    tell "$CONTAINER could not be started: $(printf '%s\n' "$said" | tail -n 1)"
  fi
}

end() { docker stop -t 20 "$CONTAINER" >/dev/null 2>&1; }

# Once all ranks are there: the server inside the head's container, if it is a process of its own.
# fault: why the epoch is over; doing: what is said otherwise.
serving() {
  [ -n "$SERVER" ] || return 0
  top=$(docker top "$CONTAINER" -o pid,args 2>/dev/null) || return 0
  case $top in
    *"$SERVER"*) served=$epoch ;;
    *)
      if [ "$served" = "$epoch" ]; then
        fault="$SERVER has ended"
      elif [ "$doing" = "$RUNS" ] && joined; then
        serve
        served=$epoch doing="started $SERVER"
      elif [ "$age" -gt "$PATIENCE" ]; then
        fault="not all ranks have joined within $PATIENCE s"
      elif [ "$doing" = "$RUNS" ]; then
        doing="waits for the ranks to join"
      fi
      ;;
  esac
}

# A turn of the head in an epoch.
check() {
  age=$(($(now) - born)) doing=$RUNS
  for each in $OTHERS; do
    ask "$each"
    case $heard in
      "$epoch") ;;
      "failed-$epoch") fault="the rank on ${each%%=*} has ended" ;;
      '') doing="$RUNS; $why" ;;
      *)
        doing="waits for the rank on ${each%%=*}"
        [ "$age" -le "$PATIENCE" ] || fault="the rank on ${each%%=*} does not run"
        ;;
    esac
  done
  [ -n "$fault" ] || serving
}

# A turn of the head.
lead() {
  fault=''
  if [ "$epoch" != - ]; then
    check
    if [ -z "$fault" ]; then
      publish "$epoch"
      tell "$doing"
      return
    fi
  elif [ "$last" != - ]; then
    fault="$CONTAINER does not run any more (exit code $status)"
  fi
  publish -
  if [ -n "$fault" ]; then
    # After half an hour it is a new fault, not the old one again.
    [ $(($(now) - born)) -le 1800 ] || pause=0
    pause=$((pause * 2))
    [ "$pause" -ge "$FIRST_PAUSE" ] || pause=$FIRST_PAUSE
    [ "$pause" -le 600 ] || pause=600
    next=$(($(now) + pause))
    tell "$fault: all ranks begin anew in $pause s"
    forget
  fi
  if [ "$is" = running ]; then
    end
    return
  fi
  [ "$(now)" -ge "$next" ] || return
  ready || return
  for each in $OTHERS; do
    ask "$each"
    if [ "$heard" != - ]; then
      tell "waits: ${why:-the rank on ${each%%=*} is not ready}"
      return
    fi
  done
  begin "$(cut -c1-8 /proc/sys/kernel/random/uuid)"
}

# A turn of every other rank.
follow() {
  ask "$HEAD"
  if [ "$epoch" != - ]; then
    if [ -z "$heard" ] || [ "$heard" = "$epoch" ]; then
      publish "$epoch"
      tell "$RUNS${why:+; $why}"
      return
    fi
    tell "${HEAD%%=*} begins anew: stops $CONTAINER"
    forget
  fi
  if [ "$is" = running ]; then
    publish waits
    end
  elif [ -z "$heard" ]; then
    publish waits
    tell "waits: $why"
  elif [ "$heard" = - ]; then
    armed=
    if ready; then
      armed=1
      publish -
      tell "waits for ${HEAD%%=*} to begin"
    else
      publish waits
    fi
  elif [ -n "$armed" ]; then
    armed=
    begin "$heard"
  else
    publish "failed-$heard"
    tell "does not run (exit code $status): waits for ${HEAD%%=*} to begin anew"
  fi
}

turn() {
  look
  case $is in
    silent)
      tell "waits: docker does not answer: $(printf '%s\n' "$said" | tail -n 1)"
      ;;
    absent | foreign)
      if [ -n "$HEAD" ]; then publish waits; else publish -; fi
      tell "there is no $CONTAINER of this launch any more: spark-cluster teardown ends this, too"
      ;;
    *)
      recall
      if [ -n "$HEAD" ]; then follow; else lead; fi
      ;;
  esac
  # Not before the first word: what an earlier life said is over.
  [ ! -e "$FOLDER/state" ] || listen
}

FORMAT='{{.State.Running}} {{.State.StartedAt}} {{.State.ExitCode}}'
FORMAT="$FORMAT {{index .Config.Labels \"spark-cluster.run\"}}"
told='' server='' served='' armed='' status='' born=0 pause=0 next=0
mkdir -p "$FOLDER"
chmod 755 "$FOLDER"
rm -f "$FOLDER/state"
while :; do
  turn
  sleep "$EVERY"
done

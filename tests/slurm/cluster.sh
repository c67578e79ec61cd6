#!/usr/bin/env bash
# A real SLURM cluster of one node on this machine, for the tests. It needs root and Debian, and no systemd.
#
#   cluster.sh up [FOLDER]      install what is missing, start it, wait until the node takes jobs
#   cluster.sh down [FOLDER]    cancel its jobs, stop its daemons, take the link /etc/slurm/slurm.conf away
#   cluster.sh run COMMAND...   up, the command, down; where no cluster can be had, says so and ends well
#
# FOLDER (/tmp/longimorph-slurm) holds everything: configuration, key, state, logs. "up" on a cluster that runs
# does nothing; after a crash it cleans up and starts again. Exit status 77: it cannot run here, the reason is
# on standard error. Settings, from the environment: CLUSTER_CPUS, CLUSTER_MEMORY_MB (what the node claims to
# have), CLUSTER_GPUS (pretended ones, as type:count), CLUSTER_PORT.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
COMMAND=${1:-}
FOLDER=/tmp/longimorph-slurm
[ "$COMMAND" = run ] || FOLDER=$(realpath -m "${2:-$FOLDER}")
CPUS=${CLUSTER_CPUS:-16}
MEMORY_MB=${CLUSTER_MEMORY_MB:-64000}
GPUS=${CLUSTER_GPUS:-small:2 large:2 single:1}
PORT=${CLUSTER_PORT:-6917}
NODE_PORT=$((PORT + 1))
PACKAGES=(slurmctld slurmd slurm-client munge)
SYSTEM_CONF=/etc/slurm/slurm.conf
export SLURM_CONF=$FOLDER/slurm.conf

say() { echo "cluster.sh: $*" >&2; }
cannot() { say "cannot run here: $*"; exit 77; }
fail() { say "$*"; tail -n 5 "$FOLDER"/log/*.log >&2 || true; exit 1; }

within() { # within SECONDS COMMAND...: try until it succeeds
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
}

running() { # running NAME: the process of NAME's pid file is there, is no zombie, and is NAME
  local pid; pid=$(cat "$FOLDER/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  grep -qx "$1" "/proc/$pid/comm" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$pid/status"
}
stopped() { ! running "$1"; }

takes_jobs() { timeout 5 sinfo -h -N -p cpu -o %T | grep -qxE 'idle|mixed|allocated|completing'; }

install_packages() {
  local name missing=()
  for name in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$FOLDER/log/apt.log" 2>&1 ||
    cannot "apt-get could not install ${missing[*]} (see $FOLDER/log/apt.log)"
}

check_machine() {
  [ "$(id -u)" = 0 ] || cannot "slurmd needs root"
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || cannot "no apt-get: this is no Debian"
  if [ -e $SYSTEM_CONF ] && [ "$(readlink $SYSTEM_CONF)" != "$SLURM_CONF" ]; then
    cannot "$SYSTEM_CONF is that of another cluster, and is left alone"
  fi
  if ! running slurmctld && (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    cannot "port $PORT is taken; choose another with CLUSTER_PORT"
  fi
}

start_munge() { # its own key and socket: a munge that the machine may have is not touched
  local own=$FOLDER/munge
  mkdir -p "$own"; chown munge:munge "$own"; chmod 755 "$own"
  running munged && return
  rm -f "$own"/socket*
  [ -s "$own/key" ] || (umask 077; head -c 1024 /dev/urandom >"$own/key"; chown munge:munge "$own/key")
  runuser -u munge -- munged --key-file="$own/key" --socket="$own/socket" --pid-file="$own/munged.pid" \
    --log-file="$own/munged.log" --seed-file="$own/seed" || fail "munged did not start"
  ln -sf "$own/munged.pid" "$FOLDER/run/munged.pid"
  within 10 running munged || fail "munged did not start"
}

pretend_gpus() { # character devices work as GPUs, other files do not
  local kind i number=0
  echo "AutoDetect=off"
  for kind in $GPUS; do
    for ((i = 0; i < ${kind#*:}; i++)); do
      [ -c "$FOLDER/gpu$number" ] || mknod -m 666 "$FOLDER/gpu$number" c 1 3
      echo "Name=gpu Type=${kind%:*} File=$FOLDER/gpu$((number++))"
    done
  done
}
gres() { sed 's/\(^\| \)/,gpu:/g; s/^,//' <<<"$GPUS"; }

write_configuration() {
  local track=linuxproc task=none limit=OverMemoryKill
  if [ -w /sys/fs/cgroup/memory/cgroup.procs ] && [ -w /sys/fs/cgroup/freezer/cgroup.procs ]; then
    track=cgroup task=cgroup limit=NoOverMemoryKill
  fi
  cp "$HERE/conf/cgroup.conf" "$FOLDER/"
  pretend_gpus >"$FOLDER/gres.conf" || cannot "no right to make device files"
  sed -e "s|@DIR@|$FOLDER|g; s|@HOST@|$(hostname -s)|g; s|@PORT@|$PORT|; s|@NODE_PORT@|$NODE_PORT|" \
    -e "s|@CPUS@|$CPUS|; s|@MEMORY_MB@|$MEMORY_MB|; s|@GRES@|$(gres)|" \
    -e "s|@TRACK@|$track|; s|@TASK@|$task|; s|@MEMORY_LIMIT@|$limit|" "$HERE/conf/slurm.conf" >"$SLURM_CONF"
}

link_configuration() { # the plugin's inner srun is started without SLURM_CONF and looks here
  mkdir -p "$(dirname $SYSTEM_CONF)"
  ln -sfn "$SLURM_CONF" $SYSTEM_CONF
}

up() {
  check_machine
  mkdir -p "$FOLDER"/{run,log,state,spool}
  chmod 755 "$FOLDER"
  install_packages
  if running slurmctld && running slurmd && takes_jobs; then say "is up already"; return; fi
  down
  write_configuration
  start_munge
  link_configuration
  # without -c old jobs would come back after a crash
  slurmctld -c -f "$SLURM_CONF" || fail "slurmctld did not start"
  slurmd -f "$SLURM_CONF" || fail "slurmd did not start"
  within 20 takes_jobs || { scontrol update "NodeName=$(hostname -s)" State=RESUME; within 10 takes_jobs; } ||
    fail "the node takes no jobs: $(sinfo -h -N -o '%T %E')"
  say "up: $CPUS processors, $MEMORY_MB MB, pretended GPUs $GPUS; export SLURM_CONF=$SLURM_CONF"
}

cancel_jobs() {
  running slurmctld || return 0
  timeout 20 scancel --user="$(id -un)" || true
  within 20 no_jobs || say "some jobs did not end"
}
no_jobs() { [ -z "$(timeout 5 squeue -h -t R,PD,CG,S -o %A)" ]; }

stop() { # stop NAME: by its pid file, never by name alone
  if running "$1"; then
    kill "$(cat "$FOLDER/run/$1.pid")"
    within 10 stopped "$1" || kill -9 "$(cat "$FOLDER/run/$1.pid")" || true
  fi
  rm -f "$FOLDER/run/$1.pid"
}

down() {
  [ -d "$FOLDER/run" ] || return 0
  cancel_jobs
  local name
  for name in slurmd slurmctld munged; do stop "$name"; done
  kill_orphans
  if [ "$(readlink $SYSTEM_CONF)" = "$SLURM_CONF" ]; then rm -f $SYSTEM_CONF; fi
  for name in memory freezer; do # folders of ended jobs; rmdir leaves what is in use
    find "/sys/fs/cgroup/$name/slurm_$(hostname -s)" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

kill_orphans() { # job steps of ours that outlived a slurmd that crashed
  local process
  for process in /proc/[0-9]*; do
    { grep -qx slurmstepd "$process/comm" && tr '\0' '\n' <"$process/environ" | grep -qx "SLURM_CONF=$SLURM_CONF" &&
      kill -9 "${process#/proc/}"; } 2>/dev/null || true
  done
}

run() { # a cluster that was up before stays up
  local status=0 was_up=false
  running slurmctld && was_up=true
  ("$0" up) || status=$?
  if [ $status = 77 ]; then say "SKIPPED, as no cluster can be had here"; exit 0; fi
  [ $status = 0 ] || exit $status
  $was_up || trap '"$0" down' EXIT
  LONGIMORPH_TEST_CLUSTER=$FOLDER "$@" || exit $?
}

case $COMMAND in
  up) up ;;
  down) down ;;
  run) shift; run "$@" ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

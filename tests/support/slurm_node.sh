#!/usr/bin/env bash
# Starts or stops Slurm with this machine as its only node, for tests. Jobs in partition high preempt and requeue jobs in
# partition low. GPUs are only counted. Requires Debian's slurm-wlm and root.
#   tests/support/slurm_node.sh FOLDER start   prints the variable to export, or on failure the end of the log
#   tests/support/slurm_node.sh FOLDER stop
set -euo pipefail
folder=$1
export SLURM_CONF=$folder/slurm.conf

# fail LOG MESSAGE
fail() {
    echo "$2" >&2
    tail -n 20 "$1" >&2
    exit 1
}

start() {
    for program in munged slurmctld slurmd srun; do
        command -v "$program" >/dev/null || { echo "$program is not installed: apt-get install slurm-wlm" >&2; exit 1; }
    done
    [ "$(id -u)" -eq 0 ] || { echo 'slurmd requires root' >&2; exit 1; }
    mkdir -p "$folder"/{state,spool}
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    local host
    host=$(hostname -s)
    cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
# A preempted job waits until its credentials expire, by default for two minutes.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
SlurmctldPort=$((20000 + $$ % 10000))
SlurmdPort=$((30000 + $$ % 10000))
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/pgid
SlurmdParameters=config_overrides
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1 GraceTime=120
PartitionName=high Nodes=$host PriorityTier=2 PreemptMode=OFF
END
    touch "$folder"/gpu{0,1}
    echo "Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
    munged --force --num-threads 1 --key-file "$folder/munge.key" --socket "$folder/munge.socket" \
        --pid-file "$folder/munged.pid" --log-file "$folder/munged.log" --seed-file "$folder/munge.seed" ||
        fail "$folder/munged.log" 'munged does not start'
    slurmctld -c || fail "$folder/slurmctld.log" 'slurmctld does not start'
    slurmd || fail "$folder/slurmd.log" 'slurmd does not start'
    for _ in $(seq 300); do
        if [ "$(sinfo --noheader --partition low --format %t 2>/dev/null)" = idle ]; then
            echo "SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    fail "$folder/slurmd.log" 'the node does not become idle'
}

stop() {
    # Cancel jobs first, because they would wait for daemons that have stopped.
    if [ -s "$folder/slurmctld.pid" ]; then
        scancel --quiet --user "$(id -un)" || true
        for _ in $(seq 100); do
            [ -n "$(squeue --noheader)" ] || break
            sleep 0.1
        done
    fi
    for name in slurmd slurmctld munged; do
        if [ -s "$folder/$name.pid" ]; then
            kill "$(cat "$folder/$name.pid")" || true
        fi
    done
}

"$2"

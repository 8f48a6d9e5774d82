#!/usr/bin/env bash
# Trains a model in a Slurm job of GPUS processes. CPUS_PER_TASK and SRUN_ARGS set more options of srun.
# A training that Slurm stops with SIGTERM saves a checkpoint. This script then queues it again, and it resumes from
# the checkpoint.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 4 $# 'tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]'
partition=$1 name=$2 config=$3 work_dir=$4
shift 4
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --resume auto
fi
while true; do
    code=0
    (run_slurm "$partition" "$name" train.py "$config" --work-dir "$work_dir" "$@") || code=$?
    if [ "$code" -ne 143 ]; then
        exit "$code"
    elif [ -n "${SLURM_JOB_ID:-}" ]; then
        exec scontrol requeue "$SLURM_JOB_ID" # inside a batch job
    fi
    set -- "$@" --resume auto
done

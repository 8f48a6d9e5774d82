#!/usr/bin/env bash
# Train in a Slurm job of GPUS processes; CPUS_PER_TASK and SRUN_ARGS tell more about the job.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
usage 4 $# 'tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]'
run_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"

#!/usr/bin/env bash
# Tests a checkpoint in a Slurm job of GPUS processes. CPUS_PER_TASK and SRUN_ARGS set more options of srun.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 4 $# 'tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]'
run_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"

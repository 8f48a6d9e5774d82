#!/usr/bin/env bash
# Predict many images in a Slurm job of GPUS processes; a second call goes on where the first one stopped.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 3 $# 'tools/slurm_predict.sh PARTITION JOB_NAME SOURCE... --checkpoint FILE [options of predict.py]'
run_slurm "$1" "$2" predict.py "${@:3}" --parquet

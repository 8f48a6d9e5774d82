#!/usr/bin/env bash
# Runs predictions on images in a Slurm job of GPUS processes. Another call resumes an interrupted prediction.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 3 $# 'tools/slurm_predict.sh PARTITION JOB_NAME SOURCE... --checkpoint FILE [options of predict.py]'
run_slurm "$1" "$2" predict.py "${@:3}" --parquet

#!/usr/bin/env bash
# Runs predictions on images with several processes, one per GPU, or on the CPU if there are no GPUs.
# Another call resumes an interrupted prediction. On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 2 $# 'tools/dist_predict.sh NUM_PROCS SOURCE... --checkpoint FILE [options of predict.py]'
exec "$PYTHON" "$TOOLS/predict.py" "${@:2}" --parquet --processes "$1"

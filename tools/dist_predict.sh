#!/usr/bin/env bash
# Predicts many images with several processes, one for each GPU, or on the CPU where there is no GPU.
# A second call goes on where the first one stopped. On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 2 $# 'tools/dist_predict.sh NUM_PROCS SOURCE... --checkpoint FILE [options of predict.py]'
exec "$PYTHON" "$TOOLS/predict.py" "${@:2}" --parquet --processes "$1"

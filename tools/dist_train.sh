#!/usr/bin/env bash
# Trains a model with several processes, one per GPU, or on the CPU if there are no GPUs.
# On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 2 $# 'tools/dist_train.sh CONFIG NUM_PROCS [options of train.py]'
[ "${NNODES:-1}" = 1 ] || run_torchrun "$2" train.py "$1" "${@:3}"
exec "$PYTHON" "$TOOLS/train.py" "$1" --processes "$2" "${@:3}"

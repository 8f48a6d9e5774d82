#!/usr/bin/env bash
# Tests a checkpoint with several processes, one per GPU, or on the CPU if there are no GPUs.
# On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
usage 3 $# 'tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCS [options of test.py]'
[ "${NNODES:-1}" = 1 ] || run_torchrun "$3" test.py "$1" "$2" "${@:4}"
exec "$PYTHON" "$TOOLS/test.py" "$1" "$2" --processes "$3" "${@:4}"

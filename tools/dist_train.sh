#!/usr/bin/env bash
# Train with several processes, one for each GPU, or on the CPU where there is no GPU.
# On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
usage 2 $# 'tools/dist_train.sh CONFIG NUM_PROCS [options of train.py]'
run_distributed train.py "$2" "$1" "${@:3}"

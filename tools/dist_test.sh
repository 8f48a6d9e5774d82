#!/usr/bin/env bash
# Test with several processes, one for each GPU, or on the CPU where there is no GPU.
# On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
usage 3 $# 'tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCS [options of test.py]'
run_distributed test.py "$3" "$1" "$2" "${@:4}"

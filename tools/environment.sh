# Variables and functions for the other scripts in this folder, which source this file.
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TOOLS")
if [ -x "$ROOT/.venv/bin/python" ]; then
    PYTHON=$ROOT/.venv/bin/python
fi
PYTHON=${PYTHON:-python}
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# usage MINIMUM GIVEN TEXT: exits with the usage TEXT if fewer than MINIMUM arguments are given.
usage() {
    if [ "$2" -lt "$1" ]; then
        echo "usage: $3" >&2
        exit 2
    fi
}

# run_torchrun PROCESSES SCRIPT ARGS...: runs a script in so many processes on each of NNODES machines.
run_torchrun() {
    local processes=$1 script=$TOOLS/$2
    shift 2
    exec "$PYTHON" -m torch.distributed.run --nnodes "$NNODES" --node_rank "${NODE_RANK:-0}" \
        --master_addr "${MASTER_ADDR:?is the address of the first machine}" --master_port "${PORT:-29500}" \
        --nproc_per_node "$processes" "$script" "$@" --launcher pytorch
}

# run_slurm PARTITION JOB_NAME SCRIPT ARGS...: runs a Slurm job of GPUS processes, GPUS_PER_NODE on each node.
run_slurm() {
    local partition=$1 name=$2 script=$TOOLS/$3
    shift 3
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    # SRUN_ARGS is split into words, because it can have several options.
    # shellcheck disable=SC2086
    exec srun --partition "$partition" --job-name "$name" --gres "gpu:$per_node" \
        --ntasks "$gpus" --ntasks-per-node "$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 ${SRUN_ARGS:-} "$PYTHON" -u "$script" "$@" --launcher slurm
}

#!/usr/bin/env bash
# Checks and measures on a GPU: see check_gpu.py. PYTHON names the interpreter, by default python3.
exec "${PYTHON:-python3}" "$(dirname "$(realpath "$0")")/check_gpu.py" "$@"

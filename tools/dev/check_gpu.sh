#!/usr/bin/env bash
# Runs check_gpu.py with the interpreter in the environment variable PYTHON, or with python3 if it is not set.
exec "${PYTHON:-python3}" "$(dirname "$(realpath "$0")")/check_gpu.py" "$@"

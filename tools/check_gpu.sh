#!/usr/bin/env bash
# Checks the CUDA backend of the operators on a GPU and measures it; one report, by default gpu_report.txt:
#   tools/check_gpu.sh [REPORT]
# Needs a GPU, torch, MMEngine, nvcc (or the library built already) and pytest next to the package. Takes less than eight minutes
# on an H200. PYTHON names the interpreter.
set -uo pipefail
cd "$(dirname "$0")/.."
report=$(realpath -m "${1:-gpu_report.txt}")
python=${PYTHON:-python3}
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1
export -n MMVIT_BUILD_OPS
failed=()

section() {  # section TITLE SECONDS COMMAND...: runs a command into the report, within a time
  echo "== $1 (at $SECONDS s)" | tee -a "$report"
  timeout "$2" "${@:3}" 2>&1 | tee -a "$report"
  local status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || { failed+=("$1: exit status $status"); echo "-- exit status $status" | tee -a "$report"; }
}

tests() { "$python" -W ignore -m pytest -c /dev/null --rootdir "$PWD" -q -W ignore -p no:cacheprovider "$@"; }
export -f tests
export python

{ date -u; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; } >"$report" 2>&1
section build 300 "$python" mmvit_backbones/ops/build.py cuda
section doctor 60 "$python" -c 'import mmvit_backbones.doctor as d; print("\n".join(d.describe()))'
section 'goldens, gradcheck, dtypes, strides' 200 bash -c 'tests tests/ops/test_varied_size_window.py -k "cuda and not random"'
section 'random shapes' 120 bash -c 'tests tests/ops/test_varied_size_window.py -k "cuda and random"'
section agreement 60 "$python" tools/compare_ops.py --device cuda

# A few launches of every kernel: compute-sanitizer makes them some hundred times slower.
sanitized='cuda and (golden or far_outside or (dtypes and usual) or deterministic)'
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    section "compute-sanitizer $tool" 90 compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" -W ignore \
      -m pytest -c /dev/null --rootdir "$PWD" -q -W ignore -p no:cacheprovider \
      tests/ops/test_varied_size_window.py -k "$sanitized"
  done
else
  failed+=('compute-sanitizer is not installed')
fi
section 'benchmark, bfloat16' 120 "$python" tools/benchmark_ops.py --device cuda --shapes h200 224 800x1333 \
  --dtypes bfloat16 --seconds 0.3
section 'benchmark, float32, autocast and compiled' 120 "$python" tools/benchmark_ops.py --device cuda \
  --shapes 224 800x1333 --stages 1 2 --autocast --compile --seconds 0.3

{ echo "== result (after $SECONDS s)"; [ ${#failed[@]} -eq 0 ] && echo 'all passed' || printf '%s\n' "${failed[@]}"; } | tee -a "$report"
[ ${#failed[@]} -eq 0 ]

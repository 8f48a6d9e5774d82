#!/usr/bin/env bash
# Checks operators and backbones on a GPU and measures them; one report in Markdown, by default docs/gpu_report.md, which
# docs/benchmarks.md includes:
#   tools/dev/check_gpu.sh [REPORT]              everything; never run on a GPU so far, at most 70 minutes
#   PARTS='operators agreement' tools/dev/check_gpu.sh
#   tools/dev/check_gpu.sh --device cpu [REPORT]   tries the script where there is no GPU, with few and small inputs
# Needs torch, MMEngine and pytest next to the package, not OpenMMLab; nvcc, timm and compute-sanitizer where they are
# there. A part that fails is told at the end, and the others run nevertheless. PYTHON names the interpreter, PARTS some
# of: build doctor operators sanitizer agreement compile graphs ddp benchmark time.
set -uo pipefail
cd "$(dirname "$0")/.."
device=cuda
if [ "${1:-}" = --device ]; then
  device=${2:?--device takes cuda or cpu}
  shift 2
fi
case $device in cuda | cpu) ;; *) echo "--device must be cuda or cpu, got $device" >&2; exit 2 ;; esac
report=$(realpath -m "${1:-docs/gpu_report.md}")
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export -n MMVIT_BUILD_OPS
parts=${PARTS:-build doctor operators sanitizer agreement compile graphs ddp benchmark time}
for part in $parts; do
  case " build doctor operators sanitizer agreement compile graphs ddp benchmark time " in
    *" $part "*) ;;
    *) echo "PARTS: there is no part $part" >&2; exit 2 ;;
  esac
done
"$python" -c 'import torch, mmengine' || { echo "$python needs torch and MMEngine" >&2; exit 2; }
if [ "$device" = cuda ]; then
  "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo 'torch sees no GPU; try --device cpu' >&2; exit 2; }
fi
failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

wanted() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# section TITLE SECONDS KIND COMMAND...: runs a command into the report, within a time. KIND is table or text.
section() {
  local title=$1 limit=$2 kind=$3 start=$SECONDS status
  shift 3
  echo "== $title"
  timeout -k 10 "$limit" "$@" >"$log" 2>&1  # no pipe: processes that a command leaves would keep it open
  status=$?
  cat "$log"
  {
    printf '\n### %s\n\n' "$title"
    if [ "$kind" = table ]; then
      grep '^|' "$log"
      if [ "$status" -ne 0 ]; then printf '\n```\n'; grep -v '^|' "$log" | tail -n 20; printf '```\n'; fi
    else
      printf '```\n'; tail -n 60 "$log"; printf '```\n'
    fi
    printf '\nExit status %s, %s s.\n' "$status" $((SECONDS - start))
  } >>"$report"
  [ "$status" -eq 0 ] || failed+=("$title: exit status $status")
}

tests=("$python" -W ignore -m pytest -c /dev/null --rootdir "$PWD" -q -W ignore -p no:cacheprovider)
networks=("$python" tools/dev/check_networks.py)
names=()
selected=cuda
fuzz=50
if [ "$device" = cpu ]; then
  networks+=(--device cpu --size 32 --repeats 1 --batch-size 2)
  names=(rest_lite)
  selected='cpp and not random'
  fuzz=1
fi

mkdir -p "$(dirname "$report")"
{
  echo '## On a GPU'
  echo
  echo "Written by \`tools/dev/check_gpu.sh\` on $(date -u +%F), device \`$device\`."
  echo
  echo '```'
  "$python" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)'
  if [ "$device" = cuda ]; then nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; fi
  echo '```'
} >"$report" 2>&1

if wanted build; then
  if [ "$device" = cuda ] && command -v nvcc >/dev/null; then
    section 'Build of the CUDA library' 300 text "$python" -m mmvit_backbones.ops.build cuda
  else
    printf '\n### Build of the CUDA library\n\nLeft out: there is no nvcc, or no GPU is checked.\n' >>"$report"
  fi
fi
if wanted doctor; then
  section 'Doctor' 300 text "$python" -m mmvit_backbones.doctor
fi
if wanted operators; then
  section 'Varied-size windows: goldens, gradcheck, dtypes, strides' 300 text \
    "${tests[@]}" tests/ops/test_varied_size_window.py -k "$selected"
  section 'Triton kernels against plain PyTorch, random shapes' 900 text \
    env FUZZ_FACTOR="$fuzz" "${tests[@]}" tests/ops/test_triton.py tests/ops/test_varied_size_window_triton.py
fi
if wanted sanitizer; then
  # A few launches of every kernel: compute-sanitizer makes them some hundred times slower.
  sanitized='cuda and (golden or far_outside or (dtypes and usual) or deterministic)'
  if [ "$device" = cuda ] && command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      section "compute-sanitizer $tool: CUDA library" 120 text compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "${tests[@]}" tests/ops/test_varied_size_window.py -k "$sanitized"
      section "compute-sanitizer $tool: Triton" 300 text compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$python" -m mmvit_backbones.doctor
    done
  else
    printf '\n### compute-sanitizer\n\nLeft out: it is not installed, or no GPU is checked.\n' >>"$report"
  fi
fi
if wanted agreement; then section 'Backbones against float32 on the CPU' 600 table "${networks[@]}" agreement "${names[@]}"; fi
if wanted compile; then section 'torch.compile against eager' 900 table "${networks[@]}" compile "${names[@]}"; fi
if wanted graphs; then section 'CUDA graphs against eager' 300 table "${networks[@]}" graphs "${names[@]}"; fi
if wanted ddp; then section 'DistributedDataParallel against one process' 300 table "${networks[@]}" ddp "${names[@]:-reswin_tiny}"; fi
if wanted benchmark; then
  if [ "$device" = cuda ]; then
    section 'Varied-size windows: deviation from float64' 120 text "$python" tools/analysis/compare_ops.py --device cuda
    section 'Varied-size windows: time' 240 text "$python" tools/analysis/benchmark_ops.py --device cuda \
      --shapes h200 224 800x1333 --dtypes bfloat16 float32 --seconds 0.3
  else
    section 'Varied-size windows: deviation from float64' 120 text "$python" tools/analysis/compare_ops.py --device cpu
  fi
fi
if wanted time; then
  section 'Time of backbones' 600 table "${networks[@]}" time "${names[@]}"
fi

{
  printf '\n### Result\n\n'
  if [ ${#failed[@]} -eq 0 ]; then echo "All passed, after $SECONDS s."; else printf -- '- %s\n' "${failed[@]}"; fi
} | tee -a "$report"
[ ${#failed[@]} -eq 0 ]

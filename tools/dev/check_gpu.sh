#!/usr/bin/env bash
# Runs `mmvit doctor` and the tests of operators and networks on a GPU, and writes a report: check_gpu.sh [FILE]
# Requires torch, Triton, MMEngine and pytest, but not OpenMMLab. PYTHON selects the interpreter, and PYTEST_OPTIONS are
# added to those of pytest, e.g. `-n 8`. The report names the commit: of the checkout, or COMMIT in a copy without git.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
report=${1:-docs/gpu_report.md}
commit=${COMMIT:-$(git rev-parse --short HEAD)} || { echo 'error: not a git checkout; set COMMIT' >&2; exit 1; }
"$python" -c 'import torch; torch.cuda.get_device_name()' || exit

run() {  # a title, and a command, whose output the report shows
    printf '\n#### %s\n\n```\n' "$1" >> "$report"
    "${@:2}" 2>&1 | tee -a "$report"
    local status=${PIPESTATUS[0]}
    printf '```\n\nExit status: %s\n' "$status" >> "$report"
    return "$status"
}

"$python" -c 'import datetime, torch; print(f"### {torch.cuda.get_device_name()}, {datetime.date.today()}")' > "$report"
printf '\nCommit %s\n' "$commit" >> "$report"
failed=0
run 'Build' "$python" -m mmvit_backbones.ops.build || failed=1
run 'Kernels compared with plain PyTorch: deviation and time' "$python" -m mmvit doctor || failed=1
run 'Tests' "$python" -m pytest -q -p no:cacheprovider -m 'not compiler' ${PYTEST_OPTIONS:-} tests/test_gpu.py \
    tests/ops tests/layers/test_varied_size_attention.py || failed=1
exit "$failed"

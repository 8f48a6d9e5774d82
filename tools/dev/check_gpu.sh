#!/usr/bin/env bash
# Runs `mmvit doctor` and the tests of operators and networks on a GPU, and writes a report: check_gpu.sh [FILE]
# Requires torch, Triton, MMEngine and pytest, but not OpenMMLab. PYTHON selects the interpreter, and PYTEST_OPTIONS are
# added to those of pytest, e.g. `-n 8`. The report names the commit: of the checkout, or COMMIT in a copy without git.
# WHEELS is a folder of wheels to install where there is no network. With mmdet, mmpretrain and timm, whole models are
# measured and a detector is trained. DEVICE=cpu tries all of it on tiny images before a GPU is there.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
report=${1:-docs/gpu_report.md}
commit=${COMMIT:-$(git rev-parse --short HEAD)} || { echo 'error: not a git checkout; set COMMIT' >&2; exit 1; }
device=${DEVICE:-cuda}
[ "$device" = cpu ] || "$python" -c 'import torch; torch.cuda.get_device_name()' || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${WHEELS:-}" ]; then
    "$python" -m pip install -q --no-index --no-deps --target "$work/site" "$WHEELS"/*.whl || exit
    export PYTHONPATH=$work/site:$PWD${PYTHONPATH:+:$PYTHONPATH}
fi

run() {  # a title, and a command, whose output the report shows
    printf '\n#### %s\n\n```\n' "$1" >> "$report"
    "${@:2}" 2>&1 | tee -a "$report"
    local status=${PIPESTATUS[0]}
    printf '```\n\nExit status: %s\n' "$status" >> "$report"
    return "$status"
}

"$python" -c 'import datetime, sys, torch
name = "CPU" if sys.argv[1] == "cpu" else torch.cuda.get_device_name()
print(f"### {name}, {datetime.date.today()}")' "$device" > "$report"
printf '\nCommit %s\n' "$commit" >> "$report"
failed=0
run 'Build' timeout 150 "$python" -m mmvit_backbones.ops.build || failed=1
run 'Kernels compared with plain PyTorch: deviation and time' timeout 150 "$python" -m mmvit doctor || failed=1
run 'Tests' timeout 150 "$python" -m pytest -q -p no:cacheprovider -m 'not compiler' ${PYTEST_OPTIONS:-} tests/test_gpu.py \
    tests/ops tests/layers/test_varied_size_attention.py || failed=1

detectors=(mask_rcnn_reswin_t mask_rcnn_remvitv2_t mask_rcnn_regionvit_s mask_rcnn_rest_lite mask_rcnn_rest_s
    mask_rcnn_restv2_t mask_rcnn_vitaev2_s mask_rcnn_vitaev2_vsa_s mask_rcnn_swin_vsa_t mask_rcnn_revit_b)
classifiers=(imagenet_reswin_t imagenet_revit_b imagenet_regionvit_s imagenet_rest_s imagenet_restv2_t imagenet_vitaev2_s)
large=(--device cuda --precision bfloat16 --size 800 1333 --repeats 3) batch=(--device cuda --precision bfloat16
    --batch-size 128 --repeats 3) iterations=200 mixed=--amp
if [ "$device" = cpu ]; then
    detectors=(mask_rcnn_rest_lite) classifiers=(imagenet_rest_lite) large=(--size 64 96 --batch-size 1 --repeats 1)
    batch=(--size 32 --repeats 1) iterations=2 mixed=--no-amp
fi
if "$python" -c 'import mmdet, mmpretrain, timm' 2> /dev/null; then
    cat > "$work/mask_rcnn_timm_swin_t.py" <<'END'
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
custom_imports = dict(imports=['mmvit_backbones.integrations.timm_backbone'])
model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='swin_tiny_patch4_window7_224'))
END
    detectors+=("$work/mask_rcnn_timm_swin_t.py")
    run 'Whole detectors' timeout 150 "$python" -m mmvit benchmark "${detectors[@]}" "${large[@]}" || failed=1
    run 'A detector is trained' timeout 100 "$python" -m mmvit train rest_lite --coco-folder data/coco_mini "$mixed" \
        --no-pretrained --iters "$iterations" --work-dir "$work/run" || failed=1
    run 'The detector is tested' timeout 50 "$python" -m mmvit test "$work/run" || failed=1
    run 'Classifiers, eager' timeout 110 "$python" -m mmvit benchmark "${classifiers[@]}" "${batch[@]}" || failed=1
    run 'Classifiers, compiled' timeout 240 "$python" -m mmvit benchmark "${classifiers[@]}" "${batch[@]}" \
        --runtime compile || failed=1
fi
exit "$failed"

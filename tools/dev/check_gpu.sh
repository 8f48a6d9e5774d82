#!/usr/bin/env bash
# Checks operators, networks and whole models on a GPU, and writes a report: check_gpu.sh [FILE]
# Requires torch, Triton, MMEngine and pytest; what else a part needs, it says where it is left out. PYTHON selects the
# interpreter, and PYTEST_OPTIONS are added to those of pytest, e.g. `-n 8`. The report names the commit: of the
# checkout, or COMMIT in a copy without git. WHEELS is a folder of wheels to install where there is no network, REFERENCE
# one with gpu_step.py, which times steps of compiled blocks, and gpu_convs.py, which times convolutions. PARTS selects
# parts where time is short: operators (8 minutes at most), detectors (10), classifiers (3), compiled (10), convolutions
# (2). DEVICE=cpu tries all of them on tiny images, with more time.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
report=${1:-gpu_report.md}
commit=${COMMIT:-$(git rev-parse --short HEAD)} || { echo 'error: not a git checkout; set COMMIT' >&2; exit 1; }
device=${DEVICE:-cuda}
[ "$device" = cpu ] || "$python" -c 'import torch; torch.cuda.get_device_name()' || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
if [ -n "${WHEELS:-}" ]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "$WHEELS"/*.whl || exit
    export PYTHONPATH=$work/site:$PYTHONPATH
fi

large=(--device cuda --precision bfloat16 --size 800 1333 --repeats 3)
batch=(--device cuda --precision bfloat16 --batch-size 128 --repeats 3)
detectors=(mask_rcnn_reswin_t mask_rcnn_remvitv2_t mask_rcnn_regionvit_s mask_rcnn_rest_lite mask_rcnn_rest_s
    mask_rcnn_restv2_t mask_rcnn_vitaev2_s mask_rcnn_vitaev2_vsa_s mask_rcnn_swin_vsa_t mask_rcnn_revit_b)
classifiers=(imagenet_reswin_t imagenet_refiner_vit_s imagenet_regionvit_s imagenet_restv2_t imagenet_vitaev2_s
    imagenet_swin_vsa_t)
timm=("$work/imagenet_timm_swin_t.py")
compiled=(timm:swin_tiny_patch4_window7_224 reswin_tiny refiner_vit_small revit_base --batch 64
    --kernels default triton)
convolutions=(vitaev2_small rest_small restv2_tiny regionvit_small --batch 128)
training=(--amp --iters 200) language=auto patience=1
if [ "$device" = cpu ]; then
    large=(--size 64 96 --batch-size 1 --repeats 1 --threads 1) batch=(--size 32 --repeats 1 --threads 1)
    detectors=(mask_rcnn_rest_lite) classifiers=(imagenet_rest_lite)
    compiled=(rest_lite --batch 1 --size 64 --repeats 1 --device cpu)
    convolutions=(rest_lite --batch 1 --size 64 --repeats 1 --device cpu)
    training=(--no-amp --iters 32 --light --size 64 96) language=cpp patience=4
fi
cat > "$work/mask_rcnn_timm_swin_t.py" <<'END'
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
custom_imports = dict(imports=['mmvit_backbones.integrations.timm_backbone'])
model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='swin_tiny_patch4_window7_224', drop_path_rate=0.2))
END
cat > "$work/imagenet_timm_swin_t.py" <<END
_base_ = '$PWD/configs/imagenet_reswin_t.py'
custom_imports = dict(imports=['mmvit_backbones.integrations.timm_backbone'])
model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='swin_tiny_patch4_window7_224', drop_path_rate=0.2))
END

failed=0
run() {  # a title, the most seconds, and a command, whose output the report shows
    printf '\n#### %s\n\n```\n' "$1" >> "$report"
    timeout $((patience * $2)) "${@:3}" 2>&1 | tee -a "$report"
    local status=${PIPESTATUS[0]}
    printf '```\n\nExit status: %s\n' "$status" >> "$report"
    [ "$status" = 0 ] || failed=1
}
has() {  # a part, what it needs, and Python that fails without it
    [[ " ${PARTS:-operators detectors classifiers compiled convolutions} " == *" $1 "* ]] || return
    "$python" -c "$3" &> /dev/null || { printf '\nNo %s: they need %s\n' "$1" "$2" | tee -a "$report"; false; }
}

"$python" -c 'import datetime, sys, torch
name = "CPU" if sys.argv[1] == "cpu" else torch.cuda.get_device_name()
print(f"### {name}, {datetime.date.today()}")' "$device" > "$report"
printf '\nCommit %s\n' "$commit" >> "$report"
if has operators pytest 'import pytest'; then
    run 'Build' 150 "$python" -m mmvit_backbones.ops.build "$language"
    run 'Networks with kernels compared with plain PyTorch' 120 "$python" -m mmvit doctor
    run 'Tests' 150 "$python" -m pytest -q -p no:cacheprovider -m 'not compiler' ${PYTEST_OPTIONS:-} tests/test_gpu.py \
        tests/ops tests/layers/test_varied_size_attention.py
fi
if has detectors 'mmdet, timm, and mmcv with kernels for the device' "import mmdet, timm, torch, mmcv.ops
mmcv.ops.nms(torch.ones(1, 4, device='$device'), torch.ones(1, device='$device'), 0.5)"; then
    run 'Whole detectors' 240 "$python" -m mmvit benchmark "${detectors[@]}" "$work/mask_rcnn_timm_swin_t.py" \
        "${large[@]}"
    run 'A detector is trained' 240 "$python" -m mmvit train rest_lite --coco-folder data/coco_mini --no-pretrained \
        "${training[@]}" --work-dir "$work/run"
    run 'Its loss falls' 20 "$python" -c 'import json, pathlib, sys
path, = pathlib.Path(sys.argv[1]).glob("*/vis_data/scalars.json")
losses = [row["loss"] for row in map(json.loads, path.open()) if "loss" in row]
print("loss of", len(losses), "epochs:", *losses)
sys.exit(not losses[-1] < losses[0])' "$work/run"
    run 'The detector is tested' 60 "$python" -m mmvit test "$work/run"
fi
if has classifiers 'mmpretrain and timm' 'import mmpretrain, timm'; then
    run 'Classifiers, eager' 150 "$python" -m mmvit benchmark "${timm[@]}" "${classifiers[@]}" "${batch[@]}"
fi
if has compiled 'REFERENCE, a folder with gpu_step.py' "open('${REFERENCE:-}/gpu_step.py')"; then
    run 'Compiled blocks' 600 "$python" "$REFERENCE/gpu_step.py" "${compiled[@]}" --compile blocks
fi
if has convolutions 'REFERENCE, a folder with gpu_convs.py' "open('${REFERENCE:-}/gpu_convs.py')"; then
    run 'Layouts of convolutions' 120 "$python" "$REFERENCE/gpu_convs.py" "${convolutions[@]}"
fi
exit "$failed"

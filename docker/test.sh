#!/usr/bin/env bash
# Builds docker/Dockerfile from a clone of HEAD with docker, podman or buildah, and tests and trains in the image.
#   BASE_IMAGE   base image to use instead of the one in the file
#   OPTIONS      options for builds and runs; podman and buildah also accept
#                '--volume FOLDER:/root/.cache/uv'
set -euo pipefail
cd "$(dirname "$0")/.."

for engine in docker podman buildah none; do
    if "$engine" info &> /dev/null; then break; fi  # docker info also fails if the daemon is not running
done
if [ "$engine" = none ]; then
    echo 'docker-test: docker (with its daemon), podman or buildah is required' >&2
    exit 1
fi
read -ra options <<< "${OPTIONS:-}"
image=mmvit_backbones:test
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
git clone --quiet --depth 1 "file://$PWD" "$context"

"$engine" build "${options[@]}" ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} \
    --file "$context/docker/Dockerfile" --tag "$image" "$context"

run() {
    echo "docker-test: $*"
    if [ "$engine" = buildah ]; then
        container=$(buildah from "$image")
        buildah run "${options[@]}" "$container" -- "$@" || { buildah rm "$container"; return 1; }
        buildah rm "$container" > /dev/null
    else
        "$engine" run --rm --shm-size 2g "${options[@]}" "$image" "$@"
    fi
}

run mmvit train tests/configs/mask_rcnn_reswin_t.py --work-dir /tmp/minute \
    --cfg-options train_cfg.max_epochs=5 train_cfg.val_interval=5  # takes a minute on two cores
run make test-quick

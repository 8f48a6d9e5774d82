#!/bin/sh
# Runs uv from PATH, or else installs it in .uv. Uses pip's package index, unless uv has a setting of its own.
set -eu
python=${PYTHON:-python3}
if ! uv=$(command -v uv); then
    folder=$(dirname "$0")/../../.uv
    uv=$folder/bin/uv
    if [ ! -x "$uv" ]; then
        "$python" -m venv "$folder"
        "$folder/bin/python" -m pip install --quiet --require-hashes --requirement "$folder/../requirements/uv.txt"
    fi
fi
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2> /dev/null || true)}}
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
for folder in "$HOME"/.pyenv/versions/*/bin; do PATH=$PATH:$folder; done  # where uv does not search for Python
exec "$uv" "$@"

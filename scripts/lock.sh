#!/bin/sh
# The locks: exact versions with hashes, for every platform, without index addresses.
#   service.txt  what a release carries    runtime.txt  + the guard    development.txt  + tests
#   bench.txt    + peers that only benchmarks ask
set -eu
uv=${UV:-.venv/bin/uv}
compile() {
    out=$1; shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --custom-compile-command "make lock" --upgrade "$@" --output-file "$out" pyproject.toml
}
compile locks/development.txt --extra test --extra rollout --extra stream --extra postgres --extra duplicates \
    --extra heif --extra jxl --extra raw --extra scale --extra fleet
compile locks/bench.txt --all-extras --constraint locks/development.txt
compile locks/runtime.txt --extra rollout --extra stream --extra postgres --constraint locks/development.txt
compile locks/service.txt --extra postgres --constraint locks/development.txt

#!/bin/sh
# sbom.sh LOCK OUT: the bill of materials of a lock, CycloneDX 1.6 as JSON, the same for the same lock.
set -eu
PYTHONWARNINGS=ignore .venv/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --pyproject pyproject.toml \
    --output-reproducible --output-format JSON --output-file "$2" "$1"

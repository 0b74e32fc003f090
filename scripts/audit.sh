#!/bin/sh
# audit.sh LOCK: known vulnerabilities of what a lock names, by pip-audit. Exit 1 if there are any, 2 if it cannot say.
# An index without a vulnerability API answers nothing for every package, which pip-audit tells as packages that it
# skipped, with exit code 0: what was not asked must not look like what is sound.
set -eu
out=$(mktemp)
trap 'rm -f "$out" "$out.log"' EXIT
status=0
.venv/bin/uv tool run --quiet pip-audit==2.10.1 --requirement "$1" --disable-pip --require-hashes \
    --progress-spinner off --format json --output "$out" 2> "$out.log" || status=$?
[ -s "$out" ] || {
    tail -n 3 "$out.log" >&2
    echo "audit: pip-audit could not ask a database of vulnerabilities, and nothing was audited" >&2
    exit 2
}
.venv/bin/python - "$1" "$out" <<'PYTHON'
import json
import sys

lock, out = sys.argv[1:]
packages = json.load(open(out))["dependencies"]
unasked = [package["name"] for package in packages if "skip_reason" in package]
found = [(package, flaw) for package in packages for flaw in package.get("vulns", [])]
for package, flaw in found:
    fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
    print(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
print(f"{lock}: {len(packages) - len(unasked)} of {len(packages)} packages audited, {len(found)} vulnerabilities")
if unasked:
    print(f"audit: no database knows {', '.join(unasked)}. Ask again where pypi.org/pypi or api.osv.dev can be reached.")
sys.exit(1 if found else 2 if unasked else 0)
PYTHON
exit "$status"

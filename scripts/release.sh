#!/bin/sh
# release.sh [KEY]: dist/mobius-dhash-VERSION.tar.gz from the commit that is checked out, signed where there is a key.
# In it: the wheel, the locks, the bill of materials of each lock (CycloneDX) and SHA256SUMS. The wheel is built
# twice, in two folders from two exports of the commit, and has to come out the same to the byte; times are the
# commit's, so that anybody who builds the commit gets the archive that was signed.
set -eu
key=${1:-}
uv=$PWD/.venv/bin/uv
if [ -n "$(git status --porcelain)" ]; then
    echo "release: the checkout has changes that no commit has. Commit or stash them first." >&2
    exit 1
fi
if [ -n "$key" ] && [ ! -f "$key" ]; then
    echo "release: there is no key at $key. Make one: ssh-keygen -t ed25519 -f $key" >&2
    exit 1
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for turn in first second; do
    mkdir -p "$work/$turn"
    git archive HEAD | tar -x -C "$work/$turn"
    "$uv" build --quiet --wheel --out-dir "$work/$turn.out" "$work/$turn"
done
wheel=$(basename "$work"/first.out/*.whl)
cmp "$work/first.out/$wheel" "$work/second.out/$wheel" || {
    echo "release: two builds of one commit differ: $wheel is not reproducible, and nothing was written" >&2
    exit 1
}

version=$(echo "$wheel" | cut -d- -f2)
name=mobius-dhash-$version
mkdir -p "$work/$name/locks"
cp "$work/first.out/$wheel" "$work/first/CHANGELOG.md" "$work/first/LICENSE" "$work/first/SECURITY.md" "$work/$name/"
for lock in service runtime; do
    cp "$work/first/locks/$lock.txt" "$work/$name/locks/"
    sh scripts/sbom.sh "$work/first/locks/$lock.txt" "$work/$name/$lock.cdx.json"
done
(cd "$work/$name" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS)

mkdir -p dist
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar \
    -C "$work" -cf - "$name" | gzip -9n > "$work/$name.tar.gz"
if [ -n "$key" ]; then
    ssh-keygen -q -Y sign -f "$key" -n mobius-dhash-release "$work/$name.tar.gz"
    mv "$work/$name.tar.gz.sig" dist/
else
    rm -f "dist/$name.tar.gz.sig" # of an archive that was here before
fi
mv "$work/$name.tar.gz" dist/
sha256sum "dist/$name.tar.gz"
[ -n "$key" ] || echo "release: not signed. To sign it: make release KEY=PATH of an OpenSSH private key" >&2

#!/usr/bin/env bash
# Files as parts of a bounded size, for a way that takes no large ones, and back:
#   pack.sh OUT MIB PATH...      writes OUT/part.00, part.01, ... of at most MIB MiB, and their digests
#   pack.sh --back PARTS OUT     checks the parts and unpacks them into OUT
set -euo pipefail
if [ "$1" = --back ]; then
    (cd "$2" && sha256sum --quiet --check SHA256)
    mkdir -p "$3"
    cat "$2"/part.* | tar xz -C "$3" --no-same-owner
else
    out=$1 mib=$2
    shift 2
    mkdir -p "$out"
    for path in "$@"; do printf -- '-C\0%s\0%s\0' "$(cd "$(dirname "$path")" && pwd)" "$(basename "$path")"; done |
        xargs -0 tar cz | split -b "${mib}M" -d - "$out/part."
    (cd "$out" && sha256sum part.* > SHA256)
fi

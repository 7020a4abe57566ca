#!/usr/bin/env bash
# Fails where a program needs a newer C library than Lambda's provided.al2023 has. A
# machine that is newer than that links against what is there.
set -euo pipefail

# That of Amazon Linux 2023.
readonly lambda=2.34

for program in "$@"; do
    needed=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -1) || true
    needed=${needed#GLIBC_}
    if [ -z "$needed" ]; then
        echo "$program names no version of the C library: it is no program for Lambda, or objdump cannot read it." >&2
        exit 1
    fi
    if [ "$(printf '%s\n' "$needed" "$lambda" | sort -V | tail -1)" != "$lambda" ]; then
        echo "$program needs glibc $needed, and Lambda has $lambda: build on an older Linux," \
            "or with zig, as docs/deploying.md says." >&2
        exit 1
    fi
done

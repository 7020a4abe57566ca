#!/usr/bin/env bash
# Fails if a program needs a newer C library than that of Lambda's provided.al2023. A build machine
# with a newer one links against its own.
set -euo pipefail

# The version of Amazon Linux 2023.
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

#!/usr/bin/env bash
# Fuzzes every parser of bytes from outside, one after the other, under libFuzzer with the address sanitizer.
#
#   Tests/Fuzz/run.sh [SECONDS] [TARGET...]     seconds for each target (default 60); all targets without names
#
# What was found interesting is kept in .build/fuzz/corpus and used again. An input that breaks something is left in
# .build/fuzz/broken, and named at the end; put it into Tests/Fuzz/regressions/TARGET/ together with the repair.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
shift || true
case $seconds in *[!0-9]* | '') echo "usage: $0 [SECONDS] [TARGET...]" >&2; exit 2 ;; esac

export BRAMBLE_FUZZ=1
# With the address sanitizer the backtrace tool waits for ever on a crashed process, and holds the pipe.
export SWIFT_BACKTRACE=enable=no
# OpenSSL keeps what it allocates once until the process ends.
export ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-}

flags=(-c release --scratch-path .build/fuzz/build -Xswiftc -sanitize=fuzzer,address -Xswiftc -use-ld=lld --product bramble-fuzz)
swift build "${flags[@]}"
fuzzer=$(swift build "${flags[@]}" --show-bin-path)/bramble-fuzz

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <("$fuzzer")
failed=()
for target in "${targets[@]}"; do
    corpus=.build/fuzz/corpus/$target
    broken=.build/fuzz/broken
    mkdir -p "$corpus" "$broken"
    "$fuzzer" seeds "$target" "$corpus"
    regressions=Tests/Fuzz/regressions/$target
    [ -d "$regressions" ] && cp "$regressions"/* "$corpus"/
    echo "== $target, $seconds s"
    # 10 s for one input, 1 GB: more is a bug too.
    if ! "$fuzzer" "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -artifact_prefix="$broken/$target-" -print_final_stats=1 "$corpus" >"$broken/$target.log" 2>&1; then
        failed+=("$target")
        grep -E "Fatal error|ERROR|SUMMARY" "$broken/$target.log" | head -5 || true
    fi
    grep -E "number_of_executed_units|average_exec_per_sec" "$broken/$target.log" || tail -5 "$broken/$target.log"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "broken: ${failed[*]}; inputs and logs are in .build/fuzz/broken" >&2
    exit 1
fi
echo "nothing broken"

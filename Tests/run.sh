#!/usr/bin/env bash
# Runs some of the built tests in one process: Tests/run.sh NAME MINUTES ARGUMENTS... (those of swift-testing: --filter, --skip).
#
# A run that does not end is ended after so many minutes: the tests that began and did not finish are named, with the stacks of
# all threads where gdb is installed. Processes that the tests leave behind and that do not end within 5 s are named and ended, and fail the run.
set -euo pipefail
name=$1 minutes=$2
shift 2
tests=.build/debug/bramblePackageTests.xctest
log=.build/test-$name.log
# Inherited by everything the tests start, and by nothing of this script; by it they are found again.
mark="BRAMBLE_TEST_RUN=$name.$$"

left_behind() { grep -lzsx "$mark" /proc/[0-9]*/environ | cut -d/ -f3 || true; }
end_all() {
    for process in $(left_behind); do
        kill -KILL "$process" 2>/dev/null || true
    done
}
trap 'end_all; exit 130' INT TERM

# One test opens a thousand connections; with the usual limit of 1,024 files others could not start a program meanwhile.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

: >"$log"
# Each line as it comes: what a run printed last is what one wants to read when it hangs. Into a file, because a process left
# behind would keep a pipe open, and whoever reads it waiting.
env "$mark" stdbuf -oL "$tests" --testing-library swift-testing "$@" </dev/null >"$log" 2>&1 &
run=$!
tail -n +1 -f --pid="$run" "$log" | grep --line-buffered -v ' Test case passing ' &
reader=$!

ends=$((SECONDS + minutes * 60))
while kill -0 "$run" 2>/dev/null && ((SECONDS < ends)); do sleep 0.2; done
if kill -0 "$run" 2>/dev/null; then
    {
        echo "The tests “$name” did not end within $minutes minutes. Begun and not finished:"
        awk 'match($0, /Test (case|")/) && / started\.$/ { sub(/^.*Test "/, "\""); sub(/ started\.$/, ""); open[$0] = 1 }
             match($0, /Test "/) && / (passed|failed|recorded) / { line = $0; sub(/^.*Test "/, "\"", line); sub(/" .*$/, "\"", line); delete open[line] }
             END { for (test in open) if (test ~ /^"/) print "  " test }' "$log"
        echo "Its processes:"
        for process in $(left_behind); do
            ps -o pid,ppid,stat,etimes,wchan:24,args --no-headers -p "$process" | cut -c-200 || true
        done
        if command -v gdb >/dev/null; then
            timeout 60 gdb -p "$run" -batch -ex 'set print frame-arguments none' -ex 'thread apply all backtrace 14' 2>/dev/null | grep -E '^(Thread|#)' | tail -n 150 || true
        fi
    } >&2
    end_all
    exit 1
fi
status=0
wait "$run" || status=$?
wait "$reader" 2>/dev/null || true
# Some are about to end by themselves, such as a guard that sees its daemon gone.
for _ in $(seq 50); do
    rest=$(left_behind)
    [ -n "$rest" ] || break
    sleep 0.1
done
if [ -n "$rest" ]; then
    echo "The tests “$name” left processes behind:" >&2
    for process in $rest; do ps -o pid,args --no-headers -p "$process" >&2 || true; done
    end_all
    status=1
fi
exit "$status"

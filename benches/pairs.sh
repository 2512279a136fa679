#!/bin/sh
# Compares two builds: runs the same scenario alternately with the benchmark of each, and prints one line per pair.
#
#   benches/pairs.sh OLD_BENCH NEW_BENCH [PAIRS] [ARGS...]
#
# OLD_BENCH and NEW_BENCH are benchmark binaries (target/release/deps/pipeline-*), each next to its own bday. A path may be followed by
# arguments for that binary only: 'OLD_BENCH --program PATH'.
set -eu

old=$1 new=$2 pairs=${3:-5}
shift 2
[ $# -eq 0 ] || shift

# run BENCH [ARGS...]: prints deliveries per second, CPU seconds of the daemon, CPU us per event of the daemon and of PostgreSQL, and
# the daemon's peak memory in MB.
run() {
  bench=$1
  shift
  # shellcheck disable=SC2086
  $bench --json --scenario burst "$@" 2>/dev/null | python3 -c '
import json, sys
run = json.load(sys.stdin)["runs"][0]
us = 1e6 / run["events"]
print(run["per_second"], run["cpu"]["daemon"], run["cpu"]["daemon"] * us, run["cpu"]["postgres"] * us, run["daemon_mb"])'
}

echo 'pair  old/s   new/s  ratio  old CPU s  new CPU s  ratio  old pg us  new pg us  old MB  new MB'
pair=1
while [ "$pair" -le "$pairs" ]; do
  a=$(run "$old" "$@") b=$(run "$new" "$@")
  echo "$pair $a $b" | awk '{ printf "%4d %6.0f  %6.0f  %5.2f  %9.2f  %9.2f  %5.2f  %9.1f  %9.1f  %6.1f  %6.1f\n",
    $1, $2, $7, $7 / $2, $3, $8, $8 / $3, $5, $10, $6, $11 }'
  pair=$((pair + 1))
done

#!/usr/bin/env bash
# Tests the upgrade from an older version, and the way back: `make upgrade-test FROM=v1.0.0`.
#
# FROM is any commit or tag. By default it is the newest release before this commit; where there is none, the commit
# before the newest migration. What runs: tests/all/upgrade.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

default() {
  git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null && return
  echo "$(git log -1 --first-parent --format=%H -- migrations)^"
}
from=${1:-$(default)}
commit=$(git rev-parse --verify --quiet "$from^{commit}") || {
  echo "upgrade-test: no such commit here: $from (a shallow clone has no history: git fetch --unshallow)" >&2
  exit 2
}

target=$(readlink -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target
work=$target/upgrade-test
old=$work/bday-$commit
if [ ! -x "$old" ]; then
  echo "upgrade-test: building $(git log -1 --format='%h (%cs, %s)' "$commit")" >&2
  rm -rf "$work/source" && mkdir -p "$work/source"
  trap 'rm -rf "$work/source"' EXIT
  # Files as of now: cargo goes by the time of change, and this place may have held another version before.
  git archive "$commit" | tar -xm -C "$work/source"
  CARGO_INCREMENTAL=0 cargo build --locked --quiet --manifest-path "$work/source/Cargo.toml" --bin bday
  cp "$target/debug/bday" "$old"
fi
BDAY_UPGRADE_FROM=$old cargo test --locked --quiet --test all -- --ignored --exact --nocapture \
  upgrade::two_versions_roll_over_one_database_and_one_queue_and_each_greeting_comes_once

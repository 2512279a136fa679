#!/usr/bin/env bash
# Runs the API tester against a daemon of its own, on this machine only: `schemathesis.sh [EXAMPLES [SEED]]`.
# schemathesis comes from PyPI into a private environment under target/tools, and stays there.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=4.32.5
environment=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools/schemathesis-$version")

if [ ! -x "$environment/bin/schemathesis" ]; then
  echo "installing schemathesis $version to $environment" >&2
  python3 -m venv "$environment"
  "$environment/bin/pip" install -q --disable-pip-version-check "schemathesis==$version"
fi

export BDAY_SCHEMATHESIS=$environment/bin/schemathesis BDAY_SCHEMATHESIS_EXAMPLES=${1:-50} BDAY_SCHEMATHESIS_SEED=${2:-1}
exec cargo test --locked --test all -- --exact api::tester::the_api_tester_finds_nothing --ignored --nocapture

#!/usr/bin/env bash
# Tests the API's description against a private daemon on this machine: `run.sh [EXAMPLES [SEED]]`.
#
# The script validates the description and generates clients in Python and TypeScript. It sends requests with the Python client and
# type-checks the TypeScript client. Then schemathesis searches the API for faults. The tools are installed from PyPI and npm to
# private folders under target/tools, and kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")

# python NAME REQUIREMENT...: creates an environment with these packages.
python() {
  local environment=$tools/$1
  shift
  if [ ! -e "$environment/complete" ]; then
    echo "installing $* to $environment" >&2
    python3 -m venv "$environment"
    "$environment/bin/pip" install -q --disable-pip-version-check "$@"
    touch "$environment/complete"
  fi
}

python schemathesis schemathesis==4.32.5
python openapi openapi-spec-validator==0.9.0 openapi-python-client==0.29.1
typescript=$tools/openapi-typescript
if [ ! -e "$typescript/complete" ]; then
  echo "installing openapi-typescript to $typescript" >&2
  mkdir -p "$typescript"
  npm install --silent --no-audit --no-fund --prefix "$typescript" openapi-typescript@7.13.0 typescript@5.9.3
  touch "$typescript/complete"
fi

export BDAY_OPENAPI_TOOLS=$tools/openapi/bin BDAY_OPENAPI_TYPESCRIPT=$typescript/node_modules/.bin
export BDAY_SCHEMATHESIS=$tools/schemathesis/bin/schemathesis
export BDAY_SCHEMATHESIS_EXAMPLES=${1:-50} BDAY_SCHEMATHESIS_SEED=${2:-1}
exec cargo test --locked --test all -- api::tester:: --ignored --nocapture --test-threads 1

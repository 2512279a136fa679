#!/usr/bin/env bash
# Tests the channels against emulators of their providers: moto (SNS), and Prism with Twilio's OpenAPI description.
#
# twilio_messages.json is the operation CreateMessage of twilio_api_v2010.json in https://github.com/twilio/twilio-oai (Apache 2.0).
# The tools are installed from PyPI and npm to private folders under target/tools, and kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
moto=$tools/moto prism=$tools/prism
if [ ! -e "$moto/complete" ]; then
  echo "installing moto to $moto" >&2
  python3 -m venv "$moto"
  "$moto/bin/pip" install -q --disable-pip-version-check "moto[server]==5.2.5"
  touch "$moto/complete"
fi
if [ ! -e "$prism/complete" ]; then
  echo "installing Prism to $prism" >&2
  mkdir -p "$prism"
  npm install --silent --no-audit --no-fund --prefix "$prism" @stoplight/prism-cli@5.14.2
  touch "$prism/complete"
fi

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
moto_port=$(port) prism_port=$(port)
logs=$(mktemp -d)
"$moto/bin/moto_server" -H 127.0.0.1 -p "$moto_port" >"$logs/moto" 2>&1 &
moto_pid=$!
"$prism/node_modules/.bin/prism" mock --errors -h 127.0.0.1 -p "$prism_port" tests/providers/twilio_messages.json >"$logs/prism" 2>&1 &
prism_pid=$!
trap 'kill "$moto_pid" "$prism_pid" 2>/dev/null; rm -rf "$logs"' EXIT

for server in "moto $moto_port" "prism $prism_port"; do
  read -r name port <<<"$server"
  for ((tries = 600; ; tries--)); do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    if [ "$tries" = 0 ]; then
      echo "$name does not listen:" >&2
      cat "$logs/$name" >&2
      exit 1
    fi
    sleep 0.1
  done
done

export BDAY_TEST_MOTO=http://127.0.0.1:$moto_port BDAY_TEST_PRISM=127.0.0.1:$prism_port
cargo test --locked --test all -- providers:: --ignored || { cat "$logs/prism" >&2; exit 1; }

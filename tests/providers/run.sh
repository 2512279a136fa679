#!/usr/bin/env bash
# Tests the channels against servers and emulators that others wrote: Postfix, MailDev, moto (SES, SNS), and Prism with Twilio's OpenAPI
# description.
#
# twilio_messages.json is the operation CreateMessage of twilio_api_v2010.json in https://github.com/twilio/twilio-oai (Apache 2.0).
# The tools are installed from PyPI and npm to private folders under target/tools, and kept. Postfix comes from Debian, and needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
moto=$tools/moto
if [ ! -e "$moto/complete" ]; then
  echo "installing moto to $moto" >&2
  python3 -m venv "$moto"
  "$moto/bin/pip" install -q --disable-pip-version-check "moto[server]==5.2.5"
  touch "$moto/complete"
fi
# npm_tool FOLDER PACKAGE
npm_tool() {
  if [ -e "$1/complete" ]; then return 0; fi
  echo "installing $2 to $1" >&2
  mkdir -p "$1"
  npm install --silent --no-audit --no-fund --prefix "$1" "$2"
  touch "$1/complete"
}
npm_tool "$tools/prism" @stoplight/prism-cli@5.14.2
npm_tool "$tools/maildev" maildev@3.0.0

as_root= mailbox_owner=nobody
if [ "$(id -u)" != 0 ]; then as_root='sudo -n' mailbox_owner=$(id -un); fi

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
logs=$(mktemp -d)
pids=()
stop() {
  kill "${pids[@]}" 2>/dev/null || true
  # The folder of Postfix belongs to its users.
  $as_root rm -rf "$logs"
}
trap stop EXIT

# start NAME COMMAND...: its output goes to a file.
start() {
  local name=$1
  shift
  "$@" >"$logs/$name" 2>&1 &
  pids+=($!)
}
moto_port=$(port) prism_port=$(port) postfix_port=$(port) maildev_port=$(port) maildev_web=$(port)
start moto "$moto/bin/moto_server" -H 127.0.0.1 -p "$moto_port"
start prism "$tools/prism/node_modules/.bin/prism" mock --errors -h 127.0.0.1 -p "$prism_port" tests/providers/twilio_messages.json
start maildev "$tools/maildev/node_modules/.bin/maildev" --ip 127.0.0.1 --smtp "$maildev_port" \
  --web-ip 127.0.0.1 --web "$maildev_web" --mail-directory "$logs/maildev.d"
chmod 711 "$logs"
start postfix $as_root tests/providers/postfix.sh "$logs/postfix.d" "$postfix_port" "$mailbox_owner"

for server in "moto $moto_port" "prism $prism_port" "postfix $postfix_port" "maildev $maildev_port" "maildev $maildev_web"; do
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
export BDAY_TEST_POSTFIX=127.0.0.1:$postfix_port BDAY_TEST_MAILBOX=$logs/postfix.d/mail/new
export BDAY_TEST_MAILDEV=127.0.0.1:$maildev_port BDAY_TEST_MAILDEV_WEB=http://127.0.0.1:$maildev_web
cargo test --locked --test all -- providers:: --ignored || {
  for log in "$logs/prism" "$logs/maildev" "$logs/postfix.d/log"; do $as_root tail -n 100 "$log" >&2; done
  exit 1
}

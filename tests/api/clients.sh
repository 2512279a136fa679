#!/usr/bin/env bash
# Validates the description of the API at URL, generates clients in FOLDER and uses them: `clients.sh URL TOKEN FOLDER`.
# Run by the test `generated_clients_work`. BDAY_OPENAPI_TOOLS and BDAY_OPENAPI_TYPESCRIPT name the folders of the tools.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
url=$1 token=$2
cd "$3"

"$BDAY_OPENAPI_TOOLS/python" -c 'import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())' \
  "$url/openapi.json" > openapi.json
"$BDAY_OPENAPI_TOOLS/openapi-spec-validator" --schema 3.1 openapi.json

# The generated code needs no formatting: it is not published.
printf 'post_hooks: []\n' > config.yml
"$BDAY_OPENAPI_TOOLS/openapi-python-client" generate --path openapi.json --config config.yml --meta none --output-path client
"$BDAY_OPENAPI_TOOLS/python" "$here/round_trip.py" "$url" "$token"

"$BDAY_OPENAPI_TYPESCRIPT/openapi-typescript" openapi.json --output api.d.ts
cp "$here/client.ts" .
"$BDAY_OPENAPI_TYPESCRIPT/tsc" --strict --noEmit --module nodenext --target es2022 client.ts

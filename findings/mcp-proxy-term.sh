#!/bin/bash
# mcp-proxy 0.13.0 (PyPI, with mcp 1.30.0 and uvicorn 0.54.0): TERM to the bridge gives its server no signal, and does not wait for it.
#
# The bridge ends by the signal as soon as uvicorn has shut down, before the shutdown of the stdio transport (close the
# input, wait, TERM, KILL) has run. All that the server notices is the end of its input; one that saves its work then
# goes on alone.
# Seen: mcp-proxy is gone with 143 in about a second; the server hears no TERM and ends by itself two seconds later.
set -euo pipefail
dir=$(mktemp --directory)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mcp-proxy==0.13.0 mcp==1.30.0 uvicorn==0.54.0
cat >server.py <<'END'
import signal, sys, time
from mcp.server.fastmcp import FastMCP

def note(word):
    with open("heard", "a") as file:
        file.write(word + "\n")

signal.signal(signal.SIGTERM, lambda *_: note("TERM"))
note("started")
FastMCP("notes").run()
note("input-ended")
time.sleep(2)
note("saved")
END
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/mcp-proxy --port "$port" -- "$dir/venv/bin/python" server.py >log 2>&1 &
until curl --silent --output /dev/null "http://127.0.0.1:$port/status"; do sleep 0.2; done
until [[ -s heard ]]; do sleep 0.1; done
kill -TERM $!
code=0
wait $! || code=$?
now=$(tr '\n' ' ' <heard)
until grep --quiet saved heard; do sleep 0.1; done
echo "mcp-proxy ended with $code; the server at that moment: $now; at its end: $(tr '\n' ' ' <heard)"
[[ $code == 143 && $now != *saved* ]]
! grep --quiet TERM heard

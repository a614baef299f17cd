#!/bin/sh
# Serve the emulated platform with the worker that is installed, and see one job through it.
set -eu
cd "$(mktemp -d)"
talkhead worker --serve --port 18090 >log 2>&1 &
worker=$!
trap 'kill $worker' EXIT
python - <<'P'
import json, time, urllib.request

def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:18090/v2/local{path}"
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=120) as answer:
        return json.load(answer)

for _ in range(120):
    try:
        call("/health")
        break
    except OSError:
        time.sleep(0.5)
talk = {
    "portrait": "library:astronaut.png",
    "speakers": [{"audio": "library:librivox.flac"}],
    "size": "256x256",
    "fit": "face",
    "duration": 2,
}
job = call("/run", {"input": talk})["id"]
until = time.monotonic() + 120
while (state := call(f"/status/{job}"))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
    assert time.monotonic() < until, state
    time.sleep(0.5)
assert state["status"] == "COMPLETED", state
result = state["output"]["result"]
made = result["outputs"][0]
print(result["version"], made["mime"], made["bytes"], "bytes")
P

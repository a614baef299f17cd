"""`talkhead worker` on one's own machine: --test-input and --serve, and what it refuses."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from support.harness import TALKHEAD, Cli, Ended
from support.hosting import alive

SPEAK = {"action": "speak", "text": "Hello", "voice": "espeak"}


def try_out(cli: Cli, payload: object, stdin: bool = False) -> Ended:
    file = cli.folder / "request.json"
    text = payload if isinstance(payload, str) else json.dumps(payload)
    file.write_text(text)
    if not stdin:
        return cli("worker", "--test-input", file)
    with file.open() as source:
        run = subprocess.run(
            [str(TALKHEAD), "worker", "--test-input", "-"],
            cwd=cli.folder,
            env=cli.env,
            stdin=source,
            capture_output=True,
            text=True,
            check=False,
        )
    return Ended(run.returncode, run.stdout, run.stderr)


def test_a_job_is_tried_out(cli: Cli) -> None:
    ended = try_out(cli, {"input": SPEAK})
    assert ended.status == 0, ended.err
    made = ended.json["result"]["outputs"][0]
    assert Path(made["url"].removeprefix("file://")).stat().st_size == made["bytes"]
    assert "TALKHEAD_ENGINE is not set" in ended.err
    assert '"event": "job.finished"' in ended.err


def test_a_failed_job_gives_its_code_and_status(cli: Cli) -> None:
    ended = try_out(cli, {**SPEAK, "voice": "nobody"}, stdin=True)
    assert ended.status == 2
    assert ended.json["error"]["code"] == "E_INPUT_VALIDATION"


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_file_that_is_no_request_is_refused_at_once(cli: Cli, text: str) -> None:
    ended = try_out(cli, text)
    assert ended.status == 2
    assert "--test-input" in ended.err
    assert "worker.started" not in ended.err


def test_a_worker_that_cannot_start_is_told(cli: Cli) -> None:
    cli.env["TALKHEAD_ENGINE"] = "nonsense"
    ended = try_out(cli, SPEAK)
    assert ended.status == 4
    assert "ended by itself with status 1: " in ended.err
    assert "nonsense" in ended.err.split("ended by itself")[1]


def test_it_is_refused_away_from_the_platform(cli: Cli) -> None:
    ended = cli("worker")
    assert ended.status == 3
    assert "--serve" in ended.err


def test_it_is_refused_where_nobody_could_fetch_a_result(cli: Cli) -> None:
    ended = cli("worker", RUNPOD_WEBHOOK_GET_JOB="http://127.0.0.1:9/job-take/$ID?")
    assert ended.status == 2
    assert "TALKHEAD_STORE__KIND" in ended.err


def test_an_older_system_s_names_give_it_a_store(cli: Cli) -> None:
    ended = cli(
        "worker",
        RUNPOD_WEBHOOK_GET_JOB="http://127.0.0.1:9/job-take/$ID?",
        R2_BUCKET="b",
        R2_ACCOUNT_ID="a",
        R2_ACCESS_KEY_ID="i",
        R2_SECRET_ACCESS_KEY="s",
    )
    assert "TALKHEAD_STORE__KIND" not in ended.err  # but the engine is not set either
    assert "TALKHEAD_ENGINE" in ended.err


def test_a_port_in_use_is_one_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = cli("worker", "--serve", "--port", str(taken.getsockname()[1]))
    assert ended.status == 2
    assert "cannot listen" in ended.err
    assert "Traceback" not in ended.err


def test_a_misspelt_family_ends_it_at_once(cli: Cli) -> None:
    cli.env["TALKHEAD_COMPAT_ENGINES"] = '{"infinitetlk": "draft"}'
    ended = try_out(cli, SPEAK)
    assert ended.status == 2
    assert "infinitetalk" in ended.err


def test_ctrl_c_says_how_to_go_on(cli: Cli) -> None:
    (cli.folder / "request.json").write_text(json.dumps({"id": "mine", "input": SPEAK}))
    run = cli.start("worker", "--test-input", cli.folder / "request.json")
    assert run.stderr is not None
    for line in run.stderr:
        if '"child.ready"' in line:
            break
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert '{"id": "mine", "input": …} goes on' in err


def test_a_worker_that_is_killed_is_started_again(cli: Cli) -> None:
    run = cli.start("worker", "--serve", "--port", "0")
    assert run.stderr is not None
    base, started = "", 0
    for line in run.stderr:
        if "paths on" in line:
            base = line.split("paths on ")[1].split(": ")[0]
        if '"worker.started"' in line:
            started += 1
            if started == 2:
                break
            pid = int(json.loads(line)["details"].get("pid", 0)) or worker_of(run.pid)
            os.kill(pid, signal.SIGKILL)
    body = {"input": {"action": "health"}, "webhook": "https://example.com"}
    answer = httpx.post(f"{base}/runsync", json=body, timeout=30)
    assert answer.json()["output"]["result"]["healthy"] is True
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 0
    assert err.count("note: `webhook`") == 1


def worker_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGKILL]
)
def test_serving_ends_with_all_that_it_started(cli: Cli, how: signal.Signals) -> None:
    run = cli.start("worker", "--serve", "--port", "0")
    assert run.stderr is not None
    base, pids = "", []
    for line in run.stderr:
        if "paths on" in line:
            base = line.split("paths on ")[1].split(":  ")[0].split(": ")[0]
        if '"child.ready"' in line:
            pids.append(json.loads(line)["details"]["pid"])
        if '"worker.started"' in line:
            break
    answer = httpx.post(f"{base}/runsync", json={"input": {"action": "health"}}, timeout=30)
    assert answer.json()["output"]["result"]["healthy"] is True
    run.send_signal(how)
    run.communicate(timeout=30)  # every process that holds its stderr is gone then
    assert run.returncode == (-how if how is signal.SIGKILL else 0)
    assert not alive(pids[-1])

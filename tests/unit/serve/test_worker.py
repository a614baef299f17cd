"""The execution host on an engine that goes wrong in every way."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faulty import starts
from support.hosting import Heard, alive, memory_mb, order, settings_in, until, within
from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress
from talkhead.serve import child, process, worker
from talkhead.serve.worker import Host, Order

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def ignore(progress: Progress) -> None:
    """Take no notice."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def host(folder: Path, runner: asyncio.Runner) -> Iterator[Host]:
    """Return the one host of this module: a child takes half a second to start."""
    host = Host(settings_in(folder))
    runner.run(host.start())
    yield host
    runner.run(host.close())


@pytest.fixture
def run(runner: asyncio.Runner) -> Run:
    return lambda work: runner.run(within(20, work))


async def failing(host: Host, wanted: Order) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        await host.run(wanted, ignore)
    return caught.value


def test_a_result_with_progress_in_order(host: Host, run: Run, folder: Path) -> None:
    heard: list[Progress] = []
    wanted = order("vidéo", frames=20)
    wanted.request["idempotency_key"] = "unicode"
    wanted.request["output"] = {"name": "vidéo ü"}
    result = run(host.run(wanted, heard.append))
    assert result.video is not None
    assert result.video.key == "unicode/video-u.mp4"
    assert (folder / "store" / "unicode" / "video-u.mp4").stat().st_size == result.video.bytes
    assert all(isinstance(step, Progress) for step in heard)
    assert [step.pct for step in heard] == sorted(step.pct for step in heard)
    assert heard[-1].pct == 100


def test_the_same_key_is_answered_by_the_same_child(host: Host, run: Run) -> None:
    first = run(host.run(order("twice"), ignore))
    pid = host.pid
    again = run(host.run(order("twice"), ignore))
    assert again.outputs == first.outputs
    assert host.pid == pid


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"speed": 3}, Code.INPUT, "speed"),
        ({"engine": "nobody"}, Code.INPUT, "engine"),
        ({"prompt": "lone \udcff surrogate"}, Code.INPUT, "prompt"),
        ({"duration": float("nan")}, Code.INPUT, "duration"),
    ],
)
def test_a_bad_request_is_named(host: Host, run: Run, change, code, field) -> None:
    wanted = Order("x", {**order("bad").request, "options": {}, "max_frames": None, **change})
    error = run(failing(host, wanted))
    assert error.code is code
    assert field in error.fields


def test_what_is_no_json_is_refused(host: Host, run: Run) -> None:
    pid = host.pid
    for strange in (object(), nested(5000)):
        error = run(failing(host, Order("x", {"action": "health", "x": strange})))
        assert error.code is Code.INPUT
    for depth in range(970, 1000, 2):  # around what one side can write and the other still read
        run(failing(host, Order("x", {"action": "health", "x": nested(depth)})))
    assert host.pid == pid


def nested(depth: int) -> Any:
    deep: Any = "x"
    for _ in range(depth):
        deep = [deep]
    return deep


def test_an_error_that_nobody_foresaw(host: Host, run: Run) -> None:
    pid = host.pid
    error = run(failing(host, order("odd", "odd")))
    assert error.code is Code.INTERNAL
    assert "réponse 💥" in error.message
    assert error.stage == "render"
    assert host.pid == pid


def test_a_store_of_the_callers_own_is_checked(host: Host, run: Run) -> None:
    wanted = Order("s", order("s").request, {"kind": "s3", "bucket": ""})
    error = run(failing(host, wanted))
    assert (error.code, error.fields) == (Code.INPUT, ("s3Config.bucket",))


def test_a_request_of_30_mb_leaves_the_loop_alone(host: Host, run: Run) -> None:
    async def work() -> float:
        longest, before = 0.0, time.monotonic()
        wanted = Order("big", {**order("big").request, "prompt": "ü" * 15_000_000})
        task = asyncio.create_task(failing(host, wanted))
        while not task.done():
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, before = max(longest, now - before), now
        assert task.result().fields == ("prompt",)
        return longest

    assert run(work()) < 1


def test_a_chatty_job_does_not_drown_a_slow_loop(host: Host, run: Run) -> None:
    heard: list[float] = []

    def slow(progress: Progress) -> None:
        heard.append(progress.pct)
        time.sleep(0.002)

    run(host.run(order("chatty", "chatty"), slow))
    assert heard == sorted(heard)
    assert 5 < len(heard) < 4_000
    assert heard[-1] == 100


def test_a_crash_is_followed_by_a_new_child_and_the_rest_of_the_job(
    host: Host, run: Run, folder: Path
) -> None:
    pid = host.pid
    manifest = folder / "jobs" / "crash" / "manifest.jsonl"
    wanted = order(
        "crash", "segfault", frames=120, at=80, once=str(folder / "mark"), after=str(manifest)
    )

    async def work() -> Any:
        error = await failing(host, wanted)
        assert (error.code, error.retryable) == (Code.GENERATION, True)
        assert (error.stage, error.job_id) == ("render", "crash")
        assert "SIGSEGV" in error.message
        return await host.run(wanted, ignore)

    result = run(work())
    assert result.segments is not None
    assert result.segments.resumed == 1
    assert host.pid != pid
    assert not alive(pid)


def test_a_child_out_of_memory_is_replaced(host: Host, run: Run) -> None:
    pid = host.pid
    error = run(failing(host, order("memory", "memory")))
    assert (error.code, error.retryable, error.stage) == (Code.OOM, True, "render")
    run(host.run(order("after"), ignore))
    assert host.pid != pid
    assert not alive(pid)


def test_a_child_that_the_kernel_killed_for_memory(host: Host, run: Run, monkeypatch) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(process, "oom_kills", lambda: next(counts))
    assert run(failing(host, order("oom", "killed"))).code is Code.OOM


def test_a_child_that_leaves_by_itself(host: Host, run: Run) -> None:
    error = run(failing(host, order("exit", "exit")))
    assert (error.code, error.retryable) == (Code.INTERNAL, False)
    assert "status 3" in error.message


async def cancelled(host: Host, wanted: Order, times: int = 1) -> tuple[float, Heard]:
    """Cancel a job while it renders; return how long that took."""
    heard = Heard()
    task = asyncio.create_task(host.run(wanted, heard))
    await heard.rendering.wait()
    began = time.monotonic()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - began, heard


def test_a_cancelled_job_leaves_its_child_idle(host: Host, run: Run) -> None:
    async def work() -> None:
        await host.run(order("warm"), ignore)
        pid = host.pid
        _, heard = await cancelled(host, order("cancel", "sleep"))
        count = len(heard.all)
        await host.run(order("next"), ignore)
        assert host.pid == pid
        assert len(heard.all) == count

    run(work())


def test_a_job_cancelled_while_it_waits_never_begins(host: Host, run: Run, folder: Path) -> None:
    async def work() -> None:
        heard = Heard()
        first = asyncio.create_task(host.run(order("first", "sleep"), heard))
        await heard.rendering.wait()
        second = asyncio.create_task(host.run(order("second"), ignore))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    run(work())
    assert not (folder / "jobs" / "second").exists()


def test_a_job_that_hears_nothing_is_terminated(host: Host, run: Run, folder: Path) -> None:
    """Also: a second cancellation neither hurries nor breaks the first."""

    async def work() -> None:
        await host.run(order("warm2"), ignore)
        pid = host.pid
        took, _ = await cancelled(host, order("hang", "hang"), times=3)
        assert took >= 0.4
        assert not alive(pid)

    run(work())
    assert not list((folder / "jobs").glob(".scratch-*"))  # it left through every `finally`


def test_native_code_that_keeps_the_lock_is_killed(host: Host, run: Run) -> None:
    async def work() -> None:
        await host.run(order("warm3"), ignore)
        pid = host.pid
        took, _ = await cancelled(host, order("gil", "gil"), times=2)
        assert took >= 1.4
        assert not alive(pid)
        await host.run(order("after gil".replace(" ", "-")), ignore)

    run(work())


def test_sigterm_ends_the_job_first_and_then_the_child(host: Host, run: Run, folder: Path) -> None:
    """As when a supervisor sends it to the whole process group."""

    async def work() -> None:
        await host.run(order("warm4"), ignore)
        pid = host.pid
        task = asyncio.create_task(failing(host, order("group", "sleep")))
        await until((folder / "jobs" / "group" / "prepared.npz").exists)
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        error = await task
        assert (error.code, error.retryable) == (Code.CANCELLED, True)
        await host.run(order("after-term"), ignore)  # it does not meet the one that leaves
        assert host.pid not in (pid, None)

    run(work())


def test_an_idle_child_that_dies_is_replaced(host: Host, run: Run, monkeypatch) -> None:
    monkeypatch.setattr(worker, "YOUNG_S", 0)

    async def work() -> None:
        await host.run(order("warm5"), ignore)
        pid = host.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: host.pid not in (pid, None))

    run(work())


def test_one_that_dies_young_waits_for_the_next_order(host: Host, run: Run, monkeypatch) -> None:
    monkeypatch.setattr(worker, "YOUNG_S", 3600)

    async def work() -> None:
        await host.run(order("warm6"), ignore)
        pid = host.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: host._newest is None)
        await host.run(order("after-young"), ignore)
        assert host.pid not in (pid, None)

    run(work())


async def memory_curve(host: Host, jobs: int) -> tuple[list[float], list[float]]:
    """Return the size of the child and of this process after each of so many jobs, in MB."""
    theirs, ours = [], []
    for number in range(jobs):
        await host.run(order(f"flat{number}", frames=(4, 12)[number % 2]), ignore)
        theirs.append(memory_mb(host.pid))
        ours.append(memory_mb(os.getpid()))
    return theirs, ours


def test_memory_stays_flat(host: Host, run: Run) -> None:
    theirs, ours = run(memory_curve(host, 24))
    assert max(theirs[-10:]) - max(theirs[4:14]) < 15
    assert ours[-1] - ours[4] < 5


@pytest.mark.soak
def test_memory_stays_flat_for_long(host: Host, runner: asyncio.Runner) -> None:
    theirs, ours = runner.run(memory_curve(host, 500))
    assert max(theirs[-50:]) - max(theirs[20:70]) < 10
    assert ours[-1] - ours[20] < 5


def test_interrupted_it_answers_and_takes_no_more(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        host = Host(settings_in(tmp_path))
        heard = Heard()
        task = asyncio.create_task(host.run(order("k", "sleep"), heard))
        waiting = asyncio.create_task(failing(host, order("w")))
        await heard.rendering.wait()
        pid = host.pid
        began = time.monotonic()
        host.interrupt()
        with pytest.raises(TalkheadError) as caught:
            await task
        assert time.monotonic() - began < 3
        assert (caught.value.code, caught.value.job_id) == (Code.CANCELLED, "k")
        assert (await waiting).code is Code.CANCELLED
        assert (await failing(host, order("late"))).code is Code.CANCELLED
        assert host.pid == pid
        await host.close()
        await host.close()
        assert not alive(pid)

    run(work())


def test_interrupted_while_it_hangs(tmp_path: Path, run: Run, monkeypatch) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.3)

    async def work() -> None:
        host = Host(settings_in(tmp_path, cancel_s=60))
        heard = Heard()
        task = asyncio.create_task(host.run(order("k", "gil"), heard))
        await heard.rendering.wait()
        pid = host.pid
        host.interrupt()
        began = time.monotonic()
        with pytest.raises(TalkheadError) as caught:
            await task
        assert caught.value.code is Code.CANCELLED
        await host.close()
        assert time.monotonic() - began < 3
        assert not alive(pid)

    run(work())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (starts.fails, "no driver 💥"),
        (starts.leaves, "left with status 7"),
        (starts.waits, "not ready after 0.3 s"),
    ],
)
def test_a_child_that_cannot_start(tmp_path: Path, run: Run, monkeypatch, how, words) -> None:
    monkeypatch.setattr(child, "main", how)

    async def work() -> None:
        host = Host(settings_in(tmp_path, start_s=0.3 if how is starts.waits else 30))
        with pytest.raises(TalkheadError, match=words) as caught:
            await host.start()
        assert caught.value.code is Code.WEIGHTS
        assert host.pid is None
        await host.close()

    run(work())


def test_an_order_after_a_failed_start_tries_again(tmp_path: Path, run: Run, monkeypatch) -> None:
    async def work() -> None:
        host = Host(settings_in(tmp_path))
        with monkeypatch.context() as broken:
            broken.setattr(child, "main", starts.leaves)
            assert (await failing(host, order("k"))).code is Code.WEIGHTS
        await host.run(order("k"), ignore)
        await host.close()

    run(work())


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def restarts(settings: Any, count: int) -> Coroutine[Any, Any, None]:
    async def work() -> None:
        before, threads = 0, threading.active_count()
        for _ in range(count):
            host = Host(settings)
            await host.start()
            pid = host.pid
            await host.close()
            assert not alive(pid)
            with pytest.raises(ChildProcessError):
                os.waitpid(pid or 0, os.WNOHANG)
            await until(lambda: threading.active_count() == threads)
            before = before or open_files()
            assert open_files() == before

    return work()


def test_nothing_is_left_of_a_child(tmp_path: Path, run: Run) -> None:
    run(restarts(settings_in(tmp_path), 3))


@pytest.mark.soak
def test_nothing_is_left_of_many_children(tmp_path: Path, runner: asyncio.Runner) -> None:
    runner.run(restarts(settings_in(tmp_path), 20))


def test_a_host_that_closes_while_it_starts(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        host = Host(settings_in(tmp_path))
        task = asyncio.create_task(host.run(order("k"), ignore))
        await asyncio.sleep(0.05)
        await host.close()
        with contextlib.suppress(TalkheadError):
            await task
        assert host.pid is None

    run(work())


@pytest.mark.parametrize(
    ("groups", "file", "text", "count"),
    [
        ("0::/\n", "memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("0::/pod/a\n", "pod/a/memory.events", "oom_kill 4\n", 4),
        ("0::/of/the/host\n", "memory.events", "oom_kill 5\n", 5),
        ("4:memory:/a\n0::/\n", "memory/a/memory.oom_control", "under_oom 0\noom_kill 6\n", 6),
        ("4:cpu,memory:/a\n", "memory/memory.oom_control", "under_oom 0\noom_kill 7\n", 7),
        ("0::/\n", "memory.events", "low 0\n", 0),
        ("3:cpu:/\n", "memory.events", "oom_kill 1\n", 0),
    ],
)
def test_the_kernels_count_of_kills(tmp_path: Path, groups, file, text, count) -> None:
    own = tmp_path / "cgroup"
    own.write_text(groups)
    place = tmp_path / "mount" / file
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert process.oom_kills(tmp_path / "mount", own) == count
    assert process.oom_kills(tmp_path / "nothing", tmp_path / "nothing") == 0


def test_a_job_that_never_looks_at_the_clock_ends_by_its_deadline(
    host: Host, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LATE_S", 0.2)
    wanted = order("late", "hang")
    wanted.request["deadline_s"] = 1.0
    error = run(failing(host, wanted))
    assert (error.code, error.retryable, error.job_id) == (Code.TIMEOUT, True, "late")
    assert run(host.run(order("after-late"), ignore)).repeated is False


@pytest.mark.parametrize("action", ["talk", "health"])
def test_a_stopped_child_is_replaced_in_time(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(worker, "LATE_S", 0.2)

    async def scene() -> tuple[TalkheadError, bool]:
        host = Host(settings_in(tmp_path, cancel_s=0.2, term_s=0.2, check_s=0.5))
        await host.start()
        old = host.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        wanted = order("stopped")
        wanted.request["deadline_s"] = 0.3
        try:
            error = await failing(
                host, wanted if action == "talk" else Order("h", {"action": "health"})
            )
            await host.run(order("next"), ignore)
            return error, alive(old)
        finally:
            await host.close()

    error, living = run(scene())
    assert (error.code, error.retryable, living) == (Code.TIMEOUT, True, False)

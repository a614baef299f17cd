"""The job folder: only what the manifest names counts, and only for the same job."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from talkhead import jobs
from talkhead.errors import Code, TalkheadError
from talkhead.folder import Folder, Identity, digest, open_folder
from talkhead.lease import LEASE_SECONDS

ME = Identity(
    request="r", inputs={"portrait": "p"}, engine="draft 1", encoder="e", seed=1, platform="here"
)


def commit(folder: Folder, content: bytes, state: int) -> None:
    partial = folder.path / ".segment.partial.mp4"
    partial.write_bytes(content)
    folder.commit_segment(partial, 50, {"next": np.asarray(state)})


def test_a_folder_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert folder.state is None
        folder.agree_plan("plan", 3)
        folder.save("prepared", {"a": np.arange(3)})
        commit(folder, b"one", 50)
        commit(folder, b"two", 100)
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert [segment.file.read_bytes() for segment in folder.segments] == [b"one", b"two"]
        assert folder.state is not None
        assert folder.state["next"] == 100
        saved = folder.load("prepared")
        assert saved is not None
        assert saved["a"].tolist() == [0, 1, 2]
        assert len(list(folder.path.glob("state-*.npz"))) == 1
        assert folder.notices == []


def test_what_the_manifest_does_not_name_is_deleted(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        commit(folder, b"one", 50)
        (folder.path / "segment-00001.mp4").write_bytes(b"renamed, then killed")
        (folder.path / "state-00009.npz").write_bytes(b"stale")
        (folder.path / ".segment.partial.mp4").write_bytes(b"half")
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        names = {file.name for file in folder.path.iterdir()}
        assert names == {
            "lock",
            "manifest.jsonl",
            "request.json",
            "segment-00000.mp4",
            "state-00001.npz",
        }


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        commit(folder, b"one", 50)
    manifest = tmp_path / "job" / "manifest.jsonl"
    with manifest.open("ab") as file:
        file.write(b'{"segment": 1, "fi')
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert len(folder.segments) == 1
        commit(folder, b"two", 100)
    assert [len(json.loads(line)) > 0 for line in manifest.read_text().splitlines()] == [True] * 3


def test_a_damaged_line_ends_what_counts(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.agree_plan("plan", 3)
        commit(folder, b"one", 50)
    manifest = tmp_path / "job" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([*lines[:2], b"\x00garbage\n", lines[2]]))
    assert [(kept.done, kept.total) for kept in jobs.kept(tmp_path)] == [(0, 3)]
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert folder.segments == []
        folder.agree_plan("plan", 3)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(ME, request="x"), "request"),
        (replace(ME, seed=2), "seed"),
        (replace(ME, inputs={"portrait": "other"}), "portrait"),
        (replace(ME, inputs={"portrait": "p", "speakers.0.audio": "a"}), "speakers.0.audio"),
    ],
)
def test_another_job_is_refused_and_nothing_is_lost(
    tmp_path: Path, other: Identity, named: str
) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        commit(folder, b"one", 50)
    with pytest.raises(TalkheadError) as caught, open_folder(tmp_path, "job", other, "{}"):
        pass
    assert caught.value.code is Code.INPUT
    assert caught.value.fields == (named,)
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert len(folder.segments) == 1


@pytest.mark.parametrize(("change", "named"), [("engine", "draft 2"), ("encoder", "x")])
def test_an_upgrade_starts_the_job_over(tmp_path: Path, change: str, named: str) -> None:
    newer = replace(ME, **{change: named})  # type: ignore[arg-type]
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.agree_plan("plan", 3)
        folder.save("prepared", {"a": np.arange(3)})
        commit(folder, b"one", 50)
    with open_folder(tmp_path, "job", newer, '{"again": true}') as folder:
        assert folder.notices == [f"the {change} changed; the job was started over"]
        assert folder.segments == []
        assert folder.load("prepared") is None
        folder.agree_plan("other", 4)
        names = {file.name for file in folder.path.iterdir()}
        assert names == {"lock", "manifest.jsonl", "request.json"}
    assert jobs.saved_request(tmp_path, "job") == {"again": True}
    with open_folder(tmp_path, "job", newer, "{}") as folder:
        assert folder.notices == []


def test_finished_files_count_for_the_output_they_were_made_for(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        (folder.path / "voice.wav").write_bytes(b"sound")
        folder.commit_made("o", [{"file": "voice.wav", "kind": "audio"}])
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert [item["kind"] for item in folder.made("o")] == ["audio"]
        assert folder.made("another") == []
        (folder.path / "voice.wav").write_bytes(b"spoilt")
        assert folder.made("o") == []


def test_another_platform_goes_on_with_a_notice(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        commit(folder, b"one", 50)
    with open_folder(tmp_path, "job", replace(ME, platform="there"), "{}") as folder:
        assert len(folder.segments) == 1
        assert "another platform" in folder.notices[0]
    assert replace(ME, platform="there").digest == ME.digest


def test_another_plan_is_refused(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.agree_plan("plan", 3)
        folder.agree_plan("plan", 3)
        with pytest.raises(TalkheadError, match="plan changed"):
            folder.agree_plan("other", 3)


def test_a_damaged_segment_starts_the_job_over(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.agree_plan("plan", 3)
        commit(folder, b"one", 50)
        commit(folder, b"two", 100)
    (tmp_path / "job" / "segment-00000.mp4").write_bytes(b"onE")
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert folder.segments == []
        assert folder.state is None
        assert "damaged" in folder.notices[0]


def test_damaged_preparations_are_made_again(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.save("prepared", {"a": np.arange(3)})
        (folder.path / "prepared.npz").write_bytes(b"PK\x03\x04 spoilt")
        assert folder.load("prepared") is None
        assert "damaged" in folder.notices[0]


@pytest.mark.parametrize("harm", ["gone", "spoilt"])
def test_large_preparations_are_mapped_and_made_again_where_damaged(
    tmp_path: Path, harm: str
) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.save("prepared", {"a": np.zeros(2**21, np.float32), "b": np.arange(3)})
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        saved = folder.load("prepared")
        assert saved is not None
        assert isinstance(saved["a"], np.memmap)
        large = folder.path / "prepared.a.npy"
        large.unlink() if harm == "gone" else large.write_bytes(b"spoilt")
        assert folder.load("prepared") is None
        assert folder.notices == ["prepared.npz was damaged and is made again"]


def test_a_large_array_without_its_npz_is_deleted(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.save("prepared", {"a": np.zeros(2**21, np.float32)})
        (folder.path / "prepared.npz").unlink()  # as a kill between the two leaves it
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert folder.load("prepared") is None
        assert not list(folder.path.glob("*.npy"))


def test_room_is_a_file_that_goes_when_it_is_cleared_or_the_folder_opens_again(
    tmp_path: Path,
) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        first, second = folder.room((4, 5)), folder.room((6,))
        first[:], second[:] = 1, 2
        assert (first.sum(), second.sum()) == (20, 12)
        assert len(list(folder.path.glob(".room-*.npy"))) == 2
        folder.clear_scratch()
        assert not list(folder.path.glob(".room-*.npy"))
        assert first.sum() == 20  # its pages stay for as long as it is held
        folder.room((3,))
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert not list(folder.path.glob(".*"))


def test_checkpoints_are_states_without_frames(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        folder.commit_checkpoint({"step": np.asarray(4)})
        commit(folder, b"one", 50)
        folder.commit_checkpoint({"step": np.asarray(9)})
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert len(folder.segments) == 1
        assert folder.state is not None
        assert folder.state["step"] == 9


HOLDER = """
import sys, time
from pathlib import Path
from talkhead.folder import Identity, open_folder
me = Identity("r", {"portrait": "p"}, "draft 1", "e", 1, "here")
with open_folder(Path(sys.argv[1]), "job", me, "{}"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_and_a_kill_frees_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TalkheadError) as caught, open_folder(tmp_path, "job", ME, "{}"):
        pass
    assert caught.value.code is Code.CAPACITY
    assert [job.state for job in jobs.kept(tmp_path)] == ["running"]
    assert jobs.clean(tmp_path, 0, 0) == []
    holder.kill()
    holder.communicate()
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        assert folder.segments == []


def test_a_lease_of_another_host_holds_until_it_is_old(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}"):
        pass
    lock = tmp_path / "job" / "lock"
    lock.write_text("another-host")
    with pytest.raises(TalkheadError, match="another-host"), open_folder(tmp_path, "job", ME, "{}"):
        pass
    old = time.time() - LEASE_SECONDS - 1
    os.utime(lock, (old, old))
    with open_folder(tmp_path, "job", ME, "{}"):
        pass


def test_jobs_are_listed_and_cleaned_by_age_and_size(tmp_path: Path) -> None:
    for name, age in (("old", 10 * 86_400), ("mid", 100), ("new", 1)):
        with open_folder(tmp_path, name, ME, json.dumps({"name": name})) as folder:
            folder.agree_plan("plan", 4)
            commit(folder, b"x" * 1000, 50)
        then = time.time() - age
        os.utime(tmp_path / name / "lock", (then, then))
    listed = jobs.kept(tmp_path)
    assert [(job.id, job.state, job.done, job.total) for job in listed] == [
        ("new", "interrupted", 1, 4),
        ("mid", "interrupted", 1, 4),
        ("old", "interrupted", 1, 4),
    ]
    assert jobs.saved_request(tmp_path, "mid") == {"name": "mid"}
    assert jobs.saved_request(tmp_path, "../mid") is None
    assert [job.id for job in jobs.clean(tmp_path, keep_days=7, keep_gb=5)] == ["old"]
    room = listed[0].bytes * 1.5 / 1e9
    assert [job.id for job in jobs.clean(tmp_path, keep_days=7, keep_gb=room)] == ["mid"]
    assert [job.id for job in jobs.kept(tmp_path)] == ["new"]


def test_scratch_goes_with_its_run_or_after_a_kill(tmp_path: Path) -> None:
    with jobs.scratch(tmp_path) as scratch:
        (scratch / "data.bin").write_bytes(b"x")
        assert jobs.kept(tmp_path) == []
        jobs.clean(tmp_path, 7, 5)
        assert (scratch / "data.bin").exists()
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / ".scratch-of-a-killed-run"
    left.mkdir()
    (left / "lock").touch()
    jobs.clean(tmp_path, 7, 5)
    assert not left.exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where a folder should be")
    with (
        pytest.raises(TalkheadError, match="job folder") as caught,
        open_folder(tmp_path / "jobs", "job", ME, "{}"),
    ):
        pass
    assert caught.value.code is Code.CAPACITY


def test_digests_ignore_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_sign_of_life_renews_the_lease(tmp_path: Path) -> None:
    with open_folder(tmp_path, "job", ME, "{}") as folder:
        os.utime(folder.path / "lock", (1, 1))
        folder.renew()
        assert time.time() - (folder.path / "lock").stat().st_mtime < 60
        folder.remove()
        folder.renew()  # nothing is left to renew

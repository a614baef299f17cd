"""Pulls bring whole files or name what went wrong, and never bring a byte twice."""

import json
import os
import shutil
import threading
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from support.fake_hub import COMMIT, Cut, Damage, Hold, NoRange, Page, Refuse, WrongPart
from support.weights import BIG, MANIFEST, SMALL, Puller, write
from talkhead import weights
from talkhead.errors import Code, TalkheadError

Usage = namedtuple("Usage", "total used free")
WHERE = "org/model/deep/big.bin"


def refused(pull: Puller, *names: str, deadline_s: float = 20) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        pull(*names, deadline_s=deadline_s)
    return caught.value


def test_a_set_comes_whole_and_is_not_asked_for_again(pull: Puller) -> None:
    done = pull("small")
    assert pull.files() == {
        WHERE: BIG,
        "org/model/google/tok/a.json": SMALL,
        "org/model/google/tok/deeper/b.json": SMALL,
    }
    assert (done.files, done.found) == (("big", "tokenizer"), ())
    assert done.bytes == len(BIG) + 2 * len(SMALL)
    assert pull.partials() == []
    kept = json.loads((pull.root / ".verified/big.json").read_text())
    assert (kept["commit"], kept["revision"]) == (COMMIT, "main")
    before = len(pull.hub.asked)
    again = pull("small")
    assert (again.files, again.found, again.bytes) == (done.files, (), 0)
    assert len(pull.hub.asked) == before


def test_the_token_goes_to_the_hub_alone(pull: Puller) -> None:
    pull("big")
    by_host = {asked.host.partition(":")[0]: asked.token for asked in pull.hub.bodies("big.bin")}
    assert by_host == {"127.0.0.1": "Bearer hf_of_the_test", "localhost": ""}


def test_a_cut_is_continued_where_it_was(pull: Puller) -> None:
    pull.hub.fault("big.bin", Cut(100_000), Cut(50_000), Refuse(503), Refuse(429, "0"))
    done = pull("big")
    assert pull.files()[WHERE] == BIG
    assert done.bytes == len(BIG)
    ranges = dict.fromkeys(pull.hub.ranges("big.bin"))
    assert list(ranges) == ["bytes=100000-", "bytes=150000-"]


def test_a_partial_file_of_an_earlier_process_is_continued(pull: Puller) -> None:
    (item,) = pull.plan("big").todo
    write(item.partial, BIG[:200_000])
    stray = write(item.partial.with_name(".big.bin.0123456789ab.partial"), b"old version")
    assert pull.plan("big").bytes == len(BIG) - 200_000
    assert pull("big").bytes == len(BIG) - 200_000
    assert "bytes=200000-" in pull.hub.ranges("big.bin")
    assert pull.files()[WHERE] == BIG
    assert not stray.exists()


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(BIG), b"x" * (len(BIG) + 1)])
def test_a_damaged_partial_file_is_thrown_away(pull: Puller, left: bytes) -> None:
    (item,) = pull.plan("big").todo
    write(item.partial, left)
    pull("big")
    assert pull.files()[WHERE] == BIG


@pytest.mark.parametrize("fault", [NoRange(), WrongPart()])
def test_a_server_with_other_ranges_starts_over(pull: Puller, fault: NoRange | WrongPart) -> None:
    pull.hub.fault("big.bin", Cut(100_000), fault)
    done = pull("big")
    assert pull.files()[WHERE] == BIG
    assert len(BIG) < done.bytes <= 2 * len(BIG)
    assert len([asked for asked in pull.hub.bodies("big.bin") if "/cdn/" in asked.path]) <= 3
    assert pull.files()[WHERE] == BIG


def test_a_wrong_hash_is_pulled_once_more_and_then_named(pull: Puller) -> None:
    pull.hub.fault("big.bin", Damage())
    pull("big")
    assert pull.files()[WHERE] == BIG
    pull.hub.fault("part-00001-of-00002.bin", Damage(), Damage())
    error = refused(pull, "shards")
    assert error.code is Code.WEIGHTS
    assert "part-00001-of-00002.bin has the sha256" in error.message
    assert "org/model/part-00001-of-00002.bin" not in pull.files()
    assert not list(pull.root.rglob(".part-00001*"))


def test_a_small_file_is_held_to_gits_hash(pull: Puller) -> None:
    pull.hub.fault("config.json", Damage(), Damage())
    assert "is not the file that the hub lists" in refused(pull, "config").message


def test_an_empty_file_is_a_file_too(pull: Puller) -> None:
    pull.hub.put("org/model", "google/tok/empty.txt", b"")
    pull("tokenizer")
    assert pull.files()["org/model/google/tok/empty.txt"] == b""


def test_a_hub_that_stays_away_is_retryable(pull: Puller) -> None:
    pull.hub.fault("api", *[Refuse(503)] * 5)
    error = refused(pull, "big")
    assert (error.code, error.retryable) == (Code.DOWNLOAD, True)
    assert "127.0.0.1" in error.message
    assert "503" in error.message
    pull.hub.fault("api", Refuse(502))
    pull.hub.fault("big.bin", Cut(1000), *[Refuse(503)] * 5)
    error = refused(pull, "big")
    assert error.code is Code.DOWNLOAD
    assert "begun and kept: deep/big.bin" in error.message
    assert "signature" not in f"{error.message} {error.hint}"
    pull("big")


def test_a_closed_door_says_which_key(pull: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    pull.hub.gated.add("org/model")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(pull.root / "none"))
    error = refused(pull, "big")
    assert error.code is Code.WEIGHTS
    assert "HF_TOKEN" in error.hint
    assert "huggingface.co/org/model" in error.hint


def test_what_the_repo_lacks_is_named(pull: Puller) -> None:
    del pull.hub.repos["org/model"]["deep/big.bin"]
    assert "org/model at revision main has no deep/big.bin" in refused(pull, "big").message
    del pull.hub.repos["org/unstated"]
    assert "org/unstated" in refused(pull, "config").message


@pytest.mark.parametrize("path", ["google/tok/../../../out.json", "google/tok/a\0b"])
def test_paths_that_lead_out_of_the_folder_are_refused(pull: Puller, path: str) -> None:
    pull.hub.put("org/model", path, SMALL)
    error = refused(pull, "tokenizer")
    assert error.code is Code.WEIGHTS
    assert pull.files() == {}


def test_a_page_in_place_of_a_hub_is_named(pull: Puller) -> None:
    pull.hub.fault("api", Page(b"<html>Please sign in</html>"))
    error = refused(pull, "big")
    assert error.code is Code.WEIGHTS
    assert "does not answer as a hub does" in error.message
    pull.hub.fault("big.bin", Page(BIG + b"more"))
    error = refused(pull, "big")
    assert f"not {len(BIG)} bytes" in error.message
    pull("big")
    assert pull.files()[WHERE] == BIG


def test_the_manifests_own_figures_count(pull: Puller) -> None:
    told = 'path = "deep/big.bin"\nbytes = 7\nsha256 = "' + "0" * 64 + '"'
    pull.terms = replace(
        pull.terms, known=weights.read(MANIFEST.replace('path = "deep/big.bin"', told))
    )
    error = refused(pull, "big")
    assert error.code is Code.WEIGHTS
    assert "the manifest" in error.message


def test_a_plain_server_needs_no_hub(pull: Puller) -> None:
    address = f'url = "{pull.hub.url}/cdn/org/model"\nlicence = "MIT"'
    told = MANIFEST.replace(
        '[repos."org/model"]\nlicence = "MIT"', f'[repos."org/model"]\n{address}'
    )
    pull.terms = replace(pull.terms, known=weights.read(told))
    pull("big")
    assert pull.files()[WHERE] == BIG
    assert {asked.token for asked in pull.hub.asked} == {""}


def test_licences_that_forbid_commerce_need_a_word(pull: Puller) -> None:
    error = refused(pull, "closed")
    assert error.code is Code.UNSUPPORTED
    assert "CC BY-NC 4.0" in error.message
    assert "TALKHEAD_NONCOMMERCIAL" in error.hint
    assert pull.hub.asked == []
    pull("closed", commercial_only=False)
    pull("config")
    assert [told["repo"] for told in pull.events("weights.licence")] == ["org/unstated"]


def test_what_lies_elsewhere_is_not_pulled(pull: Puller, tmp_path: Path) -> None:
    write(tmp_path / "volume/ComfyUI/models/unet/big.bin", BIG)
    pull.terms = replace(pull.terms, also=(tmp_path / "volume",))
    done = pull("big")
    assert (done.files, done.found, done.bytes) == (("big",), ("big",), 0)
    assert pull.hub.asked == []
    assert not pull.root.exists()


def test_what_no_server_offers_is_asked_of_the_operator(pull: Puller, tmp_path: Path) -> None:
    with pytest.raises(TalkheadError) as caught:
        pull("hand", commercial_only=False)
    assert caught.value.code is Code.WEIGHTS
    assert str(pull.root / "byhand/Real/unet.bin") in caught.value.hint
    write(pull.root / "byhand/Real/unet.bin", BIG)
    assert pull("hand", commercial_only=False).found == ("hand",)


def test_files_put_there_by_hand_are_checked_not_pulled(pull: Puller) -> None:
    write(pull.root / WHERE, BIG)
    assert pull("big").bytes == 0
    assert (pull.root / ".verified/big.json").exists()


@pytest.mark.parametrize("damage", ["touched", "cut", "gone", "other bytes"])
def test_what_changed_since_is_brought_back(pull: Puller, damage: str) -> None:
    pull("big")
    file = pull.root / WHERE
    if damage == "gone":
        file.unlink()
    elif damage == "touched":
        os.utime(file, ns=(1, 1))
    else:
        file.write_bytes(BIG[:-1] if damage == "cut" else BIG[::-1])
    assert pull("big").bytes == (0 if damage == "touched" else len(BIG))
    assert file.read_bytes() == BIG


def test_a_damaged_record_is_no_obstacle(pull: Puller) -> None:
    pull("big")
    (pull.root / ".verified/big.json").write_text("[1")
    assert pull("big").bytes == 0


def test_a_tenth_of_the_disk_stays_free(pull: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Usage(10_000_000, 0, 1_000_000 + len(BIG) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk)
    error = refused(pull, "big")
    assert error.code is Code.CAPACITY
    assert all(figure in error.message for figure in ("0.00 GB are to come", "10 %"))
    assert pull.files() == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk._replace(free=disk.free + 1))
    pull("big")


def test_a_folder_that_cannot_be_written_is_named(pull: Puller) -> None:
    write(pull.root, b"a file is in the way")
    error = refused(pull, "big")
    assert error.code is Code.CAPACITY
    assert "TALKHEAD_WEIGHTS" in error.hint


def test_a_full_disk_is_named(pull: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("talkhead.weights.pull.transfer.fetch", full)
    error = refused(pull, "big")
    assert error.code is Code.CAPACITY
    assert "No space left" in error.message


def test_the_deadline_names_what_has_begun(pull: Puller) -> None:
    hold = Hold(100_000)
    pull.hub.fault("big.bin", hold)
    error = refused(pull, "small", deadline_s=0.5)
    assert (error.code, error.retryable) == (Code.TIMEOUT, True)
    assert "deep/big.bin (0.1 of 0.5 MB)" in error.message
    hold.release.set()
    pull("small")
    assert "bytes=100000-" in pull.hub.ranges("big.bin")
    assert len(pull.hub.bodies("a.json")) == 1  # what had come was not asked for again


def test_a_stop_ends_all_transfers(pull: Puller) -> None:
    hold = Hold(100_000)
    pull.hub.fault("big.bin", hold)

    def stop() -> None:
        assert hold.reached.wait(10)
        pull.terms.cancel.set()
        hold.release.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    error = refused(pull, "big")
    stopper.join()
    assert error.code is Code.CANCELLED


def test_progress_is_told_while_bytes_come(pull: Puller) -> None:
    hold = Hold(256_000)
    pull.hub.fault("big.bin", hold)
    told = threading.Event()

    def say(event: str, **details: object) -> None:
        pull.said.append((event, details))
        if event == "weights.progress" and details["bytes"]:  # a slow machine tells of none first
            told.set()
            hold.release.set()

    pull.say = say  # type: ignore[method-assign]
    pull("big")
    assert told.is_set()
    first = next(event for event in pull.events("weights.progress") if event["bytes"])
    assert (first["set"], first["file"]) == ("big", "deep/big.bin")
    assert (first["bytes"], first["total"]) == (256_000, len(BIG))
    assert first["mb_s"] > 0
    assert first["eta_s"] >= 0
    assert pull.events("weights.plan") == [{"sets": ["big"], "files": 1, "bytes": len(BIG)}]


def test_a_plan_asks_and_brings_nothing(pull: Puller) -> None:
    plan = pull.plan("small")
    assert [item.remote.path for item in plan.todo] == [
        "deep/big.bin",
        "google/tok/a.json",
        "google/tok/deeper/b.json",
    ]
    assert plan.bytes == len(BIG) + 2 * len(SMALL)
    assert not pull.root.exists()


def test_a_hub_that_is_switched_off_is_said(pull: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refused(pull, "big")
    assert error.code is Code.WEIGHTS
    assert "HF_HUB_OFFLINE" in error.hint

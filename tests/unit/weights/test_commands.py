"""`talkhead weights` in this process, without a network."""

import io
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from support.fake_hub import Hub
from support.weights import BIG, Puller, safetensors, write
from talkhead.errors import Code, TalkheadError
from talkhead.serve import logs, weighing
from talkhead.serve.cli import app
from talkhead.settings import Settings
from talkhead.settings.groups import Worker as WorkerSettings

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TALKHEAD_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TALKHEAD_WEIGHTS_ALSO", json.dumps([str(tmp_path / "volume")]))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # encoded prompts are in it
    return tmp_path / "volume"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["weights", *words])


def as_json(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_the_list_shows_sets_and_files(volume: Path) -> None:
    assert "infinitetalk-fast" in run("list").output
    sets = {entry["name"]: entry for entry in as_json("list")}
    assert sets["infinitetalk-fast"]["gb"] == pytest.approx(26.9, abs=0.1)
    assert (
        sets["infinitetalk-official"]["gb"] is None
    )  # a part's size is not known: no sum is claimed
    here = write(volume / "vae/wan_2.1_vae.safetensors", safetensors({"a": (9,)}))
    files = {entry["file"]: entry for entry in as_json("list", "infinitetalk-fast")}
    assert files["wan-vae-comfy"]["paths"] == [str(here)]
    assert files["wan-i2v-q4"]["paths"] == []
    assert files["wav2vec2-zh"]["revision"] == "refs/pr/1"
    wrong = run("list", "infinitetalk-fat")
    assert wrong.exit_code == 2


def test_locate_shows_where_it_looked(volume: Path) -> None:
    placeholder = write(volume / "sonic/unet.pth", b"")
    lost = run("locate", "sonic-unet")
    assert lost.exit_code == 1
    assert f"{placeholder} is empty: a placeholder of 0 bytes" in lost.output
    assert "put it at" in lost.output
    assert f"looked below {volume.parent / 'weights'}" in lost.output
    real = write(volume / "sonic/Sonic/unet.pth", b"\x80\x02" + bytes(100))
    assert as_json("locate", "sonic-unet")[0]["paths"] == [str(real)]
    assert run("locate", "sonic-unet").exit_code == 0
    (looked,) = as_json("locate", "wan-i2v-q4")
    assert str(volume / "models/unet/wan2.1-i2v-14b-480p-Q4_0.gguf") in [
        place["path"] for place in looked["looked"]
    ]


def test_a_pickle_is_converted_and_bundled(volume: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        "[repos.'org/tiny']\n[files.tiny]\nrepo = 'org/tiny'\npath = 'tiny.pth'\n"
        "[sets.tiny-set]\nabout = 'tiny'\nfiles = ['tiny']\n"
    )
    (volume / "org/tiny").mkdir(parents=True)
    torch.save({"a": torch.ones(3)}, volume / "org/tiny/tiny.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALKHEAD_WEIGHTS_MANIFEST", str(own))
        lost = as_json("bundle", "tiny-set", str(tmp_path / "out"))["error"]
        assert "talkhead weights convert tiny" in lost["hint"]
        shown = run("convert", "tiny-set")
        made = tmp_path / "weights/org/tiny/tiny.safetensors"
        assert f"tiny: {made}" in shown.output
        assert as_json("convert", "tiny")[0] == {"file": "tiny", "paths": [str(made)], "bytes": 0}
        assert as_json("convert", "tiny", "--dtype", "bf16")[0]["bytes"] == 6
        assert "one of bf16, fp16, fp32" in run("convert", "tiny", "--dtype", "f8").output
        bundled = as_json("bundle", "tiny-set", str(tmp_path / "out"))
        assert [file["path"] for file in bundled["files"]] == ["org/tiny/bf16/tiny.safetensors"]
        assert "TALKHEAD_WEIGHTS=" in run("bundle", "tiny-set", str(tmp_path / "out")).output
        assert run("list", "tiny-set").exit_code == 0
        patch.setenv("TALKHEAD_WEIGHTS_MANIFEST", str(tmp_path / "no.toml"))
        assert run("list").exit_code == 2
    assert run("list", "tiny-set").exit_code == 2


def test_older_names_say_where_to_look_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    file = write(folder / "Wan2.1_VAE.pth", b"\x80\x02" + bytes(60))
    write(folder / "diffusion_pytorch_model-00001-of-00001.safetensors", safetensors({"a": (9,)}))
    assert run("locate", "wan-vae").exit_code == 1
    monkeypatch.setenv("CKPT_DIR", str(tmp_path / "wrong"))
    assert f"places, first {tmp_path / 'wrong'}" in run("locate", "wan-vae").output
    monkeypatch.setenv("CKPT_DIR", str(folder))
    assert as_json("locate", "wan-vae")[0]["paths"] == [str(file)]
    assert len(as_json("locate", "wan-i2v")[0]["paths"]) == 1


def test_verify_tells_the_command_that_mends(volume: Path) -> None:
    assert "no weights are here" in run("verify").output
    write(volume / "ComfyUI/models/vae/wan_2.1_vae.safetensors", safetensors({"a": (9,)}, cut=4))
    checked = run("verify")
    assert checked.exit_code == 1
    assert "damaged  wan-vae-comfy: " in checked.output
    assert "fix: talkhead weights pull wan-vae-comfy" in checked.output
    write(volume / "ComfyUI/models/vae/wan_2.1_vae.safetensors", safetensors({"a": (9,)}))
    assert run("verify").exit_code == 0
    assert [entry["state"] for entry in as_json("verify", "wan-vae-comfy", "clip-vision-h")] == [
        "ok",
        "missing",
    ]


def test_licences_are_said_and_held(monkeypatch: pytest.MonkeyPatch) -> None:
    error = as_json("pull", "sonic")["error"]
    assert error["code"] == "E_UNSUPPORTED"
    assert "CC BY-NC-SA 4.0" in error["message"]
    allowed = "no place to download it from is known"
    assert allowed in as_json("pull", "sonic", "--noncommercial")["error"]["message"]
    monkeypatch.setenv("TALKHEAD_NONCOMMERCIAL", "true")
    assert allowed in as_json("pull", "sonic")["error"]["message"]


def test_a_plan_is_shown_before_a_small_disk_is_refused(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repo = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
    hub.put(repo, "split_files/vae/wan_2.1_vae.safetensors", BIG)
    shown = run("pull", "wan-vae-comfy", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert f"1 file, 0.001 GB into {tmp_path / 'weights'}" in shown.output
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1000, 900, 100))
    small = run("pull", "wan-vae-comfy", "--dry-run")
    assert small.exit_code == 4
    assert "split_files/vae" in small.output
    assert "E_CAPACITY" in small.output


def test_a_worker_pulls_what_its_settings_name(hub: Hub, pull: Puller) -> None:
    hub.put(
        "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
        "split_files/vae/wan_2.1_vae.safetensors",
        safetensors({"a": (1000,)}),
    )
    lines = io.StringIO()
    wanted = Settings(worker=WorkerSettings(pull=("wan-vae-comfy",), pull_s=20))
    logs.setup(wanted, lines)
    try:
        assert weighing.first(Settings(), logs.event) is None
        done = weighing.first(wanted, logs.event)
    finally:
        logs.close()
    assert done is not None
    assert done.files == ("wan-vae-comfy",)
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["details"]["step"] for line in told] == ["licence", "plan", "ready"]
    assert {line["event"] for line in told} == {"weights.pull"}
    assert told[0]["level"] == "warning"
    assert "hf_of_the_test" not in lines.getvalue()
    own = pull.root.parent / "own.toml"
    own.write_text(
        "[files.mine]\nrepo = 'Comfy-Org/Wan_2.1_ComfyUI_repackaged'\n"
        "path = 'split_files/vae/wan_2.1_vae.safetensors'\n"
    )
    mine = WorkerSettings(pull=("mine",), pull_s=20)
    done = weighing.first(Settings(worker=mine, weights_manifest=own), logs.event)
    assert done is not None
    assert done.files == ("mine",)
    with pytest.raises(TalkheadError) as caught:
        weighing.first(Settings(worker=WorkerSettings(pull=("sonic",))), logs.event)
    assert caught.value.code is Code.UNSUPPORTED

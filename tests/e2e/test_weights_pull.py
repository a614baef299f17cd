"""`talkhead weights` as real processes: killed, resumed, side by side, on a mirror."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.fake_hub import Hold, Hub, Refuse, fake_hub
from support.harness import Cli
from support.weights import safetensors
from talkhead import weights

FAST = weights.manifest().sets["infinitetalk-fast"]
GGUF = "wan2.1-i2v-14b-480p-Q4_0.gguf"
BIG = b"GGUF" + bytes(range(250)) * 8000  # 2 MB
SMALL = b'{"small": true}'


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Serve small stand-ins for every file of the set under their real names."""
    with fake_hub() as running:
        for file in FAST.files:
            path = f"{file.path}spiece.model" if file.path.endswith("/") else file.path
            forms = {".gguf": BIG, ".safetensors": safetensors({"a": (1000,)})}
            running.put(file.repo.name, path, forms.get(Path(path).suffix, SMALL))
        yield running


@pytest.fixture
def pulling(cli: Cli, hub: Hub) -> Cli:
    cli.env |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cli.folder / "hf"),
        "TALKHEAD_WEIGHTS": str(cli.folder / "weights"),
        "TALKHEAD_WEIGHTS_ALSO": "[]",
    }
    return cli


def pull(*more: str) -> tuple[str, ...]:
    return ("weights", "pull", "infinitetalk-fast", *more)


def total(hub: Hub) -> int:
    return sum(len(content) for repo in hub.repos.values() for content in repo.values())


def test_a_dry_run_tells_totals_and_brings_nothing(pulling: Cli, hub: Hub) -> None:
    listed = pulling(*pull("--dry-run", "--json")).json
    assert (listed["bytes"], len(listed["files"])) == (total(hub), 10)
    assert not (pulling.folder / "weights").exists()
    assert not hub.bodies(GGUF)


def test_a_killed_pull_goes_on_where_it_was(pulling: Cli, hub: Hub) -> None:
    hold = Hold(1_000_000)
    hub.fault(GGUF, hold)
    run = pulling.start(*pull())
    assert hold.reached.wait(30), run.communicate(timeout=10)
    partial = pulling.folder / f"weights/city96/Wan2.1-I2V-14B-480P-gguf/.{GGUF}"
    wait_for_bytes(partial, 500_000)
    run.kill()
    run.communicate()
    hold.release.set()
    ended = pulling(*pull("--json"))
    assert ended.status == 0, ended.out
    begun = int(hub.ranges(GGUF)[-1].removeprefix("bytes=").rstrip("-"))
    assert 500_000 <= begun <= 1_000_000
    assert len(BIG) - begun <= ended.json["bytes"] < total(hub)
    placed = pulling.folder / "weights/city96/Wan2.1-I2V-14B-480P-gguf" / GGUF
    assert placed.read_bytes() == BIG
    assert not list(pulling.folder.rglob("*.partial"))
    asked = len(hub.asked)
    assert pulling(*pull("--json")).json["bytes"] == 0
    assert len(hub.asked) == asked
    verified = pulling("weights", "verify", "infinitetalk-fast", "--json")
    assert {file["state"] for file in verified.json} == {"ok"}


def wait_for_bytes(partial: Path, count: int) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        if any(path.stat().st_size >= count for path in partial.parent.glob(f"{partial.name}*")):
            return
        time.sleep(0.01)
    raise AssertionError(f"no {count} bytes in {partial.parent}")


def test_two_at_once_bring_each_byte_once(pulling: Cli, hub: Hub) -> None:
    hold = Hold(1_000_000)
    hub.fault(GGUF, hold)
    first = pulling.start(*pull())
    assert hold.reached.wait(30)
    second = pulling.start(*pull())
    assert second.stderr is not None
    line = second.stderr.readline()
    while "waiting for" not in line:
        assert line, second.communicate(timeout=10)
        line = second.stderr.readline()
    hold.release.set()
    assert first.wait(60) == 0, first.communicate()
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "0.000 GB came" in out
    first.communicate()
    assert len(hub.bodies(GGUF)) == 2  # the address and its redirect, once


def test_the_deadline_is_a_retryable_failure(pulling: Cli, hub: Hub) -> None:
    hub.fault(GGUF, Hold(1_000_000))
    ended = pulling(*pull("--deadline", "2", "--json"))
    assert ended.status == 4, ended.out
    error = ended.json["error"]
    assert (error["code"], error["retryable"]) == ("E_TIMEOUT", True)
    assert GGUF in error["message"]


def test_a_mirror_that_is_down_is_named(pulling: Cli, hub: Hub) -> None:
    hub.fault("api", Refuse(404))
    ended = pulling(*pull())
    assert ended.status == 3
    assert "E_PIPELINE_LOAD" in ended.err
    assert "HF_ENDPOINT" in ended.err


def test_an_own_manifest_goes_from_the_hub_to_a_bundle(pulling: Cli, hub: Hub) -> None:
    """A tiny set of one's own is pulled, converted, bundled, and found in the bundle."""
    torch.save({"a": torch.ones(3), "b": torch.ones(2)}, pulling.folder / "tiny.pth")
    hub.put("org/tiny", "deep/tiny.pth", (pulling.folder / "tiny.pth").read_bytes())
    hub.put("org/tiny", "config.json", SMALL)
    own = pulling.folder / "own.toml"
    own.write_text(
        "[repos.'org/tiny']\nlicence = 'MIT'\ncommercial = true\n"
        "[files.tiny]\nrepo = 'org/tiny'\npath = 'deep/tiny.pth'\nkeep = 'a'\n"
        "[files.tiny-config]\nrepo = 'org/tiny'\npath = 'config.json'\n"
        "[sets.tiny-set]\nabout = 'tiny'\nfiles = ['tiny', 'tiny-config']\n"
    )
    pulling.env["TALKHEAD_WEIGHTS_MANIFEST"] = str(own)
    pulled = pulling("weights", "pull", "tiny-set")
    assert "talkhead weights convert tiny" in pulled.out
    assert "pickle" in pulling("weights", "list", "tiny-set").out
    converted = pulling("weights", "convert", "tiny-set")
    assert converted.status == 0, converted.err
    (pulling.folder / "weights/org/tiny/deep/tiny.pth").unlink()
    assert pulling("weights", "verify", "tiny-set").status == 0
    assert pulling(*("weights", "pull", "tiny-set", "--json")).json["bytes"] == 0
    bundle = pulling.folder / "bundle"
    assert pulling("weights", "bundle", "tiny-set", str(bundle)).status == 0
    pulling.env["TALKHEAD_WEIGHTS"] = str(bundle)
    (found,) = pulling("weights", "locate", "tiny", "--json").json
    assert found["paths"] == [str(bundle / "org/tiny/deep/tiny.safetensors")]
    own.write_text("[files.tiny]\nrepo = 3")
    broken = pulling("weights", "list")
    assert broken.status == 2
    assert "files.tiny.repo: not text" in broken.err

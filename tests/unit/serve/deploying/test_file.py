"""What deploy/endpoint.toml may say."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.runpod_schema import CPUS, CUDA, GPUS
from talkhead import weights
from talkhead.errors import TalkheadError
from talkhead.serve.deploying.file import File, Wanted, read

FILE = Path(__file__).parents[4] / "deploy" / "endpoint.toml"
IMAGE = "registry.example/you/talkhead:20261128-0b3e065"


def changed(tmp_path: Path, *pairs: tuple[str, str], **more: Any) -> Wanted:
    """Read the project's file with some words of it replaced."""
    text = FILE.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    file = tmp_path / "endpoint.toml"
    file.write_text(text)
    return read(file, **{"image": IMAGE, **more})


def test_the_file_names_what_runpod_has_and_sets_that_exist() -> None:
    file = File.model_validate(tomllib.loads(FILE.read_text()))
    known = weights.manifest().sets.keys()
    for engine in file.engines.values():
        assert set(engine.gpus) <= GPUS
        assert set(engine.cpus) <= CPUS
        assert not engine.pull or set(engine.pull.split(",")) <= known
    assert file.endpoint.min_cuda in CUDA


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("volume", ('volume = ""', 'volume = "v1"')),
        ("cached", ('model = ""', 'model = "me/bundle"')),
        ("baked", ('volume = ""', 'volume = ""')),
    ],
)
def test_each_mode_of_weights_has_its_variables_and_disk(
    tmp_path: Path, mode: str, more: tuple[str, str]
) -> None:
    found = changed(tmp_path, ('weights = "pull"', f'weights = "{mode}"'), more)
    env = found.template["env"]
    assert found.template["containerDiskInGb"] == 20
    assert "TALKHEAD_WORKER__PULL" not in env
    assert ("TALKHEAD_WEIGHTS" in env) == (mode == "volume")
    assert found.endpoint.get("networkVolumeId") == ("v1" if mode == "volume" else None)
    assert len(found.by_hand) == (1 if mode == "cached" else 0)


def test_an_engine_without_weights_needs_none(tmp_path: Path) -> None:
    found = changed(tmp_path, engine="draft")
    assert found.endpoint["computeType"] == "CPU"
    assert "gpuTypeIds" not in found.endpoint
    assert found.template["containerDiskInGb"] == 15
    assert "RUNPOD_INIT_TIMEOUT" not in found.template["env"]


def test_places_and_logins_are_passed_on(tmp_path: Path) -> None:
    found = changed(
        tmp_path,
        ("data_centers = []", 'data_centers = ["EU-RO-1"]'),
        ('registry_auth = ""', 'registry_auth = "auth1"'),
    )
    assert found.endpoint["dataCenterIds"] == ["EU-RO-1"]
    assert found.template["containerRegistryAuthId"] == "auth1"


SECRET = 'TALKHEAD_STORE__SECRET_KEY = "{{ RUNPOD_SECRET_store_secret_key }}"'
PULL = 'TALKHEAD_WORKER__PULL_S = "900"'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('weights = "pull"', 'weights = "volume"', "none is named"),
        ('weights = "pull"', 'weights = "cached"', "no ORG/NAME is named"),
        ('weights = "pull"', 'weights = "cloud"', "endpoint.weights"),
        ('engine = "infinitetalk"', 'engine = "sonic"', "there is no [engines.sonic]"),
        ('engine = "infinitetalk"', 'engine = "omniavatar"', "cannot be run with 'pull'"),
        ('pull = "infinitetalk-fast"', 'pull = ""', "no sets are named"),
        ("workers_min = 0", "workers_min = 2", "more than workers_max"),
        ("workers_min = 0", "worker_min = 0", "endpoint.worker_min"),
        (SECRET, 'TALKHEAD_STORE__SECRET_KEY = "hunter2hunter2"', "looks like a secret"),
        (SECRET, 'TALKHEAD_STORES = \'{"a": {"key": "x"}}\'', "looks like a secret"),
        (SECRET, 'TALKHEAD_STORE__BUKET = "x"', "did you mean TALKHEAD_STORE__BUCKET?"),
        (SECRET, 'TALKHEAD_ENGIN = "x"', "did you mean TALKHEAD_ENGINE?"),
        (SECRET, '"A B" = "x"', "no name of a variable"),
        (PULL, 'TALKHEAD_WORKER__PULL_S = "2100"', "pulling may take as long"),
        (PULL, 'TALKHEAD_WORKER__PULL_S = "soon"', "is no number"),
        ("vcpus = 4", "vcpus = 4\ngpu_count = 0", "engines.draft.gpu_count"),
        ('cpus = ["cpu5c", "cpu3c"]', "", "no cpus are named"),
        ("[env]", "[env", "is not TOML"),
    ],
)
def test_a_mistake_is_named_and_no_secret_repeated(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(TalkheadError) as caught:
        changed(tmp_path, (old, new))
    assert says in caught.value.message
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("", "no image is named"),
        ("you/talkhead", "names no fixed image"),
        ("you/talkhead:latest", "names no fixed image"),
        ("host:5000/talkhead", "names no fixed image"),
        ("you/talk head:1", "names no fixed image"),
    ],
)
def test_an_image_without_a_tag_of_its_own_is_refused(
    tmp_path: Path, image: str, says: str
) -> None:
    with pytest.raises(TalkheadError, match=says):
        changed(tmp_path, image=image)


@pytest.mark.parametrize("image", ["a/b:1", f"a/b@sha256:{'0' * 64}", "host:5000/a/b:1-x"])
def test_an_image_with_one_is_taken(tmp_path: Path, image: str) -> None:
    assert changed(tmp_path, image=image).template["imageName"] == image


def test_a_store_has_to_be_named(tmp_path: Path) -> None:
    text = "\n".join(
        line for line in FILE.read_text().splitlines() if not line.startswith("TALKHEAD_STORE__")
    )
    (tmp_path / "endpoint.toml").write_text(text)
    with pytest.raises(TalkheadError, match="no store is set"):
        read(tmp_path / "endpoint.toml", image=IMAGE)


def test_an_older_systems_store_is_one(tmp_path: Path) -> None:
    text = FILE.read_text().replace("TALKHEAD_STORE__", "MINIO_")
    (tmp_path / "endpoint.toml").write_text(text)
    assert "MINIO_BUCKET" in read(tmp_path / "endpoint.toml", image=IMAGE).template["env"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="cannot read"):
        read(tmp_path / "none.toml")

"""The files of deploy/ and .runpod/: what they promise can be read off them without Docker."""

import configparser
import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from support.hub_schema import HUB, TESTS
from support.runpod_schema import GPUS
from talkhead import __version__
from talkhead.serve import fitness
from talkhead.settings import load, refuse_unknown
from talkhead.validation import parse

ROOT = Path(__file__).parents[2]
DEPLOY, HUB_FILES = ROOT / "deploy", ROOT / ".runpod"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", DEPLOY / "lock.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = (DEPLOY / "worker.lock").read_text()
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+) ", LOCK, re.MULTILINE))


def test_the_lock_is_of_todays_requirements() -> None:
    """`deploy/lock.py make` makes it anew."""
    assert lock().problems(LOCK) == []


def test_the_lock_holds_what_pyproject_allows() -> None:
    for text in lock().wanted():
        wanted = Requirement(text)
        pinned = PINS[lock().name_of(text)]
        assert wanted.specifier.contains(pinned), (text, pinned)


def test_the_lock_names_no_place() -> None:
    assert "://" not in LOCK
    assert "file:" not in LOCK
    assert len(LOCK) < 20_000


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("from ", "from 0", "changed since"),
        ("av==", "av>=", "not a version with its digest"),
        (" --hash=sha256:", " --hash=md5:", "not a version with its digest"),
        ("torch==", "torche==", "torch is not locked"),
        ("zipp==", "aaa==", "not in order"),
        ("gguf==", "gradio==", "gradio does not belong"),
    ],
)
def test_what_is_wrong_with_a_lock_is_said(old: str, new: str, says: str) -> None:
    assert any(says in problem for problem in lock().problems(LOCK.replace(old, new, 1)))


def test_the_lock_checks_itself_as_a_command() -> None:
    run = subprocess.run(
        [sys.executable, str(DEPLOY / "lock.py"), "check"], check=False, capture_output=True
    )
    assert run.returncode == 0, run.stderr


def steps(dockerfile: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile as (name, rest), with lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    return [tuple((*line.split(maxsplit=1), "")[:2]) for line in lines.splitlines() if line.strip()]


def _fixed_base(found: list[tuple[str, str]]) -> bool:
    base = dict(rest.partition("=")[::2] for name, rest in found if name == "ARG")["BASE"]
    return re.search(r":[\w.-]*\d", base) is not None


def _pinned(found: list[tuple[str, str]]) -> bool:
    first = next(rest for name, rest in found if name == "FROM")
    return "${BASE_DIGEST:+@${BASE_DIGEST}}" in first


def _last_user(found: list[tuple[str, str]]) -> str:
    last = max(at for at, (name, _) in enumerate(found) if name == "FROM")
    return ([rest for name, rest in found[last:] if name == "USER"] or ["root"])[-1]


def _code_after_dependencies(found: list[tuple[str, str]]) -> bool:
    installed = [at for at, (_, rest) in enumerate(found) if "dependencies.sh /tmp" in rest]
    code = [at for at, (name, rest) in enumerate(found) if name == "COPY" and "src " in rest]
    return max(installed) < min(code)


def _stamped_last(found: list[tuple[str, str]]) -> bool:
    name, rest = [step for step in found if step[0] in ("COPY", "RUN", "ADD")][-1]
    return name == "RUN" and "code.sh" in rest and '"$STAMP"' in rest


PROMISES: dict[str, Callable[[list[tuple[str, str]]], bool]] = {
    "the base has a tag of its own": _fixed_base,
    "the base can be pinned by its digest": _pinned,
    "it does not run as root": lambda found: _last_user(found) not in ("root", "0"),
    "each RUN calls a script": lambda found: all(
        re.search(r"/tmp/deploy/\w+\.sh[^;&|]*$", rest) for name, rest in found if name == "RUN"
    ),
    "no weights are baked unasked": lambda found: ("ARG", 'BAKE=""') in found,
    "code comes after dependencies": _code_after_dependencies,
    "the stamped code is the last layer": _stamped_last,
    "nothing is fetched by ADD": lambda found: all(name != "ADD" for name, _ in found),
}


def broken(dockerfile: str) -> list[str]:
    """Return the promises that a Dockerfile breaks."""
    found = steps(dockerfile)
    return [promise for promise, kept in PROMISES.items() if not kept(found)]


def test_the_dockerfile_keeps_its_promises() -> None:
    assert broken(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "promise"),
    [
        ("python:3.11.14-slim-bookworm", "python:latest", "the base has a tag of its own"),
        ("python:3.11.14-slim-bookworm", "python", "the base has a tag of its own"),
        ("${BASE_DIGEST:+@${BASE_DIGEST}}", "", "the base can be pinned by its digest"),
        ("USER 10001", "USER root", "it does not run as root"),
        ("USER 10001\n", "", "it does not run as root"),
        ('ARG BAKE=""', 'ARG BAKE="infinitetalk"', "no weights are baked unasked"),
        ("RUN /tmp/deploy/system.sh", "RUN apt-get install g++", "each RUN calls a script"),
        (
            "COPY deploy/system.sh /tmp/deploy/",
            "COPY src /tmp/talkhead/src",
            "code comes after dependencies",
        ),
        ("ENV NVIDIA", "RUN /tmp/deploy/more.sh\nENV NVIDIA", "the stamped code is the last layer"),
        ("COPY pyproject", "ADD pyproject", "nothing is fetched by ADD"),
    ],
)
def test_a_broken_promise_of_a_dockerfile_is_seen(old: str, new: str, promise: str) -> None:
    assert old in DOCKERFILE
    assert broken(DOCKERFILE.replace(old, new)) == [promise]


def test_what_the_dockerfile_copies_and_runs_is_there() -> None:
    for name, rest in steps(DOCKERFILE):
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
        for script in re.findall(r"/tmp/(deploy/\w+\.sh)", rest if name == "RUN" else ""):
            assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be run"
    assert "slim-bookworm" in DOCKERFILE
    assert f"python:{lock().PYTHON}." in DOCKERFILE


def test_the_hub_builds_the_same_image() -> None:
    """The Hub looks in .runpod or at the root alone."""
    assert (HUB_FILES / "Dockerfile").read_text() == DOCKERFILE


def test_scripts_stop_at_the_first_failure() -> None:
    for script in DEPLOY.glob("*.sh"):
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/bin/sh", script
        assert "set -eu" in lines, script
        subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository of one commit, with what build.sh and code.sh read."""
    for part in ("deploy", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        copy_of = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy_of(ROOT / part, tmp_path / part)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    date = {"GIT_COMMITTER_DATE": "2026-11-28T12:00:00+0000", "PATH": "/usr/bin:/bin"}
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True, env=date)
    return tmp_path


def build(checkout: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["deploy/build.sh", *words],
        cwd=checkout,
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_build_is_of_a_commit_and_tagged_by_it(checkout: Path) -> None:
    built = build(checkout, "--dry-run", "registry.example/you/talkhead")
    assert built.returncode == 0, built.stderr
    found = re.search(r"--tag registry\.example/you/talkhead:(\d{8}-[0-9a-f]{7}) ", built.stdout)
    assert found
    assert found[1].startswith("20261128-")
    assert f"STAMP={found[1]}" in built.stdout
    assert "git archive HEAD | docker buildx build --platform linux/amd64" in built.stdout
    assert built.stdout.rstrip().endswith("BAKE= -")


def test_baked_sets_are_in_the_tag_and_a_token_is_not(checkout: Path) -> None:
    built = build(checkout, "--dry-run", "--push", "you/talkhead", BAKE="a b", HF_TOKEN="hf_x")
    assert re.search(r":\d{8}-[0-9a-f]{7}-a-b --push ", built.stdout)
    assert "--secret id=hf_token,env=HF_TOKEN" in built.stdout
    assert "hf_x" not in built.stdout


def test_what_no_commit_holds_is_not_built(checkout: Path) -> None:
    (checkout / "README.md").write_text("other")
    built = build(checkout, "--dry-run", "you/talkhead")
    assert built.returncode == 1
    assert "commit them" in built.stderr


def test_the_stamp_goes_where_the_version_is() -> None:
    """code.sh looks for these two lines."""
    pattern = re.compile(rf'^(?:__)?version(?:__)? = "{re.escape(__version__)}"$', re.MULTILINE)
    for file in (ROOT / "pyproject.toml", ROOT / "src" / "talkhead" / "__init__.py"):
        assert len(pattern.findall(file.read_text())) == 1, file


def hub() -> Any:
    return json.loads((HUB_FILES / "hub.json").read_text())


def hub_tests() -> Any:
    return json.loads((HUB_FILES / "tests.json").read_text())


def test_the_hubs_files_are_as_it_wants_them() -> None:
    jsonschema.validate(hub(), HUB)
    jsonschema.validate(hub_tests(), TESTS)
    assert (HUB_FILES / "handler.py").exists()
    assert (ROOT / "README.md").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.pop("category"),
        lambda file: file.update(category="avatar"),
        lambda file: file["config"].pop("gpuIds"),
        lambda file: file["config"]["env"].append({"key": "A"}),
        lambda file: file["config"].update(disk=3),
    ],
)
def test_a_hub_file_that_is_not_is_refused(spoil: Any) -> None:
    spoilt = copy.deepcopy(hub())
    spoil(spoilt)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, HUB)


def test_a_hub_test_whose_input_is_wrapped_is_refused() -> None:
    spoilt = hub_tests()
    spoilt["tests"][0]["input"] = {"input": spoilt["tests"][0]["input"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, TESTS)


def test_what_the_hub_sets_are_settings() -> None:
    names = {variable["key"] for variable in hub()["config"]["env"]}
    presets = {name for preset in hub()["config"]["presets"] for name in preset["defaults"]}
    assert presets <= names
    refuse_unknown({name for name in names if name.startswith("TALKHEAD_")})


def test_the_hubs_test_is_a_request_on_a_worker_that_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = hub_tests()
    assert file["config"]["gpuTypeId"] in GPUS
    for variable in file["config"]["env"]:
        monkeypatch.setenv(variable["key"], variable["value"])
    fitness.refuse_unfinished_settings(load(aliases=True))
    (test,) = file["tests"]
    assert parse(test["input"]).action == "health"


def test_the_units_keys_are_systemds() -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "talkhead.service")
    assert unit["Service"]["ExecStart"].endswith("/talkhead serve")
    assert unit["Service"]["User"] not in ("", "root")
    assert float(unit["Service"]["TimeoutStopSec"]) > 4  # that running jobs get to stop


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "talkhead.service"
    text = (DEPLOY / "talkhead.service").read_text()
    file.write_text(text.replace("/srv/talkhead/.venv/bin/talkhead", "/bin/true"))
    run = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, [line for line in run.stderr.splitlines() if "talkhead" in line]) == (
        0,
        [],
    )


def test_the_compose_file_asks_for_a_token_and_keeps_to_loopback() -> None:
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = file["services"]["talkhead"]
    assert ":?" in service["environment"]["TALKHEAD_SERVER__TOKEN"]
    refuse_unknown(set(service["environment"]))
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert re.search(r":\d", service["image"])
    named = {volume.partition(":")[0] for volume in service["volumes"]} - {".."}
    assert named == file["volumes"].keys()

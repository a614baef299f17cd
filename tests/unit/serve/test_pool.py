"""Which processes a server keeps, and where they compute."""

from pathlib import Path

import pytest

from talkhead.serve import pool
from talkhead.serve.pool import Pool, devices, on_gpus, planning
from talkhead.settings import Settings
from talkhead.settings.groups import Server, Worker


def settings(**more: object) -> Settings:
    return Settings(**more)


def test_devices_that_are_named_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = settings(server=Server(devices=("cuda:1", "cpu")), device="cuda:0")
    assert devices(found) == ("cuda:1", "cpu")
    assert devices(settings(device="cuda:0")) == ("cuda:0",)


def test_every_visible_gpu_gets_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pool, "GPUS", tmp_path)
    assert devices(settings()) == ("auto",)
    assert not on_gpus(settings())
    for name in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / name).mkdir()
    assert devices(settings()) == ("cuda:0", "cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-3a, ")
    assert devices(settings()) == ("cuda:0",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices(settings()) == ("auto",)
    monkeypatch.setattr(pool, "find_spec", lambda _name: None)  # no torch, so no neural engine
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert devices(settings()) == ("auto",)


def test_the_desk_plans_and_warms_nothing_up() -> None:
    found = planning(settings(worker=Worker(warm_up="640x640"), device="cuda:1"))
    assert (found.worker.plans_only, found.worker.warm_up, found.device) == (True, None, "cuda:1")


def test_sizes_of_lanes() -> None:
    made = Pool(settings(server=Server(devices=("cuda:0", "cuda:1"))))
    assert (made.size("render"), made.size("desk")) == (2, 1)
    assert (made.busy("render"), made.ready("render")) == (0, 0)

"""Arrays in files: large ones are mapped, never held twice, and what is damaged is told."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from talkhead import arrays

MB = 2**20


def large(megabytes: int = 5) -> np.ndarray:
    return np.arange(megabytes * MB // 4, dtype=np.float32).reshape(megabytes, -1)


@pytest.mark.parametrize(
    "array",
    [
        large(),
        large().T,
        np.asfortranarray(large()),
        large(12)[::2],
        large().astype("U9")[:, :80_000],
        np.zeros((3, 2 * MB), bool),
    ],
    ids=["rows", "columns", "fortran", "gaps", "text", "flags"],
)
def test_large_arrays_come_back_as_they_were(tmp_path: Path, array: np.ndarray) -> None:
    arrays.save(tmp_path, "prepared", {"big": array, "small": np.arange(3), "one": np.asarray(7)})
    found = arrays.load(tmp_path, "prepared")
    assert sorted(found) == ["big", "one", "small"]
    assert isinstance(found["big"], np.memmap)
    assert not found["big"].flags.writeable
    assert np.array_equal(found["big"], array)
    assert (found["big"].dtype, found["one"].shape) == (array.dtype, ())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["prepared.big.npy", "prepared.npz"]


def test_saving_and_loading_hold_no_second_copy(tmp_path: Path) -> None:
    """64 MB from a map of a file to another one, and back, in blocks."""
    filled = arrays.room(tmp_path / ".room-1.npy", (64, MB // 4))
    filled[:] = np.arange(64)[:, None]
    tracemalloc.start()
    arrays.save(tmp_path, "prepared", {"features": filled})
    found = arrays.load(tmp_path, "prepared")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["features"][:, 5].tolist() == list(range(64))
    assert peak < 40 * MB  # NumPy's blocks of 16 MB, one as bytes; never the array


def test_a_new_save_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    arrays.save(tmp_path, "prepared", {"a": large(), "b": large()})
    arrays.save(tmp_path, "prepared", {"a": np.arange(2), "b": large()})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["prepared.b.npy", "prepared.npz"]


@pytest.mark.parametrize("harm", ["gone", "short", "flipped"])
def test_what_is_not_as_it_was_written_is_told(tmp_path: Path, harm: str) -> None:
    arrays.save(tmp_path, "prepared", {"a": large()})
    file = tmp_path / "prepared.a.npy"
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(data if harm == "flipped" else data[:-MB])
    with pytest.raises(arrays.UNREADABLE):
        arrays.load(tmp_path, "prepared")


@pytest.mark.parametrize("name", ["a.b", "../a", "", "ä", "x" * 65])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name of an array"):
        arrays.save(tmp_path, "prepared", {name: np.arange(3)})


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)])
def test_room_has_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = arrays.room(tmp_path / "room.npy", shape)
    array[...] = 1
    assert (array.shape, array.dtype) == (shape, np.float32)
    assert array.sum() == np.prod(shape)

"""Files that keep runs."""

import numpy as np
import pytest

from inference.checkpoints import Checkpoint, digest, kept
from inference.files import InUseError


def write(path, state, run="walk", **decides):
    with kept(path, run, **decides) as keep:
        keep.offer(lambda: state, last=True)


def read(path, run="walk", **decides):
    with kept(path, run, **decides) as keep:
        return keep.restored


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    generator = np.random.default_rng(3)
    generator.random(5)
    state = {
        "numbers": (1, 2**70, 0.1, np.inf, None, True, "text", np.float64(1 / 3)),
        "arrays": [np.arange(3, dtype=np.int8), np.array([[np.nan, -0.0]]), np.zeros((0, 2))],
        "generator": generator,
    }
    write(tmp_path / "run.npz", state)
    back = read(tmp_path / "run.npz")
    assert back["numbers"] == state["numbers"]
    for one, other in zip(back["arrays"], state["arrays"]):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.signbit(one), np.signbit(other))
    assert back["generator"].random() == generator.random()


def test_only_the_same_run_goes_on(tmp_path):
    path = tmp_path / "run.npz"
    write(path, 1, couplings=np.array([1.0, 2.0]), seed=0)
    assert read(path, couplings=np.array([1.0, 2.0]), seed=0) == 1
    message = r"run\.npz: holds a run of walk with other arguments than this one of"
    for decides in ({"seed": 0}, {"couplings": np.array([1.0, 2.5]), "seed": 0}):
        with pytest.raises(ValueError, match=message):
            read(path, **decides)
    with pytest.raises(ValueError, match=message):
        read(path, run="other", couplings=np.array([1.0, 2.0]), seed=0)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    write(path, np.arange(1000.0))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for content in (b"", b"text", whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"run\.npz: no checkpoint, or a damaged one"):
            read(path)
    refused = 0
    for _ in range(200):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        try:
            back = read(path)
        except ValueError:
            refused += 1
            continue
        np.testing.assert_array_equal(back, np.arange(1000.0))
    assert refused > 150
    np.savez(path, a=np.arange(3))
    with pytest.raises(ValueError, match="no checkpoint"):
        read(path)


def test_a_second_writer_is_refused_and_the_wrong_state_too(tmp_path):
    path = tmp_path / "run.npz"
    with kept(path, "walk"), pytest.raises(InUseError), kept(path, "walk"):
        pass
    with kept(path, "walk") as keep, pytest.raises(TypeError, match="expected numbers, texts"):
        keep.offer(lambda: object(), last=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_behind_is_removed(tmp_path):
    for name in (".partial-0a-run[1].npz", ".partial-0a-run1.npz"):
        (tmp_path / name).write_bytes(b"half")
    write(tmp_path / "run[1].npz", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".partial-0a-run1.npz", "run[1].npz",
    ]  # fmt: skip
    assert read(tmp_path / "run[1].npz") == 1


def test_short_pieces_are_saved_together_at_the_latest_when_the_run_ends(tmp_path):
    place = Checkpoint(tmp_path / "a", every=3600.0)

    def interrupted():
        with kept(place, "fit") as keep:
            keep.once("first", lambda: 1)
            assert not (tmp_path / "a").exists()
            keep.once("second", lambda: 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with kept(place, "fit") as keep:
        assert [keep.once(name, lambda: 0) for name in ("first", "second", "third")] == [1, 2, 0]


def test_states_are_saved_as_often_as_asked(tmp_path):
    asked = []
    with kept(Checkpoint(tmp_path / "a", every=3600.0), "walk") as keep:
        keep.offer(lambda: asked.append(1) or 1)
        assert not asked
    with kept(Checkpoint(tmp_path / "a", every=0.0), "walk") as keep:
        keep.offer(lambda: asked.append(1) or 1)
    assert asked == [1]


def test_pieces_are_computed_once_unless_they_were_cut(tmp_path):
    calls = []

    def piece(value):
        calls.append(value)
        return value

    for _ in range(2):
        with kept(tmp_path / "a", "fit") as keep:
            assert keep.once("cut", lambda: piece(1), cut=lambda: True) == 1
            assert keep.once("whole", lambda: piece(2)) == 2
    assert calls == [1, 2, 1]


def test_digests_tell_values_apart():
    values = [
        1, 1.0, "1", (1,), {"1": 1}, np.array(1), np.array([1]), np.array(1, np.int8), None,
        np.random.default_rng(0), np.random.default_rng(1), len, max,
    ]  # fmt: skip
    assert len({digest(value) for value in values}) == len(values)
    assert digest(np.random.default_rng(0)) == digest(np.random.default_rng(0))

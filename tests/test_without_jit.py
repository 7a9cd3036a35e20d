"""What Numba compiles says the same as plain functions of Python."""

import kernel_cases
import numpy as np

CASES = ("random_numbers", "walked", "flipped_clauses")


def test_some_kernels_agree_with_plain_python(tmp_path):
    plain, compiled = tmp_path / "plain.npz", tmp_path / "compiled.npz"
    called = kernel_cases.without_compilation(plain, *CASES)
    assert "inference/monte_carlo/flip_kernels.py:metropolis_sweeps" in called
    assert len(called) > 20
    assert called < kernel_cases.all_kernels()
    kernel_cases.main(compiled, *CASES)
    assert kernel_cases.differences(plain, compiled)[0] == []


def test_differences_are_seen(tmp_path):
    numbers = {"whole": np.arange(3), "real": np.array([1.0, np.nan, np.inf])}
    np.savez(tmp_path / "one.npz", **numbers)
    assert kernel_cases.differences(tmp_path / "one.npz", tmp_path / "one.npz") == ([], 0.0)
    for name, wrong in (
        ("whole", np.array([0, 1, 3])),
        ("whole", np.arange(3.0)),
        ("real", np.array([1.0 + 1e-9, np.nan, np.inf])),
        ("real", np.array([1.0, 0.0, np.inf])),
        ("real", np.array([1.0, np.nan, -np.inf])),
    ):
        np.savez(tmp_path / "other.npz", **{**numbers, name: wrong})
        sentences, _ = kernel_cases.differences(tmp_path / "one.npz", tmp_path / "other.npz")
        assert len(sentences) == 1
        assert sentences[0].startswith(name)

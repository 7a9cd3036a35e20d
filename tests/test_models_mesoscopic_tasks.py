"""Tasks: truth tables, bounds of information, frequencies of digits, and refusals."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from models.mesoscopic import GaussianTask, Task, boolean_task, digits_task, parity_task


def test_parity():
    task = parity_task(3, (0, 2))
    assert task.inputs.shape == (8, 3)
    assert len({tuple(x) for x in task.inputs}) == 8
    np.testing.assert_array_equal(task.label_prob[:, 1], task.inputs[:, 0] * task.inputs[:, 2] == 1)
    np.testing.assert_array_equal(task.input_prob, 1 / 8)
    assert task.information == pytest.approx(np.log(2), rel=1e-14)
    assert task.chance == 0.5
    assert task.label_names == ("false", "true")
    # no bit alone says anything of it
    for bit in task.inputs.T:
        assert bit @ task.label_prob[:, 1] == 0


@pytest.mark.parametrize("values", [(True, False), (1, -1), (np.int8(1), np.float64(-1))])
def test_boolean_functions(values):
    yes, no = values
    both = boolean_task(lambda x: yes if (x > 0).all() else no, 2)
    np.testing.assert_array_equal(both.label_prob, [[1, 0], [1, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(both.inputs[3], [1, 1])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert both.information == pytest.approx(entropy, rel=1e-14)
    assert both.chance == 0.75


def test_a_noisy_label_says_less():
    flip = 0.1
    task = Task([[1.0], [-1.0]], [0.5, 0.5], [[flip, 1 - flip], [1 - flip, flip]])
    entropy = -(flip * np.log(flip) + (1 - flip) * np.log(1 - flip))
    assert task.information == pytest.approx(np.log(2) - entropy, rel=1e-13)
    assert task.input_names == ("x0",)


class TestDigits:
    def test_signs(self):
        task = digits_task((0, 1), 4)
        assert set(np.unique(task.inputs)) == {-1.0, 1.0}
        assert len(task.inputs) <= 16
        assert task.label_names == ("0", "1")
        digit = load_digits().target
        share = (digit == 0).sum() / np.isin(digit, (0, 1)).sum()
        assert task.input_prob @ task.label_prob[:, 0] == pytest.approx(share, rel=1e-12)
        # every bit is above its median as often as below
        assert np.abs(task.input_prob @ task.inputs).max() < 0.01
        assert 0.3 < task.information < np.log(2)

    def test_components_are_those_of_principal_component_analysis(self):
        task = digits_task((3, 8, 9), 2, "components")
        data = load_digits()
        kept = np.isin(data.target, (3, 8, 9))
        expected = PCA(2, svd_solver="full").fit_transform(data.data[kept])
        ratio = expected.std(axis=0)
        np.testing.assert_allclose(np.abs(task.inputs), np.abs(expected / ratio), atol=1e-8)
        np.testing.assert_array_equal(
            np.array([3, 8, 9])[task.label_prob.argmax(axis=1)], data.target[kept]
        )

    def test_more_inputs_say_more(self):
        found = [digits_task((3, 5), n).information for n in (1, 2, 4)]
        assert found == sorted(found)

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with pytest.raises(ImportError, match="pip install scikit-learn"):
            digits_task()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (((1,),), "two or more distinct"),
            (((1, 1),), "two or more distinct"),
            (((1, 12),), "two or more distinct"),
            (((0, 1), 65), "at most 64"),
            (((0, 1), 0), "at least 1"),
            (((0, 1), 2, "means"), "reduction"),
        ],
    )
    def test_faults(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            digits_task(*arguments)


class TestGaussian:
    def test_information(self):
        task = GaussianTask(np.diag([1.0, 4.0]), [1.0, 0.5], 0.5)
        assert task.information == pytest.approx(0.5 * np.log(1 + 2.0 / 0.5), rel=1e-14)
        assert GaussianTask([[1.0]], [1.0]).information == np.inf

    @pytest.mark.parametrize(
        ("covariance", "readout", "noise", "message"),
        [
            ([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0], 0.1, "positive semi-definite"),
            (np.eye(2), [1.0], 0.1, "readout: expected 2 rows"),
            (np.eye(2), [1.0, 0.0], -0.1, "noise_variance"),
            (np.diag([1.0, 0.0]), [0.0, 1.0], 0.1, "got a constant"),
            (np.eye(2), [np.nan, 0.0], 0.1, "readout"),
        ],
    )
    def test_faults(self, covariance, readout, noise, message):
        with pytest.raises(ValueError, match=message):
            GaussianTask(covariance, readout, noise)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: boolean_task(lambda x: x.sum(), 3), "expected True, False"),
        (lambda: boolean_task(lambda x: True, 13), "at most 12 inputs"),
        (lambda: boolean_task(lambda x: True, 0), "at least 1"),
        (lambda: parity_task(3, (0, 3)), "distinct numbers from 0 to 2"),
        (lambda: parity_task(3, (1, 1)), "distinct"),
        (lambda: parity_task(3, ()), "distinct"),
        (lambda: Task(np.ones((2, 1)), [0.5, 0.4], np.ones((2, 1))), "input_prob: .*sum of 0.9"),
        (lambda: Task(np.ones((2, 1)), [0.5, 0.5], np.ones((2, 2))), "label_prob: .*sum of 2"),
        (lambda: Task(np.ones((2, 1)), [1.5, -0.5], np.ones((2, 1))), "got -0.5"),
        (lambda: Task(np.ones((2, 1)), [1.0], np.ones((2, 1))), "input_prob: expected 2 rows"),
        (lambda: Task(np.ones((2, 1)), [0.5, 0.5], np.ones((3, 1))), "label_prob: expected 2"),
        (lambda: Task([[np.nan]], [1.0], [[1.0]]), "inputs"),
        (lambda: Task([[1.0]], [1.0], [[1.0]], ("a", "b")), "input_names: expected 1 names"),
    ],
)  # fmt: skip
def test_faults(build, message):
    with pytest.raises(ValueError, match=message):
        build()

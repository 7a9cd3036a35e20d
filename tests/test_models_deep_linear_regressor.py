"""The regressor: scikit-learn's own checks, ridge regression, and the units of its answers."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from models.deep_linear import Architecture, compress, posterior
from models.deep_linear.estimator import (
    Estimator,
    check_names,
    column_spread,
    feature_names,
    input_table,
    key_from,
    not_fitted,
    target_table,
)
from models.deep_linear.regressor import DeepLinearRegressor

ROOT = Path(__file__).parent.parent
# these fit many times, compile for every shape, or ask for what is checked below
SLOW_CHECKS = {
    "check_dict_unchanged",
    "check_dont_overwrite_attributes",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_readonly_memmap_input",
    "check_regressor_data_not_an_array",
    "check_regressors_int",
    "check_regressors_train",
    "check_supervised_y_2d",
    "check_positive_only_tag_during_fit",
}


def made(n=40, n_outputs=None, seed=0):
    rng = np.random.default_rng(seed)
    x = 3.0 + rng.normal(size=(n, 3)) * [1.0, 10.0, 0.1]
    slope = np.array([[2.0, -1.0], [0.1, 0.3], [0.0, 20.0]])
    y = 100.0 + x @ slope + rng.normal(size=(n, 2))
    return x, (y[:, 0] if n_outputs is None else y[:, :n_outputs])


X, Y = made()
X_TEST, Y_TEST = made(seed=1)


@pytest.fixture(scope="module")
def fitted():
    return DeepLinearRegressor((5,)).fit(X, Y)


def cheap_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not inherit from BaseEstimator
        for estimator, check in estimator_checks_generator(DeepLinearRegressor((), beta=1.0)):
            name = check.func.__name__
            if name not in SLOW_CHECKS and name != "check_array_api_input":
                yield pytest.param(estimator, check, id=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(cheap_checks()))
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_without_hidden_layers_it_is_ridge_regression():
    beta, precision = 3.0, 2.0
    model = DeepLinearRegressor((), beta=beta, precisions=precision).fit(X, Y)
    # weights N(0, 1/lambda), scaled by 1/sqrt(N0), noise 1/beta
    ridge = Ridge(alpha=X.shape[1] * precision / beta, fit_intercept=False)
    center, scale = Y.mean(), Y.std()
    x = (X - X.mean(0)) / X.std(0)
    ridge.fit(x, (Y - center) / scale)
    expected = center + scale * ridge.predict((X_TEST - X.mean(0)) / X.std(0))
    np.testing.assert_allclose(model.predict(X_TEST), expected, rtol=1e-10)
    law = scipy.stats.multivariate_normal(cov=x @ x.T / (3 * precision) + np.eye(len(x)) / beta)
    assert model.log_evidence_ == pytest.approx(law.logpdf((Y - center) / scale), rel=1e-11)


def test_without_hidden_layers_the_deviation_is_that_of_bayesian_ridge():
    peer = BayesianRidge(fit_intercept=False)
    center, scale = Y.mean(), Y.std()
    x, x_test = ((v - X.mean(0)) / X.std(0) for v in (X, X_TEST))
    peer.fit(x, (Y - center) / scale)
    model = DeepLinearRegressor((), beta=peer.alpha_, precisions=peer.lambda_ / X.shape[1])
    mean, std = model.fit(X, Y).predict(X_TEST, return_std=True)
    peer_mean, peer_std = peer.predict(x_test, return_std=True)
    np.testing.assert_allclose(mean, center + scale * peer_mean, rtol=1e-3)
    np.testing.assert_allclose(std, scale * peer_std, rtol=1e-3)  # its sigma_ is one update behind


@pytest.mark.parametrize("standardize", [True, False])
def test_it_is_the_posterior_of_the_centred_data(standardize):
    model = DeepLinearRegressor((5, 4), beta=0.7, standardize=standardize, bias_scale=0.5)
    mean, std = model.fit(X, Y).predict(X_TEST, return_std=True)
    shrink_x = X.std(0) if standardize else np.ones(3)
    shrink_y = Y.std() if standardize else 1.0
    network = Architecture((5, 4), bias_scale=0.5)
    x, x_test = ((v - X.mean(0)) / shrink_x for v in (X, X_TEST))
    alone = posterior(compress(x, (Y - Y.mean()) / shrink_y, network, x_test), network, 0.7)
    predicted = alone.predict()
    expected = Y.mean() + shrink_y * np.asarray(predicted.mean[:, 0])
    np.testing.assert_allclose(mean, expected, rtol=1e-10)
    variance = np.asarray(predicted.covariance[:, 0, 0]) + 1 / 0.7
    np.testing.assert_allclose(std, shrink_y * np.sqrt(variance), rtol=1e-10)
    density = predicted.log_prob((Y_TEST - Y.mean()) / shrink_y) - np.log(shrink_y)
    np.testing.assert_allclose(model.log_prob(X_TEST, Y_TEST), density, rtol=1e-9)
    assert model.architecture_ == network
    assert model.beta_ == 0.7
    assert model.selection_.probabilities.tolist() == [[1.0]]
    np.testing.assert_allclose(model.noise_std_, shrink_y / np.sqrt(0.7))


def test_the_noise_is_found_and_the_best(fitted):
    """The refined noise level is a maximum of the evidence, and near the truth."""
    assert fitted.noise_std_[0] == pytest.approx(1.0, rel=0.25)
    data, network = fitted.posterior_.data, fitted.architecture_
    for factor in (0.97, 1.03):
        assert posterior(data, network, factor * fitted.beta_).log_evidence < fitted.log_evidence_
    assert fitted.log_evidence_ >= fitted.selection_.log_evidence.max()
    assert fitted.n_features_in_ == 3


def test_deviations_are_those_of_new_observations(fitted):
    x, y = made(2000, seed=5)
    mean, std = fitted.predict(x, return_std=True)
    z = (y - mean) / std
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.15)  # learned from 40 rows
    assert fitted.log_prob(x, y).mean() == pytest.approx(
        scipy.stats.norm(mean, std).logpdf(y).mean(), abs=0.01
    )


def test_units_do_not_matter(fitted):
    mean, std = fitted.predict(X_TEST, return_std=True)
    moved = DeepLinearRegressor((5,)).fit(X * 1e3 - 7, Y * 1e-4 + 2)
    mean_moved, std_moved = moved.predict(X_TEST * 1e3 - 7, return_std=True)
    np.testing.assert_allclose(mean_moved, mean * 1e-4 + 2, rtol=1e-8)
    np.testing.assert_allclose(std_moved, std * 1e-4, rtol=1e-8)


def test_a_constant_column_changes_only_the_fan_in():
    extended = np.column_stack([X, np.full(len(X), 0.1)])
    model = DeepLinearRegressor((), beta=3.0, precisions=3 / 4).fit(extended, Y)
    plain = DeepLinearRegressor((), beta=3.0).fit(X, Y)
    tested = np.column_stack([X_TEST, np.full(len(X), 0.1)])
    np.testing.assert_allclose(model.predict(tested), plain.predict(X_TEST), rtol=1e-10)


@pytest.mark.parametrize("widths", [[(), (3,), (8, 8)], "select"], ids=str)
def test_the_architecture_is_chosen_by_evidence(widths):
    model = DeepLinearRegressor(widths).fit(X, Y)
    selection = model.selection_
    assert model.architecture_ == selection.best.architecture
    assert {a.widths for a in selection.architectures} >= {(), (3,)}
    assert model.posterior_.architecture == model.architecture_
    fixed = DeepLinearRegressor(widths, beta=10.0).fit(X, Y)
    assert fixed.beta_ == 10.0
    assert fixed.selection_.log_evidence.shape == (len(selection.architectures), 1)
    assert fixed.log_evidence_ == pytest.approx(fixed.selection_.log_evidence.max())


@pytest.fixture(scope="module")
def two_outputs():
    x, y = made(n_outputs=2)
    return DeepLinearRegressor((10,), method="laplace", beta=20.0).fit(x, y), x, y


def test_two_outputs(two_outputs):
    model, x, y = two_outputs
    mean, std = model.predict(x, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert model.noise_std_.shape == (2,)
    assert model.log_prob(x, y).shape == (len(x),)
    assert model.score(x, y) == pytest.approx(r2_score(y, mean), rel=1e-12)
    assert model.score(x, y) > 0.5
    column = DeepLinearRegressor((), beta=1.0).fit(x, y[:, :1])
    assert column.predict(x).shape == (len(x), 1)


@pytest.mark.slow
def test_noise_of_two_outputs_is_found():
    x, y = made(n_outputs=2)
    model = DeepLinearRegressor([(), (10, 10)]).fit(x, y)
    assert model.selection_.methods[1, 0] == "laplace"
    assert 0.5 < model.noise_std_[0] < 2


def test_the_score_is_that_of_scikit_learn(fitted):
    weights = np.random.default_rng(0).uniform(size=len(Y_TEST))
    mean = fitted.predict(X_TEST)
    assert fitted.score(X_TEST, Y_TEST) == pytest.approx(r2_score(Y_TEST, mean), rel=1e-12)
    expected = r2_score(Y_TEST, mean, sample_weight=weights)
    assert fitted.score(X_TEST, Y_TEST, weights) == pytest.approx(expected, rel=1e-12)
    flat = np.full(len(Y_TEST), 3.0)
    assert fitted.score(X_TEST, flat) == r2_score(flat, mean)


def test_it_is_copied_cloned_and_found_to_be_a_regressor(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(X_TEST), fitted.predict(X_TEST))
    fresh = clone(DeepLinearRegressor((3, 3), beta=2.0))
    assert repr(fresh) == "DeepLinearRegressor(beta=2.0, widths=(3, 3))"
    assert not hasattr(fresh, "posterior_")
    assert is_regressor(fresh)
    assert isinstance(fresh, Estimator)
    assert fresh.get_params()["widths"] == (3, 3)
    assert fresh.set_params(beta=4.0).beta == 4.0
    with pytest.raises(ValueError, match="'depth'"):
        fresh.set_params(depth=3)


def test_it_works_in_pipelines_and_searches():
    model = make_pipeline(StandardScaler(), DeepLinearRegressor((), beta=5.0))
    scores = cross_val_score(model, X, Y, cv=2)
    assert scores.shape == (2,)
    search = GridSearchCV(DeepLinearRegressor(()), {"beta": [1e-3, 5.0]}, cv=2).fit(X, Y)
    assert search.best_params_ == {"beta": 5.0}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"widths": 5}, ("widths", "tuple", "(n,)")),
        ({"widths": "best"}, ("widths", "select", "best")),
        ({"widths": [5, (5,)]}, ("widths", "integers alone")),
        ({"widths": (0,)}, ("widths[0]", "0")),
        ({"widths": []}, None),
        ({"beta": -1.0}, ("beta", "positive", "-1")),
        ({"precisions": (1.0,)}, ("precisions", "2", "1")),
        ({"method": "nuts"}, ("method", "nuts")),
        ({"random_state": "x"}, ("random_state", "integer", "'x'")),
        ({"bias_scale": -1.0}, ("bias_scale", "-1")),
    ],
    ids=str,
)
def test_bad_parameters_are_found_by_fit(arguments, parts):
    model = DeepLinearRegressor(**({"beta": 1.0} | arguments))
    if parts is None:
        assert model.fit(X, Y).architecture_.widths == ()
        return
    with pytest.raises(ValueError, match=parts[0].replace("[", r"\[")) as caught:
        model.fit(X, Y)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("x", "y", "parts"),
    [
        (X, np.full(len(X), 3.5), ("y", "3.5", "output 0")),
        (np.ones((5, 2)), np.arange(5.0), ("X", "varies")),
        (X, Y[:-1], ("y", "40", "39")),
        (X[:1], Y[:1], ("n_samples = 1",)),
        (X, np.where(Y > 102, np.nan, Y), ("y", "NaN")),
        (X, np.zeros((40, 1, 1)), ("y", "(40, 1, 1)")),
    ],
    ids=range(6),
)
def test_bad_data(x, y, parts):
    with pytest.raises(ValueError, match="expected") as caught:
        DeepLinearRegressor((), beta=1.0).fit(x, y)
    for part in parts:
        assert part in str(caught.value)


def test_before_fit():
    with pytest.raises(NotFittedError, match="not fitted"):
        DeepLinearRegressor().predict(X)


def test_without_scikit_learn_the_error_has_the_same_parents(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    error = not_fitted(DeepLinearRegressor())
    assert isinstance(error, ValueError)
    assert isinstance(error, AttributeError)
    assert type(error).__name__ == "NotFittedError"


def test_names_of_columns(fitted):
    class Frame(np.ndarray):
        columns = ("a", "b", "c")

    frame = X.view(Frame)
    assert feature_names(frame).tolist() == ["a", "b", "c"]
    assert feature_names(X) is None
    model = DeepLinearRegressor((), beta=1.0).fit(frame, Y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    check_names(model, feature_names(frame))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    with pytest.warns(UserWarning, match="was fitted without"):
        fitted.predict(frame)
    frame.columns = ("a", "c", "b")
    with pytest.raises(ValueError, match="same order"):
        model.predict(frame)
    frame.columns = ("a", "b", "z")
    with pytest.raises(ValueError, match=r"unseen(?s:.*)- z(?s:.*)missing(?s:.*)- c"):
        model.predict(frame)
    frame.columns = ("a", "b", 3)
    with pytest.raises(TypeError, match="string names"):
        model.predict(frame)
    assert not hasattr(model.fit(X, Y), "feature_names_in_")


def test_the_doors():
    assert input_table(None, [[1, 2]]).dtype == np.float64
    assert target_table([1, 2], 2).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="Complex"):
        target_table([1j], 1)
    np.testing.assert_allclose(column_spread(np.array([[0.1, 1.0]] * 9 + [[0.1, 2.0]])), [0, 0.3])


def test_random_states():
    same = key_from(3), key_from(np.int64(3))
    assert jax.numpy.array_equal(*map(jax.random.key_data, same))
    drawn = [key_from(np.random.RandomState(0)) for _ in range(2)]
    assert jax.numpy.array_equal(*map(jax.random.key_data, drawn))
    assert key_from(None) is not None


def test_importing_it_does_not_import_scikit_learn():
    code = "import sys, models.deep_linear.regressor; print('sklearn' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "False", result.stderr

"""A deep linear network in the manners of scikit-learn, which is not needed to use it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, one_of, positive

from .compression import CompressedData, with_test_inputs
from .estimator import (
    Estimator,
    check_names,
    column_spread,
    feature_names,
    input_table,
    key_from,
    not_fitted,
    target_table,
)
from .predictive import Predictive
from .selection import select
from .solvers import Method
from .theory import Architecture

# noise precisions that are tried, in units of the scaled targets: four a decade
_BETAS = 10.0 ** np.arange(-2.0, 6.01, 0.25)
_FEW_BETAS = 10.0 ** np.arange(-1.0, 4.01, 0.5)  # where each costs an importance sample
_DECADE = 10.0 ** np.linspace(-0.5, 0.5, 9)
_DEVIATIONS = np.linspace(-3.0, 3.0, 9)


class DeepLinearRegressor(Estimator):
    """Bayesian deep linear network, solved exactly; architecture and noise chosen by evidence.

    Inputs and targets are centred in `fit`, and the centring is undone in `predict`.

    Parameters
    ----------
    widths
        Hidden widths ``(N_1, ..., N_L)``; ``()`` is Bayesian linear regression. A list of such
        tuples: the one of highest evidence is taken. ``"select"``: depths 0 to 3 with several
        widths (several outputs: 0 to 2).
    precisions
        Weight precisions, one for all layers or one a weight matrix, as in `Architecture`.
    bias_scale
        Prior standard deviation of the biases of the first layer. The data are centred: zero is
        the usual choice.
    beta
        Noise precision in units of the scaled targets. None: of highest evidence, on a
        logarithmic grid from 0.01 to 1e6 (several outputs: 0.1 to 1e4), then on a finer one as
        wide as its posterior, then between the points of that.
    standardize
        Scale every input and every output to unit standard deviation (population). Otherwise they
        are only centred, and ``precisions`` and ``beta`` are in their units.
    method
        As in `select`.
    random_state
        Seed of the sampling methods: an integer, None (from NumPy's global state), or a
        ``numpy.random.RandomState``.

    Attributes
    ----------
    posterior_
        The `PosteriorResult` of the centred (and scaled) data.
    architecture_, beta_
        What was chosen, or given.
    log_evidence_
        Log marginal likelihood of the centred (and scaled) targets, nats.
    selection_
        The `Selection` that chose, on the finer grid of noise levels.
    noise_std_
        Standard deviation of the noise in the units of y, one an output, ``(D,)``.
    n_features_in_
        Number of inputs.
    feature_names_in_
        Names of the inputs, if ``X`` was a data frame whose columns are all strings.

    Notes
    -----
    arXiv 2406.03260. The targets have one noise level ``1 / beta`` after scaling: an output of
    larger spread has more noise. The means that centring removes count as known.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(30, 3))
    >>> model = DeepLinearRegressor((5,)).fit(x, x @ [1.0, -2.0, 0.0] + 7)
    >>> mean, std = model.predict([[1.0, 0.0, 0.0]], return_std=True)
    >>> mean.round(2)
    array([8.])
    """

    _estimator_type = "regressor"

    def __init__(
        self,
        widths: Any = (10,),
        *,
        precisions: Any = 1.0,
        bias_scale: float = 0.0,
        beta: float | None = None,
        standardize: bool = True,
        method: Method = "auto",
        random_state: Any = 0,
    ) -> None:
        self.widths = widths
        self.precisions = precisions
        self.bias_scale = bias_scale
        self.beta = beta
        self.standardize = standardize
        self.method = method
        self.random_state = random_state

    # --- fitting -----------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Solve the network for training data.

        Parameters
        ----------
        X
            Inputs, ``(n, n_features)``, at least two rows that differ.
        y
            Targets, ``(n,)`` or ``(n, D)``.

        Returns
        -------
        DeepLinearRegressor
            Itself.

        Raises
        ------
        PrecisionError
            In single precision.
        TypeError, ValueError
            If shapes do not fit, an entry is not a finite number, every input or one output is
            constant, or an argument of the constructor has no meaning.
        """
        one_of("method", self.method, ("auto", "quadrature", "laplace", "smc", "prior"))
        names = feature_names(X)
        inputs = input_table(self, X)
        targets = target_table(y, len(inputs))
        if len(inputs) < 2:
            raise ValueError(
                f"X: expected at least 2 rows to centre, got n_samples = {len(inputs)}"
            )
        self.n_features_in_ = inputs.shape[1]
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._one_dimensional = targets.ndim == 1
        outputs = targets.reshape(len(targets), -1)
        self._x_mean, spread_x = inputs.mean(axis=0), column_spread(inputs)
        self._y_mean, spread_y = outputs.mean(axis=0), column_spread(outputs)
        if not spread_x.any():
            raise ValueError("X: expected an input that varies, got constant columns alone")
        if not spread_y.all():
            where = int(np.flatnonzero(spread_y == 0)[0])
            raise ValueError(
                f"y: expected targets that vary, got {outputs[0, where]:g} in every row of output "
                f"{where}: there is nothing to learn"
            )
        scale = bool(self.standardize)
        self._x_scale = np.where(spread_x > 0, spread_x, 1.0) if scale else np.ones(len(spread_x))
        self._y_scale = spread_y if scale else np.ones(len(spread_y))
        x = (inputs - self._x_mean) / self._x_scale
        x[:, spread_x == 0] = 0.0  # what rounding left of a constant is no input
        self._solve(x, (outputs - self._y_mean) / self._y_scale)
        return self

    def _solve(self, x: Floats, y: Floats) -> None:
        candidates = [
            Architecture(widths, y.shape[1], self.precisions, self.bias_scale)
            for widths in _candidates(self.widths, y.shape[1])
        ]
        key = key_from(self.random_state)
        if self.beta is None:
            closed = y.shape[1] == 1 or not any(a.widths for a in candidates)
            # without scaling, in units of the targets as they are
            betas = (_BETAS if closed else _FEW_BETAS) / np.mean(y**2)
        else:
            betas = np.array([positive("beta", self.beta, allow_inf=True)])
        options: Any = {"method": self.method, "key": key, "progress": False}
        chosen = select(x, y, candidates, betas, **options)
        best = chosen.best
        if self.beta is None:
            beta = self._refined(x, y, best.architecture, best.beta * _DECADE, options)
            spread = min(math.sqrt(2.0 / y.size), 0.5)  # of log beta, if the noise were observed
            around = beta * np.exp(spread * _DEVIATIONS)
            chosen = select(x, y, candidates, around, **options)
            beta = self._refined(x, y, chosen.best.architecture, around, options)
            best = select(x, y, [chosen.best.architecture], beta, **options).best
        self.selection_ = chosen
        self.architecture_, self.beta_, found = best
        self.posterior_ = found
        self.log_evidence_ = found.log_evidence
        self.noise_std_ = self._y_scale / math.sqrt(self.beta_)

    def _refined(
        self, x: Floats, y: Floats, architecture: Architecture, betas: Floats, options: Any
    ) -> float:
        """Return the top of the parabola through the evidence at the best of some noise levels."""
        near = select(x, y, [architecture], betas, on_failure="ignore", **options)
        steps, values = np.log(betas), near.log_evidence[0]
        peak = int(np.argmax(np.where(near.status[0] == 0, values, -np.inf)))
        place = min(max(peak, 1), len(steps) - 2)
        three = slice(place - 1, place + 2)
        curve = np.polyfit(steps[three] - steps[peak], values[three], 2)
        top = -curve[1] / (2 * curve[0]) if curve[0] < 0 else 0.0
        return float(np.exp(np.clip(steps[peak] + top, steps[0], steps[-1])))

    # --- prediction --------------------------------------------------------------------------

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> Floats | tuple[Floats, Floats]:  # fmt: skip
        """Return the posterior mean of the function, in the units of ``y``.

        Parameters
        ----------
        X
            Inputs, ``(m, n_features)``.
        return_std
            Also return the standard deviation of a new observation, its noise included, in the
            units of ``y``. For that of the function itself subtract ``noise_std_`` in squares.

        Returns
        -------
        mean : ndarray
            ``(m,)`` if ``y`` had one axis, else ``(m, D)``.
        std : ndarray
            The same shape, if asked for.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If the shape does not fit or an entry is not finite.
        """
        x = self._scaled(X)
        predicted = self._predictive(x)
        mean = np.asarray(predicted.mean) * self._y_scale + self._y_mean
        shape = (len(x),) if self._one_dimensional else mean.shape
        if not return_std:
            return mean.reshape(shape)
        variance = np.diagonal(np.asarray(predicted.covariance), axis1=1, axis2=2)
        std = np.sqrt(variance + 1.0 / self.beta_) * self._y_scale
        return mean.reshape(shape), std.reshape(shape)

    def log_prob(self, X: ArrayLike, y: ArrayLike) -> Floats:
        """Return the log predictive density of observations, ``(m,)``, in the units of ``y``.

        Parameters
        ----------
        X
            Inputs, ``(m, n_features)``.
        y
            Observations, ``(m,)`` or ``(m, D)``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If shapes do not fit or an entry is not finite.
        """
        x = self._scaled(X)
        observed = (target_table(y, len(x)).reshape(len(x), -1) - self._y_mean) / self._y_scale
        density = self._predictive(x).log_prob(observed)
        return np.asarray(density - np.log(self._y_scale).sum())

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:  # fmt: skip
        """Return the coefficient of determination R^2 of the predicted mean.

        Parameters
        ----------
        X
            Inputs, ``(m, n_features)``.
        y
            Observations, ``(m,)`` or ``(m, D)``; several outputs are averaged uniformly.
        sample_weight
            Weights of the rows, ``(m,)``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If shapes do not fit or an entry is not finite.
        """
        mean = np.asarray(self.predict(X))
        observed = target_table(y, len(mean)).reshape(len(mean), -1)
        weights = np.ones(len(mean)) if sample_weight is None else np.asarray(sample_weight, float)
        left = weights @ (observed - mean.reshape(observed.shape)) ** 2
        center = np.average(observed, axis=0, weights=weights)
        total = weights @ (observed - center) ** 2
        # as scikit-learn has it: constant observations score 1 if met exactly, else 0
        safe = np.where(total > 0, total, 1.0)
        return float(np.mean(np.where(total > 0, 1.0 - left / safe, np.where(left > 0, 0.0, 1.0))))

    def _predictive(self, x: Floats) -> Predictive:
        data = self.posterior_.data
        assert isinstance(data, CompressedData)  # compress made them
        return self.posterior_.at(with_test_inputs(data, x, self.architecture_)).predict()

    def _scaled(self, X: ArrayLike) -> Floats:
        if not hasattr(self, "posterior_"):
            raise not_fitted(self)
        check_names(self, feature_names(X))
        inputs = input_table(self, X)
        if inputs.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {inputs.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return (inputs - self._x_mean) / self._x_scale


def _candidates(widths: Any, n_outputs: int) -> list[tuple[int, ...]]:
    """Return the tuples of widths that ``widths`` stands for."""
    if isinstance(widths, str):
        one_of("widths", widths, ("select",))
        sizes = (3, 10, 30, 100) if n_outputs == 1 else tuple(n_outputs + k for k in (1, 7, 27))
        depths = (1, 2, 3) if n_outputs == 1 else (1, 2)
        return [(), *((size,) * depth for depth in depths for size in sizes)]
    if not isinstance(widths, Iterable):
        raise ValueError(
            f"widths: expected a tuple of integers, a list of tuples or 'select', got {widths!r}; "
            "one layer is (n,)"
        )
    given = list(widths)
    several = [isinstance(entry, Iterable) for entry in given]
    if any(several) and not all(several):
        raise ValueError(f"widths: expected integers alone or tuples alone, got {widths!r}")
    return [tuple(entry) for entry in given] if any(several) else [tuple(given)]

"""What scikit-learn expects of any estimator, without scikit-learn: parameters, tags, checks."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, Self

import jax
import numpy as np

from inference.checks import Floats

_CONSTANT = 1e-12  # a spread below this share of a column's size is rounding


class Estimator:
    """Parameters by name, a short ``repr``, and the tags of a regressor."""

    _estimator_type = "regressor"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor by name (``deep`` changes nothing here)."""
        return {name: getattr(self, name) for name in _parameter_names(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor by name.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        known = _parameter_names(type(self))
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self!r}. "
                    f"Valid parameters are: {known}."
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        signature = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(signature[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn (1.6 or later) asks to know about an estimator."""
        from sklearn.utils import (  # type: ignore[import-untyped]
            InputTags,
            RegressorTags,
            Tags,
            TargetTags,
        )

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True, multi_output=True, single_output=True),
            transformer_tags=None,
            classifier_tags=None,
            regressor_tags=RegressorTags(),
            input_tags=InputTags(),
        )


def _parameter_names(kind: type) -> list[str]:
    names = list(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    return sorted(names[1:])


def not_fitted(estimator: Any) -> Exception:
    """Return scikit-learn's NotFittedError, or where it is not installed its two parents."""
    sentence = (
        f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' with appropriate "
        "arguments before using this estimator."
    )
    try:
        from sklearn.exceptions import NotFittedError  # type: ignore[import-untyped]
    except ImportError:
        return type("NotFittedError", (ValueError, AttributeError), {})(sentence)
    return NotFittedError(sentence)


def input_table(estimator: Any, x: Any) -> Floats:
    """Return inputs as finite numbers ``(n, n_features)``.

    Raises
    ------
    TypeError, ValueError
        If they are sparse or complex, have another number of axes, are empty or not finite.
    """
    name = type(estimator).__name__
    array = _dense("X", x, name)
    if array.ndim != 2:
        raise ValueError(
            f"X: expected 2D array, got {array.ndim}D array with shape {array.shape}. Reshape your "
            "data: array.reshape(-1, 1) if it has a single feature, array.reshape(1, -1) if it is "
            "a single sample"
        )
    if array.shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={array.shape}), expected rows in X")
    if array.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    return _finite("X", array)


def target_table(y: Any, n_samples: int) -> Floats:
    """Return targets as finite numbers, ``(n,)`` or ``(n, D)``.

    Raises
    ------
    TypeError, ValueError
        If they are missing, have another number of rows or axes, or are not finite numbers.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    array = _dense("y", y, "y")
    if array.ndim not in (1, 2):
        raise ValueError(f"y: expected a 1D or 2D array, got shape {array.shape}")
    if array.shape[0] != n_samples:
        raise ValueError(f"y: expected {n_samples} rows as in X, got {array.shape[0]}")
    return _finite("y", array)


def _dense(name: str, value: Any, estimator: str) -> Any:
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required: {name}.toarray()"
        )
    array = np.asarray(value)
    if np.iscomplexobj(array):
        raise ValueError(f"{name}: Complex data not supported, got dtype {array.dtype}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as fault:
        kind = ValueError if isinstance(fault, ValueError) else TypeError
        raise kind(f"{name}: expected an array of numbers; {fault}") from fault


def _finite(name: str, array: Floats) -> Floats:
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        kind = "NaN" if np.isnan(array[where]) else "infinity"
        raise ValueError(
            f"{name}: expected finite numbers. Input {name} contains {kind}, first at {where}; "
            "drop or impute missing values first"
        )
    return array


def feature_names(x: Any) -> Any:
    """Return the column names of a data frame as an object array, None if not all are strings."""
    columns = getattr(x, "columns", None)
    if columns is None:
        return None
    names = np.asarray(columns, dtype=object)
    kinds = {isinstance(name, str) for name in names}
    if kinds == {True, False}:
        raise TypeError(
            "Feature names are only supported if all input features have string names, but X has "
            "names of several types"
        )
    return names if kinds == {True} else None


def check_names(estimator: Any, names: Any) -> None:
    """Warn or raise, as scikit-learn does, unless the inputs have the names seen by ``fit``."""
    fitted = getattr(estimator, "feature_names_in_", None)
    kind = type(estimator).__name__
    if fitted is None and names is None:
        return
    if fitted is None:
        warnings.warn(
            f"X has feature names, but {kind} was fitted without feature names", stacklevel=4
        )
    elif names is None:
        warnings.warn(
            f"X does not have valid feature names, but {kind} was fitted with feature names",
            stacklevel=4,
        )
    elif list(names) != list(fitted):
        unseen = sorted(set(names) - set(fitted))
        missing = sorted(set(fitted) - set(names))
        lines = ["The feature names should match those that were passed during fit."]
        if unseen:
            lines += ["Feature names unseen at fit time:", *(f"- {name}" for name in unseen[:5])]
        if missing:
            lines += [
                "Feature names seen at fit time, yet now missing:",
                *(f"- {name}" for name in missing[:5]),
            ]
        if not unseen and not missing:
            lines.append("Feature names must be in the same order as they were in fit.")
        raise ValueError("\n".join(lines) + "\n")


def column_spread(values: Floats) -> Floats:
    """Return the standard deviation of every column; 0 where only rounding varies."""
    spread = values.std(axis=0)
    return np.where(spread > _CONSTANT * np.abs(values).max(axis=0), spread, 0.0)


def key_from(random_state: Any) -> jax.Array:
    """Return a typed key for scikit-learn's ``random_state``.

    Raises
    ------
    ValueError
        If it is neither an integer, None, nor a ``numpy.random.RandomState``.
    """
    if random_state is None:
        random_state = np.random.mtrand._rand
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31 - 1)
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise ValueError(
            "random_state: expected an integer, None or a numpy.random.RandomState, "
            f"got {random_state!r}"
        )
    return jax.random.key(int(random_state))

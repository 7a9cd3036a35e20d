"""Checked dataclasses check users' values and survive what JAX does with pytrees."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from inference.pytrees import checked_pytree, is_concrete


@checked_pytree
@dataclass(frozen=True)
class Positive:
    value: Any
    other: Any = None

    def __post_init__(self):
        if is_concrete(self.value) and self.value <= 0:
            raise ValueError("value: expected a positive number")


def test_users_values_are_checked_and_those_of_jax_are_not():
    with pytest.raises(ValueError, match="positive"):
        Positive(-1.0)
    slope = jax.grad(lambda one: -(one.value**2))(Positive(3.0))
    assert float(slope.value) == -6.0
    assert slope.other is None
    assert jax.tree.map(lambda leaf: -leaf, Positive(2.0)).value == -2.0


def test_they_can_be_built_inside_jit():
    assert float(jax.jit(lambda x: Positive(x).value)(jnp.array(-1.0))) == -1.0
    batched = jax.vmap(lambda x: Positive(x, 1.0).value)(jnp.arange(-1.0, 2.0))
    assert batched.tolist() == [-1.0, 0.0, 1.0]


def test_leaves_are_named_by_their_fields():
    (path, _), *_ = jax.tree_util.tree_flatten_with_path(Positive(1.0, 2.0))[0]
    assert jax.tree_util.keystr(path) == ".value"


def test_tracers_are_not_concrete():
    seen = []
    jax.jit(lambda x: seen.append(is_concrete(x, None)) or x)(1.0)
    assert seen == [False]
    assert is_concrete(1.0, None, [jnp.ones(2)])

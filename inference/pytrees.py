"""Dataclasses that check their values when users build them, and not when JAX rebuilds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def checked_pytree(cls: type[T]) -> type[T]:
    """Register a frozen dataclass as a pytree whose fields are its children.

    JAX rebuilds pytrees from tracers, derivatives and placeholders, which are no valid values of
    the class: rebuilding skips ``__init__`` and with it all checks.
    """
    names = tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    def children(value: T) -> tuple[list[tuple[Any, Any]], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in names], None

    def rebuilt(_: None, parts: Iterable[Any]) -> T:
        value = object.__new__(cls)
        for name, part in zip(names, parts, strict=True):
            object.__setattr__(value, name, part)
        return value

    jax.tree_util.register_pytree_with_keys(cls, children, rebuilt)
    return cls


def is_concrete(*values: Any) -> bool:
    """Return whether no value is a tracer, whose number is not known yet."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(values))

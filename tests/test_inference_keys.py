"""Named keys: independent of order and of the other names."""

import itertools

import jax
import numpy as np
import pytest

from inference.keys import check_key, split_named

pytestmark = pytest.mark.float32


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_a_key_depends_on_its_name_alone(key):
    few = split_named(key, "chain")
    many = split_named(key, "init", "chain", "noise")
    assert list(many) == ["init", "chain", "noise"]
    assert bits(few["chain"]) == bits(many["chain"])


def test_keys_differ_between_names_and_from_their_parent(key):
    names = ["".join(letters) for letters in itertools.product("abcdefghij", repeat=3)]
    keys = split_named(key, *names)
    assert len({bits(k) for k in keys.values()} | {bits(key)}) == len(names) + 1


def test_keys_differ_between_parents(key):
    other = jax.random.fold_in(key, 1)
    assert bits(split_named(key, "a")["a"]) != bits(split_named(other, "a")["a"])


def test_a_seed_gives_the_same_key_in_every_process():
    # the published check value of CRC-32; a salted hash() would differ
    expected = jax.random.fold_in(jax.random.key(3), 0xCBF43926)
    assert bits(split_named(jax.random.key(3), "123456789")["123456789"]) == bits(expected)


def test_splitting_works_under_jit(key):
    def draw(k):
        return jax.random.normal(split_named(k, "a")["a"], (3,))

    np.testing.assert_array_equal(jax.jit(draw)(key), draw(key))


def test_a_name_must_not_occur_twice(key):
    with pytest.raises(ValueError, match=r"names: expected distinct.*'a', 'b', 'a'"):
        split_named(key, "a", "b", "a")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: jax.random.PRNGKey(0), id="raw uint32"),
        pytest.param(lambda: 0, id="seed"),
        pytest.param(lambda: np.random.default_rng(0), id="NumPy generator"),
        pytest.param(lambda: jax.random.split(jax.random.key(0), 2), id="array of keys"),
        pytest.param(lambda: None, id="None"),
    ],
)
def test_only_a_scalar_typed_key_is_accepted(wrong):
    with pytest.raises(TypeError, match=r"chain_key: expected a key from jax\.random\.key\(seed\)"):
        check_key(wrong(), "chain_key")
    with pytest.raises(TypeError, match="key: expected a key"):
        split_named(wrong(), "a")

"""Speed of `models.deep_linear`, each time as a ratio to a named peer.

Ours is the library as a user calls it. The peer solves the same problem in the same process, in
turns with ours, and must find the same answer. Ratios (time of peer / ours) on two cores of an AMD
EPYC that other work shared; versions, times and spreads are in results/deep_linear.json:

- value and gradient of log p(Y | Q), against autodiff of the dense Cholesky factor of
  kron(Q, K) + I / beta, P = 300, D = 3: 34,000 with 20 inputs, 11,000 with 400 (full rank)
- the same at rank 1000, against autodiff of one small Cholesky factor an eigenvalue
  (`log_evidence_cholesky`): 24 for D = 3, 32 for D = 10
- effective draws of Q a second, NUTS on Q against NUTS on the weights, warm: at width 10 22
  (Linnerud) and 59 (digits), at width 100 180 and 940
- the same a gradient: at width 10 17 and 10, at width 100 48 and 19
- a gradient, and a NUTS draw, at width 1e6 against width 10: 1.0 and 0.9
- compression of 50,000 x 200 (0.3 to 0.5 s) against numpy.linalg.svd: 1.6
- one output: exact posterior against NUTS until E q is known to 1e-3: 43; density of log q against
  mpmath.meijerg: 9 to 33

Conclusion: without the samples, and in the eigenbasis of Q, the evidence and its gradient cost
microseconds at any width; sampling Q instead of weights gains one to three orders of magnitude,
more the wider the network.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy: its threads spin and disturb the clock

from functools import partial
from typing import Any, NamedTuple

import harness
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import NUTS
from numpyro.infer.util import initialize_model

from inference.interop import diagnostics
from models.deep_linear import (
    Architecture,
    collapsed_model,
    compress,
    log_evidence_given_mixing,
    log_mixing_density,
    posterior,
    weights_model,
)
from models.deep_linear.conditional import log_evidence_cholesky

jax.config.update("jax_enable_x64", True)

BETA = 4.0
N_CHAINS = 4
MAX_Z = 5.0

# --- value and gradient of the log-evidence given Q ----------------------------------------------

DENSE_SIZES = [
    {"n_samples": 300, "n_inputs": 20, "n_outputs": 3},
    {"n_samples": 300, "n_inputs": 400, "n_outputs": 3},  # full rank: nothing to compress
]
CHOLESKY_SIZES = [  # (problem, required ratio); n_inputs is the rank
    ({"n_samples": 1000, "n_inputs": 1000, "n_outputs": 3}, 5),
    ({"n_samples": 1000, "n_inputs": 1000, "n_outputs": 10}, 20),
]
STEP = 1e-9


class Problem(NamedTuple):
    """Random data as the compressed and as the dense formula take them, and one Q."""

    data: Any
    kernel: jax.Array
    targets: jax.Array  # outputs slow, as in kron(Q, K)
    mixing: jax.Array


def setup_evidence(n_samples, n_inputs, n_outputs):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n_samples, n_inputs)), rng.normal(size=(n_samples, n_outputs))
    root = rng.normal(size=(n_outputs, 2 * n_outputs)) / np.sqrt(2 * n_outputs)
    return Problem(
        compress(x, y, Architecture((), n_outputs)),
        jnp.asarray(x @ x.T / n_inputs),
        jnp.asarray(y.T.reshape(-1)),
        jnp.asarray(root @ root.T),
    )


def log_evidence_dense(mixing, kernel, targets):
    """The textbook: one Cholesky factorisation of ``kron(Q, K) + I / beta``."""
    covariance = jnp.kron(mixing, kernel) + jnp.eye(targets.size) / BETA
    factor = jnp.linalg.cholesky(covariance)
    whitened = jax.scipy.linalg.solve_triangular(factor, targets, lower=True)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))
    return -0.5 * (whitened @ whitened + log_det + targets.size * jnp.log(2 * jnp.pi))


own_gradient = jax.value_and_grad(partial(log_evidence_given_mixing, beta=BETA))
cholesky_gradient = jax.value_and_grad(partial(log_evidence_cholesky, beta=BETA))
dense_gradient = jax.value_and_grad(log_evidence_dense)


def worst_difference(own, own_args, peer, peer_args, mixing):
    """Largest relative difference of values and gradients, at ``mixing`` and at the identity."""
    differences = []
    for q in (mixing, jnp.eye(len(mixing))):
        for a, b in zip(jax.jit(own)(q, *own_args), jax.jit(peer)(q, *peer_args)):
            differences.append(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
    return float(jnp.max(jnp.stack(differences)))  # NaN stays NaN


def walk(value_and_gradient, n):
    """Return a program of ``n`` evaluations, each one small step along the previous gradient.

    Dispatch is paid once, and no compiler can batch the evaluations or move them out of the loop.
    """

    def program(start, *args):
        def step(_, carry):
            point, total = carry
            value, gradient = value_and_gradient(point, *args)
            return point + STEP * gradient, total + value

        return jax.lax.fori_loop(0, n, step, (start, 0.0))

    return program


def time_gradients(own, own_args, peer, peer_args, start, *, n_own, n_peer, n_pairs):
    """Return seconds per evaluation of both, pair by pair, and the seconds to compile ours."""
    own_program, compile_s = harness.compiled(walk(own, n_own), start, *own_args)
    peer_program, _ = harness.compiled(walk(peer, n_peer), start, *peer_args)
    own_s, peer_s = harness.in_turns(
        lambda: own_program(start, *own_args), lambda: peer_program(start, *peer_args), n_pairs
    )
    return own_s / n_own, peer_s / n_peer, compile_s


def gradient_against_dense(quick):
    for params in DENSE_SIZES[:1] if quick else DENSE_SIZES:
        problem = setup_evidence(**params)
        sides = (own_gradient, (problem.data,), dense_gradient, (problem.kernel, problem.targets))
        own_s, peer_s, compile_s = time_gradients(
            *sides, problem.mixing, n_own=10_000, n_peer=1, n_pairs=3 if quick else 9
        )
        yield harness.row(
            "gradient_against_dense",
            params,
            reference="autodiff of the Cholesky factor of kron(Q, K) + I / beta",
            unit="s per value and gradient",
            own_s=own_s,
            reference_s=peer_s,
            compile_s=compile_s,
            required=1000,
            difference=worst_difference(*sides, problem.mixing),
            tolerance=1e-9,
        )


def gradient_against_cholesky(quick):
    for params, required in CHOLESKY_SIZES:
        problem = setup_evidence(**params)
        sides = (own_gradient, (problem.data,), cholesky_gradient, (problem.data,))
        own_s, peer_s, compile_s = time_gradients(
            *sides, problem.mixing, n_own=2000, n_peer=50, n_pairs=3 if quick else 15
        )
        yield harness.row(
            "gradient_against_cholesky",
            params,
            reference="autodiff of one Cholesky factor of Lam_p Q + I / beta for each p",
            unit="s per value and gradient",
            own_s=own_s,
            reference_s=peer_s,
            compile_s=compile_s,
            required=required,
            difference=worst_difference(*sides, problem.mixing),
            tolerance=1e-9,
        )


# --- effective samples of Q, collapsed against all weights ---------------------------------------

SAMPLER_SIZES = [  # (data, width, required ratio per second, and per gradient)
    ("linnerud", 10, None, 5),
    ("digits", 10, None, 5),
    ("linnerud", 100, 10, None),
    ("digits", 100, 10, None),
]


def load(name):
    """Return training inputs and targets as the examples and the README use them."""
    from sklearn.datasets import load_digits, load_linnerud

    if name == "linnerud":
        bunch = load_linnerud()
        parts = bunch.data[:16], bunch.target[:16]
        return [(part - part.mean(0)) / part.std(0) for part in parts]
    x, label = load_digits(n_class=2, return_X_y=True)
    x = x[:100] - x[:100].mean(0)
    return x / x.std(), 2.0 * label[:100, None] - 1.0


class Sampler:
    """NumPyro's NUTS, four chains, in one program that draws ``n_draws`` a chain.

    The kernel that `MCMC` runs, in a loop compiled once: `MCMC.run` compiles at every call without
    a progress bar, and returns to Python at every draw with one.

    Parameters
    ----------
    model, args
        A NumPyro model with a site ``mixing``.
    n_draws, n_warmup
        Draws a chain in one call of `advance`, and of adaptation before the first that count.
    vectorized
        Chains side by side (each waits for the longest trajectory), or one after another.
    """

    def __init__(self, model, args, *, n_draws, n_warmup, vectorized, seed=0):
        kernel = NUTS(model)
        keys = jax.random.split(jax.random.key(seed), N_CHAINS)
        states = [kernel.init(key, n_warmup, None, args, {}) for key in keys]
        self.state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        sites = kernel.postprocess_fn(args, {})

        def draw(state, _):
            state = kernel.sample(state, args, {})
            return state, (sites(state.z)["mixing"], state.num_steps)

        def chain(state):
            return jax.lax.scan(draw, state, length=n_draws)

        chains = jax.vmap(chain) if vectorized else partial(jax.lax.map, chain)
        self.program, self.compile_s = harness.compiled(chains, self.state)
        self.kept = []
        for _ in range(-(-n_warmup // n_draws)):
            self.advance()
        self.kept.clear()

    def advance(self):
        """Draw ``n_draws`` more a chain, and keep them."""
        self.state, draws = jax.block_until_ready(self.program(self.state))
        self.kept.append(draws)

    def summary(self):
        """Return diagnostics of the lower triangle of Q, and leapfrog steps ``(chain, draw)``."""
        mixing, n_steps = (np.concatenate(parts, axis=1) for parts in zip(*self.kept))
        lower = np.tril_indices(mixing.shape[-1])
        return diagnostics(mixing[..., lower[0], lower[1]]), n_steps


def worst_z(found, expected):
    return float(np.max(np.abs(found.mean - expected.mean) / np.hypot(found.mcse, expected.mcse)))


def setup_samplers(name, width, n_warmup):
    """Both samplers, each with its chains as it is faster: side by side, one after another."""
    x, y = load(name)
    network = Architecture((width,), n_outputs=y.shape[1])
    own_args, peer_args = (compress(x, y, network), network, BETA), (x, y, network, BETA)
    # ours draws 25 times as many, else a single interruption would be all that is timed
    return (
        Sampler(collapsed_model, own_args, n_draws=5000, n_warmup=n_warmup, vectorized=True),
        Sampler(weights_model, peer_args, n_draws=200, n_warmup=n_warmup, vectorized=False),
    )


def effective_samples(quick):
    n_pairs, n_warmup = (2, 400) if quick else (6, 1000)
    for name, width, per_second, per_gradient in SAMPLER_SIZES[:2] if quick else SAMPLER_SIZES:
        own, peer = setup_samplers(name, width, n_warmup)
        times = harness.in_turns(own.advance, peer.advance, n_pairs)
        own_found, own_steps = own.summary()
        peer_found, peer_steps = peer.summary()
        ess = np.array([own_found.ess.min(), peer_found.ess.min()])
        own_s, peer_s = times * len(own.kept) / ess[:, None]  # seconds per effective sample
        shared = {
            "params": {"data": name, "width": width, "n_warmup": n_warmup},
            "difference": worst_z(own_found, peer_found),
            "tolerance": MAX_Z,
            "ess": ess,
            "r_hat": [own_found.r_hat.max(), peer_found.r_hat.max()],
            "leapfrogs_per_draw": [own_steps.mean(), peer_steps.mean()],
        }
        yield harness.row(
            "effective_samples_per_second",
            reference="NUTS on the weights",
            unit="s per effective sample of Q",
            own_s=own_s,
            reference_s=peer_s,
            compile_s=own.compile_s,
            required=per_second,
            **shared,
        )
        yield harness.row(
            "effective_samples_per_gradient",
            reference="NUTS on the weights",
            unit="gradients (not s) per effective sample of Q",
            own_s=own_steps.sum() / ess[0],
            reference_s=peer_steps.sum() / ess[1],
            required=per_gradient,
            **shared,
        )


# --- widths cost nothing -------------------------------------------------------------------------

NARROW, WIDE = 10, 10**6
DEPTHS = (1, 2)
SAME = [0.8, 1.2]


def setup_widths(depth):
    """Data and the two networks, Linnerud's data."""
    x, y = load("linnerud")
    networks = [Architecture((width,) * depth, n_outputs=y.shape[1]) for width in (WIDE, NARROW)]
    return compress(x, y, networks[0]), networks


def potential_gradient(data, architecture):
    """Value and gradient of what NUTS climbs, and a point to start from."""
    args = (data, architecture, BETA)
    found = initialize_model(jax.random.key(0), collapsed_model, model_args=args)
    start = jnp.full(found.param_info.z["coordinates"].shape, 0.3)
    return jax.value_and_grad(lambda z: found.potential_fn({"coordinates": z})), start


def gradient_at_any_width(quick):
    for depth in DEPTHS[:1] if quick else DEPTHS:
        data, networks = setup_widths(depth)
        (wide, start), (narrow, _) = [potential_gradient(data, network) for network in networks]
        own_s, peer_s, compile_s = time_gradients(
            wide, (), narrow, (), start, n_own=20_000, n_peer=20_000, n_pairs=9 if quick else 41
        )
        yield harness.row(
            "gradient_at_any_width",
            {"data": "linnerud", "width": WIDE, "layers": depth},
            reference=f"the same at width {NARROW}",
            unit="s per gradient",
            own_s=own_s,
            reference_s=peer_s,
            compile_s=compile_s,
            required=SAME,
        )


def draw_at_any_width(quick):
    n_draws, n_pairs = 500, 5 if quick else 41
    for depth in DEPTHS[:1] if quick else DEPTHS:
        data, networks = setup_widths(depth)
        wide, narrow = [
            Sampler(
                collapsed_model,
                (data, network, BETA),
                n_draws=n_draws,
                n_warmup=500 if quick else 1000,
                vectorized=True,
            )
            for network in networks
        ]
        times = harness.in_turns(wide.advance, narrow.advance, n_pairs) / n_draws
        yield harness.row(
            "draw_at_any_width",
            {"data": "linnerud", "width": WIDE, "layers": depth},
            reference=f"the same at width {NARROW}",
            unit=f"s per NUTS draw of {N_CHAINS} chains",
            own_s=times[0],
            reference_s=times[1],
            compile_s=wide.compile_s,
            required=SAME,
            leapfrogs_per_draw=[sampler.summary()[1].mean() for sampler in (wide, narrow)],
        )


# --- compression ---------------------------------------------------------------------------------

COMPRESS_SIZES = [(5_000, 200), (50_000, 200)]


def setup_compression(n_samples, n_inputs, n_outputs=3):
    """Eigenvalues of the kernel by `compress`, and from the singular values of the inputs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n_samples, n_inputs)), rng.normal(size=(n_samples, n_outputs))
    network = Architecture((), n_outputs)
    return (
        lambda: compress(x, y, network).eigenvalues,
        lambda: np.linalg.svd(x, full_matrices=False)[1] ** 2 / n_inputs,
    )


def compression(quick):
    n_samples, n_inputs = COMPRESS_SIZES[0 if quick else 1]
    own, peer = setup_compression(n_samples, n_inputs)
    own_s, peer_s = harness.in_turns(own, peer, 3 if quick else 11)
    yield harness.row(
        "compression",
        {"n_samples": n_samples, "n_inputs": n_inputs},
        reference="numpy.linalg.svd(x, full_matrices=False)",
        own_s=own_s,
        reference_s=peer_s,
        difference=np.max(np.abs(own() / peer() - 1)),
        tolerance=1e-10,
    )


# --- one output ----------------------------------------------------------------------------------

RELATIVE_ERROR = 1e-3  # of E q, that the sampler is asked for
DENSITY_WIDTHS = [(4, 7), (5, 3, 6)]


def scalar_posterior(quick):
    x, y = load("digits")
    network = Architecture((10,))
    data = compress(x, y, network)
    sampler = Sampler(
        collapsed_model, (data, network, BETA), n_draws=1000, n_warmup=1000, vectorized=True
    )
    own_s, peer_s = harness.in_turns(
        lambda: posterior(data, network, BETA).mixing_mean, sampler.advance, 3 if quick else 15
    )
    exact = float(posterior(data, network, BETA).mixing_mean[0, 0])
    found, _ = sampler.summary()
    times_needed = len(sampler.kept) * (found.mcse[0] / (RELATIVE_ERROR * exact)) ** 2
    yield harness.row(
        "scalar_posterior",
        {"data": "digits", "width": 10, "relative_error": RELATIVE_ERROR},
        reference="NUTS on q until the Monte Carlo error of E q is small enough",
        unit="s, compiled; quadrature has an error below 1e-11",
        own_s=own_s,
        reference_s=peer_s * times_needed,
        difference=abs(found.mean[0] - exact) / found.mcse[0],
        tolerance=MAX_Z,
    )


def setup_density(widths, n_points):
    """Log-density of log q at ``n_points`` as the library and as mpmath's Meijer G have it."""
    import mpmath

    network, points = Architecture(widths), np.linspace(-6.0, 2.0, n_points)
    shapes = [mpmath.mpf(width) / 2 for width in widths]
    log_norm = mpmath.fsum(mpmath.loggamma(shape) for shape in shapes)

    def peer():
        arguments = (mpmath.fprod(shapes) * mpmath.exp(x) for x in points)
        densities = (mpmath.meijerg([[], []], [shapes, []], z) for z in arguments)
        return np.array([float(mpmath.log(density) - log_norm) for density in densities])

    program, compile_s = harness.compiled(partial(log_mixing_density, network), points)
    return lambda: program(points), peer, compile_s


def scalar_density(quick):
    n_points = 50 if quick else 1000
    for widths in DENSITY_WIDTHS:
        own, peer, compile_s = setup_density(widths, n_points)
        own_s, peer_s = harness.in_turns(own, peer, 3)
        yield harness.row(
            "scalar_density",
            {"widths": widths, "n_points": n_points},
            reference="mpmath.meijerg at 15 digits, a point at a time",
            own_s=own_s,
            reference_s=peer_s,
            compile_s=compile_s,
            difference=np.max(np.abs(own() - peer())),
            tolerance=1e-9,
        )


BENCHMARKS = {
    function.__name__: function
    for function in (
        gradient_against_dense,
        gradient_against_cholesky,
        effective_samples,
        gradient_at_any_width,
        draw_at_any_width,
        compression,
        scalar_posterior,
        scalar_density,
    )
}

if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)  # else compile_s is a lookup
    raise SystemExit(harness.main("deep_linear", BENCHMARKS, __doc__))

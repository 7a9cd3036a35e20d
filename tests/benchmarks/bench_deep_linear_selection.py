"""Choice by evidence in `models.deep_linear`: its speed, and how well what it chooses predicts.

Ours is `DeepLinearRegressor("select")`: 13 networks (several outputs: 7), the noise of each, one
fit by evidence. The peers choose too: scikit-learn's GaussianProcessRegressor with the kernel
DotProduct + WhiteKernel (scale, offset and noise by maximal evidence from four starts, alpha by
five-fold cross-validation), and BayesianRidge (precisions by maximal evidence). All are handed
inputs scaled by the training half and judged by the other half of a random split: diabetes (one
output), Linnerud (three). The ratio is that of the times of a fit; quality is in the row, for ours
and the peer: ``r2`` and the held-out mean ``log_density`` of an observation (all outputs of a row).
`difference` is by how much the peer's log-density is better than ours, a point and output.

`evidences`: 49 networks x 16 noise levels, one output, by `select` against `posterior` pair by pair
(timed on a tenth of the networks).

Two cores of an AMD EPYC that other work shared: 2.9 ms an evidence, 40 times less than one by one.
Diabetes: R^2 0.481 and log-density -1.089 in 1.2 s, the Gaussian process 0.482 and -1.088 in 4.1 s,
BayesianRidge the same in 1.5 ms. Linnerud: R^2 -0.001 and log-density -3.33 in 18 s; the Gaussian
process, whose three outputs share one noise and one scale found on ten men, 0.06 and -7.4 in 0.6 s;
BayesianRidge -0.14 and -3.18 (a noise level an output) in 6 ms.

Conclusion: with one output the choice costs a second and is as good as the best linear peer, not
better: these data ask for nothing but shrinkage. With several outputs it is slow, and one shared
noise level is a handicap; what it adds is the evidence and the mixing matrix, not accuracy.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy: its threads spin and disturb the clock

import time
import warnings

import harness
import jax
import numpy as np
import scipy.stats

from models.deep_linear import Architecture, compress, posterior
from models.deep_linear.regressor import DeepLinearRegressor
from models.deep_linear.selection import select

jax.config.update("jax_enable_x64", True)

WORSE = 0.05  # nats a point and output that a peer may be better by


def load(name, seed=0):
    """Return the two halves of a random split, scaled by the first."""
    from sklearn.datasets import load_diabetes, load_linnerud

    bunch = load_diabetes() if name == "diabetes" else load_linnerud()
    x, y = bunch.data, bunch.target.reshape(len(bunch.data), -1)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y, n = x[order], y[order], len(x) // 2
    x, y = ((part - part[:n].mean(0)) / part[:n].std(0) for part in (x, y))
    return x[:n], y[:n], x[n:], y[n:]


# --- all evidences at once -----------------------------------------------------------------------


def setup_evidences(n_widths):
    x, y, _, _ = load("diabetes")
    widths = np.unique(np.geomspace(1, 1000, 17).astype(int))[-n_widths:]
    networks = [Architecture((int(width),) * depth) for depth in (1, 2, 3) for width in widths]
    return x, y, [Architecture(()), *networks], np.geomspace(0.5, 8.0, 16)


def evidences(quick):
    x, y, networks, betas = setup_evidences(2 if quick else 17)
    some = networks[:: 3 if quick else 10]
    data = compress(x, y, networks[0])
    start = time.perf_counter()
    first = select(x, y, networks, betas)
    compile_s = time.perf_counter() - start

    def one_by_one():
        return np.array([[posterior(data, a, b).log_evidence for b in betas] for a in some])

    own_s, peer_s = harness.in_turns(
        lambda: select(x, y, networks, betas).log_evidence, one_by_one, 1 if quick else 3
    )
    own = first.log_evidence[:: 3 if quick else 10]
    yield harness.row(
        "evidences",
        {"data": "diabetes", "n_networks": len(networks), "n_betas": len(betas)},
        reference="posterior(...).log_evidence, pair by pair",
        unit="s per evidence",
        own_s=own_s / first.log_evidence.size,
        reference_s=peer_s / own.size,
        compile_s=compile_s - np.median(own_s),
        required=10,
        difference=np.max(np.abs(own / one_by_one() - 1)),
        tolerance=1e-9,
    )


# --- a whole fit ---------------------------------------------------------------------------------


def fit_own(x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DeepLinearRegressor("select").fit(x, y)


def fit_gaussian_process(x, y):
    """Kernel parameters by evidence, alpha by cross-validation, as its users do."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import DotProduct, WhiteKernel
    from sklearn.model_selection import GridSearchCV

    model = GaussianProcessRegressor(
        1.0 * DotProduct() + WhiteKernel(), n_restarts_optimizer=3, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds of the kernel's parameters
        return GridSearchCV(model, {"alpha": [1e-10, 1e-2, 1.0]}, cv=5).fit(x, y).best_estimator_


def fit_bayesian_ridge(x, y):
    """One model an output: it takes no more."""
    from sklearn.linear_model import BayesianRidge

    models = [BayesianRidge(fit_intercept=False).fit(x, column) for column in y.T]

    class Several:
        def predict(self, x, return_std):
            means, stds = zip(*(model.predict(x, return_std=True) for model in models))
            return np.stack(means, 1), np.stack(stds, 1)

    return Several()


PEERS = {
    "GaussianProcessRegressor(DotProduct + WhiteKernel), cross-validated": fit_gaussian_process,
    "BayesianRidge": fit_bayesian_ridge,
}


def quality(model, x, y):
    """Return R^2 and the mean log predictive density of the rows."""
    from sklearn.metrics import r2_score

    mean, std = (np.reshape(part, y.shape) for part in model.predict(x, return_std=True))
    if isinstance(model, DeepLinearRegressor):
        density = model.log_prob(x, y)
    else:
        density = scipy.stats.norm(mean, std).logpdf(y).sum(axis=1)
    return r2_score(y, mean), float(np.mean(density))


def time_fits(fit, x, y, n_pairs):
    return harness.in_turns(lambda: fit_own(x, y).beta_, lambda: fit(x, y) is None, n_pairs)


def choice_and_fit(quick):
    for name in ("diabetes",) if quick else ("diabetes", "linnerud"):
        x, y, x_test, y_test = load(name)
        start = time.perf_counter()
        own = quality(fit_own(x, y), x_test, y_test)
        compile_s = time.perf_counter() - start
        for reference, fit in PEERS.items():
            own_s, peer_s = time_fits(fit, x, y, n_pairs=1 if quick else 5)
            peer = quality(fit(x, y), x_test, y_test)
            yield harness.row(
                "choice_and_fit",
                {"data": name, "peer": reference.partition("(")[0]},
                reference=reference,
                unit="s per fit, every choice included",
                own_s=own_s,
                reference_s=peer_s,
                compile_s=max(compile_s - np.median(own_s), 0.0),
                difference=(peer[1] - own[1]) / y.shape[1],
                tolerance=WORSE if name == "diabetes" else None,  # ten men decide nothing
                r2=[own[0], peer[0]],
                log_density=[own[1], peer[1]],
            )


BENCHMARKS = {function.__name__: function for function in (evidences, choice_and_fit)}

if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)  # else compile_s is a lookup
    raise SystemExit(harness.main("deep_linear_selection", BENCHMARKS, __doc__))

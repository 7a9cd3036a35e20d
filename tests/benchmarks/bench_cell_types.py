"""`models.cell_types` beside topic models: time of a fit, recovery of known types, size.

All on the generator `simulate_benchmark` (1500 genes, 992 bins, ten types, 5.8e5 cells for seed 1).
CPU seconds of a process pinned to one core, since wall time on a shared machine says little;
compilation apart unless it says cold. Every peer has the priors .1 and 1 of ours.
`single_start`: one spectral start against one run of tomotopy (collapsed Gibbs, 300 sweeps),
scikit-learn's NMF (multiplicative, 200 iterations, in double precision as it converts counts to,
and in single as a reader may) and its variational LDA (batch, 50). `difference` is by how much our
mean cosine of matched maps falls short of the peer's.
`recovery`: the default fit, five starts, against the best of one run of each, on four data sets
on which defaults were compared, and on two that were looked at only after.
`cold`: the default fit in a fresh process with all imports and compilation, against 10 s.
`large`: a step of EM of 2000 genes and 25 types on all cores, wall time, against what is required;
`difference` is the largest size of the process in GB.
tomotopy is not among our dependencies; without it its rows are left out.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import subprocess
import sys
import time
from functools import partial

import harness
import jax
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF, LatentDirichletAllocation

from models.cell_types import fit, simulate_benchmark

ALL_CORES = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(ALL_CORES)})  # JAX has not started its threads yet

N_TYPES = 10
LARGEST_SHORTFALL = 0.005

COLD = """
import time
import jax
from models.cell_types import fit, simulate_benchmark
fit(simulate_benchmark(1).counts, 10, key=jax.random.key(0), on_failure="ignore")
print(time.process_time())
"""

LARGE = """
import json, resource, sys, time
import jax, numpy as np
from models.cell_types.device import gene_table
from models.cell_types.updates import cavi_steps, em_steps
n_bins = int(sys.argv[1])
rng = np.random.default_rng(0)
maps = rng.dirichlet(np.ones(n_bins), 25)
values = np.empty((2000, n_bins), np.int32)
for row in values:
    row[:] = rng.poisson(rng.gamma(2, .08) * n_bins * (rng.dirichlet(np.full(25, .1)) @ maps))
table = gene_table(values, "float32")
state = table.put_state(np.full((2000, 25), 1 / 25), maps)
seconds = {}
for name, steps, scale in (("em", em_steps, 1.0), ("cavi", cavi_steps, 1e4)):
    extra = table.number(.02), table.number(1.0)
    scaled = tuple(scale * part for part in state)
    jax.block_until_ready(steps(table.values, *scaled, *extra, 1))
    start = time.perf_counter()
    jax.block_until_ready(steps(table.values, *scaled, *extra, 10))
    seconds[name] = (time.perf_counter() - start) / 10
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps([seconds["em"], seconds["cavi"], peak, int(values.sum())]))
"""


def recovered(data, membership, maps):
    """Return mean and least cosine of matched maps, and the mean correlation of profiles."""
    unit, true = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (maps, data.maps))
    cosine = true @ unit.T
    rows, order = linear_sum_assignment(-cosine)
    profile = [
        np.corrcoef(data.membership[:, k], membership[:, j])[0, 1] for k, j in zip(rows, order)
    ]
    best = cosine[rows, order]
    return best.mean(), best.min(), np.mean(profile)


def ours(data, restarts):
    found = fit(data.counts, N_TYPES, restarts=restarts, key=jax.random.key(0), on_failure="ignore")
    return found.membership, found.maps


def tomotopy(data, n_sweeps=300):
    """Return seconds of the sweeps alone, and both factors; None if it is not there."""
    try:
        import tomotopy as tp
    except ImportError:
        return None
    values = data.counts.values
    model = tp.LDAModel(k=N_TYPES, alpha=0.1, eta=1.0, seed=0)
    words = np.array([str(v) for v in range(values.shape[1])])
    for gene in values:
        model.add_doc(np.repeat(words, gene).tolist())
    start = time.process_time()
    model.train(n_sweeps, workers=1)
    elapsed = time.process_time() - start
    maps = np.zeros((N_TYPES, values.shape[1]))
    used = np.array([int(word) for word in model.used_vocabs])
    for k in range(N_TYPES):
        maps[k, used] = model.get_topic_word_dist(k)
    return elapsed, np.array([doc.get_topic_dist() for doc in model.docs]), maps


def nmf(data, n_steps=200, dtype=np.float64):
    values = data.counts.values.astype(dtype)
    peer = NMF(
        N_TYPES, init="random", solver="mu", beta_loss="kullback-leibler", max_iter=n_steps, tol=0,
        random_state=0,
    )  # fmt: skip
    start = time.process_time()
    weights = peer.fit_transform(values)
    elapsed = time.process_time() - start
    scale = peer.components_.sum(axis=1)
    beta = weights * scale
    return elapsed, beta / beta.sum(axis=1, keepdims=True), peer.components_ / scale[:, None]


def lda(data, n_steps=50):
    peer = LatentDirichletAllocation(
        N_TYPES, doc_topic_prior=0.1, topic_word_prior=1.0, learning_method="batch",
        max_iter=n_steps, random_state=0,
    )  # fmt: skip
    start = time.process_time()
    membership = peer.fit_transform(data.counts.values)
    elapsed = time.process_time() - start
    maps = peer.components_ / peer.components_.sum(axis=1, keepdims=True)
    return elapsed, membership, maps


def timed(call):
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def bench_single_start(quick):
    data = simulate_benchmark(1)
    compiling = timed(lambda: ours(data, 0))[0]
    runs = [timed(lambda: ours(data, 0)) for _ in range(2 if quick else 5)]
    own = recovered(data, *runs[-1][1])
    peers = {
        "tomotopy": (tomotopy, (30,) if quick else (), 4),
        "NMF": (nmf, (20,) if quick else (), 7),
        "NMF in single precision": (partial(nmf, dtype=np.float32), (20,) if quick else (), None),
        "LDA": (lda, (2,) if quick else (), 25),
    }
    for name, (peer, short, required) in peers.items():
        result = peer(data, *short)
        if result is None:
            print("tomotopy is not installed", file=sys.stderr)
            continue
        runs.append(timed(lambda: ours(data, 0)))
        other = recovered(data, *result[1:])
        yield harness.row(
            "single_start", {"seed": 1, "peer": name}, reference=name,
            own_s=[seconds for seconds, _ in runs], reference_s=result[0],
            compile_s=compiling, required=None if quick else required,
            difference=other[0] - own[0], tolerance=None if quick else LARGEST_SHORTFALL,
            recovery=own, peer_recovery=other,
        )  # fmt: skip


def bench_recovery(quick):
    for seed in (1,) if quick else (1, 2, 4, 5, 6, 7):
        data = simulate_benchmark(seed)
        seconds, found = timed(lambda d=data: ours(d, 1 if quick else 4))
        own = recovered(data, *found)
        runs = {"tomotopy": tomotopy(data), "NMF": nmf(data)}
        if not quick:
            runs["LDA"] = lda(data)
        others = {name: (run[0], recovered(data, *run[1:])) for name, run in runs.items() if run}
        best = max(others, key=lambda name: others[name][1][0])
        yield harness.row(
            "recovery", {"seed": seed}, reference=f"the best of {', '.join(others)}: {best}",
            own_s=seconds, reference_s=others[best][0], difference=others[best][1][0] - own[0],
            tolerance=LARGEST_SHORTFALL, recovery=own,
            **{f"{name}_recovery": recovery for name, (_, recovery) in others.items()},
        )  # fmt: skip


def in_a_process(code, *arguments, cores):
    """Return the output of a fresh process on these cores."""
    pinned = f"import os\nos.sched_setaffinity(0, {sorted(cores)})\n"
    paths = [path for path in sys.path if path]
    command = [sys.executable, "-c", pinned + code, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    return done.stdout


def bench_cold(quick):
    seconds = float(in_a_process(COLD, cores={min(ALL_CORES)}))
    yield harness.row(
        "cold", {"seed": 1, "restarts": 4}, reference="10 s", own_s=seconds, reference_s=10.0,
        required=None if quick else 1.0,
    )  # fmt: skip


def bench_large(quick):
    for n_bins, most, gigabytes in ((10_000, 0.2, None), (60_000, None, 4.0)):
        if quick and gigabytes:
            continue
        em, cavi, peak, n_cells = json.loads(in_a_process(LARGE, str(n_bins), cores=ALL_CORES))
        yield harness.row(
            "large", {"n_genes": 2000, "n_bins": n_bins, "n_types": 25},
            reference="0.2 s a step" if most else "nothing", own_s=em, reference_s=most or em,
            required=1.0 if most else None, difference=peak, tolerance=gigabytes,
            cavi_s=cavi, n_cells=n_cells,
        )  # fmt: skip


BENCHMARKS = {
    "single_start": bench_single_start,
    "recovery": bench_recovery,
    "cold": bench_cold,
    "large": bench_large,
}

if __name__ == "__main__":
    raise SystemExit(harness.main("cell_types", BENCHMARKS, __doc__))

"""Inferred types against references: matching, chance, ceilings, and solutions among themselves."""

import itertools

import jax
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from models.cell_types import (
    ProfileTable,
    fit,
    match_profiles,
    permutation_test,
    read_profiles,
    simulate_benchmark,
    split_half_ceiling,
    stability,
)
from models.cell_types.validation import holm

FOUND = np.array([[9, 1, 2, 1, 4], [1, 8, 1, 3, 2], [2, 1, 1, 7, 6]], float)
KNOWN = np.array([[2, 1, 1, 6, 7], [7, 2, 1, 2, 3], [1, 9, 3, 2, 1]], float)
RAW = {"transform": "raw", "min_common": 1}


def related(rng, n_types=4, n_genes=60, noise=0.7):
    """Profiles, and noisy ones of the same types in another order, abundance scrambled."""
    profiles = rng.gamma(0.5, size=(n_types, n_genes))
    order = rng.permutation(n_types)
    other = profiles[order] * np.exp(noise * rng.standard_normal((n_types, n_genes)))
    return profiles, other * np.exp(rng.standard_normal(n_genes)), order


class TestMatchProfiles:
    def test_case_f(self):
        match = match_profiles(FOUND, KNOWN, **RAW)
        expected = [
            [-0.072280270982, 0.951350820121, -0.542227577583],
            [-0.238112111717, -0.329072590857, 0.922410069402],
            [0.969879518072, -0.074003048988, -0.528959131199],
        ]
        np.testing.assert_allclose(match.table, expected, rtol=1e-9)
        assert match.partner.tolist() == [1, 2, 0]
        assert match.mean_correlation == pytest.approx(0.947880135865, rel=1e-11)
        assert (match.unmatched, match.unmatched_reference) == ((), ())

    @pytest.mark.parametrize("shape", [(5, 5), (3, 6), (6, 3)])
    def test_the_pairing_is_that_of_networkx(self, shape):
        rng = np.random.default_rng(sum(shape))
        match = match_profiles(
            rng.random((shape[0], 40)), rng.random((shape[1], 40)), transform="raw"
        )
        graph = nx.Graph()
        for i, j in itertools.product(*map(range, shape)):
            graph.add_edge(("a", i), ("b", j), weight=match.table[i, j] + 2.0)
        pairs = nx.max_weight_matching(graph, maxcardinality=True)
        theirs = {tuple(n for _, n in sorted(pair)) for pair in pairs}
        ours = {(i, int(j)) for i, j in enumerate(match.partner) if j >= 0}
        assert ours == theirs
        assert len(match.unmatched) == max(0, shape[0] - shape[1])
        assert len(match.unmatched_reference) == max(0, shape[1] - shape[0])

    def test_fractions_do_not_know_abundance_and_raw_profiles_do(self):
        found, known, order = related(np.random.default_rng(0))
        scale = np.exp(2 * np.random.default_rng(1).standard_normal(found.shape[1]))
        for transform in ("fraction", "logratio"):
            plain, scaled = (
                match_profiles(found, table, transform=transform)
                for table in (known, known * scale)
            )
            np.testing.assert_allclose(scaled.table, plain.table, atol=1e-12)
            assert order[plain.partner].tolist() == [0, 1, 2, 3]
        raw = [match_profiles(found, t, transform="raw").table for t in (known, known * scale)]
        assert np.abs(raw[0] - raw[1]).max() > 0.1

    def test_transformations_are_what_they_are_called(self):
        found, known, _ = related(np.random.default_rng(2))
        share = found / found.sum(axis=0)
        np.testing.assert_allclose(match_profiles(found, known).profiles, share)
        log = np.log(share + 1e-3)
        ratio = match_profiles(found, known, transform="logratio").profiles
        np.testing.assert_allclose(ratio, log - log.mean(axis=0), atol=1e-14)

    def test_symbols_join_in_any_case_and_doubles_add_up(self):
        found = ProfileTable(
            ("a", "b"), ("Gad1", "SST", "Pvalb", "gad1"), np.arange(8.0).reshape(2, 4)
        )
        known = pd.DataFrame(
            [[1.0, 2, 3], [5, 1, 2]], index=["x", "y"], columns=["pvalb", "Xist", "GAD1 "]
        )
        match = match_profiles(found, known, **RAW)
        assert match.genes == ("Gad1", "Pvalb")
        np.testing.assert_array_equal(match.profiles, [[3, 2], [11, 6]])
        np.testing.assert_array_equal(match.reference, [[3, 1], [2, 5]])
        assert (match.n_genes, match.n_reference_genes, match.n_merged) == (3, 3, 1)
        assert (match.types, match.reference_types) == (("a", "b"), ("x", "y"))

    def test_names_for_arrays(self):
        found, known, _ = related(np.random.default_rng(3))
        names = [f"g{i}" for i in range(60)]
        shuffled = np.random.default_rng(4).permutation(60)
        plain = match_profiles(found, known)
        joined = match_profiles(
            found, known[:, shuffled], genes=names, reference_genes=[names[i] for i in shuffled]
        )
        np.testing.assert_array_equal(joined.table, plain.table)
        np.testing.assert_array_equal(match_profiles(found, known, genes=names).table, plain.table)

    def test_a_constant_profile_has_no_correlation_and_no_partner(self):
        found, known = np.random.default_rng(5).random((2, 3, 40))
        found[1], known[2] = 0.1, 3.0
        match = match_profiles(found, known, transform="raw")
        assert np.isnan(match.table[1]).all()
        assert np.isnan(match.table[:, 2]).all()
        assert match.unmatched == ("1",)
        assert match.unmatched_reference == ("2",)
        assert np.isnan(match.correlation[1])
        assert match.mean_correlation == pytest.approx(match.correlation[[0, 2]].mean())
        test = permutation_test(match, n_permutations=19)
        assert np.isnan(test.type_p_value).tolist() == [False, True, False]
        assert np.isnan(test.type_p_holm).tolist() == [False, True, False]

    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            ((FOUND, KNOWN), {}, "genes: expected at least 30 common ones, got 5 of 5 and 5"),
            ((FOUND, KNOWN[:, :4]), RAW, "reference: expected 5 genes as in inferred, got 4"),
            (
                (-FOUND, KNOWN),
                {"min_common": 5},
                "inferred: expected numbers of at least 0, got -9",
            ),
            ((FOUND * 0, KNOWN), RAW, "inferred: expected profiles that vary"),
            ((FOUND, KNOWN), {**RAW, "transform": "rank"}, "transform: expected one of"),
            ((FOUND, KNOWN[:, :4]), {**RAW, "genes": "abcde"}, "expected names for both"),
            ((FOUND, KNOWN), {**RAW, "genes": "abc"}, "inferred: expected 3 columns as in genes"),
            ((FOUND[:1], KNOWN), {"min_common": 5}, "inferred: expected at least two types"),
            ((FOUND * np.inf, KNOWN), RAW, "inferred: expected finite numbers"),
        ],
    )
    def test_bad_input(self, arguments, options, message):
        with pytest.raises(ValueError, match=message):
            match_profiles(*arguments, **options)


class TestPermutationTest:
    def test_case_f_is_exact(self):
        test = permutation_test(FOUND, KNOWN, **RAW)
        assert test.exact
        assert len(test.null) == 120
        assert test.p_value == 2 / 120
        assert test.match.mean_correlation == pytest.approx(0.947880135865, rel=1e-11)

    def test_all_orders_by_brute_force(self):
        test = permutation_test(FOUND, KNOWN, exact=True, **RAW)
        means, best = [], []
        for order in itertools.permutations(range(5)):
            table = np.corrcoef(FOUND, KNOWN[:, order])[:3, 3:]
            means.append(
                max(table[range(3), p].mean() for p in map(list, itertools.permutations(range(3))))
            )
            best.append(table.max(axis=1))
        np.testing.assert_allclose(test.null, means, atol=1e-12)
        observed = test.match.correlation
        expected = (np.array(best) >= observed - 1e-9).mean(axis=0)
        np.testing.assert_array_equal(test.type_p_value, expected)

    def test_random_orders_agree_with_all(self):
        sampled = permutation_test(FOUND, KNOWN, exact=False, n_permutations=4999, seed=1, **RAW)
        p = 2 / 120
        expected = (1 + 4999 * p) / 5000
        error = np.sqrt(4999 * p * (1 - p)) / 5000
        assert abs(sampled.p_value - expected) < 4 * error
        assert not sampled.exact
        assert len(sampled.null) == 4999

    def test_unrelated_profiles_have_even_p_values(self):
        rng = np.random.default_rng(7)
        found = [
            permutation_test(*rng.gamma(0.5, size=(2, 3, 30)), n_permutations=39, seed=i)
            for i in range(150)
        ]
        # multiples of 1/40, so far below the p-value of a continuous law that a jump is no defect
        p = np.array([test.p_value for test in found]) - rng.random(150) / 40
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        smallest = np.array([test.type_p_holm.min() for test in found])
        assert stats.binomtest(int((smallest <= 0.1).sum()), 150, 0.1, "greater").pvalue > 1e-3

    def test_related_profiles_have_the_smallest_one(self):
        found, known, order = related(np.random.default_rng(8))
        test = permutation_test(found, known, seed=3)
        assert order[test.match.partner].tolist() == [0, 1, 2, 3]
        assert test.p_value == 1 / 1000
        np.testing.assert_allclose(test.type_p_holm, 4 * test.type_p_value.min())
        assert test.null.max() < test.match.mean_correlation
        again = permutation_test(test.match, seed=3)
        np.testing.assert_array_equal(again.null, test.null)
        assert np.any(permutation_test(test.match, seed=4).null != test.null)

    def test_holm_by_its_definition(self):
        p = np.array([0.04, np.nan, 0.001, 0.02, 0.9])
        expected = [max(2 * 0.04, 3 * 0.02), np.nan, 0.004, 0.06, 0.9]
        np.testing.assert_allclose(holm(p), expected)

    def test_bad_input(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="exact: expected at most 9 common genes, got 40"):
            permutation_test(*rng.random((2, 3, 40)), exact=True)
        with pytest.raises(ValueError, match="reference: expected none along with a Match"):
            permutation_test(match_profiles(FOUND, KNOWN, **RAW), KNOWN)


class TestCeiling:
    def cells(self, noise, n_cells=40):
        rng = np.random.default_rng(9)
        kind = np.repeat(np.arange(3), n_cells)
        mean = rng.gamma(1.0, size=(3, 50))
        return rng.poisson(mean[kind] / noise), np.array(["x", "y", "z"])[kind]

    def test_noise_lowers_it(self):
        clean, noisy = (split_half_ceiling(*self.cells(noise)) for noise in (0.1, 20.0))
        assert clean.types == ("x", "y", "z")
        assert clean.mean_correlation > 0.99
        np.testing.assert_array_equal(clean.n_matched_right, np.full(10, 3))
        assert noisy.mean_correlation < 0.8
        assert noisy.spread > 0

    def test_two_cells_a_type_have_one_split(self):
        """Halves are one cell each, so a split is known up to its sides."""
        values = np.random.default_rng(0).gamma(1.0, size=(4, 40))
        found = split_half_ceiling(values, "aabb", transform="raw", n_splits=3, seed=5)
        expected = [np.corrcoef(values[i], values[i + 1])[0, 1] for i in (0, 2)]
        np.testing.assert_allclose(found.correlation, expected)
        assert found.spread < 1e-15

    def test_genes_can_be_chosen_and_matrices_sparse(self):
        sparse = pytest.importorskip("scipy.sparse")
        values, labels = self.cells(1.0)
        names = [f"G{i}" for i in range(50)]
        some = split_half_ceiling(values, labels, genes=names, among=["g3", "g4", "g5", "g6"])
        assert (
            some.correlation.tolist()
            == split_half_ceiling(values[:, 3:7], labels).correlation.tolist()
        )
        thin = split_half_ceiling(sparse.csr_array(values), labels)
        np.testing.assert_allclose(thin.correlation, split_half_ceiling(values, labels).correlation)

    def test_bad_input(self):
        values, labels = self.cells(1.0)
        with pytest.raises(
            ValueError, match="labels: expected at least two cells a type, got one w"
        ):
            split_half_ceiling(values, ["w", *labels[1:]])
        with pytest.raises(ValueError, match="among: expected symbols that cells have"):
            split_half_ceiling(values, labels, genes=range(50), among=["x"])
        with pytest.raises(ValueError, match="genes: expected the symbols"):
            split_half_ceiling(values, labels, among=["x"])


class TestStability:
    @pytest.fixture(scope="class")
    @staticmethod
    def data():
        return simulate_benchmark(3, n_genes=80, n_types=3, shape=(6, 6), typical_cells=200)

    @pytest.fixture(scope="class")
    @staticmethod
    def found(data):
        return fit(data.counts, 3, restarts=2, key=jax.random.key(0), on_failure="ignore")

    def test_a_fit_is_compared_with_its_starts(self, found):
        table = stability(found)
        assert table.solution == tuple(s.start for s in found.solutions)
        np.testing.assert_allclose(table.map_cosine[0], 1.0)
        np.testing.assert_allclose(table.profile_correlation[0], 1.0)
        for row, solution in enumerate(found.solutions):
            assert table.elbo_gap[row] == found.elbo - solution.elbo
            for k in range(3):  # the solutions of a fit are in its order
                ours, theirs = found.membership[:, k], solution.membership[:, k]
                expected = np.corrcoef(ours, theirs)[0, 1]
                assert table.profile_correlation[row, k] == pytest.approx(expected)
        ties = {s.start for s in found.near_ties} | {found.solutions[0].start}
        assert {n for n, tie in zip(table.solution, table.near_tie) if tie} == ties
        assert table.least()[0].shape == (3,)
        assert pd.DataFrame(table.columns()).shape == (3, 7)

    def test_fits_with_another_key_and_another_number_of_types(self, data, found):
        other = fit(data.counts, 2, restarts=0, key=jax.random.key(1), on_failure="ignore")
        table = stability([found, other])
        assert table.solution[-1] == "fit 2: spectral"
        assert np.isnan(table.map_cosine[-1]).sum() == 1
        assert np.isnan(table.profile_correlation[-1]).sum() == 1
        renamed = fit(data.counts.values[:, :20], 2, restarts=0, key=jax.random.key(1))
        with pytest.raises(ValueError, match="expected the genes and bins of the first, fit 2"):
            stability([found, renamed])
        with pytest.raises(ValueError, match="fits: expected at least one"):
            stability([])

    def test_a_fit_is_matched_to_the_truth(self, data, found):
        match = match_profiles(found, data.membership.T, reference_genes=found.genes)
        assert match.types == ("type 0", "type 1", "type 2")
        assert match.mean_correlation > 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type,gene,beta\na,g,1\na,g,2\n", r":3: expected each type and gene once, got a, g again"),
        (
            "type,gene,beta\na,g,1\nb,h,2\n",
            r":3: expected all genes of all types, got no h of type a",
        ),
        ("type,gene,beta\na,,1\n", r":2: column 'gene': expected a name"),
        ("type,gene,beta\na,g,x\n", r":2: column 'beta': expected a finite number, got 'x'"),
        ("name,x\na,1\n", r":1: header: expected type,gene,value"),
        ("gene,x\ng,1\nh,1,2\n", r":3: expected 2 cells as in the header, got 3"),
        ("gene,x,x\ng,1,2\n", r":1: header: expected each column once"),
        ("gene,x\n", r":1: expected profiles below a header, got none"),
    ],
)
def test_files_that_are_no_profiles(tmp_path, text, message):
    path = tmp_path / "profiles.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="profiles.csv" + message):
        read_profiles(path)


def test_long_and_wide_files_say_the_same(tmp_path):
    long, wide = tmp_path / "long.csv", tmp_path / "wide.csv"
    long.write_text(
        "type,gene,beta,fraction,low\n1,Gad1,3.5,1,0\n1,Sst,2,1,0\n2,Gad1,0,0,0\n2,Sst,1e1,0,0\n",
        encoding="utf-8",
    )
    wide.write_text("Gene,1,2\nGad1,3.5,0\n\nSst,2,10\n", encoding="utf-8")
    first, second = read_profiles(long), read_profiles(wide)
    assert first.types == second.types == ("1", "2")
    assert first.genes == second.genes == ("Gad1", "Sst")
    np.testing.assert_array_equal(first.values, second.values)

"""The example of cell types from images runs, draws, and can fail."""

from dataclasses import replace

import numpy as np
import pytest
from suite_helpers import load_example, run_example

EXAMPLE = load_example("cell_type_mixture")
pytest.importorskip("skimage")


@pytest.mark.slow
@pytest.mark.statistical
def test_types_are_recovered_and_failures_are_found_out(tmp_path, capsys, monkeypatch):
    remembered = {}

    def once(name):
        run = getattr(EXAMPLE, name)

        def remember(*args, **options):
            if name not in remembered:
                remembered[name] = run(*args, **options)
            return remembered[name]

        monkeypatch.setattr(EXAMPLE, name, remember)

    for name in ("experiment", "choose_n_types", "fit", "fit_marked"):
        once(name)
    status, printed, figure, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 0, printed
    assert printed.endswith("the types are recovered\n")
    assert 50_000 < figure.stat().st_size < 500_000
    assert numbers["n_maps"] == 3
    assert numbers["assigned"] > 0.8
    looks = np.array([numbers["direction"], numbers["alignment"]])
    # type 2 has no direction
    np.testing.assert_allclose(looks[:, [0, 1, 3]], EXAMPLE.LOOKS[[0, 1, 3], 2:].T, atol=0.25)

    membership, points, kind, n_true, shown = remembered["experiment"]
    rng = np.random.default_rng(0)
    missed = np.where(rng.random(len(kind)) < 0.2, -1, kind)
    remembered["experiment"] = (membership, points, missed, n_true, shown)
    space, *marks = remembered["fit_marked"].emissions
    even = replace(space, maps=np.full_like(space.maps, 1 / space.bins.n_bins))
    remembered["fit_marked"] = remembered["fit_marked"]._replace(
        membership=rng.permutation(remembered["fit_marked"].membership), emissions=(even, *marks)
    )
    remembered["choose_n_types"] = remembered["choose_n_types"]._replace(n_types=4)
    status, printed, *_ = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 1
    for sentence in (
        "detection: F1 0.7",
        "positions: 4 maps, expected 3",
        "profiles: r falls",
        "maps: smallest cosine",
    ):
        assert f"DISAGREES  {sentence}" in printed


def test_cells_lie_where_their_type_does_and_are_found():
    rng = np.random.default_rng(0)
    cells, kind = EXAMPLE.draw_cells(np.array([0.0, 0.0, 1.0, 0.0]), 80, rng)
    assert np.all(kind == 2)
    assert 50 < len(kind) < 80  # the others would cover some
    center = np.median(cells.centroid, axis=0) / EXAMPLE.SIDE
    np.testing.assert_allclose(center, [0.3, 0.75], atol=0.08)
    own = EXAMPLE.matched(cells.centroid[::-1] + 1.0, cells.centroid)
    np.testing.assert_array_equal(own, np.arange(len(kind))[::-1])
    assert EXAMPLE.matched(cells.centroid[:3] + 30.0, cells.centroid[:3]).max() == -1
    bins = EXAMPLE.Bins(EXAMPLE.Points.from_labels("ab", [[0, 0], [383, 383]]).window, 10, 10)
    maps = EXAMPLE.true_maps(bins, 0)
    np.testing.assert_allclose(maps.sum(axis=1), 1.0)
    assert EXAMPLE.cosines(maps[:1], maps[1:2])[0] > 0.999

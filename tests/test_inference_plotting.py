"""Figures hold the numbers they were given."""

import struct
import sys

import matplotlib as mpl
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from inference.plotting import (
    colored_network,
    matrix_image,
    new_figure,
    overlay_density,
    predictive_band,
    save_figure,
)

LABELS = {"label_analytic": "theory", "label_sampled": "sampler"}


@pytest.fixture
def ax():
    return new_figure()[1][0]


def bar_edges(ax):
    lefts = [bar.get_x() for bar in ax.patches if hasattr(bar, "get_width")]
    last = [bar for bar in ax.patches if hasattr(bar, "get_width")][-1]
    return np.array([*lefts, last.get_x() + last.get_width()])


def test_a_density_lies_over_the_histogram_of_the_draws(ax):
    draws = np.random.default_rng(0).normal(size=(2, 5000))
    x = np.linspace(-3, 3, 41)
    density = scipy.stats.norm.pdf(x)
    assert overlay_density(ax, x, density, draws, **LABELS, bins=20) is ax
    (curve,) = ax.lines
    np.testing.assert_array_equal(curve.get_xdata(), x)
    np.testing.assert_array_equal(curve.get_ydata(), density)
    edges = bar_edges(ax)
    assert len(edges) == 21
    np.testing.assert_allclose(edges[[0, -1]], [draws.min(), draws.max()])
    heights = np.array([bar.get_height() for bar in ax.patches])
    counts = np.histogram(draws, edges)[0]
    np.testing.assert_allclose(heights, counts / counts.sum() / np.diff(edges), rtol=1e-9)
    assert [text.get_text() for text in ax.legend().get_texts()] == ["sampler", "theory"]


def test_weighted_draws_share_the_bins_and_keep_their_share_outside(ax):
    draws = np.array([[0.0, 0.4, 0.6, 1.0]])
    points = [0.1, 0.2, 0.7, 5.0]
    overlay_density(ax, points, None, draws, **LABELS, weights=[1, 1, 2, 4], bins=2)
    outline = ax.patches[-1].get_data()
    np.testing.assert_allclose(outline.edges, [0, 0.5, 1])
    # half of the weight lies beyond the draws, so the area under the outline is one half
    np.testing.assert_allclose(outline.values, [0.5, 0.5])
    assert not ax.lines


@pytest.mark.parametrize(
    ("x", "density", "draws", "weights", "message"),
    [
        ([0, 1], None, [0, 1], None, "density and weights: expected one of them and not both"),
        ([0, 1], [1, 1], [0, 1], [1, 1], "density and weights: expected one of them and not both"),
        ([0, 1], [1], [0, 1], None, "density: expected 2 rows as in x, got 1"),
        ([0, 1], None, [0, 1], [1], "weights: expected 2 rows as in x, got 1"),
        ([0, 1], None, [0, 1], [1, -1], "weights: expected no negative"),
        ([0, 1], None, [0, 1], [0, 0], "weights: .*at least one positive"),
        ([0, 1], [1, np.nan], [0, 1], None, "density: expected finite"),
        ([0, 1], [1, 1], [0, np.nan], None, "draws: expected finite"),
    ],
)
def test_data_that_do_not_fit_are_refused(ax, x, density, draws, weights, message):
    with pytest.raises(ValueError, match=message):
        overlay_density(ax, x, density, draws, **LABELS, weights=weights)


def test_the_band_is_two_standard_deviations_wide(ax):
    assert predictive_band(ax, [2, 0, 1], [30, 10, 20], [3, 1, 2], label="GP") is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 10], [1, 20], [2, 30]])
    (band,) = ax.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert corners == {(0, 8), (0, 12), (1, 16), (1, 24), (2, 24), (2, 36)}
    np.testing.assert_array_equal(band.get_facecolor()[0][:3], mpl.colors.to_rgb(line.get_color()))
    assert [text.get_text() for text in ax.legend().get_texts()] == ["GP"]


@pytest.mark.parametrize(
    ("mean", "sd", "message"),
    [
        ([1], [1, 1], "mean: expected 2 rows as in x, got 1"),
        ([1, 1], [1], "sd: expected 2 rows as in x, got 1"),
        ([1, 1], [1, -1], "sd: expected no negative number"),
        ([1, np.inf], [1, 1], "mean: expected finite"),
    ],
)
def test_bands_that_do_not_fit_are_refused(ax, mean, sd, message):
    with pytest.raises(ValueError, match=message):
        predictive_band(ax, [0, 1], mean, sd, label="GP")


def test_a_matrix_becomes_an_image_with_its_scale(ax):
    matrix = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    assert matrix_image(ax, matrix, label="gain") is ax
    [image] = ax.images
    np.testing.assert_array_equal(image.get_array(), matrix)
    assert image.get_clim() == (-2.0, 3.0)
    assert image.colorbar.ax.get_ylabel() == "gain"
    one_sided = image.get_cmap().name
    matrix_image(ax, matrix, label="gain", limits=(-3.0, 3.0))
    assert ax.images[-1].get_clim() == (-3.0, 3.0)
    assert ax.images[-1].get_cmap().name != one_sided


@pytest.mark.parametrize(
    ("matrix", "limits", "message"),
    [
        (np.zeros(3), None, "matrix"),
        (np.full((2, 2), np.nan), None, "matrix.*finite"),
        (np.zeros((2, 2)), (1.0, 1.0), "limits: expected two increasing"),
    ],
)
def test_images_of_what_is_no_matrix_are_refused(ax, matrix, limits, message):
    with pytest.raises(ValueError, match=message):
        matrix_image(ax, matrix, label="gain", limits=limits)


def test_a_figure_is_written_at_150_dots_an_inch_into_a_new_folder(tmp_path):
    figure, axes = new_figure(3)
    assert len(axes) == 3
    path = tmp_path / "new" / "figure.png"
    assert save_figure(figure, path) == path
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    (dots_a_metre,) = struct.unpack_from(">I", content, content.index(b"pHYs") + 4)
    assert dots_a_metre == pytest.approx(150 / 0.0254, abs=1)


def test_a_png_has_few_colours_and_looks_like_the_figure(tmp_path):
    figure, (left, right) = new_figure(2)
    left.imshow(np.random.default_rng(0).normal(size=(20, 20)), cmap="viridis")
    right.plot([0, 1, 0], "C1-")
    with Image.open(save_figure(figure, tmp_path / "few.png")) as few:
        assert few.mode == "P"
        drawn = np.asarray(few.convert("RGB"), float)
    figure.savefig(tmp_path / "all.png", dpi=150, bbox_inches="tight")
    with Image.open(tmp_path / "all.png") as full:
        exact = np.asarray(full.convert("RGB"), float)
    assert np.abs(drawn - exact).mean() < 1.0  # of 255
    assert (tmp_path / "few.png").stat().st_size < (tmp_path / "all.png").stat().st_size / 2


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure, (ax,) = new_figure()
    ax.set_title("$broken")
    ax.set_xlabel(r"$\nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_figure_leaves_no_global_state():
    backend, pyplot_loaded = mpl.rcParams._get("backend"), "matplotlib.pyplot" in sys.modules
    new_figure()
    assert mpl.rcParams._get("backend") == backend
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_loaded


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"figures need matplotlib: pip install 'cavity\[plot\]'"):
        new_figure()


def test_colored_network_shows_values_and_names():
    import networkx as nx

    _, (ax,) = new_figure()
    colored_network(
        ax, nx.path_graph(3), [0.1, 0.5, 0.2], label="risk", names="abc", top=1.0, ringed=[1]
    )
    dots = ax.collections[-1]
    assert dots.get_array().tolist() == [0.1, 0.5, 0.2]
    assert dots.get_clim() == (0.0, 1.0)
    assert sorted(text.get_text() for text in ax.texts) == ["a", "b", "c"]
    assert dots.get_linewidths()[1] > dots.get_linewidths()[0]
    with pytest.raises(ValueError, match="values: expected 3 rows as in graph, got 2"):
        colored_network(ax, nx.path_graph(3), [0.1, 0.5], label="risk")

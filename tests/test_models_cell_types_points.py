"""Points, windows, bins, counts and their files: what is kept, what is refused."""

import numpy as np
import pandas as pd
import pytest

from inference.status import CavityWarning
from models.cell_types import Bins, Counts, Points, Window, bin_points, read_points

SQUARE = Window((0.0, 1.0), (0.0, 1.0))
PLACES = [[0.1, 0.2], [0.9, 0.4], [0.5, 0.5]]


def cells(places=PLACES, genes=("a", "b", "a"), **options):
    return Points.from_labels(genes, places, **{"window": SQUARE, **options})


def test_points_keep_the_order_of_rows_and_of_genes():
    points = cells(genes=("Sst", "Gad1", "Sst"), marks={"size": [1, 2, 3]})
    assert points.genes == ("Sst", "Gad1")
    assert points.gene.tolist() == [0, 1, 0]
    assert points.position.tolist() == PLACES
    assert points.marks["size"].tolist() == [1.0, 2.0, 3.0]
    assert len(points) == 3


@pytest.mark.parametrize("make", [dict, pd.DataFrame])
def test_tables_go_in_and_come_out(make):
    points = cells(marks={"size": [1, 2, 3], "orientation": [0.1, 4.0, -0.2]})
    again = Points.from_dataframe(make(points.to_dataframe()), window=SQUARE)
    assert again.genes == points.genes
    assert np.array_equal(again.gene, points.gene)
    assert np.array_equal(again.position, points.position)
    assert {name: mark.tolist() for name, mark in again.marks.items()} == {
        name: mark.tolist() for name, mark in points.marks.items()
    }


def test_orientations_are_axes():
    turned = cells(marks={"orientation": [0.0, np.pi, 4.0]}).marks["orientation"]
    np.testing.assert_allclose(turned, [0.0, 0.0, 4.0 - np.pi])
    assert cells(marks={"orientation": [-1e-20, 0, 0]}).marks["orientation"][0] == 0.0
    degrees = cells(marks={"orientation": [0, 270, 45]}, angle_unit="degrees")
    np.testing.assert_allclose(degrees.marks["orientation"], [0, np.pi / 2, np.pi / 4])


@pytest.mark.parametrize(
    ("places", "marks", "message"),
    [
        ([[0.1, 0.2], [0.9, np.nan], [0, 0]], {}, "non-finite coordinate in row 1, gene b"),
        ([[0.1, 0.2], [0.9, 0.1], [np.inf, 0]], {}, "non-finite coordinate in row 2, gene a"),
        (PLACES, {"size": [1, np.nan, 1]}, "non-finite size in row 1, gene b"),
        (PLACES, {"size": [1, 2, 0]}, "size: expected positive numbers, got 0 in row 2"),
        (PLACES, {"intensity": [1, -1, 1]}, "intensity: expected positive"),
        (PLACES, {"eccentricity": [0, 1, 0]}, "eccentricity: expected numbers from 0 to below 1"),
        (PLACES, {"density": [0, 1, -1]}, "density: expected numbers from 0 to below inf"),
        (PLACES, {"orientation": [0, 90, 45]}, "orientation looks like degrees"),
        (PLACES, {"size": [1, 2]}, "size: expected 3 rows as in gene, got 2"),
        (PLACES, {"size": [[1], [2], [3]]}, "size: expected one number a cell"),
        (PLACES[:2], {}, r"position: expected shape \(3, 2\), got \(2, 2\)"),
        ([[0, 0], [2, 0], [3, 0]], {}, r"got 2 outside, the first \(2, 0\) in row 1"),
    ],
)
def test_bad_cells_are_refused_with_their_row(places, marks, message):
    with pytest.raises(ValueError, match=message):
        cells(places, marks=marks)


@pytest.mark.parametrize("label", [None, "", float("nan")])
def test_a_cell_without_a_gene_is_refused(label):
    with pytest.raises(ValueError, match=r"expected the name of a gene, got .* in row 1"):
        cells(genes=("a", label, "b"))


def test_indices_and_names_must_fit():
    with pytest.raises(ValueError, match="got 'a' twice"):
        Points(np.array([0, 1]), np.zeros((2, 2)), ("a", "a"), SQUARE)
    with pytest.raises(ValueError, match="indices from 0 to 0, got 0 to 1"):
        Points(np.array([0, 1]), np.zeros((2, 2)), ("a",), SQUARE)
    with pytest.raises(TypeError, match="gene: expected a vector of indices"):
        Points(np.array([0.0, 1]), np.zeros((2, 2)), ("a", "b"), SQUARE)
    with pytest.raises(TypeError, match="size: expected numbers"):
        cells(marks={"size": ["big", "small", "big"]})
    with pytest.raises(ValueError, match="expected at least one cell"):
        Points.from_labels([], np.empty((0, 2)), window=SQUARE)


def test_cells_outside_can_be_dropped():
    with pytest.warns(CavityWarning, match="1 cells outside the window were dropped"):
        points = cells([[0, 0], [2, 0], [1, 1]], outside="drop", marks={"size": [1, 2, 3]})
    assert points.position.tolist() == [[0, 0], [1, 1]]
    assert points.marks["size"].tolist() == [1, 3]


def test_a_window_is_tissue_with_an_area():
    masked = Window((0, 4), (0, 2), mask=[[True, False], [True, True]])
    assert masked.area == 6.0
    assert masked.contains([[1, 0.5], [3, 0.5], [3, 1.5], [4, 2], [4.1, 2]]).tolist() == [
        True,
        False,
        True,
        True,
        False,
    ]
    with pytest.raises(ValueError, match="expected a window with an area"):
        Window((0, 0), (0, 1))
    with pytest.raises(ValueError, match="mask: expected tissue"):
        Window((0, 1), (0, 1), mask=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="expected a window with an area"):
        Points.from_labels(["a", "b"], [[0, 0], [1, 0]])


def test_bins_share_out_the_tissue():
    mask = np.random.default_rng(0).random((7, 5)) < 0.6
    window = Window((-1, 2), (3, 5), mask=mask)
    bins = Bins(window, 4, 3)
    np.testing.assert_allclose(bins.area.sum(), window.area, rtol=1e-14)
    # one bin by hand: columns [0, 1.25] and rows [0, 7/3] of the mask, in pixels
    inside = mask[:3, :2] * np.array([1, 1, 1 / 3])[:, None] * np.array([1, 0.25])
    np.testing.assert_allclose(bins.area[0], inside.sum() * 6 / 35, rtol=1e-14)
    assert np.array_equal(bins.index(bins.center), np.arange(12))
    assert bins.index([[2, 5], [-1, 3]]).tolist() == [11, 0]


def test_cells_are_counted_where_they_lie():
    rng = np.random.default_rng(1)
    points = Points.from_labels(rng.choice(list("abc"), 500), rng.random((500, 2)), window=SQUARE)
    counts = bin_points(points, (5, 3))
    for g, gene in enumerate(counts.genes):
        assert gene == points.genes[g]
        x, y = points.position[points.gene == g].T
        expected = np.histogram2d(y, x, bins=(3, 5), range=[[0, 1], [0, 1]])[0]
        assert np.array_equal(counts.values[g].reshape(counts.bins.shape), expected)
    assert counts.n_cells == 500
    with pytest.raises(ValueError, match="bins: expected a window that holds all cells"):
        bin_points(points, Bins(Window((0, 0.5), (0, 1)), 2))


def test_empty_rows_and_columns_leave_and_come_back():
    values = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]])
    compact = Counts(values).compact()
    assert compact.values.tolist() == [[0, 1, 2], [3, 0, 0]]
    assert compact.genes.tolist() == [0, 2]
    assert compact.bins.tolist() == [0, 1, 3]
    restored = compact.restore_bins(compact.restore_genes(compact.values.astype(float), 0.0), 0.0)
    assert np.array_equal(restored, values)


def test_counts_and_tables():
    counts = Counts.from_dataframe(pd.DataFrame([[1, 2], [0, 3]], index=["Sst", "Vip"]))
    assert counts.genes == ("Sst", "Vip")
    assert counts.to_dataframe().loc["Vip"].tolist() == [0, 3]
    sparse = pytest.importorskip("scipy.sparse")
    assert Counts(sparse.csr_array([[1, 0], [0, 2]])).values.tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([[1, -1]], {}, "counts must be non-negative integers, got -1 for gene 0 in bin 1"),
        ([[1, 0], [0.5, 1]], {}, "counts must be non-negative integers, got 0.5 for gene 1"),
        ([[1, np.nan]], {}, "counts must be non-negative integers, got nan"),
        ([[1, np.inf]], {}, "expected numbers below"),
        ([[2**31, 1]], {}, "expected numbers below"),
        ([1, 2], {}, "counts: expected a table"),
        ([[0, 0]], {}, "counts: expected at least one cell"),
        ([[1], [2]], {"genes": ("a", "a")}, "got 'a' twice"),
        ([[1], [2]], {"genes": ("a",)}, "genes: expected 2 names, got 1"),
        ([[1, 2]], {"bins": Bins(SQUARE, 2)}, "expected 4 columns as in bins, got 2"),
        ([[1, 2]], {"exposure": [[1, 0]]}, "exposure: expected no cells where it is 0, got 2"),
        ([[1, 2]], {"exposure": [[1, -1]]}, "exposure: expected numbers of at least 0"),
        ([[1, 2]], {"exposure": [[1]]}, "exposure: expected numbers of at least 0 of shape"),
    ],
)
def test_bad_counts_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        Counts(values, **options)


def test_a_table_of_text_is_no_counts():
    with pytest.raises(TypeError, match="counts: expected a table of numbers"):
        Counts([["a", "b"]])


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "points.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def test_files_in_every_dress(write):
    path = write('\ufeffY,Gene , x,size\r\n1, Sst ,0,2e1\r\n\r\n3,"Vip, 2",4,7\r\n')
    points = read_points(path)
    assert points.genes == ("Sst", "Vip, 2")
    assert points.position.tolist() == [[0, 1], [4, 3]]
    assert points.marks["size"].tolist() == [20.0, 7.0]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "expected cells below a header"),
        ("gene,x,y\n", 1, "expected cells below a header"),
        ("gene,x,z\na,1,2\n", 1, "header: expected a column 'y', got gene, x, z"),
        ("gene,x,y,x\na,1,2,3\n", 1, "header: expected each column once and named, got 'x'"),
        ("gene,x,y\na,1,2\n\nb,1\n", 4, "expected 3 cells as in the header, got 2"),
        ("gene,x,y\na,1,2\nb,one,2\n", 3, "column 'x': expected a finite number, got 'one'"),
        ("gene,x,y,size\na,1,2,nan\n", 2, "column 'size': expected a finite number, got 'nan'"),
        ("gene,x,y\na,1_0,2\n", 2, "column 'x': expected a finite number, got '1_0'"),
        ("gene,x,y\n ,1,2\n", 2, "column 'gene': expected the name of a gene"),
        ('gene,x,y\na,1,"2\n', 2, "expected comma-separated values, got a defect"),
        (b"gene,x,y\na,1,2\n\xff,1,2\n", 3, "expected UTF-8 text"),
    ],
)
def test_bad_files_are_refused_with_their_line(write, content, line, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_points(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_what_the_cells_refuse_names_the_file(write):
    path = write("gene,x,y,size\na,1,2,3\nb,2,3,-1\n")
    with pytest.raises(ValueError, match=r"points.csv: size: expected positive numbers, got -1"):
        read_points(path)


def test_local_density_is_that_of_the_image_of_the_cell():
    rng = np.random.default_rng(0)
    points = Points(
        rng.integers(0, 4, 60).astype(np.int32),  # the last of the genes has no cell
        rng.random((60, 2)),
        ("a", "b", "c", "d", "e"),
        Window((0.0, 1.0), (0.0, 1.0)),
    )
    apart = np.linalg.norm(points.position[:, None] - points.position, axis=2)
    near = (apart < 0.2) & (points.gene[:, None] == points.gene)
    inner = ((points.position > 0.2) & (points.position < 0.8)).all(axis=1)
    density = points.local_density(0.2)
    expected = (near.sum(axis=1) - 1) / (np.pi * 0.2**2)
    np.testing.assert_allclose(density[inner], expected[inner], rtol=1e-9)
    assert (density[~inner] >= expected[~inner]).all()
    assert 5 < inner.sum() < 55

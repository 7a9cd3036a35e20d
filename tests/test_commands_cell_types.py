"""``cavity cell-types detect``: the cells of the library, and one line for every bad file."""

from pathlib import Path

import numpy as np
import pytest

from models import cli
from models.cell_types import detect_cells, read_points, simulate_ish

skimage_io = pytest.importorskip("skimage.io")

pytestmark = pytest.mark.usefixtures("_folder")


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def detect(capsys, *options):
    """Return exit code and the lines on standard error."""
    code = cli.main(["cell-types", "detect", *map(str, options)])
    out, err = capsys.readouterr()
    assert out == ""
    return code, err.splitlines()


def save(name, seed=0, n_cells=8):
    image = simulate_ish(seed, "easy", shape=(128, 128), n_cells=n_cells).image
    pixels = np.round(image * 255).astype(np.uint8)
    skimage_io.imsave(name, pixels, check_contrast=False)
    return pixels


def test_the_table_holds_the_cells_of_all_images(capsys):
    images = {"Gad1": save("Gad1.png", 0), "Sst": save("Sst.tif", 1)}
    code, err = detect(capsys, "Gad1.png", "Sst.tif", "--pixel-size", 0.5, "--out", "points.csv")
    assert code == 0
    points = read_points("points.csv")
    assert points.genes == ("Gad1", "Sst")
    for i, (gene, image) in enumerate(images.items()):
        cells = detect_cells(image, pixel_size=0.5)
        mine = points.gene == i
        np.testing.assert_array_equal(points.position[mine], cells.centroid)
        for name, values in cells.marks.items():
            np.testing.assert_array_equal(points.marks[name][mine], values)
        assert err[i].startswith(f"{gene}.{('png', 'tif')[i]}: {len(cells)} cells, typical radius ")
    assert len(err) == 2


def test_options_reach_the_library(capsys):
    pixels = save("a.png")
    skimage_io.imsave("b.png", 255 - pixels, check_contrast=False)
    code, err = detect(
        capsys, "b.png", "--bright", "--radius", 5, "--gene", "Pvalb", "--out", "p.csv"
    )
    assert code == 0
    assert "typical radius 5 pixels" in err[0]
    points = read_points("p.csv")
    assert points.genes == ("Pvalb",)
    expected = detect_cells(255 - pixels, bright=True, radius_px=5).centroid
    np.testing.assert_array_equal(points.position, expected)


def test_no_cell_at_all_is_told(capsys):
    save("empty.png", n_cells=0)
    code, err = detect(capsys, "empty.png", "--out", "p.csv")
    assert code == 1
    assert err[0].startswith("empty.png: 0 cells")
    assert err[1].startswith("cavity: no cells found")
    assert len(Path("p.csv").read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("missing.png", "--out", "p.csv"), "missing.png: No such file or directory"),
        (("text.png", "--out", "p.csv"), "text.png: expected an image"),
        (("a.png", "--out", "no/p.csv"), "no/p.csv: there is no folder no"),
        (("a.png", "--out", "."), ".: expected a file to write"),
        (("a.png", "x/a.png", "--out", "p.csv"), "IMAGE: expected one image a gene"),
        (("a.png", "b.png", "--gene", "A", "--out", "p.csv"), "--gene: expected the name"),
        (("a.png", "--radius", "-1", "--out", "p.csv"), "argument --radius: expected a positive"),
        (("a.png", "--radius", "99", "--out", "p.csv"), "a.png: radius_px: expected cells much"),
        (("a.png",), "the following arguments are required: --out"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(capsys, options, message):
    save("a.png")
    Path("text.png").write_text("not an image", encoding="utf-8")
    code, err = detect(capsys, *options)
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith(f"cavity: {message}")
    assert not Path("p.csv").exists()


def test_a_doubt_about_an_image_is_one_line_and_quiet_takes_it_away(capsys):
    y, x = np.mgrid[:24, :24]
    bright = 30.0 + 200.0 * np.exp(-((y - 8) ** 2 + (x - 8) ** 2) / 8.0)
    skimage_io.imsave("a.png", bright.astype(np.uint8), check_contrast=False)
    for option, n_lines in (((), 1), (("--quiet",), 0)):
        _, err = detect(capsys, "a.png", "--radius", 3, "--out", "p.csv", *option)
        doubts = [line for line in err if "seems to be on the other side" in line]
        assert len(doubts) == n_lines
        assert all(line.startswith("a.png: ") for line in doubts)

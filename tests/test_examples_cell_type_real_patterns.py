"""The example of real patterns runs where there are trees, says so where not, and can fail."""

import io
import tarfile

import numpy as np
import pytest
from suite_helpers import load_example

EXAMPLE = load_example("cell_type_real_patterns")


def wood(seed, n_trees=1500):
    """Six species, each with two groves of its own."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(6, size=n_trees)
    centre = rng.random((6, 2, 2))[kind, rng.integers(2, size=n_trees)]
    position = centre + 0.12 * rng.standard_normal((n_trees, 2))
    position = 1.0 - np.abs(1.0 - np.abs(position))  # reflected at the borders
    return position, np.array([f"tree{k}" for k in kind])


def run(tmp_path, *options):
    return EXAMPLE.main(["--quick", "--figure", str(tmp_path / "maps.png"), *options])


def package(path, names):
    """Write a Debian package with these files."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as archive:
        for name, content in names.items():
            entry = tarfile.TarInfo(f"./{EXAMPLE.FOLDER}{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    parts = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n!"), ("data.tar.xz", inner.getvalue())):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        parts += head.encode() + content + b"\n" * (len(content) % 2)
    path.write_bytes(parts)
    return path


def test_without_trees_it_is_skipped_and_says_so(tmp_path, capsys):
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.startswith("skipped: give --package")
    assert not (tmp_path / "maps.png").exists()


def test_the_species_are_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(EXAMPLE, "read_trees", lambda path: wood(0))
    assert run(tmp_path, "--package", "x.deb") == 0
    assert capsys.readouterr().out.endswith("found\n")
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_species_that_the_genes_do_not_follow_are_not_found(tmp_path, capsys, monkeypatch):
    make = EXAMPLE.thinned

    def of_other_species(positions, species, *rest):
        return make(positions, np.roll(species, 1), *rest)

    monkeypatch.setattr(EXAMPLE, "read_trees", lambda path: wood(0))
    monkeypatch.setattr(EXAMPLE, "thinned", of_other_species)
    assert run(tmp_path, "--package", "x.deb") == 1
    assert "NOT FOUND  8x8" in capsys.readouterr().out


def test_shares_are_those_of_the_points():
    positions, species = wood(1)
    points, names, share = EXAMPLE.thinned(positions, species, 40, 3)
    place = {tuple(p): kind for p, kind in zip(positions.tolist(), species)}
    kept = np.array([place[tuple(p)] for p in points.position.tolist()])
    for g in range(40):
        mine = kept[points.gene == g]
        seen = np.array([(mine == name).mean() for name in names])
        # five standard errors of a share of this many cells, and one cell
        error = np.sqrt(share[g] * (1 - share[g]) / len(mine))
        assert np.all(np.abs(seen - share[g]) < 5 * error + 1 / len(mine))


def test_a_package_is_opened_and_another_file_refused(tmp_path, capsys):
    path = package(tmp_path / "data.deb", {"Rdata.rdx": b"index", "Rdata.rdb": b"table"})
    assert EXAMPLE.data_files(path) == [b"index", b"table"]
    other = tmp_path / "other.deb"
    other.write_bytes(b"no package")
    with pytest.raises(ValueError, match=r"other.deb: expected a Debian package"):
        EXAMPLE.data_files(other)

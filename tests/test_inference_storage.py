"""Tables in, with every defect named by its line; results out and in, to the bit."""

import csv
import importlib.util
import re

import h5netcdf
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from inference.interop import posterior_array, to_arviz
from inference.storage import SCHEMA_VERSION, Table, load, read_arrays, read_table, save


def write(folder, text):
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_table_has_its_columns_and_its_numbers(tmp_path):
    table = read_table(write(tmp_path, "day,count\n1,-2.5\n3e2,.25\n"))
    assert table.columns == ("day", "count")
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, [[1.0, -2.5], [300.0, 0.25]])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a,b\r\n1,2\r\n3,4\r\n", id="Windows line ends"),
        pytest.param("a,b\r1,2\r3,4\r", id="old Mac line ends"),
        pytest.param("a,b\n1,2\n3,4", id="no last line end"),
        pytest.param("a,b\n1,2\n3,4\n\n\r\n\n", id="empty lines at the end"),
        pytest.param("\ufeffa,b\n1,2\n3,4\n", id="byte-order mark"),
        pytest.param('"a","b"\n"1","2"\n"3",4\n', id="quotes"),
        pytest.param(" a , b\n 1,2 \n\t3, 4\n", id="blanks around"),
    ],
)
def test_common_variants_read_alike(tmp_path, text):
    table = read_table(write(tmp_path, text))
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4]])


NUMBER = st.floats(allow_nan=False, allow_infinity=False)
NAME = (
    st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=8)
    | st.sampled_from(["a,b", 'say "x"', "two\nlines", "día", "β"])
).map(str.strip)


@st.composite
def tables(draw):
    names = draw(st.lists(NAME.filter(bool), min_size=1, max_size=4, unique=True))
    row = st.lists(NUMBER, min_size=len(names), max_size=len(names))
    return names, draw(st.lists(row, min_size=1, max_size=5))


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(tables(), st.sampled_from(["\n", "\r\n"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_written_table_is_read_back_to_the_bit(tmp_path, table, line_end):
    names, rows = table
    assume(not all(map(is_number, names)))
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerow(names)
        writer.writerows([[repr(number) for number in row] for row in rows])
    got = read_table(path)
    assert got.columns == tuple(names)
    np.testing.assert_array_equal(got.values.view(np.uint64), np.array(rows).view(np.uint64))


MALFORMED = {
    "empty file": ("", ["1: expected a header with the names of the columns, got nothing"]),
    "only empty lines": ("\n\n", ["1: expected a header with the names of the columns"]),
    "header only": ("a,b\n", ["1: expected rows of numbers below the header"]),
    "no header": ("1,2\n3,4\n", ["1: expected a header .*, got only numbers"]),
    "empty line first": ("\na\n1\n", ["1: expected a header .*, got nothing"]),
    "unnamed column": ("a,,b\n1,2,3\n", ["1: header: column 2 has no name"]),
    "blank name": ("a, \n1,2\n", ["1: header: column 2 has no name"]),
    "name twice": ("a,b,a\n1,2,3\n", ["1: header: column 'a' occurs twice"]),
    "word": ("a,b\n1,2\n1,x\n", ["3: column 'b': expected a number, got 'x'"]),
    "word behind CRLF": ("a\r\n1\r\nx\r\n", ["3: column 'a': expected a number, got 'x'"]),
    "line of the file, not of the record": (
        'a,"b\nc"\n1,2\nx,2\n',
        ["4: column 'a': expected a number, got 'x'"],
    ),
    "long word": ("a\n" + "y" * 50 + "\n", ["2: .*got 'y{37}\\.\\.\\.'"]),
    "underscore": ("a\n1_000\n", ["2: column 'a': expected a number, got '1_000'"]),
    "comma as decimal sign": ("a\n1,5\n", ["2: expected 1 cells as in the header, got 2"]),
    "nan": ("a\nnan\n", ["2: column 'a': expected a finite number, got 'nan'"]),
    "infinity": ("a\n-inf\n", ["2: column 'a': expected a finite number, got '-inf'"]),
    "overflow": ("a\n1e999\n", ["2: column 'a': expected a finite number, got '1e999'"]),
    "empty cell": ("a,b\n1,\n", ["2: column 'b': empty cell"]),
    "blank cell": ("a,b\n  ,1\n", ["2: column 'a': empty cell"]),
    "short row": ("a,b\n1,2\n3\n", ["3: expected 2 cells as in the header, got 1"]),
    "long row": ("a,b\n1,2,3\n", ["2: expected 2 cells as in the header, got 3"]),
    "empty line between": ("a\n1\n\n2\n3\n", ["3: expected 1 cells as in the header, got 0"]),
    "open quote": ('a\n1\n"2\n', ["3: not comma-separated values"]),
    "not UTF-8": (b"a\n1\n\xff\n", ["3: expected UTF-8 text"]),
    "several": (
        "a,b\nx,y\n1,2\n3\n",
        [
            r"2: column 'a': expected a number, got 'x' \(and 2 more\)",
            "2: column 'b': expected a number, got 'y'",
            "4: expected 2 cells as in the header, got 1",
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), MALFORMED.values(), ids=MALFORMED)
def test_every_defect_is_named_by_its_line(tmp_path, text, messages):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        read_table(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert re.match(f"{re.escape(str(path))}:{message}", line), line


def test_ten_defects_are_shown_and_all_are_counted(tmp_path):
    path = write(tmp_path, "a,b\n" + "x,1\n" * 25)
    with pytest.raises(ValueError, match="table") as caught:
        read_table(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 10
    assert lines[0] == f"{path}:2: column 'a': expected a number, got 'x' (and 24 more)"
    assert lines[-1] == f"{path}:11: column 'a': expected a number, got 'x'"


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "absent.csv")


def test_columns_are_selected_by_name_in_any_order():
    table = Table(("a", "b", "c"), np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(table.select(["c", "a"]), [[2, 0], [5, 3]])
    np.testing.assert_array_equal(table.select("b"), [[1], [4]])
    with pytest.raises(ValueError, match=r"unknown column 'd', 'e'; the table has 'a', 'b', 'c'"):
        table.select(["a", "d", "e"])


@pytest.fixture(scope="module")
def container():
    draws = np.random.default_rng(1).normal(size=(2, 9, 3))
    draws[0, 0, 0] = np.nan
    return to_arviz(
        {
            "double": draws,
            "single": draws[..., 0].astype(np.float32),
            "spin": np.sign(draws[..., 1]).astype(np.int8),
            "count": np.arange(18).reshape(2, 9),
        },
        sample_stats={"diverging": draws[..., 2] > 0},
        dims={"double": ["unit"]},
        coords={"unit": ["left", "right", "día"]},
    )


def test_results_come_back_to_the_bit(container, tmp_path):
    path = tmp_path / "new" / "folder" / "run.nc"
    assert save(container, path) == path
    back = load(path)
    assert type(back) is type(container)
    for group in ("posterior", "sample_stats"):
        assert set(back[group].data_vars) == set(container[group].data_vars)
        for name in container[group].data_vars:
            old, new = container[group][name], back[group][name]
            assert new.dims == old.dims
            assert new.dtype == old.dtype
            assert new.values.tobytes() == old.values.tobytes(), name
    assert list(back["posterior"]["unit"].values) == ["left", "right", "día"]


def test_a_file_carries_its_versions_and_the_attributes_given(container, tmp_path):
    attrs = {"seed": 3, "command": "día", "scale": 0.1, "n": np.int64(4)}
    back = load(save(container, tmp_path / "run.nc", attrs=attrs))
    assert {name: back.attrs[name] for name in attrs} == attrs
    assert back.attrs["schema_version"] == SCHEMA_VERSION == 1
    assert back.attrs["cavity_version"]
    assert "seed" not in container.attrs, "saving changed its argument"


def test_a_loaded_file_is_closed_and_may_be_replaced(container, tmp_path):
    path = save(container, tmp_path / "run.nc", attrs={"seed": 1})
    back = load(path)
    path.write_bytes(b"")
    assert posterior_array(back, "count").sum() == 17 * 18 / 2
    assert load(save(back, path, attrs={"seed": 2})).attrs["seed"] == 2


class Breaks:
    """A container whose writing stops half way."""

    def to_netcdf(self, path, engine):
        with open(path, "w") as file:
            file.write("half")
        raise KeyboardInterrupt


def test_an_interrupted_run_leaves_the_old_file_and_nothing_else(container, tmp_path):
    path = save(container, tmp_path / "run.nc", attrs={"seed": 1})
    with pytest.raises(KeyboardInterrupt):
        save(Breaks(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert load(path).attrs["seed"] == 1


def test_a_file_is_replaced_and_never_written_into(container, tmp_path):
    path = save(container, tmp_path / "run.nc", attrs={"seed": 1})
    old = tmp_path / "old.nc"
    old.hardlink_to(path)
    save(container, path, attrs={"seed": 2})
    assert load(path).attrs["seed"] == 2
    assert load(old).attrs["seed"] == 1


@pytest.mark.parametrize(
    ("attrs", "error", "message"),
    [
        ({"schema_version": 2}, ValueError, "attrs: 'schema_version' is reserved"),
        ({"cavity_version": "x"}, ValueError, "attrs: 'cavity_version' is reserved"),
        ({"quick": True}, TypeError, "attrs: expected text or a number for 'quick', got True"),
        ({"seed": None}, TypeError, "attrs: expected text or a number for 'seed', got None"),
    ],
)
def test_attributes_that_cannot_be_kept_are_refused(container, tmp_path, attrs, error, message):
    with pytest.raises(error, match=message):
        save(container, tmp_path / "run.nc", attrs=attrs)
    assert not list(tmp_path.iterdir())


def test_arrays_come_back_as_they_were_or_not_at_all(tmp_path):
    path = tmp_path / "a.npz"
    numbers = np.random.default_rng(0).integers(5, size=60)
    np.savez_compressed(path, a=numbers)
    whole, refused = path.read_bytes(), 0
    assert read_arrays(path)["a"].tolist() == numbers.tolist()
    for place in range(len(whole) - 12):
        path.write_bytes(whole[:place] + bytes(12) + whole[place + 12 :])
        try:
            back = read_arrays(path)
        except ValueError:
            refused += 1
        else:
            assert back.get("a", numbers).tolist() == numbers.tolist()
    assert refused > 0.3 * len(whole)


def test_only_containers_are_saved(tmp_path):
    with pytest.raises(TypeError, match=r"data: expected an ArviZ data container, got dict; make"):
        save({"x": np.zeros((2, 3))}, tmp_path / "run.nc")


def test_only_own_files_of_a_known_layout_are_loaded(container, tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    with monkeypatch.context() as future:
        future.setattr("inference.storage.SCHEMA_VERSION", 99)
        save(container, path)
    with pytest.raises(ValueError, match=r"run\.nc: expected schema_version 1, got 99 \(written"):
        load(path)
    save(container, path)
    whole = path.read_bytes()
    with h5netcdf.File(path, "a") as file:  # what is at the end disturbs no other program
        file.attrs["seed"] = 99
    # a number is changed, the end or all of it is missing, something follows, another file
    place = whole.index(posterior_array(container, "double").tobytes()[:64])
    changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    contents = [
        path.read_bytes(),
        changed,
        whole[:-1],
        whole[:-60],
        b"",
        whole + b" ",
        b"no netCDF",
    ]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"run\.nc: only files that inference.storage.save wrote"
        ):
            load(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load(path)


@pytest.mark.parametrize("missing", ["h5netcdf", "h5py"])
def test_a_missing_library_is_named_with_its_extra(container, tmp_path, monkeypatch, missing):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    message = rf"netCDF files need {missing}: pip install 'cavity\[netcdf\]'"
    with pytest.raises(ImportError, match=message):
        save(container, tmp_path / "run.nc")
    with pytest.raises(ImportError, match=message):
        load(tmp_path / "run.nc")

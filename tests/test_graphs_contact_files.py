"""Tables of contacts and of tests: every form that is read, every defect with its line."""

import csv

import numpy as np
import pytest

from graphs.contact_files import read_contacts, read_tests

CONTACTS = "person_a,person_b,day\n"
TESTS = "person,day,result\n"


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def test_contacts_in_every_dress(write):
    content = (
        '\ufeffDay , person_b,"person_a",transmission\r\n'
        '0,bob," ann ",1\r\n'
        "\r\n"
        '12,"O\'Hara, ""Sue""",bob,2.5e-3\r\n'
        "3.0,żółw,7,0\r\n"
    )
    rows = read_contacts(write(content))
    assert rows.person_a == ["ann", "bob", "7"]
    assert rows.person_b == ["bob", 'O\'Hara, "Sue"', "żółw"]
    assert rows.day.tolist() == [0, 12, 3]
    assert rows.transmission.tolist() == [1.0, 0.0025, 0.0]
    assert rows.line.tolist() == [2, 4, 5]
    assert (rows.day.dtype, rows.line.dtype) == (np.int64, np.int64)


def test_a_label_over_two_lines_counts_both(write):
    rows = read_contacts(write(CONTACTS + '"a\nb",c,1\nc,d,2'))
    assert rows.person_a == ["a\nb", "c"]
    assert rows.line.tolist() == [3, 4]
    assert rows.transmission is None


@pytest.mark.parametrize(
    ("positive", "negative"),
    [("1", "0"), ("+", "-"), ("Positive", "NEGATIVE"), ("pos", " neg "), ("True", "FALSE")],
)
def test_results_in_every_dress(write, positive, negative):
    rows = read_tests(write(TESTS + f"ann,0,{positive}\nbob,32767,{negative}\n"))
    assert rows.positive.tolist() == [True, False]
    assert rows.person == ["ann", "bob"]
    assert rows.day.tolist() == [0, 32767]
    assert rows.false_positive.tolist() == rows.false_negative.tolist() == [0.0, 0.0]
    assert rows.line.tolist() == [2, 3]


def test_error_rates_of_tests(write):
    rows = read_tests(write("false_negative,person,day,result\n.25,ann,3,+\n0,ann,4,+\n"))
    assert rows.false_negative.tolist() == [0.25, 0.0]
    assert rows.false_positive.tolist() == [0.0, 0.0]


def test_what_a_writer_wrote_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    labels = ["a,b", 'c"d', "e'f", "7", "żółw", "g h"]
    expected = [
        (labels[i], labels[j], int(day), float(prob))
        for i, j, day, prob in zip(
            rng.integers(0, 3, 500),
            rng.integers(3, 6, 500),
            rng.integers(0, 60, 500),
            rng.random(500),
            strict=True,
        )
    ]
    path = tmp_path / "contacts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["person_a", "person_b", "day", "transmission"])
        writer.writerows(expected)
    rows = read_contacts(path)
    columns = (rows.person_a, rows.person_b, rows.day.tolist(), rows.transmission.tolist())
    assert list(zip(*columns, strict=True)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "1: header: expected a column 'person_a', got an empty file"),
        ("\n\n", "2: header: expected a column 'person_a', got an empty file"),
        ("ann,bob,1\n", "1: header: expected the columns person_a, person_b, day, transm.* 'ann'"),
        ("person_a,day\nann,1\n", "1: header: expected a column 'person_b', got 'person_a', 'day'"),
        ("person_a,person_b,day,day\n", "1: header: expected each column once, got 'day' twice"),
        ("person_a,person_b,day,transmision\n", "1: header: .* got 'transmision'"),
        ("person_a;person_b;day\nann;bob;1\n", "1: header: .* got 'person_a;person_b;day'"),
        (CONTACTS, "1: expected rows below the header, got none"),
        (CONTACTS + "\n\n", "3: expected rows below the header, got none"),
        (CONTACTS + "ann,bob\n", "2: expected 3 cells as in the header, got 2"),
        (CONTACTS + "ann,bob,1\nann,bob,1,2\n", "3: expected 3 cells as in the header, got 4"),
        (CONTACTS + " \n", "2: expected 3 cells as in the header, got 1"),
        (CONTACTS + "ann,bob,-1\n", "2: column 'day': expected a whole number .*, got '-1'"),
        (CONTACTS + "ann,bob,1.5\n", "2: column 'day': expected a whole number .*, got '1.5'"),
        (CONTACTS + "ann,bob,\n", "2: column 'day': expected a whole number .*, got ''"),
        (CONTACTS + "ann,bob,monday\n", "2: column 'day': .* got 'monday'"),
        (CONTACTS + "ann,bob,1e1\n", "2: column 'day': .* got '1e1'"),
        (CONTACTS + "ann,bob,٣\n", "2: column 'day': .* got '٣'"),
        (CONTACTS + "ann,bob,32767\n", "2: column 'day': .* from 0 to 32766, got '32767'"),
        (CONTACTS + f"a,b,{'9' * 5000}\n", r"2: column 'day': .* got '9{37}\.\.\.'"),
        (CONTACTS + "ann,,1\n", "2: column 'person_b': expected the label of a person, got ''"),
        (CONTACTS + "\n  ,b,1\n", "3: column 'person_a': expected the label of a person, got '  '"),
        (CONTACTS + "a,b,1\nb, b ,1\n", "3: column 'person_b': expected somebody else than 'b'"),
        (CONTACTS + 'a,"b,1\n', "[23]: expected comma-separated values, got a defect"),
        (CONTACTS + 'a,"b"c,1\n', "2: expected comma-separated values, got a defect"),
        ((CONTACTS + "a,b,1\nc,").encode() + b"\xff,1\n", "3: expected UTF-8 text, got other"),
        (b"\xff\xfe" + CONTACTS.encode("utf-16-le"), "1: expected UTF-8 text, got other bytes"),
    ],
)
def test_contacts_that_are_refused(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_contacts(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cell", ["1.5", "-0.1", "nan", "inf", "", "0.1.2", "1_0", "much"])
def test_probabilities_that_are_refused(write, cell):
    path = write(f"person_a,person_b,day,transmission\na,b,1,0.5\na,b,2,{cell}\n")
    with pytest.raises(ValueError, match=r":3: column 'transmission': .* from 0 to 1, got"):
        read_contacts(path)
    path = write(f"person,day,result,false_negative,false_positive\na,1,+,0,{cell}\n")
    with pytest.raises(ValueError, match=r":2: column 'false_positive': .* from 0 to 1, got"):
        read_tests(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("person,day\na,1\n", "1: header: expected a column 'result'"),
        (TESTS, "1: expected rows below the header"),
        (TESTS + "a,1,maybe\n", "2: column 'result': expected positive or negative.* got 'maybe'"),
        (TESTS + "a,1,+\na,1,2\n", "3: column 'result': .* got '2'"),
        (TESTS + "a,0.5,+\n", "2: column 'day': expected a whole number from 0 to 32767"),
        (TESTS + ",0,+\n", "2: column 'person': expected the label of a person"),
        (TESTS + "a,0,+,0.1\n", "2: expected 3 cells as in the header, got 4"),
    ],
)
def test_tests_that_are_refused(write, content, message):
    with pytest.raises(ValueError, match=f"table.csv:{message}"):
        read_tests(write(content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_contacts(tmp_path / "none.csv")
    with pytest.raises(OSError, match="directory"):
        read_tests(tmp_path)


def test_people_share_one_label(write):
    rows = read_contacts(write(CONTACTS + "ann lee,bob,1\nbob,ann lee,2\n"))
    assert rows.person_a[0] is rows.person_b[1]

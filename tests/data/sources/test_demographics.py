"""Age, sex and labels: what is understood, and what is left unknown with a note."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.data.sources import sources
from ecgscale.data.sources.demographics import (
    parse_age,
    parse_labels,
    parse_sex,
    read_comments,
)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("56.0", 56),
        (" 0 ", 0),
        ("120", 120),
        ("33,5", 33.5),
        ("072Y", 72),
        ("72Y", 72),
        ("006M", 0.5),
        ("45 yrs", 45),
        ("45 y/o", 45),
        ("45 years old", 45),
        ("6 months", 0.5),
        ("6 months of age", 0.5),
        ("5 years, 6 months", 5.5),
        ("3 weeks", 21 / 365.25),
        ("10 days", 10 / 365.25),
        ("", None),
        ("NaN", None),
        ("Unknown", None),
        ("n/a", None),
    ],
)
def test_ages_that_need_no_note(text, age):
    got, notes = parse_age(text)
    assert got == (age if age is None else pytest.approx(age))
    assert notes == ()


@pytest.mark.parametrize(
    "text", ["300", "300.0", "89+", "90+", ">89", "> 89 years", ">= 90", "≥90", "90 and over"]
)
def test_ages_that_stand_for_the_oldest(text):
    got, (note,) = parse_age(text)
    assert got == 90
    assert "read as 90" in note


@pytest.mark.parametrize(
    "text",
    [
        *("-1", "-3", "- 1", "\u22121", "121", "999", "inf", "1e400", "1500 months", "300 years"),
        *("[60-65]", "60-69", "60 to 65", "60\u201365", "65+", ">65", "<18", "~50", "60s"),
        *("old", "12 lead", "6m", "6 M", "50 60", "1,234", "5 months 2 years", "0x32", "5O"),
    ],
)
def test_ages_that_are_unknown_with_a_note(text):
    got, (note,) = parse_age(text)
    assert got is None
    assert "left out" in note


@given(st.text(max_size=12) | st.from_regex(r"-?\d{1,4}( ?[a-z+%-]{1,5})?\d?", fullmatch=True))
def test_an_age_is_possible_or_unknown(text):
    got, notes = parse_age(text)
    assert got is None or 0 <= got <= 120
    if text.lstrip().startswith("-"):
        assert got is None
    if got is not None and text.strip() and text.strip()[-1:].isdigit() and text.isprintable():
        assert got in (float(text.replace(",", ".")), 90)
    assert len(notes) <= 1


@pytest.mark.parametrize(
    ("text", "sex", "noted"),
    [
        *((text, "F", False) for text in ("F", "f", "FEMALE", "femal", "W", "weiblich", "F.")),
        *((text, "M", False) for text in ("M", "m", "Male", "MAN", "männlich")),
        *((text, None, False) for text in ("", "Unknown", "U", "nan", "N/A", "?")),
        *((text, None, True) for text in ("O", "other", "x", "1", "0", "male/female", "7")),
    ],
)
def test_sexes(text, sex, noted):
    got, notes = parse_sex(text)
    assert got == sex
    assert bool(notes) == noted


def test_a_publishers_codes_of_the_sex():
    codes = {"0": "M", "1": "F"}
    assert [parse_sex(text, codes)[0] for text in ("0", "1.0", "", "2")] == ["M", "F", None, None]
    assert parse_sex("2", codes)[1] == ("sex '2' is not understood and left out",)


def test_labels():
    assert parse_labels(" AF | PVC |AF", "|") == (("AF", "PVC"), ())
    assert parse_labels("", ",") == ((), ())
    assert parse_labels("sinus, normal", None) == (("sinus, normal",), ())
    for word in ("nan", "None", "Unknown", "NA"):
        assert parse_labels(word, None) == ((), (f"label {word!r} left out",))
    assert parse_labels("a,,b", ",") == (("a", "b"), ("an empty label left out",))


@pytest.mark.parametrize(
    ("text", "age", "notes"),
    [
        ("#Age: 80 Sex: F", 80, 0),
        ("#<age>: 51  <sex>: F <diagnoses>: 12", 51, 0),
        ("# age 50", 50, 0),
        ("#Age = 50; height 180", 50, 0),
        ("#Age: 6 months Sex: F", 0.5, 0),
        ("#Age: 33,5 years, male", 33.5, 0),
        ("# Age (months): 6", 0.5, 0),
        ("# Age [years]: 6", 6, 0),
        ("#Age:\n12 lead", None, 0),
        ("#Age: \n#12 lead", None, 0),
        ("#Age: -1", None, 1),
        ("#Age: [60-65]", None, 1),
        ("#Age: 50\n#Age: 51", None, 1),
        ("#Age: 50\n# age: 50.0", 50, 0),
        ("#Age: unknown\n#Age: 50", 50, 0),
        ("# average: 3", None, 0),
        ("# old age, 12 leads", None, 0),
    ],
)
def test_ages_in_comments(text, age, notes):
    found = read_comments(text)
    assert found.age == (age if age is None else pytest.approx(age))
    assert len(found.notes) == notes


@pytest.mark.parametrize(
    ("text", "sex", "notes"),
    [
        ("#Sex: Female", "F", 0),
        ("#<age>: 51  <sex>: F <diagnoses>:", "F", 0),
        ("# gender: male (stated)", "M", 0),
        ("#Sex:\n#male pattern", None, 0),
        ("#Sex: not known", None, 0),
        ("#Sex: M\n#Gender: Female", None, 1),
        ("#Sex: Male/Female", None, 1),
    ],
)
def test_sexes_in_comments(text, sex, notes):
    found = read_comments(text)
    assert (found.sex, len(found.notes)) == (sex, notes)


@pytest.mark.parametrize(
    "filling", [" ", "1", "a", ",", "(", "<", "1 ", "age ", "age:", "Dx:", "# "]
)
def test_long_comments_take_no_longer_than_reading_them(filling):
    """A header that is made to take for ever ends at once (the test's own limit is minutes)."""
    for start in ("#Age", "#Age:", "#Sex:", "#Dx"):
        read_comments(start + filling * (200_000 // len(filling)))
    assert parse_age(filling * 100_000)[0] is None


COMMENTS = ("#Age: 6 months", "#Sex: F", "# Dx : 426783006,nan", "#dx=164889003, 426783006")


@pytest.mark.parametrize(("reader", "name"), [("challenge", "a"), ("wfdb-tree", "a:0")])
def test_readers_agree_on_a_header(tmp_path, write, reader, name):
    write.wfdb(tmp_path, "a", write.beats(0), comments=COMMENTS)
    (record,) = sources.get(reader)(tmp_path, "s").iter_records()
    assert (record.record_id, record.age, record.sex) == (name, 0.5, "F")
    assert record.labels == {"426783006": 100.0, "164889003": 100.0}
    assert record.notes == ("label 'nan' left out",)


def test_patterns_of_ones_own_are_read_alike(tmp_path, write):
    comments = ("# Alter 89+", "# Geschlecht w", "# Befund AF/None", "# Befund PVC")
    write.wfdb(tmp_path, "a", write.beats(0), comments=comments)
    options = {
        "age_pattern": "Alter (.*)",
        "sex_pattern": "Geschlecht (.*)",
        "label_pattern": "Befund (.*)",
        "label_separator": "/",
    }
    (record,) = sources.get("wfdb-tree")(tmp_path, "s", options).iter_records()
    assert (record.age, record.sex) == (90, "F")
    assert record.labels == {"AF": 100.0, "PVC": 100.0}
    assert record.notes == ("age '89+' is read as 90", "label 'None' left out")

"""Age, sex and diagnoses as they are written in header comments and tables, for every reader.

What is not understood, or contradicts itself, is unknown, with a note; no number is taken out of a
text that may mean another.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ecgscale.data.record import Sex

OLDEST = 90.0
"""Age that stands for every age above 89, which publishers hide."""

AGES = (0.0, 120.0)
"""Years outside which a number is no age."""

UNKNOWN = frozenset(
    (
        *("", "nan", "none", "null", "na", "n/a", "<na>", "unknown", "unk", "-", "--", "?", "."),
        *("n.a.", "n.a", "#n/a", "#na", "#ref!", "#value!", "#name?", "nat", "nil", "(null)"),
        *(
            "\\n",
            "undefined",
            "undetermined",
            "no data",
            "none given",
            "not given",
            "not applicable",
        ),
        *("unspecified", "unbekannt", "not determined", "not entered", "(blank)"),
        *("not known", "not available", "not specified", "not stated", "not recorded", "missing"),
    )
)
"""Texts, in lower case, that say that nothing is known."""


def is_unknown(text: str) -> bool:
    """Whether a cell says nothing: it is empty, has no letter or digit, or a word of `UNKNOWN`.

    Examples
    --------
    >>> [is_unknown(text) for text in (" NaN ", "--", "<NA>", "Not  known", "0")]
    [True, True, True, True, False]
    """
    words = " ".join(text.split()).lower().strip("\"'")
    return words in UNKNOWN or not any(map(str.isalnum, words))


PER_YEAR = {"y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25, "h": 365.25 * 24}
"""Units of an age in a year, by their first letter."""

_UNIT = (
    r"(?:(?P<y>years?|yrs?|y\.?/?o\.?|y|jahre?|ans?|a[nñ]os?)|(?P<m>months?|mths?|mos?|monate?)"
    r"|(?P<w>weeks?|wks?|w|wochen?)|(?P<d>days?|d|tage?)|(?P<h>hours?|hrs?|h))"
)
_NUMBER = r"\d+(?:\.\d*|,\d{1,2})?|\.\d+"
_UNITS = re.sub(r"\?P<\w>", "?:", _UNIT)
_SPAN = re.compile(rf"(?P<value>{_NUMBER})\s*{_UNIT}\b\.?[\s,]*(?:and\s+)?")
_BARE = re.compile(rf"\+?({_NUMBER})(?:e[-+]?\d+)?")
_OF_AGE = re.compile(r"(?:[\s-]*(?:old|of age))$")
_JOINED = re.compile(rf"(?<=\d)-(?={_UNITS}\b)")
_BRACKETED = re.compile(rf"(?<=\d)\s*[\[(]\s*({_UNITS})\s*[\])]$")
_DICOM = re.compile(r"(\d{3})([dwmy])")
_ISO = re.compile(r"p((?:\d+[ymwd])+)")
_WHOLE_UNITS = r"(years|yrs?|months|mths|mos?|weeks|wks|days|hours)"
_COLUMN = re.compile(
    rf"age[\W_]*(?:in[\W_]*)?[\[(]?{_WHOLE_UNITS}(?![a-z])"
    rf"|(?<![a-z]){_WHOLE_UNITS}[\W_]*(?:old|of[\W_]*age)?[\W_]*$"
    r"|age[\W_]+(?:in[\W_]+)?([dhmwy])[\W_]*$"
)
_ABOVE = re.compile(
    rf"(?:(?:>=?|≥|over|above|older than)\s*({_NUMBER})"
    rf"|({_NUMBER})\s*(?:\+|plus|(?:and|or) (?:over|older|above|more)))\s*(?:years?|yrs?|y)?"
)
_RANGE = re.compile(
    rf"[\[(]?\s*({_NUMBER})\s*(?:-|\u2013|\u2014|to|\.\.\.?|/)\s*({_NUMBER})\s*(?:years?|yrs?|y)?\s*[\])]?"
)

SEXES: Mapping[str, Sex] = {
    **dict.fromkeys(("f", "fem", "femal", "female", "woman", "w", "weiblich", "frau"), "F"),
    **dict.fromkeys(("m", "male", "man", "männlich", "maennlich", "mann"), "M"),
}
"""Spellings of a sex, in lower case."""

LONGEST = 80
"""Characters in which an age or a sex is said; what is longer is not tried, since it takes long."""

_KEY_ENDS = r"[>\])\"']*+[ \t]*+"
_TO_VALUE = r"(?:[:=][ \t]*|(?=[-+<>≥~\[(\d.]))"
_PERSON = r"(?:patient|subject|participant|pt)(?:['\u2019]?s)?"
_KEYS = (
    rf"(?:{_PERSON}|age|sex|gender|id|mrn|name|number|nr|record|recording|case|study|file|date|time"
    r"|birth ?date|dob|height|weight|bmi|race|ethnicity|hospital|site|device|recorder)"
)
_SAYS = (
    rf"(?:(?:(?:{_NUMBER})[ \t-]*{_UNITS}\b[ \t,]*){{1,3}}(?:old\b)?"
    r"|[^\s;,|<:=]{0,20}\d[^\s;,|<:=]{0,20}(?:[ \t]*(?:cm|m|in|kg|lbs?)\b)?"
    r"|(?:fe)?male\b|[fmwx]\b|unknown\b|n/?an?\b|[?-]+)"
)
_BEFORE = (
    r"^[# \t\"'(\[<*-]*+"
    rf"(?:{_KEYS}\b{_KEY_ENDS}[:=]?[ \t]*+(?:{_SAYS}?[ \t,]*+|[^\n;|<]*+[;|<])[ \t(<,]*+){{0,5}}?"
    rf"\b(?:{_PERSON}[ \t_-]?)?"
)
"""What may stand on a line before an age or a sex: nothing, or other facts about the patient. A
word before it makes it another's, or the age at which something was (maternal, gestational, since).
"""

AGE_LINE = (
    rf"(?im){_BEFORE}age(?![a-z_-])[ \t]*+(?:(?:in[ \t]++)?[\[(]?{_UNIT}[\])]?(?![a-z]))?"
    rf"{_KEY_ENDS}{_TO_VALUE}(?P<value>[^\n]*)"
)
"""Matches an age in a header's comments; its group `value` is what follows on the line."""

SEX_LINE = (
    rf"(?im){_BEFORE}(?:sex|gender)(?![\w-])(?:[ \t]*[\[(][fm/ ,|]{{1,9}}[\])])?"
    rf"{_KEY_ENDS}[:=]?[ \t]*(?P<value>[^\n]*)"
)
"""Matches a sex in a header's comments; its group `value` is what follows on the line."""

LABEL_LINE = r"(?im)^[# \t]*Dx[ \t]*[:=]([^\n]*)$"
"""Matches label codes in a header's comments, as in the PhysioNet Challenges."""

_NEXT_KEY = re.compile(
    r"(?i)[ \t]*[;|#].*|[ \t]*[,<(]*[ \t]*\b[^\W\d]\w*>?[ \t]*[:=].*|[ \t,(]+(?:fe)?male\b.*"
    r"|[ \t]*,[ \t]*[fmw]\b.*|[ \t,]+(?:sex|gender)\b.*"
)
"""Where the value of a key ends on a line that says more ("65 <sex>: F", "65, male")."""

_DOUBTS = frozenset(
    (
        *("trans", "transgender", "transsexual", "intersex", "mtf", "ftm", "was", "formerly"),
        *("unknown", "uncertain", "unclear", "possibly", "probably", "or", "not"),
    )
)
"""Words beside a sex that leave open which it is."""


@dataclass(frozen=True)
class Comments:
    """What a header's comments say of the patient.

    Attributes
    ----------
    age
        Years, or None.
    labels
        Codes of all label lines, each once, in their order.
    label_lines
        How many lines have labels, or would have.
    notes
        What was left out, and why.
    """

    age: float | None = None
    sex: Sex | None = None
    labels: tuple[str, ...] = ()
    label_lines: int = 0
    notes: tuple[str, ...] = ()


def read_comments(
    text: str,
    age_pattern: str = AGE_LINE,
    sex_pattern: str = SEX_LINE,
    label_pattern: str = LABEL_LINE,
    label_separator: str = ",",
) -> Comments:
    r"""Read age, sex and labels from the comment lines of a header.

    Parameters
    ----------
    text
        The lines.
    age_pattern, sex_pattern, label_pattern
        What each match says is in its group `value`, or its first. Several matches must agree;
        labels of all are united.
    label_separator
        What stands between two codes.

    Examples
    --------
    >>> found = read_comments("# Age: 6 months\n# Sex: F\n# Dx: 426783006\n# Dx: 164889003")
    >>> found.age, found.sex, found.labels
    (0.5, 'F', ('426783006', '164889003'))
    """
    age, age_notes = _agreed("age", re.finditer(age_pattern, text), _age_of)
    sex: Sex | None
    sex, sex_notes = _agreed("sex", re.finditer(sex_pattern, text), _sex_of)
    lines = [_group(match) for match in re.finditer(label_pattern, text)]
    labels: dict[str, None] = {}
    label_notes: dict[str, None] = {}
    for line in lines:
        codes, notes = parse_labels(line, label_separator)
        labels |= dict.fromkeys(codes)
        label_notes |= dict.fromkeys(notes)
    return Comments(age, sex, tuple(labels), len(lines), (*age_notes, *sex_notes, *label_notes))


def column_unit(column: str) -> str | None:
    """Return the unit that the name of a column of ages states, a key of `PER_YEAR`.

    None: the name ends in m, and says neither months nor another thing.

    Examples
    --------
    >>> [column_unit(name) for name in ("age", "age_months", "AgeInDays", "weeks of age")]
    ['y', 'm', 'd', 'w']
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower()
    found = _COLUMN.search(name)
    if found is None:
        return "y"
    unit: str = found[1] or found[2] or found[3]
    return None if unit == "m" else unit[0]


def parse_age(text: str, unit: str = "y") -> tuple[float | None, tuple[str, ...]]:
    """Return an age in years, or None, and notes on what was assumed or left out.

    A number without a unit is in `unit`, a key of `PER_YEAR`. "89+", ">89" and the like, and the
    300 that PTB-XL writes for every age above 89 (Wagner et al. 2020), are read as `OLDEST`.
    Ranges, lower bounds below 89, negative and impossible numbers and other words are unknown.

    Examples
    --------
    >>> parse_age("072Y")[0], parse_age("3 weeks")[0] * 365.25, parse_age("89+")[0]
    (72.0, 21.0, 90.0)
    >>> parse_age("[60-65]")
    (None, ("age '[60-65]' is a range, left out",))
    """
    said = text.strip().strip("\"'").strip()
    shown = f"age {said[:30]!r}"
    words = " ".join(said.lower().split())
    if is_unknown(words):
        return None, ()
    if len(words) > LONGEST:
        return None, (f"{shown} is not understood and left out",)
    words = _OF_AGE.sub("", _BRACKETED.sub(r" \1", _JOINED.sub(" ", words)))
    if iso := _ISO.fullmatch(words):
        words = re.sub("([ymwd])", r"\1 ", iso[1]).replace("m ", " months ").strip()
    elif _BARE.fullmatch(words):
        years = float(words.replace(",", ".")) / PER_YEAR[unit]
        if years == 300 and unit == "y":
            return OLDEST, (f"age 300 stands for above 89 and is read as {OLDEST:g}",)
        return _possible(years, shown)
    if dicom := _DICOM.fullmatch(words):
        return _possible(int(dicom[1]) / PER_YEAR[dicom[2]], shown)
    above = _ABOVE.fullmatch(words)
    if above and float((above[1] or above[2]).replace(",", ".")) >= 89:
        return OLDEST, (f"{shown} is read as {OLDEST:g}",)
    if _RANGE.fullmatch(words):
        return None, (f"{shown} is a range, left out",)
    spans = list(_SPAN.finditer(words))
    units = [str(span.lastgroup) for span in spans]
    ordered = sorted(set(units), key="ymwdh".index)
    if spans and "".join(span[0] for span in spans) == words and units == ordered:
        numbers = (float(span["value"].replace(",", ".")) for span in spans)
        years = sum(number / PER_YEAR[unit] for number, unit in zip(numbers, units, strict=True))
        return _possible(years, shown)
    if re.match(r"[-\u2212]\s*\d", words):
        return None, (f"impossible {shown} left out",)
    return None, (f"{shown} is not understood and left out",)


def parse_sex(
    text: str, codes: Mapping[str, Sex] | None = None
) -> tuple[Sex | None, tuple[str, ...]]:
    """Return "F", "M" or None, and a note where a text is not understood.

    Parameters
    ----------
    codes
        What a publisher writes, where it is neither a word nor a letter ({"0": "M", "1": "F"}).

    Examples
    --------
    >>> parse_sex("Female"), parse_sex("unknown"), parse_sex("1")
    (('F', ()), (None, ()), (None, ("sex '1' is not understood and left out",)))
    """
    word = text.strip().strip("\"'.").strip().lower()
    sex = (codes or SEXES).get(word.removesuffix(".0") if codes else word)
    if sex is not None or is_unknown(word) or word == "u":
        return sex, ()
    return None, (f"sex {text.strip()[:30]!r} is not understood and left out",)


def parse_labels(text: str, separator: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return label codes, each once, and notes on what was left out.

    Parameters
    ----------
    separator
        What stands between two codes; None: the text is one.

    Examples
    --------
    >>> parse_labels("AF | nan | AF", "|")
    (('AF',), ("label 'nan' left out",))
    >>> parse_labels("426783006;164889003", ",")[0]  # numbers, as of SNOMED CT, are apart
    ('426783006', '164889003')
    """
    parts = [part.strip() for part in ([text] if separator is None else text.split(separator))]
    if separator is not None:
        parts = [code for part in parts for code in _apart(part)]
    codes = dict.fromkeys(part for part in parts if part.lower() not in UNKNOWN)
    left = dict.fromkeys(part for part in parts if part and part not in codes)
    notes = [f"label {part!r} left out" for part in left]
    if len(parts) > 1 and "" in parts and text.strip():
        notes.append("an empty label left out")
    if separator is not None:
        odd = [code for code in codes if _SEVERAL.search(code)]
        notes += [f"label {code[:40]!r} is read as one, and may be several" for code in odd]
    return tuple(codes), tuple(notes)


_SEVERAL = re.compile(r"[;|,\t]|^[\[{].*[\]}]$")
"""What stands in a text that may be several labels, whatever was said to stand between them."""

_NUMBERS = re.compile(r"\d{6,18}(?:\s*[;|,/\s]\s*(?:\d{6,18}|nan|none))+", re.ASCII | re.IGNORECASE)


def _apart(part: str) -> list[str]:
    """Take apart what can only be several codes: numbers of 6 to 18 digits, as in SNOMED CT."""
    return re.split(r"[;|,/\s]+", part) if _NUMBERS.fullmatch(part) else [part]


T = TypeVar("T")


def _agreed(
    what: str,
    matches: Iterable[re.Match[str]],
    parse: Callable[[re.Match[str]], tuple[T | None, tuple[str, ...]]],
) -> tuple[T | None, tuple[str, ...]]:
    """Return what all matches say; None if two of them differ."""
    known: dict[T, None] = {}
    notes: dict[str, None] = {}
    for match in matches:
        value, more = parse(match)
        notes |= dict.fromkeys(more)
        if value is not None:
            known[value] = None
    if len(known) > 1:
        said = ", ".join(
            f"{value:g}" if isinstance(value, float) else str(value) for value in known
        )
        return None, (*notes, f"the {what} is stated as {said}, left out")
    return next(iter(known), None), tuple(notes)


def _group(match: re.Match[str]) -> str:
    named = match.re.groupindex
    return (match["value"] if "value" in named else match[1]) or ""


def _short(match: re.Match[str]) -> str:
    return _group(match).strip()[:LONGEST]


def _age_of(match: re.Match[str]) -> tuple[float | None, tuple[str, ...]]:
    said = _short(match)
    text = _NEXT_KEY.sub("", said).strip()
    unit = next((key for key in PER_YEAR if key in match.re.groupindex and match[key]), "y")
    age, notes = parse_age(text, unit)
    again = _AGE_AGAIN.search(said)
    if again and parse_age(_NEXT_KEY.sub("", again[1]).strip())[0] not in (None, age):
        return None, (f"age {said[:30]!r} is two ages, left out",)
    return age, notes


_AGE_AGAIN = re.compile(rf"(?i)[\s;,|<]age{_KEY_ENDS}[:=][ \t]*([^\n]*)")
_SEX_AGAIN = re.compile(rf"(?i)[\s;,|<](?:sex|gender){_KEY_ENDS}[:=][ \t]*([^\W\d_]+)")


def _sex_of(match: re.Match[str]) -> tuple[Sex | None, tuple[str, ...]]:
    said = _short(match)
    value = _NEXT_KEY_OF_SEX.sub("", said)
    if is_unknown(value.partition("(")[0]):
        return None, ()
    words = re.findall(r"[^\W\d_]+", value.lower())
    words += [word.lower() for word in _SEX_AGAIN.findall(said)]
    named = {SEXES[word] for word in words if word in SEXES}
    if len(named) > 1 or not _DOUBTS.isdisjoint(words):
        return None, (f"sex {said[:30]!r} is not understood and left out",)
    return parse_sex(re.split(r"[\s,;(]", value.strip(), maxsplit=1)[0])


_NEXT_KEY_OF_SEX = re.compile(r"[ \t]*[;|#<].*|[ \t]*[,(]*[ \t]*\b[^\W\d]\w*[ \t]*[:=].*")


def _possible(years: float, shown: str) -> tuple[float | None, tuple[str, ...]]:
    if AGES[0] <= years <= AGES[1]:
        return years, ()
    return None, (f"impossible {shown} left out",)

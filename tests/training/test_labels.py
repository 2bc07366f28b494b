"""Labels of a subset are those of its training records; shuffled ones belong to another patient."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.errors import BadInputError
from ecgscale.training import labels
from ecgscale.training.labels import shuffled, with_labels


def table(entries):
    """Return rows of (source, patient, label or None); the record's number is its id."""
    rows = [
        {
            "source": source,
            "patient_id": f"{source}:{patient}",
            "record_id": f"r{number:03d}",
            "y": np.full(2, np.nan if label is None else label, dtype=np.float32),
        }
        for number, (source, patient, label) in enumerate(entries)
    ]
    return pd.DataFrame(rows, columns=["source", "patient_id", "record_id", "y"])


def slow(rows, seed):
    """Return the label of each record id, patient by patient."""
    rng, dealt = np.random.default_rng(seed), {}
    for source in sorted(set(rows["source"])):
        labelled = np.array([not np.isnan(y).all() for y in rows["y"]])
        here = rows[(rows["source"] == source) & labelled]
        patients = sorted(set(here["patient_id"]))
        own = {
            p: here[here["patient_id"] == p].sort_values("record_id").to_dict("records")
            for p in patients
        }
        for patient, other in zip(patients, rng.permutation(len(patients)), strict=True):
            for turn, record in enumerate(own[patient]):
                given = own[patients[other]]
                dealt[source, record["record_id"]] = given[turn % len(given)]["y"][0]
    return dealt


entries = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.one_of(st.none(), st.integers(0, 9))),
    min_size=1,
    max_size=30,
)


@given(entries=entries, seed=st.integers(0, 99), turn=st.integers(0, 5))
def test_shuffled_labels_are_dealt_patient_by_patient(entries, seed, turn):
    rows = table(entries)
    expected = slow(rows, seed)
    given_rows = rows.sample(frac=1, random_state=turn)
    made = shuffled(given_rows, np.random.default_rng(seed))
    assert made["record_id"].tolist() == given_rows["record_id"].tolist()
    for record in made.to_dict("records"):
        key = record["source"], record["record_id"]
        assert np.isnan(record["y"]).all() == (key not in expected)
        assert key not in expected or record["y"][0] == expected[key]


def test_with_a_record_a_patient_each_label_is_as_frequent_as_before():
    rows = table([("a", n, n % 3) for n in range(60)])
    made = shuffled(rows, np.random.default_rng(0))
    counted = [Counter(y[0] for y in x["y"]) for x in (rows, made)]
    assert counted[0] == counted[1]
    same = np.mean([a[0] == b[0] for a, b in zip(rows["y"], made["y"], strict=True)])
    assert same < 0.6
    other = shuffled(rows, np.random.default_rng(1))
    assert any(a[0] != b[0] for a, b in zip(made["y"], other["y"], strict=True))


def test_labels_are_joined_by_source_and_record(monkeypatch, tmp_path):
    known = table([("a", 0, 1), ("a", 1, 2), ("b", 2, 3)])
    monkeypatch.setattr(labels, "training_targets", lambda place, names: known)
    asked = known.iloc[[2, 0]].drop(columns="y").reset_index(drop=True)
    unlabelled = asked.iloc[[0]].assign(source="a")  # the id of a record of another source
    made = with_labels(pd.concat([asked, unlabelled]), tmp_path, ["t"])
    assert [y[0] for y in made["y"][:2]] == [3, 1]
    assert np.isnan(made["y"].iloc[2]).all()
    assert made["y"].iloc[2].shape == (2,)
    with pytest.raises(BadInputError, match="none of the 1 records of the subset is a training"):
        with_labels(unlabelled, tmp_path, ["t"])

"""How the files of a folder are read: the keys of ``source.yaml`` and of a data set's YAML.

CSV files of seven columns, patients in a table::

    format: csv
    fs: 500
    units: uV
    leads: [I, II, V1, V2, V3, V4, V5]
    table:
      path: patients.csv
      record: file
      patient: pid
      age: age
      sex: sex
      labels: diagnoses
      label_separator: "|"
      split: split
      measurements: [lvef]
"""

from itertools import product
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ecgscale.data.record import LEADS, canonical_lead
from ecgscale.data.sources.base import SourceOptions
from ecgscale.data.sources.demographics import AGE_LINE, LABEL_LINE, SEX_LINE
from ecgscale.data.sources.metadata import GroupPattern, MetadataTable

Format = Literal["wfdb", "csv", "npy", "parquet", "edf", "dicom"]
SUFFIXES: dict[Format, tuple[str, ...]] = {
    "wfdb": (".hea", ".mat", ".dat"),
    "csv": (".csv",),
    "npy": (".npy",),
    "parquet": (".parquet",),
    "edf": (".edf",),
    "dicom": (".dcm",),
}
"""Of a record's files, the one that stands for the record first."""

STATES_ITSELF: tuple[Format, ...] = ("wfdb", "edf", "dicom")
"""Formats whose files say their rate, units and leads, and may say age and sex."""

_OF_WFDB, _OF_ARCHIVES = ("window_seconds",), ("signals", "uids")


class FolderDescription(SourceOptions):
    """Which records a folder has, how their files are read, and what is known of them."""

    format: Format
    """wfdb, edf, dicom: the files say their rate, units and leads. csv, parquet: a file a record, a
    column a lead. npy: a file a record (lead, time) or (time, lead), or many records in one file,
    first axis the record; or every record in one `.npz` file, see `signals`."""
    files: str | None = None
    """Which files, as a glob below the folder; default every one with the format's suffix."""
    records: str | None = None
    """A list of the records, a path a line, that is followed where the folder has it (RECORDS); a
    line that ends in "/" names a folder with a RECORDS of its own."""
    signals: str | None = None
    """npy: an `.npz` file that holds all records, an array `signals`, int16 (record, lead, time);
    the records are the rows of `table`, and entries of the array that have none."""
    uids: str | None = None
    """The array of the records' names in that file, in the same order."""
    fs: float | None = Field(default=None, gt=0)
    """Sampling rate, Hz."""
    units: Literal["mV", "uV", "V", "adu"] | None = None
    """Of the samples; adu are steps of a converter, with `gain`."""
    gain: float | None = Field(default=None, gt=0)
    """Steps per mV (per standard deviation, where `table.amplitude` says so)."""
    invalid: tuple[int | float, ...] | None = None
    """csv, npy, parquet: values that mean "no measurement". Default -32768 where all samples are
    whole numbers that 16 bit hold. The smallest value of a signed integer type always does."""
    leads: tuple[str, ...] | None = Field(default=None, min_length=1)
    """In the order of an array, or of a csv file without a header; for files that say their leads
    those that every record has, where not the standard 12."""
    lead_names: dict[str, str] = Field(default={})
    """Names in the headers or of columns to names of standard leads ({"MLII": "II"})."""
    header: bool = True
    """Whether the first line of a csv file names its columns."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of the leads, in the order of `leads`; default those that are named like
    the leads, beside which there may be a column of times and no other."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Between the columns of a csv file."""
    decimal: Literal[".", ","] = "."
    """Decimal point of a csv file."""
    window_seconds: float | None = Field(default=None, gt=0)
    """wfdb: a record is a window of this length; default the whole recording."""
    windows: int = Field(default=1, ge=1)
    """Most windows of a recording, one after the other from its start."""
    table: MetadataTable | None = None
    """A table with a row a record."""
    partial: bool = False
    """Whether rows of records that are not there are passed over: a part was downloaded."""
    patient_pattern: GroupPattern | None = None
    """Its first group is the patient: searched in the record's path without suffix or, with
    `signals`, matched against all of `table.patient`. Otherwise `table.patient` decides, where
    there is one."""
    patients: Literal["record"] | None = None
    """`record`: every recording is of another patient, and its name is the patient's. Without this,
    `patient_pattern` and `table.patient`, patients are unknown: the records may be pretrained on,
    counted as a patient each, and no task can hold them out."""
    comments: bool = False
    """Whether age, sex and labels (wfdb only) that the table does not state are looked for in the
    header's comments, in EDF+ and in DICOM files. Names of persons are never read."""
    age_pattern: GroupPattern = AGE_LINE
    """Its group `value`, or its first, is the age wherever it matches the comments; all must agree.
    As for the next two, what is captured is read as `ecgscale.data.sources.demographics` says."""
    sex_pattern: GroupPattern = SEX_LINE
    """Its group `value`, or its first, is the sex."""
    label_pattern: GroupPattern = LABEL_LINE
    """Its group `value`, or its first, has label codes; those of all matches are united."""
    label_separator: str = Field(default=",", min_length=1)
    """What stands between two codes in a comment."""
    label_lists: dict[str, str] = Field(default={})
    """Files that list records (relative to the folder) to the label of those records."""
    unknown_ages: tuple[float, ...] = ()
    """Ages that stand for an unknown age."""

    @field_validator("leads")
    @classmethod
    def _standard_spelling(cls, leads: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return leads and tuple(canonical_lead(lead) for lead in leads)

    @model_validator(mode="after")
    def _consistent(self) -> "FolderDescription":
        stated = {key for key in self.model_fields_set if getattr(self, key)}
        own = self.format in STATES_ITSELF
        for key in ("fs", "units", "invalid", *(() if own else ("leads",))):
            if own and key in stated:
                raise ValueError(f"{key} is in the headers of {self.format} files; leave it out")
            if not own and key not in stated and key != "invalid":
                raise ValueError(f"{key} is missing, and {self.format} files do not say it")
        for form, key in (*product(["wfdb"], _OF_WFDB), *product(["npy"], _OF_ARCHIVES)):
            if self.format != form and key in stated:
                raise ValueError(f"{key} goes with format: {form}, and only with it")
        if self.comments and not own:
            raise ValueError(f"comments goes with format: {', '.join(STATES_ITSELF)}")
        if self.decimal == self.delimiter:
            raise ValueError(f"delimiter and decimal are both {self.decimal!r}")
        missing = {*_OF_ARCHIVES, "table"} - stated
        if missing and stated & set(_OF_ARCHIVES):
            raise ValueError(f"{min(missing)} is missing: signals, uids and table go together")
        if len(set(self.leads or ())) < len(self.leads or ()):
            raise ValueError("leads names a lead twice")
        if (self.gain is not None) != (self.units == "adu"):
            raise ValueError("gain goes with units: adu, and only with it")
        if self.patients and (self.patient_pattern or (self.table and self.table.patient)):
            raise ValueError("patients: record contradicts patient_pattern or table.patient")
        if self.columns is not None:
            if self.format not in ("csv", "parquet") or not self.header:
                raise ValueError("columns needs csv files with a header, or parquet")
            if len(self.columns) != len(self.leads or ()):
                leads = len(self.leads or ())
                raise ValueError(f"columns has {len(self.columns)} names for {leads} leads")
            for column, lead in zip(self.columns, self.leads or (), strict=True):
                if column != lead and canonical_lead(column) in {*LEADS, *(self.leads or ())} - {
                    lead
                }:
                    raise ValueError(f"columns names {column!r} for lead {lead}")
        return self

    @property
    def standard_leads(self) -> tuple[str, ...]:
        """The stated leads as `lead_names` names them; none if they are not stated."""
        return tuple(canonical_lead(self.lead_names.get(x, x)) for x in self.leads or ())

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of a record's files end."""
        return SUFFIXES[self.format]

    @property
    def glob(self) -> str:
        """Which files."""
        return self.files or f"**/*{self.suffixes[0]}"

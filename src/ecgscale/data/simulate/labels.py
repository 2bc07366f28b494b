"""What a reader writes under a record: SCP statements, or the 38 labels' acronyms."""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.pathology import (
    Heart,
    anterior_infarct,
    frontal_axis,
    inferior_infarct,
    injury_region,
    ischaemia_region,
)
from ecgscale.data.simulate.population import Patient, State, rhythm_of

SCP_RHYTHM = {
    "atrial_fibrillation": "AFIB",
    "atrial_flutter": "AFLT",
    "supraventricular_tachycardia": "SVTAC",
    "atrial_tachycardia": "SVARR",
    "paced": "PACE",
}

SCP_DIAGNOSTIC = {
    "lbbb": "CLBBB",
    "lbbb_incomplete": "ILBBB",
    "rbbb": "CRBBB",
    "rbbb_incomplete": "IRBBB",
    "left_anterior_fascicular": "LAFB",
    "left_posterior_fascicular": "LPFB",
    "conduction_delay": "IVCD",
    "av_block_1": "1AVB",
    "av_block_2_type_1": "2AVB",
    "av_block_2_type_2": "2AVB",
    "av_block_complete": "3AVB",
    "preexcitation": "WPW",
    "lvh": "LVH",
    "rvh": "RVH",
    "left_atrial": "LAO/LAE",
    "right_atrial": "RAO/RAE",
    "septal_hypertrophy": "SEHYP",
    "infarct_lateral": "LMI",
    "infarct_posterior": "PMI",
    "digitalis": "DIG",
    "qt_prolonged": "LNGQT",
    "electrolyte": "EL",
    "aneurysm": "ANEUR",
    "st_change": "NST_",
}

SCP_FORM = {
    "atrial_premature": "PAC",
    "ventricular_premature": "PVC",
    "pr_prolonged": "LPR",
    "t_inverted": "INVT",
    "t_low": "LOWT",
    "st_depressed": "STD_",
    "st_elevated": "STE_",
    "early_repolarization": "STE_",
    "low_voltage": "LVOLT",
    "high_voltage": "HVOLT",
}

SCP_EXTENT = {
    "anteroseptal": "ASMI",
    "anterior": "AMI",
    "anterolateral": "ALMI",
    "inferior": "IMI",
    "inferolateral": "ILMI",
    "inferoposterior": "IPMI",
    "inferoposterolateral": "IPLMI",
}

SCP_ISCHAEMIA = {
    None: "ISC_",
    "anterolateral": "ISCAL",
    "inferior": "ISCIN",
    "inferolateral": "ISCIL",
    "anteroseptal": "ISCAS",
    "lateral": "ISCLA",
    "anterior": "ISCAN",
}

SCP_INJURY = {
    "anteroseptal": "INJAS",
    "anterolateral": "INJAL",
    "inferior": "INJIN",
    "lateral": "INJLA",
    "inferolateral": "INJIL",
}

GRADED = {"LVH", "IMI", "ASMI", "AMI", "ALMI", "ILMI", "LMI", "ISC_", "ISCAL"}
"""Statements whose likelihood says how sure the reader was; others are 100 when made."""

BENIGN = {"SR", "SBRAD", "SARRH", "STACH", "PAC", "LPR", "HVOLT", "LVOLT"}
"""Form and rhythm statements that leave a record normal."""

CSN_RHYTHM = {
    "atrial_fibrillation": "AFIB",
    "atrial_flutter": "AF",
    "supraventricular_tachycardia": "SVT",
    "atrial_tachycardia": "AT",
}

CSN_FINDING = {
    "sinus_arrhythmia": "SA",
    "atrial_premature": "APB",
    "ventricular_premature": "VPB",
    "bigeminy": "VB",
    "ventricular_escape": "VEB",
    "junctional_escape": "JEB",
    "av_block_1": "1AVB",
    "pr_prolonged": "PRIE",
    "av_block_2_type_1": "2AVB1",
    "av_block_2_type_2": "2AVB",
    "av_block_complete": "AVB",
    "preexcitation": "WPW",
    "lbbb": "LBBB",
    "rbbb": "RBBB",
    "left_anterior_fascicular": "ALS",
    "left_axis": "ALS",
    "left_posterior_fascicular": "ARS",
    "right_axis": "ARS",
    "clockwise": "CR",
    "counterclockwise": "CCR",
    "lvh": "LVH",
    "rvh": "RVH",
    "p_wave_change": "PWC",
    "st_change": "STTC",
    "t_change": "TWC",
    "t_inverted": "TWO",
    "st_depressed": "STDD",
    "st_elevated": "STE",
    "st_upsloping": "STTU",
    "early_repolarization": "ERV",
    "qt_prolonged": "QTIE",
    "u_wave": "UW",
}

INFARCTS = ("infarct_anterior", "infarct_inferior", "infarct_lateral", "infarct_posterior")

BRADYCARDIA = "SB"
"""In the headers, but not one of the 38 labels."""


class Reader:
    """Turns a record's state into statements, with the reader's misses.

    Parameters
    ----------
    rng
        The record's stream; one draw decides for each condition whether it is left out.
    """

    def __init__(
        self,
        patient: Patient,
        state: State,
        heart: Heart,
        options: CohortOptions,
        rng: np.random.Generator,
    ) -> None:
        self.patient = patient
        self.state = state
        self.heart = heart
        self.options = options
        self.rhythm = rhythm_of(state.assessed)
        missed = rng.random(len(INDEX)) < options.missed * options.difficulty
        self._stated = (state.assessed > 0) & ~missed
        self._whim = rng.random(8)

    def states(self, name: str) -> bool:
        """Return whether the reader states a condition."""
        return bool(self._stated[INDEX[name]])

    def variant(self, name: str) -> float:
        """Return the form that the patient's condition takes, uniform in [0, 1)."""
        return float(self.patient.variant[INDEX[name]])

    @property
    def bpm(self) -> float:
        """Sinus rate, beats per minute."""
        return 60 / self.heart.pace.rr

    def scp(self) -> dict[str, float]:
        """Return the SCP statements of a PTB-XL report with their likelihoods in percent."""
        codes = self._scp_diagnostic()
        form = self._scp_form(codes)
        rhythm = self._scp_rhythm()
        if not codes and not set(form) - BENIGN and not set(rhythm) - BENIGN:
            codes["NORM"] = 80.0 if self._whim[0] < 0.17 else 100.0
        return {**codes, **form, **rhythm}

    def csn(self) -> list[str]:
        """Return the acronyms of a Chapman-Shaoxing-Ningbo header, rhythm first."""
        found = [self._csn_rhythm()]
        found += [acronym for name, acronym in CSN_FINDING.items() if self.states(name)]
        infarcts = [name for name in INFARCTS if self.states(name)]
        if infarcts:
            found.append("AQW")
            if self.variant(infarcts[0]) * 7 % 1 < 0.25:
                found.append("MI")
        if "SA" in found and self.variant("sinus_arrhythmia") < 0.65:
            found.remove(found[0])
        return list(dict.fromkeys(found))

    def _csn_rhythm(self) -> str:
        if self.rhythm in CSN_RHYTHM:
            return CSN_RHYTHM[self.rhythm]
        if self.bpm < self.options.bradycardia_below:
            return BRADYCARDIA
        return "ST" if self.bpm > 100 else "SR"

    def _scp_diagnostic(self) -> dict[str, float]:
        codes = {
            code: self._likelihood(code, name)
            for name, code in SCP_DIAGNOSTIC.items()
            if self.states(name)
        }
        extents = {
            "infarct_anterior": SCP_EXTENT[anterior_infarct(self.variant("infarct_anterior"))],
            "infarct_inferior": SCP_EXTENT[inferior_infarct(self.variant("infarct_inferior"))],
            "ischaemia": SCP_ISCHAEMIA[ischaemia_region(self.variant("ischaemia"))],
            "injury": SCP_INJURY[injury_region(self.variant("injury"))],
        }
        for name, code in extents.items():
            if self.states(name):
                codes[code] = self._likelihood(code, name)
        if self.states("t_change") and self.variant("t_change") < 0.78:
            codes["NDT"] = 100.0
        return codes

    def _scp_form(self, codes: dict[str, float]) -> dict[str, float]:
        form = {code: 0.0 for name, code in SCP_FORM.items() if self.states(name)}
        if "PVC" in form:
            form["PVC"] = 100.0
        if self.states("t_change") and self.variant("t_change") >= 0.78:
            form["TAB_" if self.variant("t_change") > 0.985 else "NT_"] = 0.0
        if self.states("av_block_1") and self.variant("av_block_1") < 0.25:
            form["LPR"] = 0.0
        if "LVH" in codes and self._whim[1] < 0.4:
            form["VCLVH"] = 0.0
        infarct = any(self.states(name) for name in INFARCTS)
        if infarct and self._whim[2] < 0.1:
            form["QWAVE"] = 0.0
        if (infarct or "IVCD" in codes or "LVH" in codes) and self._whim[3] < 0.5:
            form["ABQRS"] = 0.0
        if (self.states("atrial_premature") and self._whim[4] < 0.03) or (
            self.states("ventricular_premature") and self._whim[4] < 0.01
        ):
            form["PRC(S)"] = 0.0
        return form

    def _scp_rhythm(self) -> dict[str, float]:
        if self.rhythm in SCP_RHYTHM:
            code = SCP_RHYTHM[self.rhythm]
            if code == "SVTAC" and self.variant(self.rhythm) < 0.45:
                code = "PSVT"
            return {code: 0.0}
        rhythm: dict[str, float] = {}
        if self.states("bigeminy"):
            rhythm["BIGU"] = 0.0
        if self.states("trigeminy"):
            rhythm["TRIGU"] = 0.0
        if self.bpm > 100:
            return {**rhythm, "STACH": 0.0}
        if self.bpm < self.options.bradycardia_below:
            return {**rhythm, "SBRAD": 0.0}
        if self.states("sinus_arrhythmia"):
            return {**rhythm, "SARRH": 0.0}
        return {**rhythm, "SR": 0.0}

    def _likelihood(self, code: str, name: str) -> float:
        if code not in GRADED:
            return 100.0
        margin = float(self.state.assessed[INDEX[name]])
        steps = ((0.04, 15.0), (0.07, 35.0), (0.18, 50.0), (0.25, 80.0))
        return next((value for limit, value in steps if margin < limit), 100.0)


def heart_axis(heart: Heart) -> str:
    """Return PTB-XL's code of the frontal QRS axis."""
    degrees = frontal_axis(heart)
    limits = ((-90, "AXR"), (-30, "ALAD"), (30, "LAD"), (80, "MID"), (110, "RAD"), (180, "ARAD"))
    return next(code for limit, code in limits if degrees <= limit)


@cache
def csn_labels() -> dict[str, str]:
    """Return the 38 labels of the published split: acronym to SNOMED CT code, in its order."""
    text = (
        files("ecgscale.datasets.challenge").joinpath("csn_labels.csv").read_text(encoding="utf-8")
    )
    return {row["acronym"]: row["snomed"] for row in csv.DictReader(text.splitlines())}


def snomed(acronym: str) -> str:
    """Return the SNOMED CT code of an acronym as the published headers write it."""
    return "426177001" if acronym == BRADYCARDIA else csn_labels()[acronym]


def split_columns(acronyms: list[str]) -> dict[str, int]:
    """Return the 38 columns of the published split lists for a record.

    The published lists mark a label wherever its acronym is *contained in the text* of the record's
    acronyms: AF is also 1 for AFIB, ST for STTC, STE, STDD and STTU, VB for every AVB, CR for CCR.
    The lists here are made by the same rule.
    """
    text = ",".join(acronyms)
    return {label: int(label in text) for label in csn_labels()}

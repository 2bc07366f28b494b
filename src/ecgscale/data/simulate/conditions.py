"""The heart's conditions: how common each is, and whom it befalls."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """One condition of the liability-threshold model.

    A patient's liability is a sum of age, sex, latent cardiovascular risk (each in SDs) and a
    Gaussian residue, of unit variance in all; the condition is present above the threshold that
    gives its prevalence.

    Attributes
    ----------
    prevalence
        Fraction of records with the condition, where a layout's case mix does not say otherwise.
    age, male, risk
        Weights in the liability.
    """

    name: str
    prevalence: float
    age: float = 0.2
    male: float = 0.0
    risk: float = 0.3


CONDITIONS: tuple[Condition, ...] = (
    # Rhythm; the first one present, in this order, is the record's rhythm, else it is sinus.
    Condition("atrial_fibrillation", 0.070, age=0.39, male=0.1, risk=0.32),
    Condition("atrial_flutter", 0.006, age=0.26, male=0.2, risk=0.24),
    Condition("supraventricular_tachycardia", 0.004, age=-0.07, risk=0.08),
    Condition("atrial_tachycardia", 0.007, age=0.2, risk=0.16),
    Condition("paced", 0.0135, age=0.39, risk=0.24),
    Condition("sinus_arrhythmia", 0.040, age=-0.33, risk=-0.16),
    # Premature and escape beats.
    Condition("atrial_premature", 0.020, age=0.33, risk=0.16),
    Condition("ventricular_premature", 0.055, age=0.26, male=0.1, risk=0.32),
    Condition("bigeminy", 0.006, age=0.2, risk=0.24),
    Condition("trigeminy", 0.003, age=0.2, risk=0.24),
    Condition("ventricular_escape", 0.0, age=0.26, risk=0.16),
    Condition("junctional_escape", 0.0, age=0.26, risk=0.08),
    # Atrioventricular conduction.
    Condition("av_block_1", 0.042, age=0.33, male=0.2, risk=0.16),
    Condition("pr_prolonged", 0.012, age=0.26, risk=0.08),
    Condition("av_block_2_type_1", 0.002, age=0.26, risk=0.16),
    Condition("av_block_2_type_2", 0.002, age=0.26, risk=0.24),
    Condition("av_block_complete", 0.003, age=0.33, risk=0.24),
    Condition("preexcitation", 0.004, age=-0.2, risk=-0.08),
    # Ventricular conduction and axis.
    Condition("lbbb", 0.026, age=0.33, risk=0.32),
    Condition("lbbb_incomplete", 0.004, age=0.26, risk=0.24),
    Condition("rbbb", 0.026, age=0.26, male=0.3, risk=0.16),
    Condition("rbbb_incomplete", 0.052, age=-0.07, male=0.2, risk=0.0),
    Condition("left_anterior_fascicular", 0.080, age=0.33, male=0.2, risk=0.24),
    Condition("left_posterior_fascicular", 0.009, age=0.13, male=0.1, risk=0.16),
    Condition("left_axis", 0.030, age=0.26, male=0.2, risk=0.24),
    Condition("right_axis", 0.010, age=-0.26, risk=0.0),
    Condition("conduction_delay", 0.038, age=0.2, male=0.2, risk=0.32),
    Condition("clockwise", 0.010, age=0.13, risk=0.16),
    Condition("counterclockwise", 0.008, age=0.0, risk=0.0),
    # Chambers and voltage.
    Condition("lvh", 0.100, age=0.2, male=0.1, risk=0.48),
    Condition("rvh", 0.007, age=0.07, risk=0.24),
    Condition("left_atrial", 0.022, age=0.2, risk=0.32),
    Condition("right_atrial", 0.006, age=0.07, risk=0.16),
    Condition("septal_hypertrophy", 0.003, age=0.07, male=0.2, risk=0.16),
    Condition("p_wave_change", 0.004, age=0.2, risk=0.24),
    Condition("low_voltage", 0.011, age=0.13, risk=0.16),
    Condition("high_voltage", 0.005, age=-0.26, male=0.4, risk=0.0),
    # Infarction.
    Condition("infarct_anterior", 0.125, age=0.2, male=0.3, risk=0.56),
    Condition("infarct_inferior", 0.140, age=0.2, male=0.3, risk=0.56),
    Condition("infarct_lateral", 0.012, age=0.2, male=0.3, risk=0.48),
    Condition("infarct_posterior", 0.003, age=0.2, male=0.3, risk=0.48),
    Condition("injury", 0.021, age=0.2, male=0.2, risk=0.48),
    # ST segment, T and U wave, QT interval.
    Condition("ischaemia", 0.125, age=0.26, risk=0.48),
    Condition("st_change", 0.040, age=0.2, risk=0.32),
    Condition("t_change", 0.110, age=0.26, male=-0.1, risk=0.4),
    Condition("t_inverted", 0.017, age=0.2, male=-0.1, risk=0.4),
    Condition("t_low", 0.024, age=0.2, risk=0.32),
    Condition("st_depressed", 0.046, age=0.2, male=-0.2, risk=0.4),
    Condition("st_elevated", 0.004, age=-0.07, male=0.3, risk=0.16),
    Condition("st_upsloping", 0.0, age=0.0, risk=0.08),
    Condition("early_repolarization", 0.004, age=-0.39, male=0.5, risk=-0.08),
    Condition("digitalis", 0.010, age=0.33, risk=0.32),
    Condition("qt_prolonged", 0.008, age=0.2, male=-0.4, risk=0.24),
    Condition("u_wave", 0.0, age=0.0, risk=0.0),
    Condition("electrolyte", 0.006, age=0.2, risk=0.24),
    Condition("aneurysm", 0.006, age=0.2, male=0.2, risk=0.48),
)
"""Prevalences follow the published label counts of a heart centre (PTB-XL); conditions rarer than
about 0.3 % are raised to that, so that a cohort of a few thousand records holds some of each."""

INDEX: dict[str, int] = {condition.name: i for i, condition in enumerate(CONDITIONS)}
"""Column of a condition in every array over conditions."""

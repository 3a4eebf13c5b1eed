"""Synthetic slide pairs whose registration is known exactly.

>>> from registration.synth import SynthSettings, render_pair
>>> he, ihc, ihc_to_he = render_pair(SynthSettings(size=1024, seed=3, her2="3+"))
"""

from registration.files.her2 import HER2_LEVELS
from registration.synth.case import (
    SynthCase,
    load_piece_truths,
    load_truth,
    render_pair,
    truth_pairs,
    write_case,
)
from registration.synth.cohort import CohortPlan, plan_cohort, write_cohort
from registration.synth.masks import Ground
from registration.synth.settings import DAMAGE_KINDS, GlassSettings, SynthSettings

__all__ = [
    "DAMAGE_KINDS",
    "HER2_LEVELS",
    "CohortPlan",
    "GlassSettings",
    "Ground",
    "SynthCase",
    "SynthSettings",
    "load_piece_truths",
    "load_truth",
    "plan_cohort",
    "render_pair",
    "truth_pairs",
    "write_case",
    "write_cohort",
]

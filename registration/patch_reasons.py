"""Why candidates are left out: the keys of the tables, and what a person is told instead."""

from __future__ import annotations

REASON_WORDS = {
    "no piece": "not on one registered piece of tissue",
    "no source": "part of it is missing on the other slide",
    "folded": "the registration folds the tissue there",
    "blank HE": "too little tissue on the H&E slide",
    "blank IHC": "too little tissue on the IHC slide",
    "no match": "the two slides are not alike there",
    "shifted": "too large a shift is left",
}
"""In the order of the tests; the keys stand in tables and JSON, the words on pages and the console."""

REASONS = tuple(REASON_WORDS)

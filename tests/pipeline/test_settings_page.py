"""The page of settings says what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings_page import PAGE, SECTIONS, Section, settings_page
from registration.settings import setting_infos

ROOT = Path(__file__).parents[2]


def test_the_page_in_the_docs_is_that_of_the_models() -> None:
    written = (ROOT / PAGE).read_text(encoding="utf-8")

    assert written == settings_page(), "run: python -m pipeline.settings_page"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_every_setting_has_one_sentence_and_a_default_within_its_limits(section: Section) -> None:
    section.model.of(section.model().as_dict())
    for info in setting_infos(section.model):
        assert info.text[0].isupper(), info.name
        assert info.text.endswith("."), info.name
        assert info.default is not None or info.unset, info.name

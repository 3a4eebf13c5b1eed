"""The report of a pair that was not registered."""

from __future__ import annotations

from pathlib import Path

from benchmarks.browser import Browser, check_page
from pipeline.report.refused import evidence_rows, write_refusal
from registration.errors import StartError

EVIDENCE = {"share": 0.05, "chance": 0.12, "points": 40.0, "spread": 0.2, "offset_um": 3.0}


def test_what_was_needed_stands_beside_what_was_found() -> None:
    needed = {row.label: (row.value, row.needed) for row in evidence_rows(EVIDENCE)}

    assert needed["places compared"] == ("40", "at least 20")
    # Chance on this pair asks for more than the least share of any pair: 1.8 times 12 %.
    assert needed["of these, agree on where they belong"] == ("5 %", "at least 22 %")
    assert evidence_rows({}) == []


def test_the_page_shows_both_slides_and_fits_a_phone(
    hand_made, tmp_path: Path, browser: Browser
) -> None:
    error = StartError("no initial alignment <could> be confirmed", EVIDENCE)

    page = write_refusal(tmp_path, hand_made.pair, error, ["bci-pipeline pick 'a b' c"])

    text = page.read_text("utf-8")
    hopeless = StartError("he.png is not brightfield", picking_helps=False)
    (tmp_path / "dark").mkdir()
    other = write_refusal(tmp_path / "dark", hand_made.pair, hopeless, ["bci-pipeline pick a b"])
    assert "bci-pipeline pick" not in other.read_text("utf-8")
    assert "ick landmarks" not in other.read_text("utf-8")
    assert text.count("data:image/jpeg") == 2
    assert "No initial alignment &lt;could&gt; be confirmed." in text
    assert "bci-pipeline pick &#39;a b&#39; c" in text
    check_page(browser, page)

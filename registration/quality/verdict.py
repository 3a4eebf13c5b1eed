"""What the figures of a registration amount to: pass, review or fail, and why."""

from __future__ import annotations

from registration.quality.seams import VISIBLE_JUMP_PX
from registration.result import BlockRecord, Quality, Residual, Verdict

FEWEST_MATCHED = 0.10
FEW_MATCHED = 0.35
LARGE_RESIDUAL_UM = 15.0
MUCH_FILLED = 0.05
FEW_FALLEN = 0.02
MOST_FALLEN = 0.5
"""Beyond these a registration fails (:data:`FEWEST_MATCHED`, :data:`MOST_FALLEN`) or needs a look."""


def verdict_of(
    quality: Quality, blocks: list[BlockRecord], start_verified: bool
) -> tuple[Verdict, list[str]]:
    """Return the verdict and its reasons; ``review`` means that a person should look."""
    failures: list[str] = []
    doubts: list[str] = []
    if not start_verified:
        doubts.append("the initial alignment from the picked landmarks could not be confirmed")
    if quality.folding.folded_fraction > 0:
        share = 100 * quality.folding.folded_fraction
        doubts.append(f"the field folds on {share:.2g} % of the slide")
    if quality.seams is not None and quality.seams.jump_p95_px > VISIBLE_JUMP_PX:
        doubts.append(
            f"the field jumps by {quality.seams.jump_p95_px:.1f} px at block borders (p95)"
        )
    _weigh_blocks(blocks, failures, doubts)
    residual = quality.residual
    if residual is None:
        doubts.append("too little tissue to measure the residual shift")
    else:
        _weigh_residual(residual, failures, doubts)
    if quality.lost is not None:
        lost = quality.lost
        doubts.append(
            f"a connected area of {100 * lost.share:.0f} % of the tissue, around x = {lost.x:.0f}, "
            f"y = {lost.y:.0f} px, matches nothing while the rest does"
        )
    if quality.filled_fraction > MUCH_FILLED:
        share = 100 * quality.filled_fraction
        doubts.append(f"{share:.0f} % of the tissue has no counterpart on the moving slide")
    if failures:
        return "fail", failures + doubts
    return ("review", doubts) if doubts else ("pass", ["all checks passed"])


def with_doubt(found: tuple[Verdict, list[str]], doubt: str | None) -> tuple[Verdict, list[str]]:
    """Return a verdict after one more doubt, ``None`` for none."""
    verdict, reasons = found
    if doubt is None:
        return found
    if verdict == "pass":
        return "review", [doubt]
    return verdict, [*reasons, doubt]


def _weigh_blocks(blocks: list[BlockRecord], failures: list[str], doubts: list[str]) -> None:
    """Weigh the blocks that fell back by the tissue in them."""
    tissue = {block.name: block.tissue * block.width * block.height for block in blocks}
    fallen = [block.name for block in blocks if block.status == "fallback"]
    share = sum(tissue[name] for name in fallen) / max(sum(tissue.values()), 1e-9)
    if share > MOST_FALLEN:
        failures.append(f"{100 * share:.0f} % of the tissue fell back to the coarse alignment")
    elif share > FEW_FALLEN:
        doubts.append(
            f"blocks {', '.join(fallen)} ({100 * share:.0f} % of the tissue) fell back to the "
            "coarse alignment"
        )


def _weigh_residual(residual: Residual, failures: list[str], doubts: list[str]) -> None:
    matched = 100 * residual.matched_fraction
    if residual.matched_fraction < FEWEST_MATCHED:
        failures.append(f"only {matched:.0f} % of the tissue matches better than chance")
    elif residual.matched_fraction < FEW_MATCHED:
        doubts.append(f"only {matched:.0f} % of the tissue matches better than chance")
    if residual.median_um > LARGE_RESIDUAL_UM:
        doubts.append(f"a residual shift of {residual.median_um:.1f} µm is left (median)")

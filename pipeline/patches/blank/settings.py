"""Limits of the blank filter, chosen together on damaged synthetic slides.

The evidence is in docs/dataset-evidence.md.
"""

from __future__ import annotations

from registration.settings import Settings, setting


class BlankLimits(Settings):
    """What the blank filter takes for glass, tissue, ink, bubbles, blur and folds."""

    work_mpp: float = setting(1.84, "Resolution near which a slide is looked at.", unit="µm/px")
    bin_px: int = setting(4, "Side of a bin at that resolution: about 7 µm.", unit="px")
    tile_px: int = setting(512, "Side of the tiles that are looked at one by one.", unit="px")
    margin_px: int = setting(
        32, "What is read around a tile, so that filters are exact.", unit="px"
    )
    kept_bins: int = setting(
        2,
        "Bins along each side of one that is kept: fine limits are for deciding, not for storing.",
    )
    near_tissue_um: float = setting(
        45.0,
        "The coarse map of tissue leaves out this much around pen marks; bins there are looked at.",
        unit="µm",
    )

    glass_rounds: int = setting(8, "Rounds of fitting the surface of bare glass.")
    glass_starts_within: float = setting(
        0.05,
        "Density beyond the median of all that is not tissue, up to which glass is looked for.",
    )
    glass_spreads: float = setting(
        3.0, "What lies more spreads off the surface of the glass is dirt or ink."
    )
    pale_spreads: float = setting(
        5.0, "What is denser than glass by this many spreads is stained, however little."
    )
    palest: float = setting(0.012, "Least density beyond the glass's of what is stained at all.")

    stained: float = setting(
        0.04, "Density beyond the glass's from which a spot is tissue, however thin."
    )
    half: float = setting(
        0.5, "An edge of tissue lies where this share of the density just inside it is reached."
    )
    inside_um: float = setting(
        4.0, "How far inside the edge that density is looked for.", unit="µm"
    )
    detailed: float = setting(
        4.5e-3, "Amplitude of detail from which a spot is tissue even where all around is faint."
    )
    faint: float = setting(0.12, "Density beyond the glass's up to which surroundings are faint.")
    faint_um: float = setting(15.0, "How far those surroundings reach.", unit="µm")
    spot_um: float = setting(0.7, "Blur under which single pixels are compared.", unit="µm")
    detail_um: float = setting(3.0, "Blur over which detail is averaged.", unit="µm")
    gap_um: float = setting(6.0, "Gaps in tissue up to twice this are closed.", unit="µm")
    wall_um: float = setting(
        5.0, "Then what is thinner than twice this is removed: walls of fat cells.", unit="µm"
    )
    pale_spot_um: float = setting(
        2.0, "Blur that shows what is hardly stained, such as secretion in a lumen.", unit="µm"
    )
    pale_um: float = setting(
        8.0, "What is hardly stained is tissue where a disc of this radius fits in.", unit="µm"
    )
    halo_um: float = setting(
        6.0, "The halo that the blur puts around denser tissue, which is none.", unit="µm"
    )

    fine_um: float = setting(1.5, "Detail up to this size is fine.", unit="µm")
    coarse_um: float = setting(3.0, "Detail from there up to this size is coarse.", unit="µm")
    focus_mpp: float = setting(
        2.6, "Slides coarser than this hold no detail to tell focus by.", unit="µm/px"
    )
    layer_um: float = setting(
        9.0, "Spots of this width have the density of what lies between nuclei.", unit="µm"
    )

    ink_red: float = setting(0.9, "Red density from which colour can be blue or green ink.")
    ink_green: float = setting(
        0.87, "Green density of such ink, at most this share of the red one."
    )
    ink_black: float = setting(0.85, "Density in every colour from which it can be black ink.")
    ink_spread: float = setting(
        0.35, "The colours of black ink differ by at most this share of the densest."
    )
    stroke_um: float = setting(45.0, "A pen's stroke is wider than this.", unit="µm")
    stroke_edge_um: float = setting(
        30.0, "Within this of a stroke single pixels decide.", unit="µm"
    )

    rim_density: float = setting(0.9, "A bubble's rim absorbs every colour at least this much.")
    rim_spread: float = setting(
        0.45, "The colours of a rim differ by at most this share of the densest."
    )
    rim_share: float = setting(0.16, "Share of such pixels from which a bin is part of a rim.")
    rim_band_um: float = setting(
        60.0, "Width of the band around a bubble in which its rim runs.", unit="µm"
    )
    rim_fill: float = setting(0.7, "A rim fills less than this share of that band.")
    smallest_bubble_um: float = setting(
        120.0, "Bubbles have at least the area of a square of this side.", unit="µm"
    )
    roundness: float = setting(
        0.6, "Area of a bubble over that of a disc of its circumference, at least."
    )

    in_focus: float = setting(0.77, "Least fine over coarse detail of what is in focus.")
    focus_um: float = setting(
        15.0, "Deviation of the window over which focus is looked at.", unit="µm"
    )
    focus_structure: float = setting(
        0.1, "Share of that window that must show structure, or its neighbours decide."
    )
    focus_far_um: float = setting(
        300.0, "Farther than this from all structure nothing is in focus.", unit="µm"
    )
    smallest_blur_um: float = setting(20.0, "Smaller spots out of focus do not count.", unit="µm")
    blur_halfway_um: float = setting(
        10.0,
        "A spot half out of focus shows most of its detail: the area reaches this much further.",
        unit="µm",
    )
    focus_bins: int = setting(200, "Bins of tissue without which focus is not looked at.")

    hues: int = setting(12, "Groups of like hue in which the reference of a slide is taken.")
    hue_density: float = setting(0.02, "Sum of three densities below which there is no hue.")
    least_detail: float = setting(
        3e-6, "Energy of detail below which there is no structure at all."
    )
    structured: float = setting(
        0.05, "Share of the slide's median energy of detail that a bin needs to tell anything."
    )

    unsure_um: float = setting(
        30.0,
        "Around an artefact this much is no evidence of a fold, nor of its absence.",
        unit="µm",
    )
    fold_density: float = setting(
        0.08, "Sum of three densities below which a second layer could not be told."
    )
    fold_bins: int = setting(1000, "Bins of tissue without which folds are not looked for.")
    fold_directions: int = setting(12, "Directions in which bands are looked for.")
    fold_length_um: float = setting(200.0, "Length over which a band is averaged.", unit="µm")
    fold_width_um: float = setting(30.0, "Width over which a band is averaged.", unit="µm")
    fold_side_um: float = setting(
        60.0, "Distance of the tissue beside a band from its middle.", unit="µm"
    )
    fold_side_width_um: float = setting(45.0, "Width over which that is averaged.", unit="µm")
    fold_area_um: float = setting(
        60.0, "Width of the area around a band in which single bins are looked at.", unit="µm"
    )
    fold_band_share: float = setting(0.4, "Least share of tissue in a band.")
    fold_side_share: float = setting(0.15, "Least share of tissue beside a band.")
    fold_no_band: float = setting(-9.0, "Rise where there is less in the band: none.")
    fold_no_side: float = setting(
        1.0, "Height of a side where there is less: nothing rises over it."
    )
    fold_denser: float = setting(
        0.35, "Rise of a band over both its sides in log density: half of a doubling."
    )
    fold_odder: float = setting(
        0.5, "Rise of that together with half of the band's loss of log sharpness."
    )
    fold_doubled: float = setting(
        0.35, "Log density of a bin over its surroundings from which it is two layers."
    )
    fold_surroundings_um: float = setting(60.0, "How far those surroundings reach.", unit="µm")
    fold_smooth_um: float = setting(
        8.0, "Blur after which the outline of a fold is drawn.", unit="µm"
    )


LIMITS = BlankLimits()

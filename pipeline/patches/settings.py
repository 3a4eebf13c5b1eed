"""What a user can choose when patches are cut."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.naming import Naming
from registration.settings import setting

ImageKind = Literal["png", "webp", "jpeg"]
Layout = Literal["bci", "pix2pix", "hf", "multi"]


class PatchSettings(Naming):
    """Geometry, filters, file format and folders of the patches."""

    size: int = setting(1024, "Side of a patch.", unit="px", ge=64, le=8192)
    stride: int | None = setting(
        None, "Distance between neighbours.", unit="px", unset="the size: patches touch", ge=1
    )
    mpp: float | None = setting(
        None,
        "Resolution of the patches.",
        unit="µm/px",
        unset="that of the slide which is not warped, whose pixels then stay untouched",
        ge=0.05,
        le=50,
    )
    min_tissue: float = setting(
        0.5, "A patch with a smaller share of tissue, in either image, is blank.", ge=0, le=1
    )
    max_filled: float = setting(
        0.02, "Largest share of a patch for which the warped slide has nothing to show.", ge=0, le=1
    )
    max_shift_um: float = setting(
        10.0, "Largest residual shift between the two images.", unit="µm", option="max-shift", ge=0
    )
    min_percentile: float = setting(
        95.0,
        "A pair must be more alike than this share of mismatched pairs.",
        unit="%",
        ge=0,
        le=100,
    )
    format: ImageKind = setting("png", "Format of the images; png and webp are lossless.")
    layout: Layout = setting(
        "bci",
        "BCI's folders (for each of several stains), side-by-side images, those of datasets.load_dataset, "
        "or one folder for H&E and one per stain.",
    )

    @property
    def step(self) -> int:
        """Distance between neighbours in pixels."""
        return self.stride or self.size

    @property
    def side_by_side(self) -> bool:
        """Whether a pair is one image, H&E on the left and IHC on the right."""
        return self.layout == "pix2pix"

    def of_images(self) -> dict[str, Any]:
        """Return what the images of a case depend on: all but folders and names."""
        settings = {name: v for name, v in self.as_dict().items() if name != "keep_names"}
        return {**settings, "layout": self.side_by_side}

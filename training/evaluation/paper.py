"""The published scores, to be read beside ours.

Liu et al., "BCI: Breast Cancer Immunohistochemical Image Generation through Pyramid Pix2pix", CVPR
Workshops 2022: PSNR in dB and SSIM on the test sets of BCI and LLVIP, and the reader study.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One method of the paper; PSNR in dB and SSIM on each of the two datasets."""

    method: str
    bci_psnr: float
    bci_ssim: float
    llvip_psnr: float
    llvip_ssim: float


PAPER_ROWS = (
    PaperRow("CycleGAN", 16.203, 0.373, 11.22, 0.214),
    PaperRow("pix2pix, U-Net", 18.654, 0.419, 10.769, 0.176),
    PaperRow("pix2pix, ResNet", 19.328, 0.440, 12.082, 0.207),
    PaperRow("pix2pixHD", 19.634, 0.471, 11.156, 0.228),
    PaperRow("pyramid pix2pix, +S1", 21.160, 0.477, 12.189, 0.279),
    PaperRow("pyramid pix2pix, +S1+S2", 21.033, 0.469, 12.173, 0.277),
    PaperRow("pyramid pix2pix, +S1+S2+S3", 21.138, 0.472, 12.191, 0.278),
)

PAPER_READER_ACCURACY = (0.375, 0.400)
"""Table 5: share of 40 generated images that each of two pathologists scored right."""

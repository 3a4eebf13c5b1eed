"""The known truth between two sections: a projective map and a smooth field of several octaves.

Truth maps IHC (fixed) to HE (moving): first the field, in pixels of the IHC slide, then the
projective map. The field is band-limited noise from about the size of the tissue down to
:data:`SHORTEST_WAVE_PX`; the displacement of an octave falls with its wavelength, so that each
octave strains the tissue about as much as the next. No wave is longer than the slide, so that a
projective fit can undo next to nothing of it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from registration.errors import SynthError
from registration.geometry import Points, Size, mesh
from registration.synth.settings import SynthSettings
from registration.transforms import Chain, DisplacementField, Projective, Transform

SHORTEST_WAVE_PX = 1200.0
SHORTEST_WAVE_SHARE = 0.3
"""Slides under 4,096 px get shorter waves, in proportion."""
LONGEST_WAVE_SHARE = 0.9
NODES_PER_WAVE = 8
MARGIN_NODES = 6
MAX_STRAIN = 0.6
"""Largest norm of the field's gradient; below 1 the map is one-to-one and its inverse converges."""
ROTATION_RANGE_DEG = 20.0
SCALE_RANGE = 0.015
SHEAR_RANGE = 0.005
SHIFT_SHARE = 0.03
PERSPECTIVE_SHARE = 0.004
"""Displacement of a corner by perspective, as a share of the slide's side."""


def make_truth(settings: SynthSettings) -> Chain:
    """Return the map IHC -> HE in level-0 pixels: a field, then a projective map.

    Raises :class:`SynthError` when the field would fold the tissue.
    """
    field = smooth_field(settings.ihc_size, settings.warp, settings.dice(102))
    return Chain((field, section_projective(settings)))


def section_projective(settings: SynthSettings) -> Projective:
    """Return the projective part: rotation, shift, scale, shear, perspective, mirroring."""
    rng = np.random.default_rng(settings.dice(101))
    angle = math.radians(rng.uniform(-ROTATION_RANGE_DEG, ROTATION_RANGE_DEG))
    if settings.rotation_deg is not None:
        angle = math.radians(settings.rotation_deg)
    scale = settings.mpp_ihc / settings.mpp_he * (1 + rng.uniform(-SCALE_RANGE, SCALE_RANGE))
    shear = rng.uniform(-SHEAR_RANGE, SHEAR_RANGE, size=2)
    flip = -1.0 if settings.mirrored else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.array([[flip * scale, scale * shear[0]], [0, scale * (1 + shear[1])]])
    he, ihc = settings.he_size, settings.ihc_size
    shift = rng.uniform(-SHIFT_SHARE, SHIFT_SHARE, size=2) * (he.width, he.height)
    bend = rng.uniform(-PERSPECTIVE_SHARE, PERSPECTIVE_SHARE, size=2) * 4
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[2, :2] = bend / (ihc.width, ihc.height)
    to_center = Projective.translation(-(ihc.width - 1) / 2, -(ihc.height - 1) / 2)
    back = Projective.translation((he.width - 1) / 2 + shift[0], (he.height - 1) / 2 + shift[1])
    return back.after(Projective(matrix)).after(to_center)


def smooth_field(size: Size, warp: float, seed: list[int]) -> DisplacementField:
    """Return a field whose largest displacement on a slide of ``size`` is ``warp`` pixels.

    Raises :class:`SynthError` when its strain exceeds :data:`MAX_STRAIN`.
    """
    shortest = min(SHORTEST_WAVE_PX, SHORTEST_WAVE_SHARE * min(size.shape))
    longest = LONGEST_WAVE_SHARE * max(size.shape)
    spacing = shortest / NODES_PER_WAVE
    columns = math.ceil(size.width / spacing) + 2 * MARGIN_NODES
    rows = math.ceil(size.height / spacing) + 2 * MARGIN_NODES
    rng = np.random.default_rng(seed)
    band = (spacing / longest, spacing / shortest)
    noise = np.stack([_band_noise((rows, columns), band, rng) for _ in range(2)], axis=-1)
    origin = (-MARGIN_NODES * spacing, -MARGIN_NODES * spacing)
    field = DisplacementField.from_nodes(origin, spacing, noise)
    if warp == 0:
        return DisplacementField(origin, spacing, field.coefficients * 0)
    reach = np.linalg.norm(_on_slide(field, size), axis=-1).max()
    field = DisplacementField(origin, spacing, field.coefficients * (warp / reach))
    strain = largest_strain(field, size)
    if strain > MAX_STRAIN:
        most = math.floor(warp * MAX_STRAIN / strain)
        raise SynthError(
            f"a warp of {warp:g} px would fold a slide of {size.width} x {size.height} px; "
            f"use at most {most} px or a larger slide"
        )
    return field


def jacobian(transform: Transform, points: Points, step: float = 0.5) -> NDArray[np.float64]:
    """Return the ``(N, 2, 2)`` derivatives ``d moving / d fixed`` by central differences."""
    offsets = np.eye(2) * step
    columns = [(transform(points + d) - transform(points - d)) / (2 * step) for d in offsets]
    return np.stack(columns, axis=-1)


def largest_strain(field: DisplacementField, size: Size) -> float:
    """Return the largest spectral norm of the field's gradient, on a grid of half its spacing."""
    step = field.spacing / 2
    points = mesh(np.arange(0, size.width, step), np.arange(0, size.height, step))
    gradient = jacobian(field, points) - np.eye(2)
    return float(np.linalg.norm(gradient, ord=2, axis=(1, 2)).max())


def _on_slide(field: DisplacementField, size: Size) -> NDArray[np.float64]:
    """Return the displacement on a grid that covers the slide."""
    xs, ys = (np.linspace(0, side - 1, 4 * side // 256 + 64) for side in (size.width, size.height))
    return field.on_grid(xs, ys) - mesh(xs, ys).reshape(len(ys), len(xs), 2)


def _band_noise(
    shape: tuple[int, int], band: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise with frequencies in ``band`` (cycles per node), amplitude ~ wavelength.

    In two dimensions an octave holds modes in proportion to the square of its frequency, so that
    a spectrum that falls with its square gives displacements in proportion to the wavelength.
    """
    rows, columns = (2 * side for side in shape)
    white = rng.standard_normal((rows, columns))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    low, high = band
    gain = (
        np.where((frequency >= low) & (frequency <= high), 1, 0) / np.maximum(frequency, low) ** 2
    )
    noise = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(rows, columns))
    return np.asarray(noise[: shape[0], : shape[1]])

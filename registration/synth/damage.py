"""What goes wrong with sections: tears, folds, pen marks, bubbles, missing pieces, lost focus.

Every damage has a shape in level-0 pixels of its slide, known exactly, and an effect on the dyes in
the section or on the light that comes through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Points
from registration.synth.noise import Float32
from registration.synth.section import Cut
from registration.synth.settings import SECTIONS, DamageKind

REACH_PX = 40
"""How far from its shape a damage changes pixels, and how far its effects look."""
FOLD_SHIFT_PX = (17, -11)
"""Between the two layers of tissue in a fold."""
REMOVING: frozenset[DamageKind] = frozenset({"tear", "missing"})
INKS = ((1.7, 0.9, 0.25), (1.5, 0.35, 0.9), (1.3, 1.25, 1.1))
"""Optical density of blue, green and black ink."""


class Shape(Protocol):
    """An area of a slide."""

    def distance(self, points: Points) -> Float32:
        """Return the distance in px of ``(N, 2)`` points to the border, positive inside."""
        ...

    def outline(self) -> Points:
        """Return ``(N, 2)`` points around the area."""
        ...


@dataclass(frozen=True, eq=False)
class Blob:
    """A disc with a wavy border."""

    center: Points
    radius: float
    waves: NDArray[np.float64]
    """``(K, 2)`` relative amplitude and phase of the harmonics from the second on."""

    def distance(self, points: Points) -> Float32:
        """Return the distance in px along the radius, positive inside."""
        offset = points - self.center
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        return np.asarray(self._border(angle) - np.hypot(*offset.T), np.float32)

    def outline(self) -> Points:
        """Return 96 points around the disc."""
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        border = self._border(angle)
        return self.center + np.stack([border * np.cos(angle), border * np.sin(angle)], axis=1)

    def _border(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        border = np.ones_like(angle)
        for k, (amplitude, phase) in enumerate(self.waves, 2):
            border += amplitude * np.cos(k * angle + phase)
        return np.asarray(border * self.radius)


@dataclass(frozen=True, eq=False)
class Stroke:
    """A line of varying width."""

    line: Points
    half_width: NDArray[np.float64]

    def distance(self, points: Points) -> Float32:
        """Return half the width minus the distance to the line, in px."""
        best = np.full(len(points), -np.inf)
        for a, b, w0, w1 in zip(
            self.line, self.line[1:], self.half_width, self.half_width[1:], strict=False
        ):
            along = b - a
            t = np.clip((points - a) @ along / (along @ along), 0, 1)
            away = np.linalg.norm(points - a - t[:, None] * along, axis=1)
            best = np.maximum(best, w0 + t * (w1 - w0) - away)
        return best.astype(np.float32)

    def outline(self) -> Points:
        """Return the two sides of the line and its round ends."""
        tangent = np.gradient(self.line, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1)[:, None]
        side = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * self.half_width[:, None]
        turn = np.linspace(np.pi / 2, -np.pi / 2, 9)[1:-1]
        round_end = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        far = np.stack([tangent[-1] * self.half_width[-1], side[-1]])
        near = np.stack([-tangent[0] * self.half_width[0], -side[0]])
        return np.concatenate(
            [
                self.line + side,
                self.line[-1] + round_end @ far,
                (self.line - side)[::-1],
                self.line[0] + round_end @ near,
            ]
        )


@dataclass(frozen=True, eq=False)
class Damage:
    """One damaged area of one slide."""

    kind: DamageKind
    shape: Shape
    ink: tuple[float, float, float]

    @property
    def bounds(self) -> Box:
        """The pixels the damage may change."""
        outline = self.shape.outline()
        low = np.floor(outline.min(axis=0)).astype(int) - 2 * REACH_PX
        high = np.ceil(outline.max(axis=0)).astype(int) + 2 * REACH_PX
        return Box(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))

    def touches(self, box: Box) -> bool:
        """Whether the damage may change pixels of ``box``."""
        return self.bounds.overlaps(box)


def plan_damage(cut: Cut) -> tuple[Damage, ...]:
    """Return the damage of one section; the two get the kinds asked for in turn."""
    settings = cut.settings
    kinds = settings.damage
    rng = np.random.default_rng([settings.seed, 801])
    first = int(rng.integers(2))
    turn = rng.uniform(0, 2 * np.pi)
    he = np.array([[settings.he_size.width - 1, settings.he_size.height - 1]]) / 2
    center = cut.to_he.inverse(he)[0]
    unit = 0.4 * min(settings.he_size.shape) * settings.mpp_he / cut.mpp
    planned = []
    for number, kind in enumerate(kinds):
        angle = turn + 2 * np.pi * number / len(kinds)
        own = np.random.default_rng(settings.dice(802, number, section=cut.section))
        if SECTIONS[(first + number) % 2] == cut.section:
            ink = INKS[int(own.integers(len(INKS)))]
            planned.append(Damage(kind, _shape(kind, (center, unit, angle), own), ink))
    return tuple(planned)


def _shape(kind: DamageKind, place: tuple[Points, float, float], rng: np.random.Generator) -> Shape:
    """Return a shape in the direction of an angle from the tissue's centre."""
    center, unit, angle = place
    out = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-out[1], out[0]])
    t = np.linspace(0, 1, 25)
    wander = (rng.uniform(0.03, 0.07) * np.sin(2 * np.pi * (t * rng.uniform(0.8, 1.6)))) * unit
    if kind == "tear":
        line = center + np.outer(1.05 - 0.7 * t, out) * unit + np.outer(wander, side)
        ragged = 1 + 0.25 * rng.standard_normal(len(t))
        return Stroke(line, 0.045 * unit * (1 - t) ** 0.7 * np.clip(ragged, 0.5, 1.6))
    if kind == "fold":
        line = center + 0.45 * unit * out + np.outer(0.6 * (2 * t - 1), side) * unit
        return Stroke(line + np.outer(wander, out), unit * 0.035 * np.sin(np.pi * t) ** 0.5)
    if kind == "pen":
        line = center + 0.75 * unit * out + np.outer(0.5 * (2 * t - 1), side) * unit
        return Stroke(line + np.outer(wander, out), np.full(len(t), 0.07 * unit))
    reach, radius = {"missing": (0.6, 0.22), "bubble": (0.5, 0.24), "blur": (0.5, 0.32)}[kind]
    waves = np.stack([rng.normal(0, 0.35 / k**1.5, 1) for k in range(2, 9)])
    waves = np.concatenate([waves, rng.uniform(0, 2 * np.pi, (7, 1))], axis=1)
    if kind == "bubble":
        waves *= (0.3, 1)
    return Blob(center + reach * unit * out, radius * unit, waves)


def remove_tissue(dye: Float32, inside_px: Float32, ragged: Float32) -> Float32:
    """Return ``(h, w)`` dye without what is torn or missing; ``ragged`` roughens the border."""
    gone = np.clip((inside_px + 2.5 * ragged) / 3 + 0.5, 0, 1)
    return np.asarray(dye * (1 - gone), np.float32)


def fold_tissue(dye: Float32, inside_px: Float32) -> Float32:
    """Return ``(h, w)`` dye with a second layer of the tissue on top, within the fold."""
    double = np.clip(inside_px / 6, 0, 1)
    moved = np.roll(dye, FOLD_SHIFT_PX, (1, 0))
    return np.asarray(dye + double * moved, np.float32)


def spoil_light(light: Float32, damage: Damage, inside_px: Float32, mpp: float) -> Float32:
    """Return the ``(h, w, 3)`` light with the optical effect of one damage."""
    inside = inside_px[..., None]
    if damage.kind == "fold":
        return _defocused(light, np.clip(inside / 6, 0, 1), 0.7 / mpp)
    if damage.kind == "blur":
        soft = np.clip(inside * mpp / 30 + 0.5, 0, 1)
        return _defocused(light, soft, 2.0 / mpp)
    if damage.kind == "pen":
        pooled = 1 + 0.35 * np.exp(-((inside * mpp / 18) ** 2))
        cover = np.clip(inside * mpp / 6 + 0.5, 0, 1) * pooled
        return np.asarray(light * np.exp(-cover * np.array(damage.ink, np.float32)), np.float32)
    if damage.kind == "bubble":
        within = np.clip(inside * mpp / 4 + 0.5, 0, 1)
        dim = _defocused(light, within, 1.1 / mpp) * (1 - 0.06 * within)
        rim = 0.75 * np.exp(-((inside * mpp / 7) ** 2))
        glint = 14 * np.exp(-(((inside * mpp - 20) / 6) ** 2))
        return np.asarray(np.minimum(dim * (1 - rim) + glint, 250), np.float32)
    return light


def _defocused(light: Float32, share: NDArray[np.floating], sigma: float) -> Float32:
    """Return the light blurred where ``share`` is 1."""
    side = 2 * min(REACH_PX // 2, int(np.ceil(3 * sigma))) + 1
    blurred = cv2.GaussianBlur(light, (side, side), sigma)
    return np.asarray(light + share * (blurred - light), np.float32)

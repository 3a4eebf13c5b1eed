"""A second look at tissue that nothing confirms: do neighbouring places show together where they belong?

A patch alone knows only what is in it. Where stain is faint or cells changed that says nothing, while
the borders between kinds of tissue, which run through several places, still tell. So a place without
confirmation is looked for once more, with its neighbours without confirmation as one template; tissue
that is confirmed is left out of it, as it would find its own place. The window is so large that chance
finds the best match near as rarely as :mod:`registration.quality.support` asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from registration.execution import Workers
from registration.geometry import Box, Points, from_level0, level_box, mesh
from registration.matching import NOISE, structure
from registration.pair import SlidePair
from registration.quality.residual import STEP_PX, match_downsample
from registration.quality.support import FEWEST_NEIGHBOURS, near_um, support_of
from registration.residual_map import ResidualMap
from registration.slides.slide import Slide
from registration.stain import Mask, Plane
from registration.transforms import Chain
from registration.warp import warp_box

RARE = 1 / 1200
"""Chance that the best match in the window lies near."""

MOST_PLACES, MOST_SHARE = 200, 0.5
"""Where more places than this are without confirmation, or a larger share, it is not for want of structure
in a patch."""

REACH_PX = 0.75 * STEP_PX
"""A place stands for the tissue nearest to it, up to this far."""


@dataclass(frozen=True, eq=False)
class LookTask:
    """Some places of the fixed slide, in level-0 pixels, that are looked for as one."""

    fixed: Slide
    moving: Slide
    chain: Chain
    places: Points
    around: Points
    """Other places near by, whose tissue is left out."""
    near_um: float


def looked_again(
    places: ResidualMap, pair: SlidePair, chain: Chain, workers: Workers
) -> ResidualMap:
    """Return the places with the shift of their surroundings where that is near and their own is not."""
    gaps = support_of(places).gaps
    todo: list[int] = np.flatnonzero(gaps >= 0).tolist()
    if not len(todo) or len(todo) > min(MOST_PLACES, MOST_SHARE * len(gaps)):
        return places
    sides = pair.fixed_slide, pair.moving_slide, chain
    tasks = [_task(places, np.flatnonzero(gaps == gaps[place]), place, sides) for place in todo]
    shift_um = places.shift_um.copy()
    for place, found in zip(todo, workers.map(look_for, tasks), strict=True):
        if np.hypot(*found) <= near_um(places)[place]:
            shift_um[place] = found
    return replace(places, shift_um=shift_um)


def _task(
    places: ResidualMap, gap: np.ndarray, place: int, sides: tuple[Slide, Slide, Chain]
) -> LookTask:
    """Return a place with those of its area that are nearest to it."""
    middle = places.points[place]
    _, nearest = cKDTree(places.points[gap]).query(middle, k=min(FEWEST_NEIGHBOURS, len(gap)))
    own = gap[nearest]
    farthest = np.hypot(*(places.points[own] - middle).T).max()
    reach = farthest + 4 * REACH_PX * match_downsample(sides[0])
    others = np.setdiff1d(cKDTree(places.points).query_ball_point(middle, reach), own)
    return LookTask(
        *sides, places.points[own], places.points[others], float(near_um(places)[place])
    )


def look_for(task: LookTask) -> tuple[float, float]:
    """Return the shift in µm at which the places as one match best."""
    downsample = match_downsample(task.fixed)
    pixel_um = downsample * task.fixed.mpp
    reach = math.ceil(task.near_um / pixel_um * math.sqrt(math.pi / RARE) / 2)
    low, high = task.places.min(axis=0), task.places.max(axis=0)
    margin = math.ceil(REACH_PX * downsample)
    x, y = (math.floor(value) for value in low)
    width, height = (math.ceil(value) + 1 for value in high - low)
    inner = Box(x, y, width, height).expanded(margin).clipped(task.fixed.size)
    box = level_box(inner, downsample)
    fixed = structure(task.fixed.read_scaled(box, downsample))
    moving = structure(warp_box(task.moving, task.chain, box.expanded(reach), downsample).image)
    corner = np.array([box.x, box.y], np.float64)
    own, others = (
        from_level0(points, downsample) - corner for points in (task.places, task.around)
    )
    surface = masked_correlation(fixed, moving, _nearest_to(own, others, fixed.shape))
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    return (float(column) - reach) * pixel_um, (float(row) - reach) * pixel_um


def masked_correlation(fixed: Plane, moving: Plane, mask: Mask) -> Plane:
    """Return the correlation of what a mask holds of ``fixed`` at every whole place in ``moving``."""
    weight, count = mask.astype(np.float32), float(mask.sum())
    template = np.where(mask, fixed - fixed[mask].mean(), 0).astype(np.float32)
    moving = moving - moving.mean()
    product = cv2.matchTemplate(moving, template, cv2.TM_CCORR)
    mean = cv2.matchTemplate(moving, weight, cv2.TM_CCORR) / count
    square = cv2.matchTemplate(moving * moving, weight, cv2.TM_CCORR) / count
    variance = np.maximum(square - mean**2, 0) + NOISE**2
    own = float((template**2).sum()) / count + NOISE**2
    return np.asarray(product / count / np.sqrt(variance * own), np.float32)


def _nearest_to(places: Points, around: Points, shape: tuple[int, ...]) -> Mask:
    """Return which pixels are nearer to one of the places than to any around, and not far from it."""
    pixels = mesh(np.arange(shape[1], dtype=np.float64), np.arange(shape[0], dtype=np.float64))
    distance, nearest = cKDTree(np.concatenate([places, around])).query(pixels)
    inside = (nearest < len(places)) & (distance <= REACH_PX)
    return np.asarray(inside.reshape(shape))

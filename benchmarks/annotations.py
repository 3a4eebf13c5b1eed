"""Time to carry the cells of a QuPath export through a registration, both ways.

``python -m benchmarks.annotations RUN --polygons 100000 --work FOLDER``
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.stages.warp_points import warp_points
from registration.landmarks.landmarks import Moving
from registration.result import Registration

VERTICES = 32
RADIUS_PX = 15.0


def cells(count: int, width: int, height: int, seed: int = 0) -> dict[str, Any]:
    """Return as many cells with nucleus, class and measurements, as QuPath exports them."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    middles = rng.uniform([20, 20], [width - 20, height - 20], (count, 2))
    radii = RADIUS_PX * rng.uniform(0.7, 1.3, (count, VERTICES))
    features = []
    for number, (middle, radius) in enumerate(zip(middles, radii, strict=True)):
        ring = middle + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        inner = middle + 0.5 * (ring - middle)
        features.append(
            {
                "type": "Feature",
                "id": f"{number:08x}-0000",
                "geometry": _polygon(ring),
                "nucleusGeometry": _polygon(inner),
                "properties": {
                    "objectType": "cell",
                    "classification": {"name": "Tumor", "color": [200, 0, 0]},
                    "measurements": {f"m{k}": float(k + number) for k in range(10)},
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _polygon(ring: np.ndarray[Any, Any]) -> dict[str, Any]:
    points = np.round(np.vstack([ring, ring[:1]]), 2).tolist()
    return {"type": "Polygon", "coordinates": [points]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--polygons", type=int, default=100_000, help="half of them cells, half their nuclei"
    )
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    run = Registration.load(given.run)
    given.work.mkdir(parents=True, exist_ok=True)
    results = {}
    directions: tuple[tuple[Moving, Any], ...] = (("he", run.ihc), ("ihc", run.he))
    for to, source in directions:
        path = given.work / f"to_{to}.geojson"
        path.write_text(json.dumps(cells(given.polygons // 2, source.width, source.height)))
        begun, cpu = time.perf_counter(), time.process_time()
        done = warp_points(run, path, given.work / f"on_{to}.geojson", to)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        results[to] = {
            "polygons": given.polygons,
            "points": done.points,
            "seconds": seconds,
            "cpu_s": cpu,
        }
        mib = path.stat().st_size / 2**20
        print(f"to {to}: {done.points} points of {mib:.0f} MiB in {seconds:.1f} s, {cpu:.1f} s CPU")
    (given.work / "annotations.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

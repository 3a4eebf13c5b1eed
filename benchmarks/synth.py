"""What a synthetic pair costs: ``python -m benchmarks.synth [--sizes 4096 20480] [--json FILE]``.

The real command is run for one case; wall time, processor time and peak memory are those of its
whole process tree. Resident memory counts pages that processes share once per process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from registration.files.storage import write_json

POLL_S = 0.25
COMMAND = "import sys; from pipeline.cli.app import main; sys.exit(main())"


def measure(size: int, workers: int) -> dict[str, float]:
    """Return what writing one pair of ``size`` px takes."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["synth", str(Path(folder) / "out"), "--size", str(size), "--cases", "1"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments, "--workers", str(workers)],
            stdout=subprocess.DEVNULL,
        )
        peak, cpu = _watch(process)
        wall = time.perf_counter() - start
        if process.returncode != 0:
            raise SystemExit(f"bci-pipeline synth failed for {size} px")
        slides = sum(path.stat().st_size for path in Path(folder).rglob("*.ndpi"))
    return {
        "size_px": size,
        "workers": workers,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "peak_mib": round(peak / 2**20),
        "slides_mb": round(slides / 1e6, 1),
    }


def _watch(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Return peak resident memory of a process tree in bytes, and its processor time in seconds."""
    root, peak, seen = psutil.Process(process.pid), 0, {}
    while process.poll() is None:
        resident = 0
        for member in [root, *_children(root)]:
            try:
                resident += member.memory_info().rss
                used = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seen[member.pid] = used.user + used.system
        peak = max(peak, resident)
        time.sleep(POLL_S)
    return peak, sum(seen.values())


def _children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    """Measure every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 20480])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(size, options.workers) for size in options.sizes]
    print(" ".join(f"{name:>10}" for name in rows[0]))
    for row in rows:
        print(" ".join(f"{value:>10}" for value in row.values()))
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()

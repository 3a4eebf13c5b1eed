"""One request for each command: register, patch, warp-points, translate."""

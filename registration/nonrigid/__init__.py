"""The non-rigid step: coarse pass, blocks, elastix."""

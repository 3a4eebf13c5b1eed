"""Whole-slide images, landmarks, transforms, elastix and warping. Knows no dataset and no torch."""

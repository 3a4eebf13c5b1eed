"""Landmarks: files, what is wrong with a set of them, the projective fit."""

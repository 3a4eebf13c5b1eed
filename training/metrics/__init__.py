"""Metrics, as published."""

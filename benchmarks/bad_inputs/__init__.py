"""Seeded bad inputs to every command: each ends in words that name the file, or is simply read.

    python -m benchmarks.bad_inputs --work FOLDER [--count 2000] [--first 0] [--json FILE]

A seed gives the same input for ever. Each command runs in a child process of its own, so that its
time, its memory and all that it says can be judged.
"""

"""Files of every kind but slides: written whole, read with one-sentence errors.

Leaf modules: they import nothing of this project but :mod:`registration.errors`, so that the
training package may use them too.
"""

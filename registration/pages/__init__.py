"""The pages of all stages: one style, one file each, and the plots on them. Leaf modules.

Nothing here knows slides, patches or networks, so that training may import it.
"""

"""Every setting of a run, where it comes from, what a recipe fixes."""

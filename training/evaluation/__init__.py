"""Scores of a model on the pairs it has not seen, and the page that shows them."""

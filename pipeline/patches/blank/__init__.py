"""The blank filter: what of a patch is tissue, and what spoils it."""

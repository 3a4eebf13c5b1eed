"""Many cases: plan, state, one process per case, job scripts."""

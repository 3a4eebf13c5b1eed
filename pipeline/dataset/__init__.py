"""From the patches of many cases to one dataset: names, table, checks, report."""

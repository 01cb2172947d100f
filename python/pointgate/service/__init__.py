"""`pointgate serve`: the gate between sources, judge and store, and everything around it."""

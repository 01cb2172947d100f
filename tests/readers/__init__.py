"""What a data engineer sees: readers of a dataset that is being written, and documented queries."""

"""Where accepted points go from the spool: `base` says what a sink is, the others are one each."""

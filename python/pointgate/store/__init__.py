"""Where accepted points are kept before a request is answered: `base` says what a store is."""

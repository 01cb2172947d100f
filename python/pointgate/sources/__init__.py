"""Where requests come from: `base` says what a source is, the folders are one each."""

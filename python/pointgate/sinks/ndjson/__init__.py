"""The sink that writes newline-delimited JSON: `sink` makes the lines, `file` appends them."""

"""The sink that writes a JSON object a line: `sink` makes lines, `file` appends them."""

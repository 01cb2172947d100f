"""Importing history: mappings, sources, sorting, resuming."""

"""Registries: where device tables come from that are neither files nor written by hand."""

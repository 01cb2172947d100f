"""Registries of devices, against real servers."""

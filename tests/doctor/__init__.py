"""Examinations before a service goes live."""

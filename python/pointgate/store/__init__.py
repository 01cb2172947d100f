"""Stores accepted points before a request is answered; `base` defines what a store is."""

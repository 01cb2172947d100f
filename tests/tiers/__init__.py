"""The whole case table of the contract through every tier."""

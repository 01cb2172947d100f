"""The sink that writes a Delta Lake table; needs the extra `pointgate[delta]`.

Nothing is imported here: every command reads `settings.py`, also without the extra.
"""

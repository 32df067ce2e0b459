"""Probes: one question about padding each, in a folder of its own. ``table.py`` lists them."""

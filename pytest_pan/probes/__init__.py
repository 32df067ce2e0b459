"""Probes, one package each, that answer one question about padding. ``table.py`` lists them."""

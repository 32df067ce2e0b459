"""Audits in, text out; nothing here computes a figure or imports torch."""

"""The only code that knows PyTorch's internals: the seam, sites, capture."""

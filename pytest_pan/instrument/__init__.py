"""The only code that depends on PyTorch's internals: the tap, sites, repadding, the gate."""

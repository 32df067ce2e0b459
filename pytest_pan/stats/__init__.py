"""Tensors in, tensors out: no module, no image, no file is known here."""

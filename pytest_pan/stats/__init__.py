"""Statistics as functions of tensors, independent of models, images and files."""

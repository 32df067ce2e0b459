"""One question a file: a model and images in, findings out."""

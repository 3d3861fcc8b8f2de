"Clustering in PyTorch, from a loop that anyone can read to a library that is fast."
__version__ = "0.1.0"

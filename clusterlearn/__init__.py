"Clustering in PyTorch, from a loop that anyone can read to a library that is fast."
__version__ = "0.1.0"
from .data import blobs
from .files import load
from .kmeans.lloyd import KMeansResult, k_means
from .kmeans.scatter import k_means_cluster
from .meanshift.modes import MeanShiftResult, mean_shift

__all__ = ["blobs", "load", "k_means", "KMeansResult", "k_means_cluster", "mean_shift",
           "MeanShiftResult"]

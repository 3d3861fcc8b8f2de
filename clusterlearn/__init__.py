"""Clustering in PyTorch, from a loop that anyone can read to a library that is fast.

What each parameter means: https://clusterlearn.github.io/clusterlearn/90_api.html, or `k_means??` in IPython."""
__version__ = "0.1.0"
from .batches import as_batches
from .choosing import BandwidthChoice, KChoice, choose_bandwidth, choose_k
from .data import blobs
from .density.dbscan import DBSCANResult, dbscan
from .density.hdbscan import HDBSCANResult, hdbscan
from .evaluation import Evaluation, evaluate, silhouette_score
from .files import load
from .kmeans.engines.distributed import distributed_k_means
from .kmeans.lloyd import k_means
from .kmeans.minibatch import mini_batch_k_means
from .kmeans.protocol import KMeansResult
from .kmeans.scatter import k_means_cluster
from .meanshift.modes import MeanShiftResult, mean_shift
from .neighbors.lsh import LSH
from .neighbors.search import Neighbors, RadiusNeighbors, neighbors

__all__ = ["blobs", "load", "k_means", "KMeansResult", "k_means_cluster", "mini_batch_k_means",
           "mean_shift", "MeanShiftResult", "dbscan", "DBSCANResult", "hdbscan", "HDBSCANResult",
           "neighbors", "Neighbors", "RadiusNeighbors", "LSH", "choose_k", "KChoice",
           "choose_bandwidth", "BandwidthChoice", "evaluate", "Evaluation", "silhouette_score",
           "distributed_k_means", "as_batches"]

"What functions give can be saved: torch.load with weights_only=True, joblib, pickle."
import pickle

import joblib, pytest, torch

from clusterlearn import (
    blobs, choose_bandwidth, choose_k, dbscan, evaluate, k_means, load, mean_shift, neighbors,
)
from clusterlearn.neighbors.lsh import LSH

def table(folder):
    (folder / 'a.csv').write_text('x;y\n1;2,5\n3;4\n')
    return load(folder / 'a.csv')

results = {
    'blobs': lambda folder: blobs(3, 5, random_state=0), 'load': table,
    'k_means': lambda folder: k_means(blobs(random_state=0).points, 6, random_state=0),
    'mean_shift': lambda folder: mean_shift(blobs(random_state=0).points, 8.),
    'dbscan': lambda folder: dbscan(blobs(random_state=0).points, 1.),
    'evaluate': lambda folder: evaluate(*blobs(2, 9, random_state=0)[:2]),
    'choose_k': lambda folder: choose_k(blobs(2, 9, random_state=0).points, ks=(2, 3)),
    'choose_bandwidth': lambda folder: choose_bandwidth(blobs(2, 9, random_state=0).points),
    'neighbors': lambda folder: neighbors(blobs(2, 9, random_state=0).points, k=2),
    'radius': lambda folder: neighbors(blobs(2, 9, random_state=0).points, radius=9.),
    'LSH': lambda folder: LSH(2, 3).fit(torch.eye(4)).query(torch.eye(4), 1),
}

def same(a, b):
    "Equal in type and in every part"
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b

@pytest.mark.parametrize('name', results)
def test_torch_load_with_weights_only(tmp_path, name):
    r = results[name](tmp_path)
    torch.save(r, tmp_path / 'r.pt')
    assert same(torch.load(tmp_path / 'r.pt', weights_only=True), r)

@pytest.mark.parametrize('name', results)
def test_joblib_and_pickle(tmp_path, name):
    r = results[name](tmp_path)
    joblib.dump(r, tmp_path / 'r.joblib')
    assert same(joblib.load(tmp_path / 'r.joblib'), r)
    assert same(pickle.loads(pickle.dumps(r)), r)

"""scikit-learn's own tests of its clustering, run with the classes of `clusterlearn.estimators` in
the place of its own: python -m benchmarks conformance

A process for each file of tests puts our classes where the file will import them from, and where
functions such as `dbscan` find theirs. A test counts if it makes an instance of one of ours. Each
failure has a reason in `reasons`; one without is a fault of this project."""

import importlib, json, os, re, subprocess, sys
from pathlib import Path

import pytest

packages = ('scikit-learn', 'numpy', 'scipy', 'torch')
files = ('test_k_means', 'test_mean_shift', 'test_dbscan', 'test_hdbscan')
ours = ('KMeans', 'MiniBatchKMeans', 'MeanShift', 'DBSCAN', 'HDBSCAN')
homes = ('_kmeans', '_mean_shift', '_dbscan', '_hdbscan.hdbscan')
switches = {'SCIPY_ARRAY_API': '1', 'SKLEARN_RUN_FLOAT32_TESTS': '1'}
classes = ('KMeans', 'MiniBatchKMeans', 'MeanShift', 'DBSCAN', 'HDBSCAN', 'NearestNeighbors')

# By the name of the test. 'private': it looks at something that is no part of the class's
# interface. 'other': we do something else, on purpose.
reasons = {
    'test_sample_weight_init': (
        'private',
        'calls _init_centroids, a method inside of scikit-learn; check_estimator asks the same of '
        'the class, and passes',
    ),
    'test_sample_weight_zero': (
        'private',
        'calls _init_centroids as well; tests/test_estimators.py asks the same of the class',
    ),
    'test_labelling_distinct': (
        'private',
        'hands _single_linkage_tree_ to functions in Cython; the tree here is '
        'minimum_spanning_tree_',
    ),
    'test_hdbscan_default_copy_warning': (
        'other',
        'wants a warning that the default of copy will change; nothing here changes its input, '
        'so there is nothing to warn of',
    ),
}


def key(record):
    return record['name']


def reason_of(test):
    "The kind and the words of the reason for a failure, by the test's name without its parameters"
    return reasons.get(re.sub(r'\[.*', '', test), ('unknown', ''))


# In a process of its own: one file of tests


class Watch:
    "A plugin of pytest: which tests made one of our estimators, and how each of them ended"

    def __init__(self):
        self.reached, self.ended = False, {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        self.reached = False

    def pytest_runtest_logreport(self, report):
        test = report.nodeid.split('::')[-1]
        if report.when == 'call' or report.outcome != 'passed':
            crash = getattr(report.longrepr, 'reprcrash', None)
            said = crash.message.splitlines()[0][:200] if crash else ''
            self.ended[test] = [report.outcome, self.reached, said]


def replace(watch):
    "Put our classes in the place of scikit-learn's, and tell `watch` when one is made"
    import sklearn.cluster
    import clusterlearn.estimators as estimators
    from clusterlearn.estimator_base import Estimator

    def new(cls, *args, **kwargs):
        watch.reached = True
        return object.__new__(cls)

    Estimator.__new__ = new
    owners = [sklearn.cluster, *(importlib.import_module(f'sklearn.cluster.{h}') for h in homes)]
    for owner in owners:
        for name in ours:
            if hasattr(owner, name) and hasattr(estimators, name):
                setattr(owner, name, getattr(estimators, name))


def run_file(name):
    "Run one file of scikit-learn's tests in this process; returns how each test ended"
    watch = Watch()
    replace(watch)
    args = ['--pyargs', f'sklearn.cluster.tests.{name}', '-q', '-p', 'no:cacheprovider']
    pytest.main([*args, '-W', 'ignore', '--no-header', '-p', 'no:xdist'], plugins=[watch])
    return watch.ended


def in_process(name):
    "A file's tests, or the checks, in a process of its own, with array API dispatch possible"
    one = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'), '1')
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.conformance', name],
        capture_output=True,
        text=True,
        env=os.environ | one | switches,
        cwd=Path(__file__).parent.parent,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


# The record


def summary(name, ended):
    "A record of how the tests of a file ended"
    counted = {t: e for t, e in ended.items() if e[1]}
    failed = {t: e for t, e in counted.items() if e[0] == 'failed'}
    return dict(
        name=name,
        tests=len(ended),
        reach_ours=len(counted),
        passed=sum(e[0] == 'passed' for e in counted.values()),
        skipped=sum(e[0] == 'skipped' for e in counted.values()),
        failed=len(failed),
        failures=[
            dict(test=t, kind=reason_of(t)[0], reason=reason_of(t)[1], said=e[2])
            for t, e in failed.items()
        ],
    )


def check(module, name):
    "How many of scikit-learn's general checks an estimator passes"
    import warnings
    from sklearn.utils.estimator_checks import check_estimator

    made = getattr(importlib.import_module(module), name)()
    if name == 'HDBSCAN':
        made.set_params(copy=True)  # scikit-learn's warns otherwise
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        ended = check_estimator(made, on_skip=None, on_fail=None)
    count = {s: sum(c['status'] == s for c in ended) for s in ('passed', 'failed', 'skipped')}
    return count | {'not_passed': [c['check_name'] for c in ended if c['status'] != 'passed']}


def run_checks(whose):
    "`check_estimator` for each class, ours or scikit-learn's"
    homes = dict.fromkeys(classes, 'sklearn.cluster') | {'NearestNeighbors': 'sklearn.neighbors'}
    if whose == 'ours':
        homes = dict.fromkeys(classes, 'clusterlearn.estimators')
    return {n: check(homes[n], n) for n in classes}


def run(quick):
    for name in files[1:3] if quick else files:
        yield summary(name, in_process(name))
    ours, theirs = in_process('ours'), in_process('theirs')
    for name in ours:
        yield dict(name=f'check_estimator {name}', ours=ours[name], theirs=theirs[name])


if __name__ == '__main__':
    name = sys.argv[1]
    print(json.dumps(run_checks(name) if name in ('ours', 'theirs') else run_file(name)))

"How notebooks run as tests: nbval runs every cell and compares what it gives with what is stored."
import os, sys
import torch
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell
from nbdev.process import extract_directives
from tools.cells import comparable, settings, skips, steady
from tools.kernels import fork_kernels

cfg = settings()
os.environ.update(steady)

# Kernels run in Triton's interpreter where there is no GPU. Triton looks when it is imported.
if not torch.cuda.is_available(): os.environ.setdefault('TRITON_INTERPRET', '1')
# Triton has releases for Linux only, and the rooms of its kernels run them.
rooms = '73_kmeans_launch', '73b_kmeans_triton_kernels', '73c_kmeans_triton_search', \
    '73d_kmeans_triton_certificate', '74_kmeans_triton_sums', '74b_kmeans_fused'
collect_ignore = [] if sys.platform == 'linux' else [f'nbs/{room}.ipynb' for room in rooms]

def sanitize(self, text): return comparable(text)
IPyNbCell.sanitize = sanitize

def execute(self, source, allow_stdin=None):
    "As Jupyter does, with history: without one IPython shows the value of a line that ends in `;`"
    return self.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)
RunningKernel.execute_cell_input = execute

def pytest_itemcollected(item):
    "Read a cell's marks as nbdev does: `#| timing` is not compared, tst_flags are not run"
    if not isinstance(item, IPyNbCell): return
    marks = extract_directives(item.cell, remove=False)
    item.options.update(skip=skips(marks, cfg), check='timing' not in marks, check_exception=False)
    # nbdev_clean empties the counters, and nbval compares only cells that have one.
    item.cell.execution_count = 1
    # `comparable` looks at pictures, so that a missing one is found.
    item.parent.skip_compare = tuple(k for k in item.parent.skip_compare if 'image/' not in k)

def pytest_collection_modifyitems(items):
    "The slowest files early, or one process waits for the other: wheel, notebooks, site, rest"
    places = {'tests/test_wheel.py': 0, 'tests/test_site.py': 2}
    def place(item):
        file = item.nodeid.partition('::')[0]
        return places.get(file, 1 if file.endswith('.ipynb') else 3)
    items.sort(key=place)
    # The process that kernels are forked from takes as long to start as three kernels.
    if len({item.path for item in items if isinstance(item, IPyNbCell)}) > 3: fork_kernels()

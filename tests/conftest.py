"Fixtures of several test files."

import pytest
from clusterlearn.kmeans import lloyd


@pytest.fixture(scope='module', params=['auto', 'tensor', 'compiled'])
def engine(request):
    "What holds of `k_means` holds with every engine, at any size"
    with pytest.MonkeyPatch.context() as m:
        table = {'tensor': lloyd.ENGINES['tensor'], 'compiled': 'judge:CompiledOrTensor'}
        m.setitem(lloyd.ENGINES, 'auto', table.get(request.param, lloyd.ENGINES['auto']))
        yield request.param

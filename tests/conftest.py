"Fixtures of several test files."

import pytest
from clusterlearn.kmeans import lloyd
from clusterlearn.kmeans.compiled import lloyd_compiled


@pytest.fixture(scope='module', params=['as it chooses', 'compiled'])
def engine(request):
    "What holds of `k_means` holds for the compiled loop too, at any size"
    with pytest.MonkeyPatch.context() as m:
        if request.param == 'compiled':
            m.setattr(lloyd, '_engine', lambda *a: lloyd_compiled)
        yield

"Fixtures of several test files."

import pytest
from clusterlearn.kmeans import lloyd

try: from triton.runtime.interpreter import InterpretedFunction
except ImportError: InterpretedFunction = None


def patch_once(call):
    """Patch `triton.language` in the first call of each function that kernels call, not in all

    Triton's interpreter does it for a kernel and in every call of such a function. What the kernel
    has not patched stays patched after the first one. It was a fifth of these tests' time."""
    patched = set()

    def interpreted(function, *args, **kwargs):
        if function in patched: return function.rewrite()(*args, **kwargs)
        patched.add(function)
        return call(function, *args, **kwargs)

    return interpreted


if InterpretedFunction:
    InterpretedFunction.__call__ = patch_once(InterpretedFunction.__call__)


@pytest.fixture(scope='module', params=['auto', 'tensor', 'compiled'])
def engine(request):
    "What holds of `k_means` holds with every engine, at any size"
    with pytest.MonkeyPatch.context() as m:
        table = {'tensor': lloyd.ENGINES['tensor'], 'compiled': 'judge:CompiledOrTensor'}
        m.setitem(lloyd.ENGINES, 'auto', table.get(request.param, lloyd.ENGINES['auto']))
        yield request.param

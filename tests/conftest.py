"Fixtures of several test files."

import dataclasses

import pytest
from clusterlearn.kmeans import lloyd

try: from triton.runtime import interpreter
except ImportError: interpreter = None


def patch_once(call):
    """Patch `triton.language` in the first call of each function that kernels call, not in all

    Triton's interpreter does it for a kernel and in every call of such a function. What the kernel
    has not patched stays patched after the first one."""
    patched = set()

    def interpreted(function, *args, **kwargs):
        if function in patched: return function.rewrite()(*args, **kwargs)
        patched.add(function)
        return call(function, *args, **kwargs)

    return interpreted


# A third of the time of the tests of kernels. Overflow is computed for an assertion that is made
# only with `debug`, which the interpreter has not; the compiler leaves it out, too
if interpreter:
    interpreter.InterpretedFunction.__call__ = patch_once(interpreter.InterpretedFunction.__call__)
    options = dataclasses.replace(interpreter.interpreter_builder.options, sanitize_overflow=False)
    interpreter.interpreter_builder.options = options


@pytest.fixture(scope='module', params=['auto', 'tensor', 'compiled'])
def engine(request):
    "What holds of `k_means` holds with every engine, at any size"
    with pytest.MonkeyPatch.context() as m:
        table = {'tensor': lloyd.ENGINES['tensor'], 'compiled': 'judge:CompiledOrTensor'}
        m.setitem(lloyd.ENGINES, 'auto', table.get(request.param, lloyd.ENGINES['auto']))
        yield request.param

"""A pretend GPU: tensors that say they are on one and keep their numbers in main memory.

What a GPU refuses is refused: an operation on tensors of both memories, its memory as an array.
What makes Python wait for a GPU is counted, and so are the operations that are started. Triton's
kernels are started by `clusterlearn.kmeans.engines.launch.launch`; its `start` is replaced by one
that hands the numbers to Triton's interpreter. Nothing else of the library is replaced."""
import contextlib, types
from unittest import mock
import torch
from clusterlearn.kmeans.engines.launch import launch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

GPU, CPU = torch.device('cuda:0'), torch.device('cpu')

def name(func): return func._schema.name.split('::')[1]

_copies = {'_to_copy', 'copy_'}
_asks = {'_local_scalar_dense', 'nonzero', 'bincount', 'equal', 'masked_select', 'unique_dim',
         '_unique2', 'unique_consecutive', 'repeat_interleave'}
_free = set('''view _unsafe_view slice select transpose t expand unsqueeze squeeze as_strided detach
    alias split split_with_sizes permute unbind unfold empty new_empty empty_like empty_strided
    new_empty_strided'''.split())
_makers = {getattr(torch, n) for n in '''zeros ones empty full arange tensor as_tensor rand randn
    randint randperm eye linspace zeros_like ones_like empty_like full_like'''.split()}

class Pretend(torch.Tensor):
    "A tensor that says it is on a GPU; `real(v)` is the one with its numbers"
    gpu = None # The pretend GPU at work

    @staticmethod
    def __new__(cls, real):
        assert not isinstance(real, Pretend)
        made = torch.Tensor._make_wrapper_subclass(cls, real.shape, strides=real.stride(),
            storage_offset=real.storage_offset(), dtype=real.dtype, device='cpu')
        made.real_ = real
        return made

    device = property(lambda t: GPU)
    is_cuda, is_cpu = property(lambda t: True), property(lambda t: False)

    def __repr__(self, **_): return f'Pretend({self.real_})'

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return Pretend.gpu.run(func, args, kwargs or {})

def real(v): return v.real_ if isinstance(v, Pretend) else v

class PretendGPU(TorchFunctionMode):
    "While it lasts, `cuda` is here; `starts` and `waits` list what was asked of it"
    def __init__(self):
        super().__init__()
        self.starts, self.waits = [], []

    def __enter__(self):
        Pretend.gpu = self
        properties = types.SimpleNamespace(shared_memory_per_block_optin=227 * 1024, major=9,
                                           minor=0)
        self.patches = contextlib.ExitStack()
        for f, g in (('device_of', lambda x: contextlib.nullcontext()),
                     ('get_device_properties', lambda d: properties)):
            self.patches.enter_context(mock.patch.object(torch.cuda, f, g))
        self.patches.enter_context(mock.patch.object(launch, 'start', self.start))
        return super().__enter__()

    def __exit__(self, *error):
        self.patches.close()
        return super().__exit__(*error)

    def clear(self): self.starts, self.waits = [], []

    def run(self, func, args, kwargs): # One operation of PyTorch
        tensors = [v for v in tree_iter((args, kwargs)) if isinstance(v, torch.Tensor)]
        here = [v for v in tensors if isinstance(v, Pretend)]
        n, device = name(func), kwargs.get('device')
        crosses, leaves = self.crosses(func, args, tensors, here), here and device == CPU
        asks = crosses or leaves or n in _asks
        if n in ('index', 'index_put_'):                             # a mask is turned into places
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
            asks = asks or (masks and (n == 'index' or args[2].ndim))
        if asks: self.waits.append(n)
        if n not in _free: self.starts.append(n)
        if device is not None: kwargs = kwargs | {'device': CPU}
        out = func(*tree_map(real, args), **tree_map(real, kwargs))
        same = {id(v.real_): v for v in here}
        stays = n == '_local_scalar_dense' or (n == 'copy_' and not isinstance(args[0], Pretend))
        there = not stays and (device.type == 'cuda' if device is not None else bool(here))
        def wrapped(v):
            if not isinstance(v, torch.Tensor) or not there: return v
            return same[id(v)] if id(v) in same else Pretend(v)
        return tree_map(wrapped, out)

    def start(self, kernel, grid, args, options): # In the place of `launch.start`
        for v in args:
            if isinstance(v, torch.Tensor) and not isinstance(v, Pretend):
                raise ValueError('Pointer argument cannot be accessed from Triton')
        self.starts.append('kernel')
        kernel[grid](*map(real, args), **options)

    def crosses(self, func, args, tensors, here): # Whether it copies between memories; RuntimeError
        if len(here) in (0, len(tensors)): return False
        others = [v for v in tensors if not isinstance(v, Pretend)]
        if name(func) in _copies: return True
        if torch.Tag.pointwise in func.tags and not any(v.ndim for v in others): return False
        if name(func) in ('index', 'index_put_') and isinstance(args[0], Pretend):
            if all(isinstance(v, Pretend) or not v.ndim for v in args[2:3]): return True
        raise RuntimeError(f'{func}: expected all tensors to be on the same device')

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, first = dict(kwargs or {}), args[0] if args else None
        device = kwargs.get('device')
        wanted = None if device is None else torch.device(device).type
        if func in _makers and wanted == 'cuda': return self.make(func, args, kwargs)
        if func is torch.Tensor.new_tensor and isinstance(first, Pretend):
            self.waits.append('new_tensor')
            return Pretend(torch.tensor(*args[1:], **{'dtype': first.dtype} | kwargs))
        if func is torch.Tensor.to: return self.to(*args, **kwargs)
        if func is torch.Tensor.cpu: return self.to(first, CPU)
        if func is torch.Tensor.tolist and isinstance(first, Pretend):
            self.waits.append('tolist')
            return first.real_.tolist()
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(first, Pretend):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return func(*args, **kwargs)

    def make(self, func, args, kwargs): # A new tensor here
        if isinstance(args[0], Pretend) and func is torch.as_tensor:
            return self.to(args[0], **{k: v for k, v in kwargs.items() if k == 'dtype' and v})
        g = kwargs.get('generator')
        if g is not None and g.device.type != 'cuda':
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        copies = func in (torch.tensor, torch.as_tensor)
        (self.waits if copies else self.starts).append(func.__name__)
        return Pretend(func(*tree_map(real, args), **kwargs | {'device': CPU}))

    def to(self, x, *args, **kwargs): # As Tensor.to, between the two memories
        if args and isinstance(args[0], torch.Tensor): args = args[0].device, args[0].dtype
        device = [v for v in (*args, *kwargs.values()) if isinstance(v, (str, torch.device))]
        args = [v for v in args if not isinstance(v, (str, torch.device))]
        kwargs = {k: v for k, v in kwargs.items() if k != 'device'}
        here = isinstance(x, Pretend)
        there = here if not device else torch.device(device[0]).type == 'cuda'
        if here != there:
            self.waits.append('to')
            copy = torch.Tensor.to(real(x), *args, **kwargs).clone()
            return Pretend(copy) if there else copy
        return torch.Tensor.to(x, *args, **kwargs) if args or kwargs else x

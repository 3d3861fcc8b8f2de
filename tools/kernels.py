"""Kernels for the tests of notebooks, forked from a process that has imported what most import.

Every notebook has a kernel of its own, and a hundred kernels spend minutes on the same imports.
Here one process without threads, the nursery, imports once and forks for each kernel. The fork goes
on as `python -m ipykernel_launcher` does, with the arguments, folder, environment and stderr it is
given. Only packages of others are imported beforehand, `clusterlearn` is not. Where an import
starts a thread, and elsewhere than on Linux, kernels start as usual."""
import gc, importlib, json, os, runpy, select, signal, socket, subprocess, sys, time
from functools import cache
from importlib.metadata import EntryPoint
from queue import Empty

import nbval.kernel
import zmq
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

modules = ('ipykernel.ipkernel', 'ipykernel.zmqshell', 'ipykernel.debugger', 'torch',
           'matplotlib.pyplot', 'numba', 'scipy.spatial', 'scipy.stats', 'sklearn.cluster',
           'sklearn.datasets', 'sklearn.metrics', 'sklearn.neighbors', 'pandas')
launcher = [sys.executable, '-m', 'ipykernel_launcher']

def nursery(sock):
    "Import, say so, and fork for each request from `sock` until it is closed"
    os.environ.setdefault('MPLBACKEND', 'module://matplotlib_inline.backend_inline')  # as ipykernel
    os.environ['JE_ARROW_MALLOC_CONF'] = 'background_thread:false'  # pandas imports pyarrow
    os.environ['PYDEVD_DISABLE_FILE_VALIDATION'] = '1'  # else it says that modules are frozen
    for name in modules: importlib.import_module(name)
    if len(os.listdir('/proc/self/task')) > 1: return
    signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))
    gc.freeze()  # what is here stays: forks need not look at it, nor copy its pages
    sock.send(b'ready')
    while True:
        request, fds, _, _ = socket.recv_fds(sock, 2**20, 1)
        if not request: return
        pid = os.fork()
        if not pid:
            sock.close()
            return kernel(**json.loads(request), stderr=fds[0])
        os.close(fds[0])
        sock.send(b'%d' % pid)

def kernel(args, env, stderr):
    "Go on as a kernel"
    import numpy as np, torch
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(stderr, 2)
    os.close(stderr)
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))  # with whom the kernel ends
    np.random.seed()  # else all forks would draw the same; `random` does it by itself
    torch.seed()
    sys.argv[1:] = args
    runpy.run_module('ipykernel_launcher', run_name='__main__', alter_sys=True)

@cache
def requests(cwd):
    "The socket of this process's nursery in the folder `cwd`, or None if that cannot fork"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, os.path.abspath(__file__), str(theirs.fileno())]
    requests.process = subprocess.Popen(command, cwd=cwd, pass_fds=[theirs.fileno()],
                                        stdin=subprocess.DEVNULL, start_new_session=True)
    theirs.close()
    return ours if ours.recv(9) else None

class Forked:
    "What `LocalProvisioner` asks of a `Popen`, for a process that another process has forked"
    stdin = stdout = stderr = None

    def __init__(self, pid):
        self.pid, self.fd = pid, os.pidfd_open(pid)

    def poll(self):
        "None while it runs; how it ended, only its parent knows"
        return 0 if select.select([self.fd], [], [], 0)[0] else None

    def wait(self):
        select.select([self.fd], [], [])
        os.close(self.fd)
        return 0

    def send_signal(self, signum):
        if self.poll() is None: signal.pidfd_send_signal(self.fd, signum)

class ForkProvisioner(LocalProvisioner):
    "nbval's kernels of this Python are forked, others start as usual"
    async def kill(self, restart=False):
        "Until it is dead, within milliseconds: jupyter_client looks every 0.1 s"
        await super().kill(restart)
        if isinstance(self.process, Forked): select.select([self.process.fd], [], [], 1)

    async def launch_kernel(self, cmd, **kwargs):
        ours = cmd[:3] == launcher and kwargs.keys() == {'cwd', 'env', 'stderr'}
        sock = requests(kwargs['cwd']) if ours else None
        if sock is None: return await super().launch_kernel(cmd, **kwargs)
        request = json.dumps(dict(args=cmd[3:], env=kwargs['env'])).encode()
        socket.send_fds(sock, [request], [kwargs['stderr'].fileno()])
        self.process = Forked(int(sock.recv(9)))
        self.pid = self.pgid = self.process.pid
        self.cwd = kwargs['cwd']
        return self.connection_info

def start_kernel(startup_timeout=60, kernel_name='python', **kwargs):
    """A kernel and its client, as nbval starts them, but without three waits of 0.1 to 0.2 s

    A forked kernel listens after 0.1 s, so sockets try again sooner than every 0.1 s. When shell
    and iopub have answered, nothing waits for more: nbval skips what it did not ask for."""
    specs = nbval.kernel.NbvalKernelspecManager()
    km = KernelManager(kernel_name=kernel_name, kernel_spec_manager=specs)
    km.start_kernel(**kwargs)
    kc = km.client()
    kc.context.setsockopt(zmq.RECONNECT_IVL, 10)
    kc.start_channels()
    end = time.monotonic() + startup_timeout
    while km.is_alive() and time.monotonic() < end:
        kc.kernel_info()
        try:
            kc.get_shell_msg(timeout=1)
            kc.get_iopub_msg(timeout=.2)
            return km, kc
        except Empty: pass
    kc.stop_channels()
    km.shutdown_kernel(now=True)
    raise RuntimeError(f'the kernel did not answer in {startup_timeout} seconds')

def fork_kernels():
    "Let every kernel that nbval starts in this process be forked"
    if not hasattr(os, 'pidfd_open'): return  # Linux has it
    factory = KernelProvisionerFactory.instance()
    place = f'{__name__}:ForkProvisioner'
    factory.provisioners['fork'] = EntryPoint('fork', place, factory.GROUP_NAME)
    factory.default_provisioner_name = 'fork'
    nbval.kernel.start_new_kernel = start_kernel

if __name__ == '__main__':
    del sys.path[0]  # the folder of this file, which `-m` would not have put there
    nursery(socket.socket(fileno=int(sys.argv[1])))

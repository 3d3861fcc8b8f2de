"A wheel works in an empty environment, without the extras."
import os, subprocess, sys, venv
from importlib.metadata import distribution, distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tools import checks, names
from tools.cells import root, settings

cfg = settings()
unwanted = 'PYTHONPATH', 'PYTHONDONTWRITEBYTECODE'
plain = {k: v for k,v in os.environ.items() if k not in unwanted}

def run(*args, cwd):
    args = [str(a) for a in args]
    done = subprocess.run(args, cwd=cwd, env=plain, capture_output=True, text=True)
    assert not done.returncode, f'{args} failed\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    return done.stdout

def pip(*args, cwd):
    return run(sys.executable, '-m', 'pip', '--disable-pip-version-check', *args, cwd=cwd)

def needs(dist, extras, found):
    "Put what a distribution needs into `found`: what is installed here, by name"
    for r in map(Requirement, dist.requires or ()):
        if r.marker and not any(r.marker.evaluate({'extra': e}) for e in (extras or {''})): continue
        at = canonicalize_name(r.name), frozenset(r.extras)
        if at in found: continue
        found[at] = distribution(r.name)
        needs(found[at], r.extras, found)

@pytest.fixture(scope='module')
def empty(tmp_path_factory):
    """The interpreter of an environment with nothing but the wheel and what it asks for

    pip installs the wheel. What that needs are links to what is installed here, in the same
    versions: to unpack all of it again, as pip would, takes half a minute."""
    tmp = tmp_path_factory.mktemp('wheel')
    checks.copy(root, tmp/'src')
    pip('wheel', '--no-deps', '--no-build-isolation', '-w', tmp, tmp/'src', cwd=tmp)
    wheel, = tmp.glob('*.whl')
    venv.create(tmp/'env')
    python = tmp/'env/bin/python'
    pip('--python', python, 'install', '-q', '--no-deps', wheel, cwd=tmp)
    site, = (tmp/'env').glob('lib/python*/site-packages')
    ours, = (d for d in distributions(path=[str(site)]) if d.name == 'clusterlearn')
    found = {}
    needs(ours, set(), found)
    for d in found.values():
        for name in {f.parts[0] for f in d.files} - {'..', '__pycache__'}:
            if not (site/name).exists(): (site/name).symlink_to(d.locate_file(name))
    pip('--python', python, 'check', cwd=tmp)
    return python

every = '''
import importlib, pkgutil, clusterlearn as c
for m in pkgutil.walk_packages(c.__path__, 'clusterlearn.'):
    try: print(importlib.import_module(m.name))
    except ImportError as e:   # the estimators need an extra, and say so
        assert 'clusterlearn[sklearn]' in str(e), e
        print(f"<module '{m.name}' needs an extra")
print(c.__version__)'''

def test_every_module_imports(empty, tmp_path):
    said = run(empty, '-c', every, cwd=tmp_path)
    assert said.split()[-1] == cfg['version']
    assert [name for name,_,_ in names.modules(root) if f"<module '{name}'" not in said] == []

def test_extras_are_not_installed(empty, tmp_path):
    there = set(pip('--python', empty, 'list', cwd=tmp_path).lower().split())
    assert 'clusterlearn' in there and not there & {'scikit-learn', 'triton', 'nbdev', 'pytest'}

def test_command_helps(empty, tmp_path):
    assert '--k' in run(empty.with_name('clusterlearn'), '--help', cwd=tmp_path)

light = '''
import sys, clusterlearn
assert clusterlearn.k_means is not None and clusterlearn.KMeansResult is not None
heavy = "matplotlib", "sklearn", "numba", "triton", "PIL", "pandas"
print(*(m for m in heavy if m in sys.modules))'''

def test_import_is_light_without_extras(empty, tmp_path):
    assert not run(empty, '-c', light, cwd=tmp_path).split()

def test_import_is_light_with_extras(tmp_path):
    assert not run(sys.executable, '-c', light, cwd=tmp_path).split()

about = '''
from importlib.metadata import distribution
print(distribution("clusterlearn").read_text("METADATA"))'''

def test_metadata(empty, tmp_path):
    said = run(empty, '-c', about, cwd=tmp_path)
    for line in (f"Version: {cfg['version']}", f"Requires-Python: >={cfg['min_python']}",
                 'License: Apache-2.0', 'Provides-Extra: sklearn', 'Provides-Extra: lab',
                 'Provides-Extra: gpu'):
        assert line in said
    assert '](nbs/' not in said and '](index_files/' not in said   # links work anywhere

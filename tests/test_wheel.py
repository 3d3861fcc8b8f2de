"A wheel works in an empty environment, without the extras."
import os, subprocess, sys, venv
import pytest
from tools import checks
from tools.cells import root, settings

cfg = settings()
clean = {k: v for k,v in os.environ.items() if k != 'PYTHONPATH'}

def run(*args, cwd):
    done = subprocess.run([str(a) for a in args], cwd=cwd, env=clean, capture_output=True, text=True)
    assert not done.returncode, f'{args} failed\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    return done.stdout

@pytest.fixture(scope='module')
def empty(tmp_path_factory):
    "The interpreter of an environment with nothing but the wheel and what it asks for"
    tmp = tmp_path_factory.mktemp('wheel')
    checks.copy(root, tmp/'src')
    run(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w', tmp, tmp/'src', cwd=tmp)
    wheel, = tmp.glob('*.whl')
    venv.create(tmp/'env', with_pip=True)
    python = tmp/'env/bin/python'
    run(python, '-m', 'pip', 'install', '--disable-pip-version-check', '-q', '-c', root/'constraints.txt', wheel, cwd=tmp)
    return python

def test_every_module_imports(empty, tmp_path):
    there = run(empty, '-c', '''
import importlib, pkgutil, clusterlearn
for m in pkgutil.walk_packages(clusterlearn.__path__, 'clusterlearn.'): print(importlib.import_module(m.name).__name__)
print(clusterlearn.__version__)''', cwd=tmp_path).split()
    assert there[-1] == cfg['version']
    assert {name for name,_,_ in checks.modules(root)} <= set(there)

def test_extras_are_not_installed(empty, tmp_path):
    names = run(empty, '-m', 'pip', 'list', '--disable-pip-version-check', cwd=tmp_path).lower().split()
    assert 'clusterlearn' in names and not {'scikit-learn', 'nbdev', 'pytest'} & set(names)

def test_command_helps(empty, tmp_path):
    assert '--k' in run(empty.with_name('clusterlearn'), '--help', cwd=tmp_path)

light = '''
import sys, clusterlearn
print(*(m for m in ("matplotlib", "sklearn", "triton", "PIL") if m in sys.modules))'''

def test_import_is_light_without_extras(empty, tmp_path): assert not run(empty, '-c', light, cwd=tmp_path).split()
def test_import_is_light_with_them(tmp_path): assert not run(sys.executable, '-c', light, cwd=tmp_path).split()

def test_metadata(empty, tmp_path):
    meta = run(empty, '-c', 'from importlib.metadata import metadata; print(metadata("clusterlearn").as_string())', cwd=tmp_path)
    for want in f"Version: {cfg['version']}", f"Requires-Python: >={cfg['min_python']}", 'Provides-Extra: sklearn', 'Provides-Extra: gpu':
        assert want in meta
    assert '](nbs/' not in meta and '](index_files/' not in meta   # links work where there is no repository

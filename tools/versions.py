"With what the site was made: `python -m tools.versions` prints the note of the first page."
import platform, subprocess
from importlib.metadata import PackageNotFoundError, version

from tools.cells import root, settings

packages = {'torch': 'PyTorch', 'numpy': 'NumPy', 'numba': 'Numba', 'scikit-learn': 'scikit-learn'}

def commit(root=root):
    "The commit's short name and its day; None without a repository"
    if not (root/'.git').exists(): return None
    ran = subprocess.run(['git', 'log', '-1', '--format=%h %cs'], cwd=root, capture_output=True,
                         text=True)
    return tuple(ran.stdout.split()) if ran.returncode == 0 and ran.stdout else None

def installed():
    "The versions of what the notebooks run with, as they are installed"
    for package,name in packages.items():
        try: yield f'{name} {version(package).partition("+")[0]}'
        except PackageNotFoundError: continue

def note(root=root):
    "A paragraph of markdown"
    cfg,made = settings(root),commit(root)
    python = 'Python ' + '.'.join(platform.python_version_tuple()[:2])
    what = f'clusterlearn {cfg["version"]}'
    if made:
        what += f', commit [{made[0]}]({cfg["git_url"]}/commit/{made[0]}) of {made[1]}'
    ran_with = ', '.join([python, *installed()])
    return (f'::: {{.versions}}\nThis site shows {what}. Its outputs are those of {ran_with}: '
            'the tests run every cell again and compare.\n:::')

if __name__ == '__main__': print(note())

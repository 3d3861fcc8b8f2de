"The library, the notebooks and the README are in step, and notebooks keep the rules."
import subprocess, sys
from tools import checks, readme
from tools.cells import root

def fine(problems): assert not problems, '\n' + '\n'.join(problems)

def test_library_is_what_the_notebooks_export(): fine(checks.sync(root))
def test_readme_is_what_index_gives(): fine(readme.problems(root))
def test_notebooks_keep_the_rules(): fine(checks.notebook_rules(root))
def test_ruff_finds_nothing(): fine(checks.lint(root))
def test_make_readme_ends_well():
    subprocess.run([sys.executable, '-m', 'tools.readme', '--check'], cwd=root, check=True)

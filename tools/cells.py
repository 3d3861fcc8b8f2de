"What notebooks say about themselves: the marks of cells, and outputs in a form to compare."
import re
from configparser import ConfigParser
from hashlib import md5
from pathlib import Path

from execnb.nbio import read_nb
from nbdev.process import extract_directives

root = Path(__file__).parent.parent

# What a cell prints shall not depend on the terminal. Torch gets one thread in each process: two
# processes on two cores are faster than two that fight for both, and sums come in one order.
steady = dict(COLUMNS='80', LINES='24', OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')

def settings(root=root):
    "The project's settings, from settings.ini alone"
    config = ConfigParser(delimiters=['='], interpolation=None)
    config.read(root/'settings.ini', encoding='utf-8')
    return config['DEFAULT']

def notebooks(root=root):
    "Every notebook in reading order; index comes last because it shows what the others make"
    return sorted((root/'nbs').glob('*.ipynb'))

def page(name):
    "What the site calls a notebook: its name without the number"
    return re.sub(r'^\d+[a-zA-Z0-9]*_', '', Path(name).stem.lower())

def load(path):
    "The notebook at `path`; its cells know their number and their marks"
    nb = read_nb(path)
    for c in nb.cells:
        c.marks = extract_directives(c, remove=False) if c.cell_type == 'code' else {}
    return nb

def skips(marks, cfg):
    "Is a cell with these `marks` left alone when notebooks run?"
    return bool(marks.keys() & set(cfg['tst_flags'].split())) or marks.get('eval:') == ['false']

# The player of chapter 01 (clusterlearn/player.html). Its content may differ in a last digit from
# one processor to the next, so only its number of frames is compared.
_player_id = re.compile(r'cl-player-([0-9a-f]{32})')
_player_frames = re.compile(r'id="cl-player-[0-9a-f]{32}" data-frames="(\d+)"')

def same_player_id(html, cell_id):
    "The player in `html` under an id made from its cell's: no two on a page are alike"
    found = _player_id.search(html)
    return html.replace(found[1], md5(cell_id.encode()).hexdigest()) if found else html

def comparable(text):
    "What two runs must agree on: all of a text, the kind of a picture, an animation's length"
    if not isinstance(text, str): return text
    frames = _player_frames.search(text)
    if frames: return f'animation of {frames[1]} frames'
    if re.match('iVBORw0KGgo|/9j/', text): return 'picture'
    return re.sub(r'(<[^<>]*) at 0x[0-9a-fA-F]+', r'\1', text)

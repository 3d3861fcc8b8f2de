"""Run notebooks from top to bottom, each in a kernel of its own, and store what their cells give.

    python -m tools.store [nbs/00_data.ipynb ...]       without names: all, in reading order

A notebook is written whole, or not at all if a cell fails. A cell that settings.ini's tst_flags
skip, such as `#| cuda`, keeps what it has stored."""
import json, os, sys, tempfile, time
from pathlib import Path

import nbformat
from execnb.nbio import dict2nb, write_nb
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb
from nbdev.process import extract_directives
from tools.cells import notebooks, same_player_id, settings, skips, steady

def merged(outputs):
    "`outputs` with neighbouring pieces of one stream put together, however the kernel cut them"
    res = []
    for o in outputs:
        if res and o.output_type == 'stream' and o.get('name') == res[-1].get('name'):
            res[-1].text += o.text
        else: res.append(o)
    return res

def run(path, cfg):
    "The notebook at `path` with fresh outputs; a failing cell raises `CellExecutionError`"
    nb = nbformat.read(path, as_version=4)
    client = NotebookClient(nb, kernel_name='python3', timeout=600,
                            resources={'metadata': {'path': str(path.parent)}})
    with client.setup_kernel():
        for i,cell in enumerate(nb.cells):
            if cell.cell_type != 'code': continue
            if skips(extract_directives(cell, remove=False), cfg): continue
            cell.outputs = []
            client.execute_cell(cell, i)
            cell.outputs = merged(cell.outputs)
            for o in cell.outputs:
                if 'text/html' in o.get('data', {}):
                    o.data['text/html'] = same_player_id(o.data['text/html'], cell.id)
    return nb

def write(nb, path, cfg):
    "Write `nb` as nbdev_clean leaves it, under another name first"
    nb = dict2nb(json.loads(nbformat.writes(nb)))
    clean_nb(nb, allowed_cell_metadata_keys=cfg['allowed_cell_metadata_keys'].split())
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.') as tmp:
        write_nb(nb, Path(tmp)/path.name)
        os.replace(Path(tmp)/path.name, path)

def main(paths):
    cfg = settings()
    os.environ.update(steady)
    for path in paths:
        start = time.time()
        try: nb = run(path, cfg)
        except CellExecutionError as e: sys.exit(f'{path} is left as it was: a cell failed\n\n{e}')
        write(nb, path, cfg)
        print(f'{path.name}  {time.time() - start:.0f} s', flush=True)

if __name__ == '__main__': main([Path(p).resolve() for p in sys.argv[1:]] or notebooks())

"The command's --evaluate, --k auto and --report: what they print and write, and the page seen."
import json, re

import pytest
import torch
from browser import chromium, in_a_browser, playwright
from sklearn import metrics
from clusterlearn import choose_k, k_means, load
from clusterlearn.cli import main

g = torch.Generator().manual_seed(0)
centres = torch.tensor([[0., 0.], [20., 0.], [0., 25.], [30., 30.]])
points = (centres[:, None] + torch.randn(4, 40, 2, generator=g)).flatten(0, 1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f'{a},{b}' for a, b in points.double().tolist()]
    (tmp_path/'a.csv').write_text('\n'.join(['"</script><b>x",y & z', *rows]) + '\n')
    return tmp_path


def run(line, capsys=None):
    status = main(line.split())
    return status, *(capsys.readouterr() if capsys else ())


def test_evaluate_prints_scikit_learns_figures(capsys):
    status, out, _ = run('a.csv --k 4 --evaluate --out l.csv --json', capsys)
    e, x, labels = json.loads(out)['evaluation'], load('a.csv').points, load('l.csv').points[:, 0]
    assert status == 0
    for name in 'silhouette', 'calinski_harabasz', 'davies_bouldin':
        want = getattr(metrics, f'{name}_score')(x, labels)
        assert e[name] == pytest.approx(want, rel=1e-6), name
    assert e['noise'] == 0 and len(e['cluster_silhouettes']) == 4
    out = run('a.csv --k 4 --evaluate', capsys)[1]
    assert re.search(r'^silhouette +0\.9\d\d \(-1 to 1', out, re.M)
    assert re.search(r'^CH index ', out, re.M) and re.search(r'^DB index ', out, re.M)
    assert 'silhouette' not in run('a.csv --k 4', capsys)[1]


def test_evaluate_uses_the_units_of_the_distances(capsys):
    x = load('a.csv').points.double()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    run('a.csv --k 3 --standardize --evaluate --out l.csv --model m.npz --quiet')
    for line in 'a.csv --k 3 --standardize --evaluate --json', \
                'a.csv --predict m.npz --evaluate --json':
        e = json.loads(run(line, capsys)[1])['evaluation']
        labels = load('l.csv').points[:, 0]
        assert e['silhouette'] == pytest.approx(metrics.silhouette_score(x, labels), rel=1e-6)


def test_by_cosine_indices_are_those_of_directions(capsys):
    for k in '3', 'auto':
        line = f'a.csv --k {k} --metric cosine --evaluate --json --out l{k}.csv --report r{k}.html'
        told = json.loads(run(line, capsys)[1])
        x, labels = load('a.csv').points.double(), load(f'l{k}.csv').points[:, 0]
        want = metrics.silhouette_score(x / x.norm(dim=1, keepdim=True), labels)
        assert told['evaluation']['silhouette'] == pytest.approx(want, abs=1e-6)
    assert max(told['choice']['scores']) == pytest.approx(want, abs=1e-6)


def test_evaluate_without_clusters_or_with_one(capsys):
    for line, k in ('a.csv --k 1', 1), ('dbscan a.csv --eps 1e-9', 0):
        e = json.loads(run(f'{line} --evaluate --json', capsys)[1])['evaluation']
        assert e['n_clusters'] == k and e['silhouette'] is None
        assert 'none: it needs two clusters' in run(f'{line} --evaluate', capsys)[1]
        assert run(f'{line} --report r{k}.html --quiet')[0] == 0


def test_k_auto_is_choose_k(capsys):
    status, out, _ = run('a.csv --k auto --json --seed 3', capsys)
    told, want = json.loads(out), choose_k(load('a.csv').points, random_state=3)
    assert told['clusters'] == want.k == 4 and told['choice']['scores'] == list(want.scores)
    r = k_means(load('a.csv').points, 4, init=want.centroids)
    assert told['sizes'] == r.labels.bincount().tolist()
    assert re.search(r'^chosen by +silhouette 0\.9\d\d, of k = 2 to 12$',
                     run('a.csv --k auto', capsys)[1], re.M)


@pytest.mark.parametrize('line, why', [
    ('few.csv --k auto', '--k auto compares 2 with 3'),
    ('a.csv --k automatic', "argument --k: a whole number is needed, not 'automatic'"),
    ('meanshift a.csv --k auto', '--k is for k-means'),
    ('a.csv --report r.txt', "--report r.txt: unknown ending '.txt'; use .html"),
    ('a.csv --report nowhere/r.html', 'there is no folder nowhere'),
    ('a.csv --report a.html --animate a.html', "another option's file too")])
def test_mistakes_are_one_line_and_leave_nothing(line, why, capsys, home):
    (home/'few.csv').write_text('1,2\n3,4\n5,7\n')
    before = sorted(home.iterdir())
    status, out, err = run(line, capsys)
    assert status == 2 and why in err and err.count('\n') == 1 and not out
    assert sorted(home.iterdir()) == before


def test_a_page_that_cannot_be_made_leaves_no_file(monkeypatch, home):
    import clusterlearn.html_report as room
    def fails(result): raise ValueError('no drawing today')
    monkeypatch.setattr(room, '_pictures', fails)
    before = sorted(home.iterdir())
    assert run('a.csv --k 4 --report r.html --out l.csv --quiet')[0] == 2
    assert sorted(home.iterdir()) == before


def test_the_page_is_whole_escaped_and_the_same_again(home):
    run('a.csv --k auto --report r.html --quiet')
    page = (home/'r.html').read_text()
    assert '</script><b>' not in page and '&lt;/script&gt;&lt;b&gt;x' in page
    assert page.count('<script>') == page.count('</script>') == 2
    assert not re.search(r'(src|href)=["\']?(?!"data:)', page)
    assert 'http' not in page.lower().replace('http-equiv', '')
    again = page
    run('a.csv --k auto --report r.html --quiet --force')
    strip = lambda p: re.sub(r'<dd>[\d.]+</dd></div></dl>|<code>.*?</code>', '', p)
    assert strip((home/'r.html').read_text()) == strip(again)


#  In a browser

lines = {'k-means': 'a.csv --k auto', 'mean shift': 'meanshift a.csv --bandwidth 5',
         'DBSCAN': 'dbscan a.csv --eps 1.5', 'picture': 'p.png --k 3',
         'wide': 'wide.csv --k 3 --standardize', 'one cluster': 'a.csv --k 1'}


@in_a_browser
def test_pages_open_without_errors_and_fit(home):
    from PIL import Image
    pixels = (torch.rand(20, 30, 3, generator=g) * 255).byte().numpy()
    Image.fromarray(pixels).save(home/'p.png')
    wide = torch.randn(60, 40, generator=g).tolist()
    (home/'wide.csv').write_text('\n'.join(','.join(map(str, row)) for row in wide))
    for name, line in lines.items():
        assert run(f'{line} --report {name[:3]}.html --quiet')[0] == 0
    try: from axe_playwright_python.sync_playwright import Axe
    except ImportError: Axe = None
    res = []
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        for width, scheme in (1400, 'light'), (390, 'dark'):
            context = b.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
            page = context.new_page()
            page.on('console', lambda m: m.type in ('error', 'warning') and res.append(m.text))
            page.on('pageerror', lambda e: res.append(str(e)))
            page.on('request', lambda r: r.url[:5] in ('file:', 'data:') or res.append(r.url))
            for name in lines:
                page.goto((home/f'{name[:3]}.html').as_uri())
                res += [f'{name}, {width}: {fault}' for fault in _faults(page, name)]
                if not Axe or name not in ('k-means', 'picture'): continue
                found = Axe().run(page, options={'preload': False}).response
                res += [f'{name}, {width}: {v["id"]} {v["nodes"][0]["html"][:90]}'
                        for v in found['violations'] if v['impact'] in ('serious', 'critical')]
            context.close()
        b.close()
    assert not res, '\n' + '\n'.join(res)


def _faults(page, name):
    "Scrolling sideways, a film that does not move, a page in the wrong colours"
    size = page.evaluate('[document.documentElement.scrollWidth, innerWidth]')
    if size[0] > size[1]: yield f'scrolls sideways: {size}'
    dark = page.evaluate('matchMedia("(prefers-color-scheme: dark)").matches')
    paper = page.evaluate('getComputedStyle(document.body).backgroundColor')
    if (sum(map(int, re.findall(r'\d+', paper)[:3])) < 384) != dark: yield f'paper is {paper}'
    films = page.locator('.cl-player:not([data-frames="1"])')
    if films.count() != (name != 'DBSCAN'): yield f'{films.count()} films'
    if dark: return
    for film in films.all():
        before = film.screenshot()
        film.locator('input').first.evaluate(
            'e => { e.value = e.max; e.dispatchEvent(new Event("input", {bubbles: true})) }')
        page.wait_for_timeout(50)
        if film.screenshot() == before: yield 'the film does not move'

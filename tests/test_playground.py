"The playground in a browser: its steps against the library's, by mouse, finger and keyboard."
import json, re, shutil
from pathlib import Path

import pytest
import torch
from sklearn.cluster import DBSCAN
from torch.testing import assert_close

from clusterlearn.distance import nearest
from clusterlearn.kmeans.loop import wcss
from clusterlearn.kmeans.scatter import cluster_means, k_means_cluster
from clusterlearn.meanshift.batch import update_batch

playwright = pytest.importorskip('playwright.sync_api', reason='needs: pip install playwright')
chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome',
                                                'google-chrome-stable'))), None)
if not chromium:
    pytest.skip('needs a browser: apt-get install chromium', allow_module_level=True)

notebook = Path(__file__).parent.parent/'nbs/53_playground.ipynb'
close = dict(rtol=1e-9, atol=1e-9)
shapes = 'blobs', 'moons', 'rings', 'uniform'


def stored():
    "The page as the notebook has stored it"
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    html = [''.join(o['data']['text/html']) for c in cells for o in c.get('outputs', [])
            if 'text/html' in o.get('data', {})]
    return next(h for h in html if 'class="clusterlearn-playground"' in h)


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        yield b
        b.close()


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    "The page in a file, as a site would hold it"
    path = tmp_path_factory.mktemp('playground')/'page.html'
    head = ('<!doctype html><meta charset="utf-8"><style>:root { color-scheme: light dark }</style>'
            '<meta name="viewport" content="width=device-width">')
    path.write_text(head + stored(), encoding='utf-8')
    return path.as_uri()


def tensors(state):
    "Points in float64, labels as integers"
    places = {name: torch.tensor(state[name], dtype=torch.float64).reshape(-1, 2)
              for name in ('points', 'places', 'centroids')}
    return state | places | dict(labels=torch.tensor(state['labels']))


class Playground:
    "A page that is open, and what a visitor does with it"
    def __init__(self, browser, file, width=1000, **options):
        self.context = browser.new_context(viewport=dict(width=width, height=1000), **options)
        self.page, self.errors, self.asked = self.context.new_page(), [], []
        self.page.on('pageerror', lambda e: self.errors.append(str(e)))
        self.page.on('request', lambda r: self.asked.append(r.url))
        self.file, self.plane = file, self.page.locator('svg.plane')
        self.open()

    def open(self): self.page.goto(self.file)

    def __enter__(self): return self

    def __exit__(self, *failure):
        self.context.close()
        if not any(failure):
            assert self.errors == [] and set(self.asked) == {self.file}, (self.errors, self.asked)

    def button(self, name): return self.page.get_by_role('button', name=name, exact=True)

    def centroid(self, j): return self.page.locator(f'.centroid[data-j="{j}"]')

    def set(self, **values):
        "Set sliders and the shape, in the order given"
        for name, value in values.items():
            self.page.locator(f'#{name}').evaluate(
                '(e, v) => { e.value = v; e.dispatchEvent(new Event("input", {bubbles: true})) }',
                value)

    def choose(self, algorithm, **values):
        "What the radio buttons, the list of shapes and the sliders can be set to"
        self.page.locator(f'[value="{algorithm}"]').evaluate('e => e.click()')
        self.set(**values)

    def state(self):
        "What the page has computed; points in float64"
        return tensors(
            self.page.evaluate('document.querySelector(".clusterlearn-playground").state()'))

    def step(self):
        self.button('Step').click()
        return self.state()

    def steps(self, most=150, keep=150):
        "The last `keep` states after a click on Step, until it can be clicked no more"
        states = self.page.evaluate('''([most, keep]) => {
            const host = document.querySelector(".clusterlearn-playground"), states = [];
            const button = host.shadowRoot.querySelector("[data-do=step]");
            while (!button.disabled && most-- > 0) {
                button.click();
                states.push(host.state());
            }
            return states.slice(-keep); }''', [most, keep])
        return list(map(tensors, states))

    def screen(self, p):
        "Where a point of the plane is on the screen"
        self.plane.scroll_into_view_if_needed()
        box = self.plane.bounding_box()
        return box['x'] + float(p[0]) / 100 * box['width'], (
            box['y'] + float(p[1]) / 70 * box['height'])


@pytest.fixture(scope='module')
def desk(browser, file):
    with Playground(browser, file) as p: yield p


@pytest.fixture
def opened(desk):
    desk.open()
    return desk


#  The steps are the library's

@pytest.mark.parametrize('shape,k', [('blobs', 5), ('moons', 2), ('rings', 7), ('uniform', 12)])
def test_k_means(opened, shape, k):
    opened.choose('k-means', shape=shape, k=k)
    before = first = opened.state()
    assert len(first['centroids']) == k
    assert (nearest(first['centroids'], first['points'])[1] == 0).all()       # points, as Forgy's
    for s in opened.steps():
        if before['half'] == 'assign':
            assert torch.equal(s['labels'], nearest(s['points'], before['centroids'])[0])
            assert torch.equal(s['centroids'], before['centroids'])
        else:
            means = cluster_means(s['points'], s['labels'], before['centroids'])[0]
            assert_close(s['centroids'], means, **close)
        total = wcss(s['points'], s['centroids'], s['labels']).item()
        assert_close(s['history'][-1], total, **close)
        before = s
    assert s['history'] == sorted(s['history'], reverse=True)
    centroids, labels = k_means_cluster(k, s['points'], 100, 0, init=first['centroids'])
    assert torch.equal(s['labels'], labels)
    assert_close(s['centroids'], centroids, **close)


@pytest.mark.parametrize('shape,bandwidth', list(zip(shapes, (6, 4, 12, 20))))
def test_mean_shift(opened, shape, bandwidth):
    opened.choose('mean shift', shape=shape, n=120, bandwidth=bandwidth)
    before = opened.state()
    for s in opened.steps(12):
        moved = update_batch(before['places'], bw=bandwidth)
        assert_close(s['places'], moved, **close)
        longest = (moved - before['places']).norm(dim=1).max().item()
        assert_close(s['history'][-1], longest, **close)
        near = torch.cdist(s['places'], s['places']) <= bandwidth / 2
        assert (s['labels'][:, None] == s['labels'])[near].all()
        before = s


@pytest.mark.parametrize('shape,eps,least', [('blobs', 2.5, 5), ('blobs', 4, 12), ('moons', 2.5, 3),
                                             ('rings', 4, 4), ('uniform', 6, 5),
                                             ('uniform', 1, 15)])
def test_dbscan(opened, shape, eps, least):
    opened.choose('DBSCAN', shape=shape, eps=eps, minSamples=least)
    waves = opened.steps()
    truth = torch.from_numpy(DBSCAN(eps=eps, min_samples=least).fit_predict(waves[-1]['points']))
    assert torch.equal(waves[-1]['labels'], truth)
    for s in waves:                                  # a label once given stays
        assert (s['labels'] == truth)[s['labels'] >= 0].all()
    reached = [int((s['labels'] >= 0).sum()) for s in waves]
    assert reached == sorted(reached) == [s['history'][-1] for s in waves]


def test_things_to_try(opened):
    "What the chapter says that one sees"
    def groups(*choice, most=150, **values):
        opened.choose(*choice, **values)
        labels = opened.steps(most, 1)[-1]['labels']
        return int(labels.max()) + 1, int((labels < 0).sum())
    assert groups('mean shift', bandwidth=6)[0] == 5
    assert groups('mean shift', bandwidth=12)[0] == 1
    assert groups('mean shift', bandwidth=1, most=20)[0] > 20
    assert groups('DBSCAN', shape='rings', eps=5)[0] == 2
    assert groups('DBSCAN', shape='moons')[0] == 2
    assert groups('DBSCAN', shape='uniform')[0] == 12
    assert groups('DBSCAN', shape='moons', eps=2.5)[0] > 10
    opened.choose('DBSCAN', shape='blobs', eps=5)
    s, = opened.steps(keep=1)
    opened.page.mouse.click(*opened.screen((97, 67)))
    alone, = opened.steps(keep=1)
    assert int((alone['labels'] < 0).sum()) == int((s['labels'] < 0).sum()) + 1
    assert alone['labels'][-1] == -1
    opened.choose('mean shift', bandwidth=6)
    assert opened.steps(keep=1)[-1]['labels'].bincount().tolist().count(1) == 1


#  Mouse, finger, keyboard

def test_mouse(opened):
    opened.button('Clear').click()
    for p in (20, 20), (24, 20), (80, 50): opened.page.mouse.click(*opened.screen(p))
    assert_close(opened.state()['points'], torch.tensor([[20., 20], [24, 20], [80, 50]]).double(),
                 atol=.1, rtol=0)
    opened.set(k=2)
    start = opened.state()['centroids']
    opened.page.mouse.move(*opened.screen(start[0]))
    opened.page.mouse.down()
    opened.page.mouse.move(*opened.screen((50, 35)), steps=4)
    opened.page.mouse.up()
    s = opened.state()
    assert len(s['points']) == 3                      # a drag places no point
    assert_close(s['centroids'][0], torch.tensor([50., 35]).double(), atol=.1, rtol=0)
    assert torch.equal(s['centroids'][1], start[1])
    assert torch.equal(s['labels'], nearest(s['points'], s['centroids'])[0])
    assert_close(s['history'], [wcss(s['points'], s['centroids'], s['labels']).item()], **close)


def test_a_bad_start_is_mended_by_hand(opened):
    stuck, = opened.steps(keep=1)
    assert 18_500 < stuck['history'][-1] < 19_500
    two = torch.pdist(stuck['centroids']).argmin()
    a, b = torch.combinations(torch.arange(5))[two].tolist()     # they share a blob
    sums = [wcss(stuck['points'][m], stuck['centroids'], stuck['labels'][m]) for m in
            (stuck['labels'] == j for j in range(5))]
    wide = int(torch.stack(sums).argmax())                       # two blobs share this one
    far = stuck['points'][stuck['labels'] == wide]
    x, y = opened.screen(far[(far - stuck['centroids'][wide]).norm(dim=1).argmax()])
    opened.page.mouse.move(*opened.screen(stuck['centroids'][a]))
    opened.page.mouse.down()
    opened.page.mouse.move(x, y, steps=4)
    opened.page.mouse.up()
    mended, = opened.steps(keep=1)
    assert mended['history'][-1] < 5_500 and b != a


def test_finger(browser, file):
    with Playground(browser, file, 390, has_touch=True, is_mobile=True) as p:
        p.button('Step').tap()
        n = len(p.state()['points'])
        corners = torch.tensor([[5., 5], [5, 65], [95, 5], [95, 65]]).double()
        free = corners[nearest(corners, p.state()['centroids'])[1].argmax()]
        p.page.touchscreen.tap(*p.screen(free))
        s = p.state()
        assert len(s['points']) == n + 1
        assert_close(s['points'][-1], free, atol=.2, rtol=0)
        touch = p.context.new_cdp_session(p.page)
        path = [p.screen(s['centroids'][4]), p.screen((40, 30)), p.screen((60, 20))]   # on top
        for kind, at in zip(('touchStart', 'touchMove', 'touchMove'), path):
            finger = [dict(x=at[0], y=at[1])]
            touch.send('Input.dispatchTouchEvent', dict(type=kind, touchPoints=finger))
        touch.send('Input.dispatchTouchEvent', dict(type='touchEnd', touchPoints=[]))
        s = p.state()
        assert_close(s['centroids'][4], torch.tensor([60., 20]).double(), atol=.2, rtol=0)
        assert len(s['points']) == n + 1


def test_keyboard(opened):
    press = opened.page.keyboard.press
    focused = lambda: opened.page.evaluate(
        'document.querySelector(".clusterlearn-playground").shadowRoot.activeElement.outerHTML')
    press('Tab')
    assert 'class="plane"' in focused()
    for key in 'ArrowLeft', 'Shift+ArrowLeft', 'ArrowUp', 'Enter': press(key)
    s = opened.state()
    assert s['points'][-1].tolist() == [44, 34] and len(s['points']) == 201
    press('Tab'); press('Tab')
    assert 'data-j="1"' in focused()
    for key in 'ArrowRight', 'ArrowDown', 'Shift+ArrowDown': press(key)
    moved = opened.state()
    assert_close(moved['centroids'][1], s['centroids'][1] + torch.tensor([1., 6]), **close)
    assert 'data-j="1"' in focused()                  # drawing anew keeps the focus
    press(' ')
    assert opened.button('Pause').is_visible()
    opened.page.wait_for_function(
        's => document.querySelector(".clusterlearn-playground").state().step > s',
        arg=moved['step'])
    press(' ')
    assert opened.button('Play').is_visible()
    opened.page.get_by_label('k-means', exact=True).focus()
    press('ArrowRight')
    assert opened.state()['algorithm'] == 'mean shift'
    opened.button('Step').focus()
    press('Enter')
    assert opened.state()['step'] == 1


#  What it looks like, and where it works

def contrast(a, b):
    "Of two colours as `rgb(r, g, b)`, by WCAG 2.2"
    def luminance(c):
        s = [int(v) / 255 for v in re.findall(r'\d+', c)[:3]]
        r, g, b = (v / 12.92 if v <= .04045 else ((v + .055) / 1.055) ** 2.4 for v in s)
        return .2126 * r + .7152 * g + .0722 * b
    low, high = sorted(map(luminance, (a, b)))
    return (high + .05) / (low + .05)


@pytest.mark.parametrize('width', [390, 1400])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_width_and_contrast(browser, file, width, scheme):
    with Playground(browser, file, width, color_scheme=scheme) as p:
        paint = lambda s, what: p.page.locator(s).first.evaluate(
            f'e => getComputedStyle(e).{what}')
        paper = paint('main', 'backgroundColor')
        assert (contrast(paper, 'rgb(255, 255, 255)') < 1.1) == (scheme == 'light')
        for text in '.told', '.help', 'figcaption', 'legend', 'label', 'output', 'select':
            assert contrast(paint(text, 'color'), paper) >= 4.5, text
        main = '[data-do=play]'
        assert contrast(paint(main, 'color'), paint(main, 'backgroundColor')) >= 4.5
        for edge, what in (('.dot', 'stroke'), ('select', 'borderTopColor'), ('.curve', 'stroke')):
            p.button('Step').click()
            assert contrast(paint(edge, what), paper) >= 3, edge
        assert p.page.evaluate('document.documentElement.scrollWidth') <= width
        for name in p.page.locator('button, select, input[type=range]').all():
            if name.is_visible(): assert name.bounding_box()['height'] >= 44
        beside = p.page.locator('.right').bounding_box()['y'] < p.plane.bounding_box()['y'] + 50
        assert beside == (width == 1400)


def test_every_control_has_a_name(opened):
    for algorithm in 'k-means', 'mean shift', 'DBSCAN':
        opened.choose(algorithm)
        lines = opened.page.locator('main').aria_snapshot().splitlines()
        controls = [s for s in lines if re.match(r'\s*- (button|slider|radio|combobox)', s)]
        assert len(controls) >= 12 and all('"' in s for s in controls), controls


def test_saved_as_a_file(opened, browser, tmp_path):
    with opened.page.expect_download() as download: opened.button('Save as a file').click()
    path = tmp_path/'playground.html'
    download.value.save_as(path)
    opened.asked[:] = [opened.file]                   # not the download itself
    with Playground(browser, path.as_uri()) as p:
        p.button('Step').click()
        assert p.state()['step'] == 1


def test_a_dark_page_makes_it_dark(opened):
    theme = lambda: opened.page.locator('.clusterlearn-playground').get_attribute('data-theme')
    assert theme() == 'light'
    opened.page.evaluate(
        'document.body.style.background = "#222"; document.body.className = "dark"')
    opened.page.wait_for_timeout(50)
    assert theme() == 'dark'

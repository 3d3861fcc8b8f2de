"Colours, names of clusters, and what the player's page holds."
import base64, json, re
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from clusterlearn.plot import Frame, _oklab, animate, match_clusters, palette, player

def film(html):
    "What the page was given to draw"
    return json.loads(re.search(r'const film = (\{.*?\});\n', html, re.S)[1])

def places(f, i):
    "The points of array `i`, decoded"
    x0, x1, y0, y1 = f['box']
    a = np.frombuffer(base64.b64decode(f['arrays'][i]), '<u2').reshape(-1, 2) / 65535
    return torch.from_numpy(a * [x1 - x0, y1 - y0] + [x0, y0])

frames = [Frame(torch.rand(9, 2, generator=torch.Generator().manual_seed(i)) * 7,
                torch.arange(9) % 3 - 1, torch.tensor([[1., i]]), f'step {i}') for i in range(4)]

def test_a_page_holds_its_frames():
    f = film(player(frames, slider='time', trail=True, interval=70).data)
    row, = f['rows']
    assert f['trail'] and f['interval'] == 70 and len(row['frames']) == 4
    for (p, l, c, title), frame in zip(row['frames'], frames):
        assert title == frame.title
        assert (places(f, p) - frame.points).abs().max() < 1e-3
        assert (places(f, c) - frame.centroids).abs().max() < 1e-3
        labels = np.frombuffer(base64.b64decode(f['arrays'][l]), '<u2')
        assert (labels == frame.labels.numpy() + 1).all()
    assert len(f['arrays']) == 4 + 1 + 4                       # the labels are kept once
    assert len(f['colours']) == 2

def test_two_sliders():
    html = player({.5: frames, 2: frames[:2]}, second='band<width', alt='a "b" & c').data
    f = film(html)
    assert [(r['name'], len(r['frames'])) for r in f['rows']] == [('0.5', 4), ('2', 2)]
    for text in ('data-frames="6"', 'band&lt;width', 'a &quot;b&quot; &amp; c'): assert text in html

def test_the_page_is_safe_and_whole():
    "No title ends the script, nothing is loaded, each control has a name, the same twice"
    bad = [f._replace(title='</script><b>$id $film') for f in frames]
    html = player(bad).data
    assert html.count('</script>') == 1 and film(html)['rows'][0]['frames'][0][3] == bad[0].title
    assert not re.search(r'https?:|<link|src="', html)
    for name in ('One step back', 'Play', 'One step on'): assert f'aria-label="{name}"' in html
    assert html == player(bad).data != player(frames).data

def test_frames_of_every_kind():
    "In space, without labels and centroids, all at one place, flat as a line, long and thinned"
    space = film(player([Frame(torch.rand(5, 3))]).data)
    assert space['axes'] == ['', ''] and space['rows'][0]['frames'][0][1:3] == [-1, -1]
    same = film(player([Frame(torch.ones(4, 2))]).data)
    assert np.isfinite(same['box']).all() and same['box'][0] < 1 < same['box'][1]
    line = torch.stack([torch.arange(50.), torch.zeros(50)], 1)
    assert not film(player([Frame(line)]).data)['equal']
    long = film(player([Frame(torch.rand(100, 2), torch.zeros(100))], max_points=30).data)
    assert len(places(long, 0)) == 25
    assert player(animate(frames), dpi=40).data.count('data:image/png;base64,') == 4

@pytest.mark.parametrize('bad', [[], {}, {'a': []}, {'a': frames, 'b': []}])
def test_no_frames(bad):
    with pytest.raises(ValueError, match='at least one Frame'): player(bad)

def test_dimensions_that_nobody_sees():
    frame = Frame(torch.rand(3, 4))
    with pytest.raises(ValueError, match=r'use project\(points\)'): player([frame])

def test_colours_can_be_told_apart():
    for k, least in ((7, .12), (20, .12), (40, .09)):
        assert torch.pdist(torch.from_numpy(_oklab(palette(k)))).min() > least
    assert (palette(60)[:20] == palette(20)).all() and len(np.unique(palette(500), axis=0)) == 500

@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), k=st.integers(1, 7), m=st.integers(1, 7))
def test_match_clusters(seed, k, m):
    "A new number for each, all different; renamed clusters get their old numbers back"
    g = torch.Generator().manual_seed(seed)
    labels, reference = torch.randint(k, (40,), generator=g), torch.randint(m, (40,), generator=g)
    names = match_clusters(labels, reference, k)
    assert len(set(names.tolist())) == k and names.min() >= 0
    order = torch.randperm(m, generator=g)
    back = match_clusters(order[reference], reference, m)
    assert torch.equal(back[order[reference]], reference)

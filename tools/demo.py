"Cluster three things with the command `clusterlearn`: blobs, a csv file and a photograph."
import subprocess, sys
from pathlib import Path
import torch
from matplotlib.cbook import get_sample_data

out = Path('demo')
command = str(Path(sys.executable).with_name('clusterlearn'))

def points_csv(path):
    "Three clouds of different sizes, in a file as a German Excel writes it"
    g = torch.Generator().manual_seed(7)
    clouds = [torch.randn(n, 2, generator=g) * s + torch.tensor(c)
              for n, s, c in [(300, 1., [0., 0.]), (200, .6, [5., 3.]), (100, .4, [4., -3.])]]
    rows = [f'P{i:03};{x:.4f};{y:.4f}' for i,(x,y) in enumerate(torch.cat(clouds).tolist())]
    path.write_text('\n'.join(['name;x;y', *rows, '']).replace('.', ','), encoding='utf-8')

def cluster(title, *args):
    "Run the command as a reader would type it"
    print(f"\n== {title}\n$ clusterlearn {' '.join(map(str, args))}", flush=True)
    subprocess.run([command, *map(str, args), '--force'], check=True)

if __name__ == '__main__':
    out.mkdir(exist_ok=True)
    cluster('Six blobs', '--k', 6, '--out', out/'blobs.csv', '--plot', out/'blobs.png',
            '--animate', out/'blobs.html')
    points_csv(out/'points.csv')
    cluster('Points from a csv file', out/'points.csv', '--ignore', 'name', '--k', 3,
            '--sort', 'size', '--append', '--out', out/'points_clusters.csv',
            '--centroids', out/'points_centroids.csv', '--plot', out/'points.png')
    with get_sample_data('grace_hopper.jpg') as f: photo = f.name
    cluster('A portrait of Grace Hopper in eight colours', photo, '--k', 8,
            '--plot', out/'hopper.png')
    print('\nMade:')
    for f in sorted(out.iterdir()): print(f'  {f}  {f.stat().st_size:,} bytes')

"Build the package; every fact comes from settings.ini."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

root = Path(__file__).parent
config = ConfigParser(delimiters=['='], interpolation=None)
config.read(root/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

def needs(key): return cfg[key].split()

def readme():
    "README.md with links and pictures that also work outside the repository"
    path = root/'README.md'
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    url,branch = cfg['git_url'],cfg['branch']
    text = re.sub(r'(!\[[^\]]*\]\()(?!\w+:|#)', rf'\1{url}/raw/{branch}/', text)
    return re.sub(r'(\]\()(?!\w+:|#)', rf'\1{url}/blob/{branch}/', text)

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    keywords=cfg['keywords'], license='Apache-2.0',
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'],
    project_urls={'Course': cfg['doc_host'] + cfg['doc_baseurl'], 'Source': cfg['git_url']},
    long_description=readme(), long_description_content_type='text/markdown',
    classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Education',
                 'Intended Audience :: Developers', 'Natural Language :: English',
                 'Topic :: Scientific/Engineering :: Artificial Intelligence',
                 *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14))],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[cfg['lib_path'], f"{cfg['lib_path']}.*"]),
    include_package_data=True, zip_safe=False,
    install_requires=needs('requirements'),
    extras_require={extra: needs(f'{extra}_requirements')
                    for extra in ('sklearn', 'gpu', 'lab', 'dev')},
    entry_points={'console_scripts': [cfg['console_scripts']],
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]})

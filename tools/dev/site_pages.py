"""MkDocs hook that adds the pages written elsewhere: the README as home, and notebooks with their stored outputs."""
import re
from pathlib import Path

from jinja2 import DictLoader
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = """\
{%- extends 'markdown/index.md.j2' -%}
{%- block input -%}
{%- set magic, _, command = cell.source.partition('\\n') -%}
{%- if magic.startswith('%%bash') %}
```bash
{{ command }}
```
{% else %}
```python
{{ cell.source }}
```
{% endif -%}
{%- endblock -%}
{%- block stream %}
``` { .text .output }
{{ output.text }}
```
{% endblock -%}
{%- block data_text scoped %}
``` { .text .output }
{{ output.data['text/plain'] }}
```
{% endblock -%}
"""


def on_files(files, config):
    exporter = MarkdownExporter(extra_loaders=[DictLoader({'notebook': NOTEBOOK})], template_file='notebook')
    for notebook in [file for file in files if file.src_uri.endswith('.ipynb')]:
        folder, _, name = notebook.src_uri.removesuffix('.ipynb').rpartition('/')
        text, resources = exporter.from_filename(notebook.abs_src_path, resources={'unique_key': name})
        files.remove(notebook)
        files.append(File.generated(config, f'{folder}/{name}.md', content=text))
        for image, content in resources['outputs'].items():
            files.append(File.generated(config, f'{folder}/{image}', content=content))
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    files.append(File.generated(config, 'index.md', content=home(readme, config.repo_url)))
    return files


def home(readme, repository):
    """Returns the README with links to the site's pages; links to other files need the address of the repository."""
    elsewhere = rf'[\1]({repository.rstrip("/")}/blob/HEAD/\2)' if repository else r'\1'
    text = re.sub(r'\[([^]]+)\]\((?!docs/|https?:|#)([^)]+)\)', elsewhere, readme)
    return text.replace('](docs/', '](')


def on_page_markdown(markdown, page, **_):
    if page.file.src_uri.startswith('api/'):
        page.meta['search'] = dict(boost=0.1)  # a search finds guides first
    return markdown.replace('.ipynb)', '.md)')  # links between notebooks lead to their pages

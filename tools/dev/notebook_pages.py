"""MkDocs hook that converts the notebooks in docs/, with their stored outputs, to pages."""
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter


def on_files(files, config):
    for notebook in [file for file in files if file.src_uri.endswith('.ipynb')]:
        folder, _, name = notebook.src_uri.removesuffix('.ipynb').rpartition('/')
        text, resources = MarkdownExporter().from_filename(notebook.abs_src_path, resources={'unique_key': name})
        files.remove(notebook)
        files.append(File.generated(config, f'{folder}/{name}.md', content=text))
        for image, content in resources['outputs'].items():
            files.append(File.generated(config, f'{folder}/{image}', content=content))
    return files


def on_page_markdown(markdown, **_):
    return markdown.replace('.ipynb)', '.md)')  # links between notebooks lead to their pages

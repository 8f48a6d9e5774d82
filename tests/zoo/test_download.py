"""Downloads from local servers that imitate the authors' file hosts."""
import gc
import io
import logging
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import raises

pytest.importorskip('gdown')

import drives
from golden import fill_state_dict
from golden_files import NETWORKS
from mmengine.registry import MODELS

from mmvit_backbones import convert_state_dict, get_model
from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo import download
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.download import cached_file, fetch, fetch_url
from mmvit_backbones.zoo.variants import VARIANTS
from mmvit_backbones.zoo.weights import OTHER_FILES, WEIGHTS

# If a request fails, gdown 6.5 leaves its connection open until garbage collection.
pytestmark = pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning')
RELEASE = WEIGHTS['regionvit_small']
RELEASE_URL = RELEASE.urls[0]


def file_of(state_dict: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    return buffer.getvalue()


CONTENT = file_of({'weight': torch.arange(600_000.)})


@pytest.fixture(scope='module')
def all_drives(tmp_path_factory):
    servers = drives.Drives(tmp_path_factory.mktemp('drives'))
    yield servers
    servers.close()
    gc.collect()  # see pytestmark


@pytest.fixture
def servers(all_drives, tmp_path, monkeypatch):
    """Returns servers without files, and sets up an empty cache."""
    for name in ('NO_PROXY', 'no_proxy', 'MMVIT_MIRROR'):
        monkeypatch.delenv(name, raising=False)
    for name in ('HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'):
        monkeypatch.setenv(name, all_drives.url)
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(all_drives.certificate))
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(download, 'RETRIES', 1)
    all_drives.answers.clear()
    all_drives.asked.clear()
    return all_drives


def put_on_drive(servers, content: bytes) -> None:
    """Publishes a large file on Google Drive, behind the virus warning page."""
    form = ('<html><form id="download-form" action="https://drive.usercontent.google.com/download">'
            '<input type="hidden" name="confirm" value="t"></form></html>')
    servers.answers['https://drive.google.com/uc'] = drives.page(form)
    servers.answers['https://drive.usercontent.google.com/download'] = drives.serve(content)


# ---- file hosts


def test_google_drives_confirm_page_is_passed(servers):
    put_on_drive(servers, CONTENT)
    path = fetch(WEIGHTS['reswin_tiny'])
    assert path.read_bytes() == CONTENT and path.name == 'reswin_tiny.pth'
    asked = len(servers.asked)
    assert fetch(WEIGHTS['reswin_tiny']) == path and len(servers.asked) == asked  # from the cache


def messages(logged) -> list[str]:
    return [record.getMessage() for record in logged.records if record.levelno >= logging.INFO]


def test_a_download_is_silent_except_for_its_remark(servers, logged, capfd):
    servers.answers[RELEASE_URL] = drives.serve(CONTENT)
    fetch(RELEASE)
    assert messages(logged) == [] and capfd.readouterr() == ('', '')
    fetch(replace(RELEASE, tag='other', remark='only for research'))
    assert messages(logged) == ['regionvit_small_other: only for research']


@pytest.mark.parametrize('name, clicks', [
    ('vitaev2_small', 'click "Download"'), ('rest_lite', 'download the checkpoint of this network')])
def test_files_of_onedrive_and_in_folders_are_downloaded_by_hand(servers, name, clicks):
    """OneDrive's API wants a login; the message says where to click, and the file is found where it says."""
    weights = WEIGHTS[name]
    with raises(CheckpointError, f'Open {weights.urls[0]} in a browser, {clicks}',
                f'save the file as {cached_file(weights)}'):
        fetch(weights)
    assert servers.asked == []
    cached_file(weights).write_bytes(CONTENT)
    assert fetch(weights).read_bytes() == CONTENT


@pytest.fixture
def mirror(servers, monkeypatch):
    monkeypatch.setenv('MMVIT_MIRROR', f'{servers.url}/files/')
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    return f'{servers.url}/files'


def test_a_mirror_is_tried_first(servers, mirror, logged):
    mirrored = WEIGHTS['restv2_tiny']
    servers.answers.update({f'{servers.url}/files/{mirrored.file_name}': drives.serve(CONTENT),
                            RELEASE_URL: drives.serve(CONTENT)})
    assert fetch(mirrored).read_bytes() == CONTENT
    assert messages(logged) == []
    assert fetch(RELEASE).read_bytes() == CONTENT  # not on the mirror
    assert servers.times(f'{servers.url}/files/{RELEASE.file_name}') == 1
    message, = messages(logged)
    assert RELEASE_URL in message and f'{mirror}/{RELEASE.file_name}' in message and '404' in message
    before = len(servers.asked)
    fetch_neighbor(servers)  # the mirror has only the authors' files
    assert [url for url, _ in servers.asked[before:]] == ['https://github.com/neighbor.pth']


def test_different_urls_are_cached_separately(servers):
    """URLs that differ only in scheme, port, case, query or percent-encoding are cached separately."""
    urls = [f'{start}{end}' for start in ('http://github.com', 'https://github.com', 'http://github.com:81')
            for end in ('/a/model.pth', '/A/model.pth', '/a/model.pth?v=1', '/a/model.pth?v=2', '/a%2Fmodel.pth')]
    for number, url in enumerate(urls):
        servers.answers.clear()
        path = url.partition('?')[0].replace(':81', '').replace('http://github.com', servers.url)
        servers.answers[path] = servers.answers[url.partition('?')[0]] = drives.serve(
            file_of({'weight': torch.full((2, ), float(number))}))
        assert read_checkpoint(url)['weight'][0] == number
    servers.answers.clear()
    assert [int(read_checkpoint(url)['weight'][0]) for url in urls] == [*range(len(urls))]


@pytest.mark.parametrize('path', ['', '/', '/..', '/a/..%2F..%2Fb.pth', '/' + 'x' * 3000, '/a\0b', '/%00.pth', '/a b'])
def test_no_url_leaves_its_folder_in_the_cache(servers, path):
    neighbor = fetch_neighbor(servers)
    url = f'https://github.com{path}'
    for name in (url, url.rstrip('/')):
        servers.answers[name] = drives.serve(b'no checkpoint')
    with pytest.raises(CheckpointError):
        read_checkpoint(url)
    home = download.cache_folder()
    assert neighbor.exists() and home.is_dir() and {path.parent for path in home.iterdir()} == {home}
    assert not [path for path in home.parent.iterdir() if path != home]


def fetch_neighbor(servers) -> Path:
    servers.answers['https://github.com/neighbor.pth'] = drives.serve(CONTENT)
    return fetch_url('https://github.com/neighbor.pth')


# ---- failed downloads


def test_a_broken_connection_is_resumed(servers):
    servers.answers[RELEASE_URL] = drives.serve(CONTENT, breaks=1)
    assert fetch(RELEASE).read_bytes() == CONTENT
    (_, first), (_, second) = servers.asked
    assert first is None and 0 < int(second[6:-1]) <= len(CONTENT) // 2


def test_the_next_call_resumes_the_download(servers, monkeypatch):
    monkeypatch.setattr(download, 'RETRIES', 0)
    servers.answers[RELEASE_URL] = drives.serve(CONTENT, breaks=1)
    with pytest.raises(CheckpointError):
        fetch(RELEASE)
    part, = cached_file(RELEASE).parent.glob('*.part')
    arrived = part.stat().st_size
    assert not cached_file(RELEASE).exists()
    assert fetch(RELEASE).read_bytes() == CONTENT
    assert servers.asked[-1][1] == f'bytes={arrived}-' and arrived > 0
    names = {path.name for path in cached_file(RELEASE).parent.iterdir()}
    assert names == {RELEASE.file_name, f'{RELEASE.file_name}.lock'}


def test_missing_weights_are_errors(servers):
    with raises(CheckpointError, '404', cached_file(RELEASE)):
        fetch(RELEASE)
    with raises(CheckpointError, 'swin_vsa_tiny', 'github.com/ViTAE-Transformer/QFormer'):
        get_model('swin_vsa_tiny', 'backbone', pretrained=True)
    with raises(CheckpointError, '512', '224', '384', 'mask_rcnn', 'upernet'):
        get_model('restv2_tiny', 'backbone', pretrained='512')
    with raises(ValueError, 'checkpoint', 'pretrained'):
        get_model('restv2_tiny', 'backbone', pretrained=True, checkpoint='file.pth')


@pytest.mark.parametrize('answer', [drives.say_nothing, drives.dribble(CONTENT)])
def test_a_server_that_sends_nothing_times_out(servers, monkeypatch, answer):
    monkeypatch.setattr(download, 'TIMEOUT', 0.2)
    monkeypatch.setattr(download, 'RETRIES', 0)
    servers.answers[RELEASE_URL] = answer
    with raises(CheckpointError, RELEASE_URL, 'timed out'):
        fetch(RELEASE)


def test_a_missing_connection_is_reported_with_its_host(servers, monkeypatch):
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{closed.getsockname()[1]}'
        monkeypatch.setenv('https_proxy', url)
        with raises(CheckpointError, 'github.com', 'ProxyError', 'Connection refused'):
            fetch(RELEASE)
        with raises(CheckpointError, 'drive.google.com', 'ProxyError', 'Connection refused'):
            fetch(WEIGHTS['reswin_tiny'])
        monkeypatch.setenv('NO_PROXY', '127.0.0.1')
        with raises(CheckpointError, '127.0.0.1', 'ConnectionError', 'Connection refused'):
            fetch_url(f'{url}/model.pth')


@pytest.mark.parametrize('answer, words', [
    (drives.serve(CONTENT, breaks=10), ['incomplete']),
    (drives.redirect(RELEASE_URL), ['redirects']), (drives.redirect('file:///etc/passwd'), ['file:///etc/passwd']),
    (drives.page('', 500), ['500'])], ids=['ends early', 'in circles', 'to a file', 'error'])
def test_server_errors_are_reported_in_one_line(servers, answer, words):
    servers.answers[RELEASE_URL] = answer
    with raises(CheckpointError, *words) as caught:
        fetch(RELEASE)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('answer, message', [
    (drives.page('\n<html>'), 'web page'),
    (drives.serve(CONTENT[:len(CONTENT) // 2], length=False), 'truncated'),
    (drives.serve(b''), 'empty')])
def test_invalid_downloads_are_removed(servers, answer, message):
    servers.answers[RELEASE_URL] = answer
    with raises(CheckpointError, message):
        fetch(RELEASE)
    assert {path.name for path in cached_file(RELEASE).parent.iterdir()} == {f'{RELEASE.file_name}.lock'}


def test_a_cache_that_cannot_be_written_serves_what_it_has(servers, vitae, published):
    """A folder stands where the lock would be written, which is an error for root, too."""
    vitae.parent.mkdir()
    torch.save(published, vitae)
    vitae.with_name(f'{vitae.name}.lock').mkdir()
    for _ in range(2):
        get_model('vitae_tiny', 'backbone', pretrained=True)
    assert not servers.asked
    vitae.unlink()
    with raises(CheckpointError, f'{vitae.parent} cannot be written', 'MMVIT_HOME'):
        fetch(WEIGHTS['vitae_tiny'])


def test_concurrent_calls_download_a_file_once(servers):
    servers.answers[RELEASE_URL] = drives.serve(CONTENT)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(fetch, [RELEASE] * 4))) == 1
    assert servers.times(RELEASE_URL) == 1


def test_a_missing_downloader_is_named(servers, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gdown', None)
    with raises(CheckpointError, 'pip install', 'gdown'):
        fetch(RELEASE)


# ---- models


@pytest.fixture(scope='module')
def published():
    """Returns a checkpoint of the smallest network in the authors' layout, with generated weights."""
    return fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)


@pytest.fixture
def vitae(servers, mirror, published):
    """Puts a checkpoint of ViTAE-T on a mirror, and returns its path in the cache."""
    servers.answers[f'{mirror}/vitae_tiny.pth'] = drives.serve(file_of(dict(state_dict_ema=published)))
    return cached_file(WEIGHTS['vitae_tiny'])


def test_models_and_configs_name_their_weights(vitae, published):
    expected = convert_state_dict('vitae_tiny', published, 'backbone')
    named = MODELS.build(dict(type='ViTAE', arch='tiny', init_cfg=dict(
        type='Pretrained', checkpoint='official://vitae_tiny')))
    named.init_weights()
    for model in get_model('vitae_tiny', 'backbone', pretrained=True), named:
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items() if key in expected)
    classifier = get_model('vitae_tiny', pretrained=True)
    assert torch.equal(classifier.head.fc.weight, published['head.weight'])


def test_every_url_is_of_a_variant():
    named = {weights.name for variant in VARIANTS.values() for weights in variant.weights.values()}
    assert named == WEIGHTS.keys() and not named & OTHER_FILES.keys()

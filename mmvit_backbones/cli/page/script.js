'use strict';
const find = selector => document.querySelector(selector);
const percent = value => `${(100 * value).toFixed(1)} %`;
const status = find('#status');
const DARKNESS = 165; // opacity of the shade around a highlighted object, from 0 to 255
let models = [];
let image = null; // the selected file
let request = 0; // number of the latest request; responses to earlier requests are ignored

function purpose(model) {
  const names = model.classes.slice(0, 6).join(', ') + (model.classes.length > 6 ? ' and others' : '');
  const count = model.classes.length;
  return {
    classification: `Classifies an image as one of ${count} classes: ${names}.`,
    detection: `Finds objects of ${count} classes: ${names}.`,
    segmentation: `Labels each pixel as one of ${count} classes: ${names}.`,
    pose: 'Finds the keypoints of an animal that fills the image.',
  }[model.task];
}

function say(text, isError = false) {
  status.textContent = text;
  status.className = isError ? 'error' : '';
}

async function post(path, query) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { method: 'POST', body: image });
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({ detail: answer.statusText }));
  throw new Error(typeof detail === 'string' ? detail : JSON.stringify(detail));
}

function addModel(model, number) {
  const section = find('#model').content.cloneNode(true).firstElementChild;
  const part = name => section.querySelector(name);
  part('h2').textContent = model.name;
  part('.line').textContent = purpose(model);
  part('th.number').textContent = model.task === 'segmentation' ? 'share' : 'score';
  const drawing = part('.prediction');
  const highlight = part('.highlight');
  const visualization = part('.visualization');
  model.clear = () => { part('.result').hidden = true; };
  model.show = found => {
    const { drawing: address, ...numbers } = found;
    part('.result').hidden = false;
    highlight.hidden = true;
    drawing.src = address;
    offer(part('.save-drawing'), address, `${stem()}_${model.name}.jpg`);
    offer(part('.save-numbers'), blobAddress(new Blob([JSON.stringify(numbers)])), `${stem()}_${model.name}.json`);
    const names = found.items.map(item => item.category);
    drawing.alt = names.length ? `The image with predictions drawn: ${names.join(', ')}` : 'The image without predictions';
    part('table').hidden = !names.length;
    part('.nothing').hidden = names.length > 0;
    part('.nothing').textContent = `Nothing was found with a score of at least ${find('output').textContent}.`;
    const addHighlight = letHighlight(highlight, found);
    part('tbody').replaceChildren(...found.items.map(item => {
      const row = document.createElement('tr');
      const name = row.insertCell();
      if (item.mask || item.box) {
        const button = document.createElement('button');
        const swatch = document.createElement('span');
        button.type = 'button';
        button.className = 'object';
        swatch.className = 'swatch';
        swatch.style.background = model.colors[item.label];
        button.append(swatch, item.category);
        name.append(button);
        addHighlight(row, button, item);
      } else {
        name.append(item.category);
      }
      const score = row.insertCell();
      score.className = 'number';
      score.textContent = percent(item.score);
      return row;
    }));
    visualization.hidden = true;
  };
  if (model.visualization) {
    part('.hint').hidden = false;
    part('.hint').textContent = `Click a point in the image to draw the ${model.visualization} there, or press Enter for the center.`;
    drawing.classList.add('clickable');
    drawing.tabIndex = 0;
    const visualize = async (x, y) => {
      try {
        say(`Drawing the ${model.visualization} of ${model.name} …`);
        const answer = await post('page/visualization', { model: number, x: x.toFixed(4), y: y.toFixed(4) });
        const figure = visualization.firstElementChild;
        figure.src = blobAddress(await answer.blob(), figure.src);
        figure.alt = `The ${model.visualization} of ${model.name} at the selected point`;
        visualization.hidden = false;
        say('');
      } catch (error) { say(error.message, true); }
    };
    drawing.addEventListener('click', event => {
      const box = drawing.getBoundingClientRect();
      const inside = value => Math.min(Math.max(value, 0), 0.9999);
      visualize(inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height));
    });
    drawing.addEventListener('keydown', event => { if (event.key === 'Enter') visualize(0.5, 0.5); });
    visualization.addEventListener('click', () => {
      find('#large img').src = visualization.firstElementChild.src;
      find('#large img').alt = visualization.firstElementChild.alt;
      find('#large').showModal();
    });
  }
  find('#models').append(section);
}

// ---- downloads

const stem = () => image.name.replace(/\.[^.]*$/, '');

function blobAddress(blob, former = '') {
  URL.revokeObjectURL(former);
  return URL.createObjectURL(blob);
}

function offer(link, address, name) {
  URL.revokeObjectURL(link.href);
  link.href = address;
  link.download = name;
}

// ---- highlighting

// Darkens the image around an object while its row is hovered or its button is focused. A click on the button keeps the
// image dark until the next click.
function letHighlight(canvas, found) {
  const buttons = [];
  let pressed = null;
  const update = item => {
    canvas.hidden = !item;
    if (item) darkenAround(canvas, found, item);
  };
  return (row, button, item) => {
    buttons.push([button, item]);
    row.addEventListener('mouseenter', () => update(item));
    row.addEventListener('mouseleave', () => update(pressed));
    button.addEventListener('focus', () => update(item));
    button.addEventListener('blur', () => update(pressed));
    button.addEventListener('click', () => {
      pressed = pressed === item ? null : item;
      for (const [other, its] of buttons) other.setAttribute('aria-pressed', String(its === pressed));
      update(pressed);
    });
  };
}

function darkenAround(canvas, found, { box, mask }) {
  const scale = Math.min(1, 1024 / Math.max(found.width, found.height));
  canvas.width = Math.max(1, Math.round(scale * found.width));
  canvas.height = Math.max(1, Math.round(scale * found.height));
  const context = canvas.getContext('2d');
  const [x1, y1, x2, y2] = (box ?? []).map(side => scale * side);
  if (mask) {
    const inside = decode(mask);
    const pixels = context.createImageData(canvas.width, canvas.height);
    for (let y = 0, i = 3; y < canvas.height; y++) {
      const row = Math.min(Math.floor(y / scale), found.height - 1);
      for (let x = 0; x < canvas.width; x++, i += 4) {
        const column = Math.min(Math.floor(x / scale), found.width - 1);
        pixels.data[i] = inside[column * found.height + row] ? 0 : DARKNESS;
      }
    }
    context.putImageData(pixels, 0, 0);
  } else {
    context.fillStyle = `rgb(0 0 0 / ${DARKNESS / 255})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.clearRect(x1, y1, x2 - x1, y2 - y1);
  }
  if (box) {
    context.strokeStyle = 'white';
    context.lineWidth = Math.max(1, canvas.width / 300);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

// Decodes COCO's compressed run lengths into a mask in column-major order. Runs of zeros and ones alternate. A length is
// stored in one or more characters of five bits each; a sixth bit marks that another character follows. From the fourth
// length on, the difference from the length two positions earlier is stored.
function decode({ size: [height, width], counts }) {
  const mask = new Uint8Array(height * width);
  const runs = [];
  for (let i = 0, place = 0; i < counts.length;) {
    let value = 0, shift = 0, bits;
    do {
      bits = counts.charCodeAt(i++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16) value |= -1 << shift; // sign extension
    runs.push(value + (runs.length > 2 ? runs.at(-2) : 0));
    if (runs.length % 2 === 0) mask.fill(1, place, place + runs.at(-1));
    place += runs.at(-1);
  }
  return mask;
}

// ---- predictions

async function predict() {
  if (!image) return;
  const mine = ++request;
  say('Predicting …');
  try {
    for (const [number, model] of models.entries()) {
      const answer = await post('predict', { model: number, threshold: find('#threshold').value, format: 'both' });
      const found = await answer.json();
      if (mine !== request) return;
      model.show(found);
    }
    say('');
  } catch (error) {
    if (mine !== request) return;
    for (const model of models) model.clear();
    say(error.message, true);
  }
}

function choose(file) {
  if (!file) return;
  image = file;
  for (const model of models) model.clear();
  find('#drop strong').textContent = 'Choose another image';
  find('#drop small').textContent = `shown: ${file.name}`;
  predict();
}

async function start() {
  models = await (await fetch('models')).json();
  models.forEach(addModel);
  find('#purpose').textContent = models.length > 1 ? `Compares ${models.length} models on the same image.` : purpose(models[0]);
  if (models.length === 1) find('.line').hidden = true;
  document.title = `${models.map(model => model.name).join(', ')} – mmvit_backbones`;
  find('#least').hidden = !models.some(model => model.task === 'detection');
  const names = await (await fetch('page/examples')).json();
  find('#examples').hidden = !names.length;
  find('#examples div').append(...names.map((name, number) => {
    const button = document.createElement('button');
    const thumbnail = document.createElement('img');
    button.type = 'button';
    thumbnail.src = `page/examples/${number}`;
    thumbnail.alt = `Example ${number + 1}`;
    thumbnail.title = name;
    button.append(thumbnail);
    button.addEventListener('click', async () => {
      const file = await (await fetch(thumbnail.src)).blob();
      choose(new File([file], name));
    });
    return button;
  }));
}

find('#file').addEventListener('change', event => choose(event.target.files[0]));
find('#threshold').addEventListener('input', event => { find('output').textContent = `${Math.round(100 * event.target.value)} %`; });
find('#threshold').addEventListener('change', predict);
for (const kind of ['dragover', 'dragleave', 'drop']) {
  find('#drop').addEventListener(kind, event => {
    event.preventDefault();
    find('#drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') choose(event.dataTransfer.files[0]);
  });
}
start().catch(error => say(error.message, true));

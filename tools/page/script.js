'use strict';
const find = selector => document.querySelector(selector);
const percent = value => `${(100 * value).toFixed(1)} %`;
const status = find('#status');
let models = [];
let image = null; // the file that is shown
let request = 0; // answers of earlier requests are not shown

function purpose(model) {
  const names = model.classes.slice(0, 6).join(', ') + (model.classes.length > 6 ? ' and others' : '');
  const count = model.classes.length;
  return {
    classification: `Classifies an image as one of ${count} classes: ${names}.`,
    detection: `Finds objects of ${count} classes: ${names}.`,
    segmentation: `Labels each pixel as one of ${count} classes: ${names}.`,
    pose: 'Finds the points of an animal that fills the image.',
  }[model.task];
}

function say(text, isError = false) {
  status.textContent = text;
  status.className = isError ? 'error' : '';
}

async function post(path, question) {
  const answer = await fetch(`${path}?${new URLSearchParams(question)}`, { method: 'POST', body: image });
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
  const looked = part('.looked');
  model.show = found => {
    part('.result').hidden = false;
    drawing.src = found.drawing;
    const names = found.items.map(item => item.category);
    drawing.alt = names.length ? `The image with ${names.join(', ')} drawn` : 'The image; nothing was found in it';
    part('table').hidden = !names.length;
    part('.nothing').hidden = names.length > 0;
    part('.nothing').textContent = `Nothing was found with a score of at least ${find('output').textContent}.`;
    part('tbody').replaceChildren(...found.items.map(item => {
      const row = document.createElement('tr');
      const swatch = document.createElement('span');
      swatch.className = 'swatch';
      swatch.style.background = model.colors[item.label];
      row.insertCell().append(...(model.task === 'classification' ? [] : [swatch]), item.category);
      const score = row.insertCell();
      score.className = 'number';
      score.textContent = percent(item.score);
      return row;
    }));
    looked.hidden = true;
  };
  if (model.look) {
    part('.hint').hidden = false;
    part('.hint').textContent = `Click into the image to see the ${model.look} from there; Enter shows it from the center.`;
    drawing.classList.add('looks');
    drawing.tabIndex = 0;
    const look = async (x, y) => {
      try {
        say(`Drawing the ${model.look} of ${model.name} …`);
        const answer = await post('page/look', { model: number, x: x.toFixed(4), y: y.toFixed(4) });
        looked.src = URL.createObjectURL(await answer.blob());
        looked.alt = `The ${model.look} of ${model.network ?? model.name} at the chosen point`;
        looked.hidden = false;
        say('');
      } catch (error) { say(error.message, true); }
    };
    drawing.addEventListener('click', event => {
      const box = drawing.getBoundingClientRect();
      const inside = value => Math.min(Math.max(value, 0), 0.9999);
      look(inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height));
    });
    drawing.addEventListener('keydown', event => { if (event.key === 'Enter') look(0.5, 0.5); });
  }
  find('#models').append(section);
}

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
  } catch (error) { if (mine === request) say(error.message, true); }
}

function choose(file) {
  if (!file) return;
  image = file;
  find('#drop strong').textContent = 'Choose another image';
  find('#drop small').textContent = `shown: ${file.name}`;
  predict();
}

async function start() {
  models = await (await fetch('models')).json();
  models.forEach(addModel);
  find('#purpose').textContent = models.length > 1 ? `Compares ${models.length} models on one image.` : purpose(models[0]);
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
      choose(new File([file], `Example ${number + 1}`));
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

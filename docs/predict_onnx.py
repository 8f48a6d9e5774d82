"""Runs an ONNX file written by mmvit export on an image: predict_onnx.py MODEL.onnx IMAGE."""
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
details = json.loads(session.get_modelmeta().custom_metadata_map['mmvit_backbones'])
classes, name = dict(enumerate(details['classes'])), details['input']['name']
image = ImageOps.exif_transpose(Image.open(sys.argv[2]))
if image.mode.startswith('I'):  # 16 bits per channel
    image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
image = np.asarray(image.convert('RGB'))

outputs = [output['name'] for output in details['outputs']]
values = session.run(outputs, {name: image[None] if name == 'images' else image})
found = dict(zip(outputs, values))
if details['task'] == 'classification':
    scores = found['scores'][0]
    for label in np.argsort(-scores)[:5]:
        print(classes.get(label, label), scores[label])
elif details['task'] == 'segmentation':
    for label, count in zip(*np.unique(found['segmentation'][0], return_counts=True)):
        print(classes.get(label, label), count, 'pixels')
else:
    for number, (label, score) in enumerate(zip(found['labels'], found['scores'])):
        pixels = found['masks'][number].sum() if 'masks' in found else '-'
        print(classes.get(label, label), score, *found['boxes'][number], pixels)

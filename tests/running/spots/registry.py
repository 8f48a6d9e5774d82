from mmengine import registry
from mmengine.registry import Registry

DATASETS, METRICS, MODELS = (Registry(kind, parent=getattr(registry, name), scope='spots', locations=['spots.parts'])
                             for kind, name in (('dataset', 'DATASETS'), ('metric', 'METRICS'), ('model', 'MODELS')))

# DETR's augmentation for COCO: short sides from 480 to 800 pixels; half of the images are cropped first.
scales = [(480, 1333), (512, 1333), (544, 1333), (576, 1333), (608, 1333), (640, 1333), (672, 1333), (704, 1333),
          (736, 1333), (768, 1333), (800, 1333)]
multiscale = dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)
multiscale_or_crop = dict(
    type='RandomChoice',
    transforms=[[multiscale],
                [
                    dict(type='RandomChoiceResize', scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True),
                    dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600),
                         allow_negative_crop=True),
                    multiscale,
                ]])

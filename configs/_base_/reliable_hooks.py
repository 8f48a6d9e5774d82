# Hooks for reliable runs (docs/reliability.md). A variable of its own, because mmengine takes
# default_hooks from one base only; the bases of the frameworks add it to theirs.
reliable_hooks = dict(
    checkpoint=dict(type='AtomicCheckpointHook'),
    label_check=dict(type='LabelCheckHook'),
    finite_loss=dict(type='FiniteLossHook'),
    interrupt=dict(type='InterruptHook'))

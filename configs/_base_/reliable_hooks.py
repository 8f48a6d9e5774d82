# What a training should not be without on machines that fail (docs/reliability.md). A variable, because mmengine takes
# default_hooks from one base alone: the bases with those of the frameworks add it.
reliable_hooks = dict(
    checkpoint=dict(type='AtomicCheckpointHook'),
    bad_data=dict(type='BadDataHook'),
    finite_loss=dict(type='FiniteLossHook'),
    exact_resume=dict(type='ExactResumeHook'),
    interrupt=dict(type='InterruptHook'))

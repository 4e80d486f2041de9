"""Which values the settings of a training may have."""

STRATEGIES = ("no", "steps", "epoch")
SCHEDULERS = ("linear", "cosine", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt")
OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adam", "sgd", "rmsprop", "adafactor")
FSDP_SETTINGS = {
    "transformer_layer_cls_to_wrap": str | list[str] | None,
    "min_num_params": int,
    "reshard_after_forward": bool | int,
    "cpu_offload": bool,
}
CHOICES = {
    "lr_scheduler_type": SCHEDULERS,
    "optim": OPTIMIZERS,
    "include_num_input_tokens_seen": ("no", "all", "non_padding"),
    "hub_strategy": ("end", "every_save", "checkpoint"),
    "logging_strategy": STRATEGIES,
    "eval_strategy": STRATEGIES,
    "save_strategy": (*STRATEGIES, "best"),
}
POSITIVE = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "num_train_epochs",
    "gradient_accumulation_steps",
    "learning_rate",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "eval_accumulation_steps",
    "dataloader_prefetch_factor",
    "ddp_timeout",
)
NOT_NEGATIVE = (
    *("warmup_steps", "weight_decay", "max_grad_norm", "dataloader_num_workers", "eval_delay", "adam_epsilon"),
    *("adam_beta1", "adam_beta2"),
)
BELOW = {"adam_beta1": 1, "adam_beta2": 1, "seed": 2**63, "data_seed": 2**63}

"""Which values the settings of a training may have."""

STRATEGIES = ("no", "steps", "epoch")
SCHEDULERS = (
    *("linear", "cosine", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt", "cosine_with_restarts"),
    *("cosine_with_min_lr", "warmup_stable_decay", "reduce_lr_on_plateau"),
)
LEVELS = ("passive", "debug", "info", "warning", "error", "critical", "detail")
OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adam", "sgd", "rmsprop", "adafactor")
FSDP_SETTINGS = {
    "transformer_layer_cls_to_wrap": str | list[str] | None,
    "min_num_params": int,
    "reshard_after_forward": bool | int,
    "cpu_offload": bool,
    "replicas": int,
}
CHOICES = {
    "lr_scheduler_type": SCHEDULERS,
    "optim": OPTIMIZERS,
    "include_num_input_tokens_seen": ("no", "all", "non_padding"),
    "hub_strategy": ("end", "every_save", "checkpoint", "all_checkpoints"),
    "logging_strategy": STRATEGIES,
    "eval_strategy": STRATEGIES,
    "save_strategy": (*STRATEGIES, "best"),
    "train_sampling_strategy": ("random", "sequential", "group_by_length"),
    "log_level": LEVELS,
    "log_level_replica": LEVELS,
}
CAN_BE_ZERO = ("logging_steps", "eval_steps", "save_steps")  # which transformers takes for "not given", or "at the end"
IS_DEFAULT_IF_NONE = ("output_dir", "disable_tqdm", "gradient_checkpointing", "ddp_find_unused_parameters")
POSITIVE = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "num_train_epochs",
    "gradient_accumulation_steps",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "eval_accumulation_steps",
    "dataloader_prefetch_factor",
    "ddp_timeout",
    "torch_empty_cache_steps",
    "ddp_bucket_cap_mb",
)
NOT_NEGATIVE = (
    *(
        "learning_rate",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
        "dataloader_num_workers",
        "eval_delay",
        "adam_epsilon",
    ),
    *("adam_beta1", "adam_beta2", "label_smoothing_factor", "neftune_noise_alpha"),
)
BELOW = {"label_smoothing_factor": 1, "adam_beta1": 1, "adam_beta2": 1, "seed": 2**63, "data_seed": 2**63}

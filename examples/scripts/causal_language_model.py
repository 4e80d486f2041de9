"""Train a causal language model on local text, in the manner of the examples of transformers.

It runs under both trainers: change `runcast` to `transformers` in the import of Trainer and TrainingArguments.

Run it with:

    python examples/scripts/causal_language_model.py --output_dir out --do_train --do_eval
"""

import math
import random

from tokenizers import Tokenizer, models, trainers
from transformers import (
    DataCollatorForLanguageModeling,
    HfArgumentParser,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)

from runcast import Trainer, TrainingArguments

BLOCK = 32


def make_lines(count: int, seed: int) -> list[str]:
    """Write sums of unequal length: "3+4=7"."""
    chance = random.Random(seed)
    pairs = [(chance.randrange(200), chance.randrange(200)) for _ in range(count)]
    return [f"{a}+{b}={a + b};" for a, b in pairs]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a tokenizer of characters."""
    characters = Tokenizer(models.BPE())
    characters.train_from_iterator(["0123456789+=;"], trainers.BpeTrainer(vocab_size=14, special_tokens=["[PAD]"]))
    return PreTrainedTokenizerFast(tokenizer_object=characters, pad_token="[PAD]", eos_token=";")


def main() -> None:
    """Train and evaluate, as the arguments say."""
    (args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
    set_seed(args.seed)
    tokenizer = make_tokenizer()
    train, test = (
        [{"line": line, **tokenizer(line, max_length=BLOCK, truncation=True)} for line in make_lines(count, seed)]
        for count, seed in ((64, 1), (18, 2))
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=BLOCK,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )

    def preprocess_logits_for_metrics(logits, _labels):
        return logits.argmax(dim=-1)

    def compute_metrics(result):
        predictions, labels = result
        predictions, labels = predictions[:, :-1].reshape(-1), labels[:, 1:].reshape(-1)
        counted = labels != -100
        return {"accuracy": float((predictions == labels)[counted].mean())}

    trainer = Trainer(
        LlamaForCausalLM(config),
        args,
        DataCollatorForLanguageModeling(tokenizer, mlm=False),
        train,
        test,
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=preprocess_logits_for_metrics,
    )
    if args.do_train:
        result = trainer.train()
        trainer.save_model()
        trainer.log_metrics("train", {**result.metrics, "train_samples": len(train)})
        trainer.save_metrics("train", {**result.metrics, "train_samples": len(train)})
        trainer.save_state()
    if args.do_eval:
        metrics = trainer.evaluate()
        metrics["perplexity"] = math.exp(metrics["eval_loss"])
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)


if __name__ == "__main__":
    main()

"""Turn sequences round with an encoder and a decoder, in the manner of the examples of transformers.

It runs under both trainers: change `runcast` to `transformers` in the import of the trainer and its arguments.

Run it with:

    python examples/scripts/sequence_to_sequence.py --output_dir out --do_train --do_eval --predict_with_generate
"""

import random

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    DataCollatorForSeq2Seq,
    HfArgumentParser,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)

from runcast import Seq2SeqTrainer, Seq2SeqTrainingArguments

LETTERS = "abcdef"


def make_pairs(count: int, seed: int) -> list[dict[str, str]]:
    """Write words of unequal length and what they are from the other end."""
    chance = random.Random(seed)
    words = [" ".join(chance.choice(LETTERS) for _ in range(chance.randint(2, 6))) for _ in range(count)]
    return [{"source": word, "target": word[::-1]} for word in words]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a tokenizer of letters."""
    letters = Tokenizer(models.WordLevel(unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "</s>", "<unk>"]
    letters.train_from_iterator([" ".join(LETTERS)], trainers.WordLevelTrainer(special_tokens=special))
    return PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def main() -> None:
    """Train, evaluate and predict, as the arguments say."""
    (args,) = HfArgumentParser(Seq2SeqTrainingArguments).parse_args_into_dataclasses()
    set_seed(args.seed)
    tokenizer = make_tokenizer()

    def encode(pair: dict[str, str]) -> dict[str, object]:
        return {**pair, **tokenizer(pair["source"]), "labels": tokenizer(pair["target"] + " </s>")["input_ids"]}

    train, test = ([encode(pair) for pair in make_pairs(count, seed)] for count, seed in ((64, 1), (10, 2)))
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = T5ForConditionalGeneration(config)

    def compute_metrics(result):
        predictions, labels = (np.where(part != -100, part, tokenizer.pad_token_id) for part in result)
        texts, targets = (tokenizer.batch_decode(part, skip_special_tokens=True) for part in (predictions, labels))
        right = [
            sum(a == b for a, b in zip(text, target, strict=False)) for text, target in zip(texts, targets, strict=True)
        ]
        lengths = [len(text) for text in texts]
        return {"letters": float(sum(right) / sum(map(len, targets))), "length": float(np.mean(lengths))}

    trainer = Seq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=test,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        compute_metrics=compute_metrics if args.predict_with_generate else None,
    )
    if args.do_train:
        result = trainer.train()
        trainer.save_model()
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        trainer.save_state()
    if args.do_eval:
        metrics = trainer.evaluate(max_length=12, num_beams=2, metric_key_prefix="eval")
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    if args.do_predict:
        result = trainer.predict(test, metric_key_prefix="predict", max_length=12)
        trainer.save_metrics("predict", result.metrics)
        texts = tokenizer.batch_decode(
            np.where(result.predictions != -100, result.predictions, 0), skip_special_tokens=True
        )
        print("predictions:", "; ".join(texts))


if __name__ == "__main__":
    main()

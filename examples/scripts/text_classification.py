"""Classify short texts, in the manner of the examples of transformers.

It runs under both trainers: change `runcast` to `transformers` in the import of Trainer and TrainingArguments.

Run it with:

    python examples/scripts/text_classification.py --output_dir out --do_train --do_eval --do_predict
"""

import random
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, HfArgumentParser, PreTrainedTokenizerFast, set_seed

from runcast import Trainer, TrainingArguments

GOOD, BAD = ("lovely", "bright", "fine", "warm"), ("awful", "dull", "poor", "cold")


@dataclass
class DataArguments:
    """What data to make."""

    train_texts: int = 64
    eval_texts: int = 20


def make_texts(count: int, seed: int) -> list[dict[str, object]]:
    """Write reviews; the label says whether more of its words are good."""
    chance, texts = random.Random(seed), []
    for number in range(count):
        words = [chance.choice(GOOD + BAD) for _ in range(chance.choice((3, 5, 7)))]
        label = int(sum(word in GOOD for word in words) > len(words) / 2)
        texts.append({"id": f"review {number}", "text": "a " + " and ".join(words) + " day", "label": label})
    return texts


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer of whole words."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


def main() -> None:
    """Train, evaluate and predict, as the arguments say."""
    data_args, args = HfArgumentParser((DataArguments, TrainingArguments)).parse_args_into_dataclasses()
    set_seed(args.seed)
    train, test = make_texts(data_args.train_texts, 1), make_texts(data_args.eval_texts, 2)
    tokenizer = make_tokenizer([str(example["text"]) for example in train])
    train, test = ([{**each, **tokenizer(each["text"])} for each in part] for part in (train, test))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
        pad_token_id=tokenizer.pad_token_id,
    )

    def compute_metrics(result):
        predictions, labels = result
        return {"accuracy": float((np.argmax(predictions, axis=-1) == labels).mean())}

    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=args,
        train_dataset=train,
        eval_dataset=test,
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )
    if args.do_train:
        result = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
        trainer.save_model()
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        trainer.save_state()
    if args.do_eval:
        metrics = trainer.evaluate(eval_dataset=test)
        metrics["eval_samples"] = len(test)
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    if args.do_predict:
        predictions = np.argmax(trainer.predict(test, metric_key_prefix="predict").predictions, axis=1)
        print("predictions:", "".join(map(str, predictions)))


if __name__ == "__main__":
    main()

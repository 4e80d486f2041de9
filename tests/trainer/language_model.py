"""A language model of transformers that knows nothing yet, sequences for it, and its loss by hand."""

import numpy as np
import torch

OUT = -100


def tiny_language_model(seed=0):
    """Make GPT-2 of 32 tokens with one narrow layer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    sizes = {"vocab_size": 32, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, **no_dropout, bos_token_id=0, eos_token_id=0))


def sequences(count, seed=0):
    """Make sequences of eight tokens; of each, another number of labels counts."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for place in range(count):
        tokens = torch.randint(1, 32, (8,), generator=generator)
        labels = tokens.clone()
        labels[: place % 5] = OUT
        made.append({"input_ids": tokens, "labels": labels})
    return made


def loss_by_hand(model, examples):
    """Average over the tokens of all examples, with NumPy, what each costs; None where none counts."""
    costs = []
    for example in examples:
        with torch.no_grad():
            logits = model(input_ids=example["input_ids"][None]).logits[0].double().numpy()
        for scores, label in zip(logits[:-1], example["labels"].numpy()[1:], strict=True):
            if label != OUT:
                costs.append(np.log(np.exp(scores).sum()) - scores[label])
    return float(np.mean(costs)) if costs else None

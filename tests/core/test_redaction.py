"""Secrets are taken out wherever they stand; what only looks like one stays.

The secrets are made at run time from patterns, so that no scanner of repositories is alarmed by this file.
"""

import json
import random
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, strategies as st

from runcast.core.params import plain
from runcast.core.redaction import redact, redact_text

ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "-_"


def draw(alphabet: str, length: int) -> str:
    """Draw a text by lot, the same one in every run."""
    return "".join(random.Random(f"{alphabet}{length}").choices(alphabet, k=length))


HEX = string.hexdigits[:16]
JWT = f"eyJ{draw(ALNUM, 20)}.eyJ{draw(ALNUM, 40)}.{draw(URL_SAFE, 43)}"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{draw(ALNUM, 64)}\n{draw(ALNUM, 30)}==\n-----END RSA PRIVATE KEY-----"

SHAPED = {
    "hugging face": "hf_" + draw(ALNUM, 34),
    "openai": "sk-" + draw(ALNUM, 48),
    "openai project": "sk-proj-" + draw(URL_SAFE, 120),
    "openai service account": "sk-svcacct-" + draw(URL_SAFE, 120),
    "anthropic": "sk-ant-api03-" + draw(URL_SAFE, 93) + "AA",
    "openrouter": "sk-or-v1-" + draw(HEX, 64),
    "stripe": "sk_live_" + draw(ALNUM, 24),
    "wandb": "wandb_v1_" + draw(URL_SAFE, 77),
    "github classic": "ghp_" + draw(ALNUM, 36),
    "github oauth": "gho_" + draw(ALNUM, 36),
    "github server": "ghs_" + draw(ALNUM, 36),
    "github fine-grained": "github_pat_" + draw(ALNUM, 22) + "_" + draw(ALNUM, 59),
    "gitlab": "glpat-" + draw(URL_SAFE, 20),
    "slack bot": "xoxb-" + "-".join((draw(string.digits, 12), draw(string.digits, 13), draw(ALNUM, 24))),
    "slack app": "xapp-1-A" + draw(ALNUM, 40),
    "google api": "AIza" + draw(URL_SAFE, 35),
    "google oauth": "ya29." + draw(URL_SAFE, 60),
    "aws key id": "AKIA" + draw(string.ascii_uppercase + string.digits, 16),
    "aws temporary key id": "ASIA" + draw(string.ascii_uppercase + string.digits, 16),
    "jwt": JWT,
    "neptune": "eyJhcGlfYWRkcmVzcyI6" + draw(ALNUM, 80) + "==",
    "npm": "npm_" + draw(ALNUM, 36),
    "pypi": "pypi-AgE" + draw(URL_SAFE, 120),
    "databricks": "dapi" + draw(HEX, 32),
    "replicate": "r8_" + draw(ALNUM, 37),
    "groq": "gsk_" + draw(ALNUM, 52),
    "langsmith": "lsv2_pt_" + draw(HEX, 32) + "_" + draw(HEX, 10),
    "sendgrid": "SG." + draw(URL_SAFE, 22) + "." + draw(URL_SAFE, 43),
    "telegram": draw(string.digits[1:], 10) + ":AA" + draw(URL_SAFE, 33),
    "private key": PEM,
}

# Each secret of a known shape is planted in each of these places.
ANYWHERE: dict[str, Callable[[str], Any]] = {
    "as a value": lambda secret: {"x": secret},
    "deep": lambda secret: {"a": [{"b": {"c": [1, [secret]]}}]},
    "as a key": lambda secret: {secret: 1},
    "in prose": lambda secret: f"I used {secret}, and it worked.",
    "in a url": lambda secret: f"https://host/path?x={secret}&y=1",
    "escaped": lambda secret: json.dumps({"cmd": json.dumps({"x": f"line\n{secret}"})}),
    "in code": lambda secret: f"login('{secret}')",
}

# The secret below is planted under each of these names, in each of the ways of UNDER_A_NAME.
NAMES = [
    "password", "PASSWORD", "db_password", "dbPassword", "DB-PASSWORD", "password2", "user.password", "passwd", "pwd",
    "passphrase", "PGPASSWORD", "smtp_pass", "MYSQL_PWD", "root_pw", "secret", "client_secret", "clientSecret",
    "CLEARML_API_SECRET_KEY", "secret_key_base", "aws_secret_access_key", "SecretAccessKey", "AWS_SESSION_TOKEN",
    "api_key", "apiKey", "APIKey", "apikey", "X-Api-Key", "WANDB_API_KEY", "COMET_API_KEY", "OPENAI_API_KEY",
    "api_key_openai", "openai_api_key_2", "OPENAI_KEY", "wandb_key", "access_key", "CLEARML_API_ACCESS_KEY",
    "access_key_id", "private_key", "privateKey", "signing_key", "encryption_key", "account_key", "AccountKey",
    "ssh_key", "license_key", "token", "HF_TOKEN", "hub_token", "hubToken", "hf_token", "HUGGING_FACE_HUB_TOKEN",
    "access_token", "refresh_token", "auth_token", "use_auth_token", "GITHUB_TOKEN", "token_github", "bot_token",
    "id_token", "csrf_token", "personal_access_token", "github_pat", "auth", "http_auth", "Authorization",
    "proxy-authorization", "credentials", "credential", "aws_creds", "jwt", "cookie", "Set-Cookie", "bearer",
    "bearer_token", "webhook_secret", "vault_token", "DATABRICKS_TOKEN", "NEPTUNE_API_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DAGSHUB_USER_TOKEN", "trackio_write_token",
]  # fmt: skip
VALUE = draw(ALNUM, 40)

UNDER_A_NAME: dict[str, Callable[[str, str], Any]] = {
    "key": lambda name, secret: {name: secret},
    "nested": lambda name, secret: {"tracker": [{"options": {name: secret}}]},
    "list": lambda name, secret: {name: [secret, {"current": secret}]},
    "two arguments": lambda name, secret: ["train.py", f"--{name}", secret, "--lr", "0.1"],
    "one argument": lambda name, secret: ["train.py", f"--{name}={secret}"],
    "override": lambda name, secret: ["train.py", f"++trainer.{name}={secret}"],
    "command": lambda name, secret: f"python train.py --{name} {secret} --lr 0.1",
    "assignment": lambda name, secret: f"export {name}={secret}; python train.py",
    "json": lambda name, secret: f'{{"lr": 0.1, "{name}": "{secret}", "seed": 1}}',
    "json in json": lambda name, secret: json.dumps({"text": json.dumps({name: secret})}),
    "python": lambda name, secret: f"Config(lr=0.1, {name}='{secret}')",
    "query": lambda name, secret: f"https://host/a?{name}={secret}&b=1",
    "yaml": lambda name, secret: f"lr: 0.1\n{name}: {secret}\nseed: 1\n",
    "named value": lambda name, secret: {"env": [{"name": name, "value": secret}]},
    "printed arguments": lambda name, secret: str(["train.py", f"--{name}", secret]),
}

ELSEWHERE = {
    "postgres": f"postgresql://bob:{VALUE}@db:5432/runs",
    "empty user": f"redis://:{VALUE}@cache:6379/0",
    "password with slash": f"mysql://bob:{VALUE}/{VALUE}@db/runs",
    "password with at": f"amqp://bob:{VALUE}@{VALUE}@queue/runs",
    "proxy": f"http://bob:{VALUE}@proxy:3128",
    "token as user": f"https://{VALUE}@gitlab.com/a/b.git",
    "pip index": f"pip install --index-url https://bob:{VALUE}@host/simple x",
    "azure storage": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={VALUE}==;EndpointSuffix=core.net",
    "sql server": f"Server=db;Database=runs;User Id=bob;Password={VALUE};",
    "signed url": f"https://bucket.s3.amazonaws.com/a?X-Amz-Expires=60&X-Amz-Signature={VALUE}",
    "sas url": f"https://a.blob.core.windows.net/c/b?sv=2022&sig={VALUE}%3D",
    "header": f"curl -H 'Authorization: Bearer {VALUE}' https://host",
    "basic header": f"curl -H 'Authorization: Basic {VALUE}' https://host",
    "api key header": f'curl -H "X-Api-Key: {VALUE}" https://host',
    "cookie header": f"Cookie: lang=en; session={VALUE}",
    "bearer alone": f"it sent Bearer {VALUE} twice",
    "netrc": f"machine api.wandb.ai\n  login user\n  password {VALUE}\n",
    "aws credentials": f"[default]\naws_access_key_id = {SHAPED['aws key id']}\naws_secret_access_key = {VALUE}\n",
    "aws pair": f"{SHAPED['aws key id']},{VALUE}",
    "clearml.conf": f'api {{\n  credentials {{ "access_key" = "{VALUE}", "secret_key" = "{VALUE}" }}\n}}',
    "comet.config": f"[comet]\napi_key={VALUE}\nworkspace=bob\n",
    "prose": f"my API key: {VALUE} is for the demo",
    "prose password": f"the password: {VALUE} is for the demo",
    "slack webhook": f"https://hooks.slack.com/services/T0/B0/{VALUE}",
    "discord webhook": f"https://discord.com/api/webhooks/1234/{VALUE}",
    "two tokens": f"HF_TOKEN={VALUE} WANDB_API_KEY={VALUE} python train.py",
    "list of keys": f"api_keys=['{VALUE}', '{VALUE}']",
    "quoted with blanks": f'password="correct {VALUE} horse"',
    "open pem": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{VALUE}",
    "environment": str({"PATH": "/bin", "HF_TOKEN": VALUE}),
    "pairs": [["PATH", "/bin"], ["WANDB_API_KEY", VALUE]],
    "secrets": {"secrets": {"a": VALUE, "b": [VALUE]}},
    "key of a service": {"wandb": {"key": VALUE}, "openai": [{"key": VALUE}]},
}


def survives(secret: str, tree: Any) -> bool:
    """Tell whether any long part of a secret is left in the redacted tree."""
    left = str(redact(tree))
    return secret in left or secret[-16:] in left or "[redacted]" not in left


COMMIT = draw(HEX, 40)
DIGEST = draw(HEX, 64)
UUID = "123e4567-e89b-12d3-a456-426614174000"

LOOK_ALIKES: dict[str, list[Any]] = {
    # how many tokens
    "num_tokens": [5, "5"],
    "n_tokens": [5],
    "max_tokens": [512, "512"],
    "max_new_tokens": [512, "512"],
    "min_new_tokens": ["1"],
    "tokens_per_second": [1.5, "1.5"],
    "total_tokens": ["1e9"],
    "tokens": [["a", "b"], "a b c"],
    "train_tokens": ["10B"],
    "num_memory_tokens": ["16"],
    "num_register_tokens": ["4"],
    "include_num_input_tokens_seen": ["no"],
    "average_tokens_across_devices": [True],
    "maxNewTokens": ["5"],
    # tokens that are text
    "cls_token": ["[CLS]", "CLS", "<cls>"],
    "bos_token": ["<s>", "<|begin_of_text|>"],
    "eos_token": ["</s>", "<|endoftext|>", "\n"],
    "eosToken": ["END"],
    "pad_token": ["[PAD]", "<pad>", "!"],
    "unk_token": ["<unk>", "UNK"],
    "sep_token": ["[SEP]", "SEP"],
    "mask_token": ["[MASK]", "<mask>"],
    "image_token": ["<image>", "IMG"],
    "video_token": ["<video>"],
    "audio_token": ["<|audio|>"],
    "additional_special_tokens": [["<a>", "<b>"]],
    "special_tokens": [{"bos": "<s>", "eos": "</s>"}],
    "special_tokens_map": [{"cls_token": "[CLS]"}],
    "added_tokens_decoder": [{"0": {"content": "<unk>"}}],
    "stop_token": ["STOP"],
    "prefix_token": ["translate:"],
    "user_token": ["<|user|>"],
    "assistant_token": ["assistant"],
    "start_token": ["BEGIN"],
    "word_token": ["hello"],
    "next_token": ["hello"],
    "use_cls_token": [True, "true"],
    "token": ["<s>", "[MASK]", ""],
    "hub_token": ["<HUB_TOKEN>", None, "${HF_TOKEN}", "${oc.env:HF_TOKEN}"],
    # ids and types of tokens
    "pad_token_id": [0, "0"],
    "eos_token_id": [[1, 2], "2"],
    "bos_token_id": [None],
    "token_type_ids": ["0 0 1"],
    "token_type": ["bpe"],
    "token_embedding": ["learned"],
    "token_dropout": ["0.1"],
    "token_mixer": ["attention"],
    "token_level": ["word"],
    "token_pooling": ["mean"],
    "token_count": ["7"],
    "token_limit": ["4096"],
    "token_classifier": ["linear"],
    "tokenizer": ["bert-base-uncased", "gpt2"],
    "tokenizer_name": ["meta-llama/Llama-3.1-8B"],
    "tokenizer_file": ["tokenizer.json"],
    "tokenization": ["sentencepiece"],
    "tokenize": ["char"],
    "detokenizer": ["moses"],
    "pretokenized": ["yes"],
    "loss_by_token": ["mean"],
    "pool_token": ["first"],
    # keys that are no keys
    "key": ["loss", COMMIT],
    "keys": [["a", "b"]],
    "key_dim": [64, "64"],
    "key_value_heads": ["8"],
    "num_key_value_heads": ["8"],
    "query_key_norm": ["rms"],
    "primary_key": ["id"],
    "foreign_key": ["user_id"],
    "sort_key": ["date"],
    "public_key": ["ssh-ed25519 AAAAC3Nz bob@host"],
    "keyboard": ["qwerty"],
    "monkey": ["banana"],
    "turkey": ["ankara"],
    "keypoints": ["17"],
    "keyframe": ["first"],
    "image_key": ["jpg"],
    "text_key": ["content"],
    "label_key": ["label"],
    "cache_key": [DIGEST],
    "wandb_key": ["train/loss", "loss"],
    "mlflow_key": ["eval_loss"],
    "key_name": ["loss"],
    "metric_key_prefix": ["eval"],
    # about secrets
    "password_length": ["12", 12],
    "password_policy": ["strict"],
    "password_file": ["/run/secrets/db"],
    "secret_name": ["db-credentials"],
    "secret_arn": ["arn:aws:secretsmanager:eu-west-1:1:secret:a"],
    "secrets_dir": ["/run/secrets"],
    "credentials_file": ["~/.aws/credentials"],
    "GOOGLE_APPLICATION_CREDENTIALS": ["/home/bob/key.json"],
    "credential_type": ["service_account"],
    "api_key_env": ["OPENAI_API_KEY"],
    "api_key_env_var": ["OPENAI_API_KEY"],
    "api_key_name": ["default"],
    "access_key_file": ["keys.txt"],
    "private_key_path": ["~/.ssh/id_rsa"],
    "private_key_id": [COMMIT],
    "token_file": ["~/.hf/token"],
    "token_path": ["~/.hf/token"],
    "HF_TOKEN_PATH": ["/home/bob/.hf/token"],
    "token_url": ["https://host/oauth/token"],
    "auth_type": ["oauth2"],
    "auth_url": ["https://host/login"],
    "auth": ["basic", "none", None, "kerberos", {"type": None}],
    "auth_method": ["iam"],
    "authenticated": ["yes"],
    "use_auth_token": [True, False, None],
    "PWD": ["/home/bob"],
    "OLDPWD": ["/home/bob"],
    # words that begin or end alike
    "author": ["Jane Doe"],
    "authors": [["Jane Doe", "John Doe"]],
    "authority": ["WHO"],
    "secretary": ["Jane"],
    "secretion": ["mucus"],
    "passes": ["2"],
    "num_passes": [2],
    "forward_pass": ["once"],
    "backward_pass": ["twice"],
    "single_pass": ["yes"],
    "low_pass": ["10 Hz"],
    "bypass": ["relu"],
    "compass": ["north"],
    "passenger": ["bob"],
    "passthrough": ["yes"],
    "path": ["/data/train"],
    "pattern": ["*.jsonl"],
    "patience": ["5"],
    "patch_size": ["16"],
    "signature": ["(x, y)"],
    "sigma": ["0.1"],
    "significance": ["0.05"],
    "accessory": ["hat"],
    "credits": ["Jane Doe"],
    "accreditation": ["none yet"],
    "bearing": ["north"],
    "cookiecutter": ["template"],
    "pw_conv": ["1x1"],
    "pin_memory": ["true"],
    # values that look random
    "commit": [COMMIT, COMMIT[:7]],
    "git_sha": [COMMIT],
    "revision": [COMMIT],
    "sha256": [DIGEST],
    "dataset_hash": [DIGEST],
    "md5": [draw(HEX, 32)],
    "fingerprint": [draw(HEX, 16)],
    "run_id": ["20261120-101112-a1b2", draw(HEX, 32), draw(string.ascii_lowercase + string.digits, 8)],
    "id": [UUID, "wandb_v1", "hf_model"],
    "uuid": [UUID, UUID.replace("-", "")],
    "checkpoint": ["sk-learn-contrib-some-model-name", "model-00001-of-00002.safetensors"],
    "model": ["hf_internal_testing_tiny_random_bert_model", "hf-internal-testing/tiny-random-bert", "ghp_short"],
    "package": ["scikit-learn==1.4", "eyJ", "eyJust-a-name.json", "xoxo-kisses"],
    "ami": ["AKIAN", "ASIAN-AMERICAN", "AKIRA"],
    "base64": ["aGVsbG8gd29ybGQgdGhpcyBpcyBmaW5l"],
    "image": ["docker://ubuntu:22.04", "ghcr.io/a/b@sha256:" + DIGEST, "docker://ubuntu:22.04@sha256:" + DIGEST],
    "url": ["https://host:8080/a@b", "http://[::1]:8080/x@y", "https://medium.com/@user/post"],
    "remote": ["ssh://git@github.com/a/b.git", "git@github.com:a/b.git"],
    "uri": ["s3://bucket/key", "sqlite:////tmp/a.db", "postgresql://db:5432/runs", "git+https://github.com/a/b.git@v1.0"],
    "email": ["jane@example.com"],
    "time": ["10:30:00", "2026-11-20T10:30:00+00:00"],
    "ratio": ["16:9"],
    "drive": [r"C:\data\train"],
    "nothing": [None, "", [], {}],
}  # fmt: skip

HARMLESS = [
    "python train.py --num_tokens 5 --max-new-tokens=5 --tokenizer gpt2 --pad-token [PAD]",
    "python train.py --use-auth-token --lr 0.1 --token-type bpe --key-dim 64",
    "python train.py --password-file /run/secrets/db --token_file=~/.hf/token",
    "num_tokens=5, cls_token=[CLS], bos_token=<s>, token_type=bpe, key_dim=64",
    '{"pad_token": "[PAD]", "pad_token_id": 0, "tokenizer": "gpt2", "author": "Jane"}',
    '{"token": null, "password": null, "api_key": 5, "auth": false}',
    "https://host/page?max_tokens=5&key=loss&sort=token",
    "the token: it is a word",
    "A token is a piece of text: here, a word.",
    "Wrong password: please try again.",
    "She is the secretary: ask her.",
    "The author: Jane Doe, the key: C major",
    "loss is 0.5: tokens: 1,000,000, passes: 2",
    "Bearer of good news",
    "auth: basic",
    "basic training for authors",
    "the cookie: chocolate",
    "def f(token_ids: list[int], key: str = 'loss') -> None: ...",
    "Tensor(float32, [3, 224, 224])",
    "functools.partial(torch.nn.init.normal_, std=0.02)",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "machine learning login to the server and set a password",
    "export PWD=/home/bob OLDPWD=/home",
    "password=${DB_PASSWORD} token=${HF_TOKEN}",
    "--token [redacted] password=[redacted] https://bob:[redacted]@host",
]


@pytest.mark.parametrize("shape", SHAPED)
def test_a_secret_of_a_known_shape_is_gone_wherever_it_stands(shape: str) -> None:
    """A service's own form of key is recognised without a name: as a value, as a key, in prose, URLs and code."""
    secret = SHAPED[shape]

    kept = [place for place, make in ANYWHERE.items() if survives(secret, make(secret))]

    assert kept == []


@pytest.mark.parametrize("name", NAMES)
def test_a_value_under_a_telling_name_is_gone_however_it_is_written(name: str) -> None:
    """A name such as hub_token or DB-PASSWORD hides its value in trees, arguments, URLs, JSON and YAML."""
    kept = [place for place, make in UNDER_A_NAME.items() if survives(VALUE, make(name, VALUE))]

    assert kept == []


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_secret_in_a_url_header_or_file_is_gone(place: str) -> None:
    """Passwords in URLs, signatures, headers, netrc lines, connection strings and webhooks are recognised."""
    assert not survives(VALUE, ELSEWHERE[place])


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LOOK_ALIKES.items() for value in values])
def test_a_value_that_only_looks_like_a_secret_stays(name: str, value: Any) -> None:
    """Token counts, special tokens, tokenizers, hashes, ids, paths and plain words are kept as they are."""
    tree = {"config": {name: value}}

    assert redact(tree) == tree


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_stays(text: str) -> None:
    """Prose, code, URLs and command lines that speak of tokens and passwords without holding one are kept."""
    assert redact_text(text) == text
    assert redact(text.split(" ")) == text.split(" ")


def test_the_corpora_are_large() -> None:
    """At least 200 secrets are planted, and at least 200 look-alikes."""
    planted = len(SHAPED) * len(ANYWHERE) + len(NAMES) * len(UNDER_A_NAME) + len(ELSEWHERE)

    assert planted >= 200
    assert sum(map(len, LOOK_ALIKES.values())) + len(HARMLESS) >= 200


def test_what_surrounds_a_secret_stays() -> None:
    """Only the secret is replaced; its name, its user, its quotes and the rest of the text can still be read."""
    tree = {
        "url": "postgres://bob:hunter2@db:5432/runs?ssl=1",
        "command": "train.py --api-key abc123 --lr 0.1",
        "json": '{"lr": 0.1, "password": "hunter2", "seed": 1}',
        "query": "https://host/a?token=abc123&page=2",
        "argv": ["train.py", "--api-key", "abc123", "--token=abc123", "--lr", "0.1"],
        "headers": {"Authorization": "Bearer abc123", "Accept": "text/html"},
        "curl": "curl -H 'Authorization: Basic abc123==' https://host",
    }

    assert redact(tree) == {
        "url": "postgres://bob:[redacted]@db:5432/runs?ssl=1",
        "command": "train.py --api-key [redacted] --lr 0.1",
        "json": '{"lr": 0.1, "password": "[redacted]", "seed": 1}',
        "query": "https://host/a?token=[redacted]&page=2",
        "argv": ["train.py", "--api-key", "[redacted]", "--token=[redacted]", "--lr", "0.1"],
        "headers": {"Authorization": "[redacted]", "Accept": "text/html"},
        "curl": "curl -H 'Authorization: [redacted]' https://host",
    }


def test_a_number_a_bool_and_none_under_a_secret_name_stay() -> None:
    """`token=True` and `password=None` say that there is something to log in with, not what."""
    tree = {"token": True, "password": None, "api_key": 5, "secret": 0.5, "credentials": [1, False, None]}

    assert redact(tree) == tree


def test_two_secret_keys_do_not_become_one() -> None:
    """A mapping whose keys are secrets keeps all of its values."""
    tree = {SHAPED["hugging face"]: 1, SHAPED["github classic"]: 2}

    assert redact(tree) == {"[redacted]": 1, "[redacted] (another)": 2}


def test_a_dataclass_is_redacted_by_its_fields() -> None:
    """The name of a field tells that it holds a secret, also in a dataclass within a dataclass."""

    @dataclass
    class Hub:
        hub_token: str
        private: bool

    @dataclass
    class Config:
        lr: float
        hub: Hub

    config = Config(0.1, Hub(VALUE, True))

    assert redact(plain(config)) == {"lr": 0.1, "hub": {"hub_token": "[redacted]", "private": True}}


def test_the_users_tree_is_not_changed() -> None:
    """Redaction returns a copy."""
    tree = {"a": [{"token": "abc123"}]}

    redact(tree)

    assert tree == {"a": [{"token": "abc123"}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(JSON)
def test_redacting_twice_is_redacting_once(tree: Any) -> None:
    """What was redacted holds no secret any more."""
    once = redact(tree)

    assert redact(once) == once


@given(JSON)
def test_redaction_keeps_the_shape_of_a_tree(tree: Any) -> None:
    """No value is lost and none changes its type."""

    def shape(node: Any) -> Any:
        if isinstance(node, dict):
            return [shape(value) for value in node.values()]
        return [shape(value) for value in node] if isinstance(node, list) else type(node)

    assert shape(redact(tree)) == shape(tree)


@given(st.text(alphabet=URL_SAFE, min_size=1), st.text(), st.sampled_from(["password", "api_key", "clientSecret"]))
def test_any_assigned_value_is_gone(value: str, rest: str, name: str) -> None:
    """A value behind `name=` never survives, whatever it is made of and whatever follows."""
    text = redact_text(f"{name}={value}!\n{rest}")

    assert text.startswith(f"{name}=[redacted]\n")


HOSTILE = [
    *("a", "-", ".", " ", "/", "é", '"', "\\", "sk-", "eyJaaaaaaaa-", "eyJaaaaaaaa.", "AKIA", "SG.aaaaaaaaaaaaaaaaaa-"),
    *("password=", "password='password=\"", "password=[ ", "token=[\n", "token: [", "token: a", "--token -"),
    *('token="\\"', 'token=\\\\\\"', "://a:b", "://a:b/", "cookie:aaa", "bearer aaaaaaaa ", "123456789:AA"),
    *("-----BEGIN PRIVATE KEY ", "-----BEGIN PRIVATE KEY-----", "machine a login b password "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    """No text holds redaction up: twice the length takes about twice the time, so a megabyte takes seconds at most."""

    def seconds(size: int) -> float:
        text = "token" + piece * (size // len(piece))
        start = time.process_time()
        redact_text(text)
        return time.process_time() - start

    half, whole = seconds(150_000), seconds(300_000)

    assert whole < 3 * half + 0.5

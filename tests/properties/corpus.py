"""Secrets to be planted, and what only looks like one.

The secrets are made at run time from patterns and random letters, so that no scanner of repositories is alarmed by this
file, and so that each planted one can be told from every other.
"""

import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, make_dataclass
from typing import Any
from urllib.parse import urlsplit

ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "-_"


def draw(alphabet: str, length: int, seed: object = "") -> str:
    """Draw a text by lot, the same one in every run for the same seed."""
    return "".join(random.Random(f"{alphabet}{length}{seed}").choices(alphabet, k=length))


HEX = string.hexdigits[:16]


def shapes(seed: object = "") -> dict[str, str]:
    """Make a key of each service's own form."""

    def some(alphabet: str, length: int) -> str:
        return draw(alphabet, length, seed)

    jwt = f"eyJ{some(ALNUM, 20)}.eyJ{some(ALNUM, 40)}.{some(URL_SAFE, 43)}"
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{some(ALNUM, 64)}\n{some(ALNUM, 30)}==\n-----END RSA PRIVATE KEY-----"
    return {
        "hugging face": "hf_" + some(ALNUM, 34),
        "openai": "sk-" + some(ALNUM, 48),
        "openai project": "sk-proj-" + some(URL_SAFE, 120),
        "openai service account": "sk-svcacct-" + some(URL_SAFE, 120),
        "anthropic": "sk-ant-api03-" + some(URL_SAFE, 93) + "AA",
        "openrouter": "sk-or-v1-" + some(HEX, 64),
        "stripe": "sk_live_" + some(ALNUM, 24),
        "wandb": "wandb_v1_" + some(URL_SAFE, 77),
        "github classic": "ghp_" + some(ALNUM, 36),
        "github oauth": "gho_" + some(ALNUM, 36),
        "github server": "ghs_" + some(ALNUM, 36),
        "github fine-grained": "github_pat_" + some(ALNUM, 22) + "_" + some(ALNUM, 59),
        "gitlab": "glpat-" + some(URL_SAFE, 20),
        "slack bot": "xoxb-" + "-".join((some(string.digits, 12), some(string.digits, 13), some(ALNUM, 24))),
        "slack app": "xapp-1-A" + some(ALNUM, 40),
        "google api": "AIza" + some(URL_SAFE, 35),
        "google oauth": "ya29." + some(URL_SAFE, 60),
        "aws key id": "AKIA" + some(string.ascii_uppercase + string.digits, 16),
        "aws temporary key id": "ASIA" + some(string.ascii_uppercase + string.digits, 16),
        "jwt": jwt,
        "neptune": "eyJhcGlfYWRkcmVzcyI6" + some(ALNUM, 80) + "==",
        "npm": "npm_" + some(ALNUM, 36),
        "pypi": "pypi-AgE" + some(URL_SAFE, 120),
        "databricks": "dapi" + some(HEX, 32),
        "replicate": "r8_" + some(ALNUM, 37),
        "groq": "gsk_" + some(ALNUM, 52),
        "langsmith": "lsv2_pt_" + some(HEX, 32) + "_" + some(HEX, 10),
        "sendgrid": "SG." + some(URL_SAFE, 22) + "." + some(URL_SAFE, 43),
        "telegram": some(string.digits[1:], 10) + ":AA" + some(URL_SAFE, 33),
        "private key": pem,
    }


SHAPED = shapes()

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


KEY_ID = SHAPED["aws key id"]


def elsewhere(value: str) -> dict[str, Any]:
    """Put a secret into URLs, headers, files, commands and connection strings."""
    yaml_of = "lr: 0.1\n{}seed: 1\n".format
    return {
        "postgres": f"postgresql://bob:{value}@db:5432/runs",
        "empty user": f"redis://:{value}@cache:6379/0",
        "password with slash": f"mysql://bob:{value}/{value}@db/runs",
        "password with at": f"amqp://bob:{value}@{value}@queue/runs",
        "proxy": f"http://bob:{value}@proxy:3128",
        "token as user": f"https://{value}@gitlab.com/a/b.git",
        "pip index": f"pip install --index-url https://bob:{value}@host/simple x",
        "azure storage": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={value}==;EndpointSuffix=core.net",
        "sql server": f"Server=db;Database=runs;User Id=bob;Password={value};",
        "signed url": f"https://bucket.s3.amazonaws.com/a?X-Amz-Expires=60&X-Amz-Signature={value}",
        "sas url": f"https://a.blob.core.windows.net/c/b?sv=2022&sig={value}%3D",
        "header": f"curl -H 'Authorization: Bearer {value}' https://host",
        "basic header": f"curl -H 'Authorization: Basic {value}' https://host",
        "api key header": f'curl -H "X-Api-Key: {value}" https://host',
        "cookie header": f"Cookie: lang=en; session={value}",
        "bearer alone": f"it sent Bearer {value} twice",
        "netrc": f"machine api.wandb.ai\n  login user\n  password {value}\n",
        "aws credentials": f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {value}\n",
        "aws pair": f"{KEY_ID},{value}",
        "clearml.conf": f'api {{\n  credentials {{ "access_key" = "{value}", "secret_key" = "{value}" }}\n}}',
        "comet.config": f"[comet]\napi_key={value}\nworkspace=bob\n",
        "prose": f"my API key: {value} is for the demo",
        "prose password": f"the password: {value} is for the demo",
        "slack webhook": f"https://hooks.slack.com/services/T0/B0/{value}",
        "discord webhook": f"https://discord.com/api/webhooks/1234/{value}",
        "two tokens": f"HF_TOKEN={value} WANDB_API_KEY={value} python train.py",
        "list of keys": f"api_keys=['{value}', '{value}']",
        "quoted with blanks": f'password="correct {value} horse"',
        "open pem": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{value}",
        "environment": str({"PATH": "/bin", "HF_TOKEN": value}),
        "pairs": [["PATH", "/bin"], ["WANDB_API_KEY", value]],
        "secrets": {"secrets": {"a": value, "b": [value]}},
        "key of a service": {"wandb": {"key": value}, "openai": [{"key": value}]},
        "curl login": f"curl -u bob:{value} https://host/x",
        "curl user": f"curl --user 'bob:{value}' https://host/x",
        "curl arguments": ["/usr/bin/curl", "-s", "-u", f"bob:{value}", "https://host/x"],
        "sshpass": f"sshpass -p {value} ssh bob@host",
        "docker login": f"docker login -u bob -p {value} registry.host",
        "docker arguments": ["docker", "login", "-u", "bob", "-p", value],
        "mysql": f"mysql -ubob -p{value} runs",
        "yaml below": yaml_of(f"password:\n  {value}\n"),
        "yaml below, quoted": yaml_of(f"db:\n  password:\n    '{value} x'\n"),
        "yaml block": yaml_of(f"client_secret: |\n  {value}\n  {value[::-1]}\n"),
        "yaml folded": yaml_of(f"api_key: >-\n  {value}\n"),
        "yaml list": yaml_of(f"api_keys:\n  - {value}\n  - {value[::-1]}\n"),
        "yaml list, not indented": yaml_of(f"api_keys:\n- {value}\n- {value[::-1]}\n"),
        "literal in a source line": f'  File "a.py", line 3, in f\n    login(password="{value}")\nValueError: x',
        "annotated source line": f'  File "a.py", line 3, in f\n    token: str = "{value}"\nValueError: x',
        "environment in a source line": f'  File "a.py", line 3\n    os.environ["HF_TOKEN"] = "{value}"\nE: x',
        "message of a traceback": f'  File "a.py", line 3, in f\n    f()\nValueError: token={value} is wrong',
        "bytes in a text": str({"token": value.encode()}),
        "split URL": dict(urlsplit(f"https://bob:{value}@host/x")._asdict()),
        "long text": "x " * 5000 + f"HF_TOKEN={value} " + "y " * 5000,
    }


ELSEWHERE = elsewhere(VALUE)

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

# Source lines of a traceback whose names sound secret and whose expressions are none.
SOURCE_LINES = [
    *("token = load_token(path)", "password = getpass()", "api_key = config.keys[0]", "self.token = token"),
    *("secret = os.environ['DB']", "hub_token=args.hub_token,", "tokens = tokenizer(text)", "if token is None:"),
    *('token = f"{user}:{name}"', "def login(password: str, token: str | None = None) -> None:", "auth = (user, pw)"),
    *("key_dim = dim // heads", "return hf_login(token=get_token())", "credentials = Credentials.load(path)"),
]
HARMLESS += [
    f'Traceback:\n  File "a.py", line 3, in f\n    {line}\n    ^^^^^\nValueError: wrong' for line in SOURCE_LINES
]
HARMLESS += [
    "docker run -u 1000:1000 -p 8080:80 image",
    "mkdir -p runs/a && cp -u a:b c",
    "curl -s https://host/x -o out",
    "password:\n  min_length: 12\n  policy: strict",
    "secrets:\n  path: /run/secrets",
    "tokens:\n  the number of tokens",
    "password:\n\nIt is asked for at the prompt.",
]


@dataclass(frozen=True)
class Planted:
    """Is one secret where a user may leave it; `pieces` are long parts of it, of which none may be found anywhere."""

    label: str
    value: Any
    pieces: tuple[str, ...]


def planted() -> Iterator[Planted]:
    """Plant every shape, every name and every other place, each with a secret of its own."""
    for number, shape in enumerate(SHAPED):
        for turn in range(2):
            place = list(ANYWHERE)[(number + 3 * turn) % len(ANYWHERE)]
            secret = shapes(f"planted {turn}")[shape]
            yield Planted(f"{shape} {place}", ANYWHERE[place](secret), pieces_of(secret))
    for number, name in enumerate(NAMES):
        way = list(UNDER_A_NAME)[number % len(UNDER_A_NAME)]
        secret = draw(ALNUM, 40, f"planted {name}")
        yield Planted(f"{name} as {way}", UNDER_A_NAME[way](name, secret), pieces_of(secret))
    for place in ELSEWHERE:
        secret = draw(ALNUM, 40, f"planted {place}")
        yield Planted(place, elsewhere(secret)[place], pieces_of(secret))
    for name in ("hub_token", "password", "api_key", "secret_access_key"):
        secret = draw(ALNUM, 40, f"planted field {name}")
        inner = make_dataclass("Inner", [(name, str), ("lr", float, field(default=0.1))])(secret)
        yield Planted(f"field {name}", make_dataclass("Outer", [("inner", object)])(inner), pieces_of(secret))
    for number in range(4):
        secret = draw(ALNUM, 40, f"planted bytes {number}")
        values = (secret.encode(), bytearray(secret.encode()), {"x": [secret.encode()]}, {b"password": secret})
        yield Planted(f"bytes {number}", values[number], pieces_of(secret))


def pieces_of(secret: str) -> tuple[str, ...]:
    """Cut three pieces out of a secret: near its beginning, in its middle, at its end."""
    body = max(secret.replace("\n", " ").split(" "), key=len)[-40:]
    middle = len(body) // 2
    return tuple({body[-12:], body[middle - 6 : middle + 6]})

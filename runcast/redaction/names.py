"""Which names hold a secret, judged by their words: `hub_token` and `myApiKey` do, `pad_token` and `monkey` do not."""

import re
from enum import Enum, auto
from functools import lru_cache
from itertools import pairwise

MAX_NAME = 128  # characters, from the end; anything longer is not a name


class Secrecy(Enum):
    """The confidence, judged by the name, that a value is a secret."""

    NONE = auto()
    IF_RANDOM = auto()  # "wandb_key": an API key, or the key of a metric
    TOKEN = auto()  # a credential, or a piece of text
    AUTH = auto()  # a credential, or the name of a way to log in
    SURE = auto()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SURE = _words(
    """
    password passwords passwd passphrase passphrases passcode secret secrets credential credentials cred creds apikey
    apikeys pwd bearer
    """
)
_SURE_ENDINGS = ("password", "passwd", "passphrase", "secret", "apikey", "secretkey", "accesskey", "privatekey")
_TOKENS = _words("token accesstoken apitoken authtoken bearertoken hftoken hubtoken refreshtoken")
_KEYS = _words(
    """
    api access private secret signing encryption decryption account auth ssh license shared master deploy subscription
    consumer hmac fernet aes jwt app application
    """
)
_SERVICES = _words(
    """
    anthropic aws azure clearml cohere comet dagshub databricks datadog deepseek discord docker gcp gemini gh git
    github gitlab google groq hf huggingface kaggle langsmith mistral mlflow neptune npm openai openrouter pinecone
    pypi replicate sendgrid sentry slack stripe swanlab tavily telegram together trackio twilio wandb
    """
)
_TEXT_TOKENS = _words(
    """
    additional assistant audio begin blank boi bos by char class cls control cross decoder dist distillation drop
    dummy each encoder end eod eoi eom eos eot expert fim first generated global image img input instruction keep lang
    language last latent local mask masked mean memory middle new next no non output pad padding patch per pool prefix
    prev previous prompt query register role routing sentence sep separator single sink soi special speech start stop
    sub suffix summary target task text think thinking tool unk unknown video vision visual word
    """
)
_PLURAL_TOKENS = _words("access api auth bearer refresh secret")
_PASS = _words(
    """
    account admin data database db email ftp http https imap login mail mongo mysql pg postgres proxy rabbitmq redis
    root sftp smtp sql ssh sudo svn user
    """
)
_QUALIFIERS = _words(
    """
    b64 base64 backup confirm confirmation header live old primary prod production read readonly ro rw sandbox
    secondary staging value write
    """
)
_ABOUT_A_SECRET = _words(
    """
    algorithm alias arn attempts backend cache chars check checker class column config count dim dir directory enabled
    encoding endpoint entropy env expires expiry field file filename files folder format hint id idx ids index kind
    label length len level limit loader location loss manager mask max method min mode module name names ns num path
    paths pattern plugin policy prefix prompt prob provider ratio ref reference regex required reset rotation rounds
    rules schema scope scopes size source step steps store strategy strength suffix timeout title ttl type types uri
    url used validator var variable version weight
    """
)
_NO_SECRETS = frozenset(("", "none", "null", "true", "false", "[redacted]"))
_WAYS_TO_LOG_IN = _words(
    """
    anonymous auto basic bearer default digest disabled env enabled iam kerberos keyring ldap netrc no none oauth
    oauth2 oidc optional prompt required saml sso token yes
    """
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_REFERENCE = re.compile(r"\$\{[A-Za-z0-9_.:]+\}")
_SPECIAL_TOKEN = re.compile(r"</?\S{1,60}>|\[[A-Z0-9_]{1,20}\]|\W{1,8}")
MAX_WORD = 400  # characters; anything longer is not a reference, a file name or a plain word
_FILE = re.compile(r"\S*[/\\]\S*\.(?:cfg|conf|crt|env|ini|json|key|pem|p12|toml|txt|ya?ml)")


def secrecy_of(name: str) -> Secrecy:
    """Judge a name: an option, an environment variable, a field, a header, in any spelling."""
    return _secrecy(name[-MAX_NAME:])


@lru_cache(4096)
def _secrecy(name: str) -> Secrecy:
    if name in ("PWD", "OLDPWD"):  # the shell's working directory
        return Secrecy.NONE
    words = [word.lower() for word in _WORD.findall(name)]
    while words and (words[-1].isdigit() or words[-1] in _QUALIFIERS):
        words.pop()
    if not words:
        return Secrecy.NONE
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if words[-3:] == ["access", "key", "id"]:
        return Secrecy.SURE
    if last in _ABOUT_A_SECRET:
        return Secrecy.NONE
    if _SURE.intersection(words) or "".join(words).endswith(_SURE_ENDINGS):
        return Secrecy.SURE
    if any(key in ("key", "keys") and kind in _KEYS for kind, key in pairwise(words)):
        return Secrecy.SURE
    if last in ("pw", "passkey") or (last == "pass" and before in _PASS) or (last == "pat" and before in _SERVICES):
        return Secrecy.SURE
    if last in ("auth", "authorization", "jwt", "cookie", "cookies"):
        return Secrecy.AUTH
    if last in _TOKENS and before not in _TEXT_TOKENS:
        return Secrecy.TOKEN
    if (last == "tokens" and before in _PLURAL_TOKENS) or (before == "token" and last in _SERVICES):
        return Secrecy.TOKEN
    return Secrecy.IF_RANDOM if last == "key" and before in _SERVICES else Secrecy.NONE


def hides(secrecy: Secrecy, value: str) -> bool:
    """Return whether a text under such a name is a secret, not empty, a reference or a plain word."""
    if secrecy is Secrecy.NONE:
        return False
    text = value.strip()
    if len(text) < MAX_WORD and (text.lower() in _NO_SECRETS or _REFERENCE.fullmatch(text) or _FILE.fullmatch(text)):
        return False
    if secrecy is Secrecy.IF_RANDOM:
        return is_random(text)
    if secrecy is Secrecy.TOKEN:
        return not _SPECIAL_TOKEN.fullmatch(text)
    if secrecy is Secrecy.AUTH:
        return text.lower() not in _WAYS_TO_LOG_IN
    return secrecy is Secrecy.SURE


def is_random(text: str) -> bool:
    """Return whether a text looks random: long, without blanks or slashes, of letters and digits."""
    letters = sum(map(str.isalpha, text))
    return len(text) >= 16 and 0 < letters < len(text) and any(map(str.isdigit, text)) and not set(text) & set(" /\t\n")

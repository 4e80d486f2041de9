"""A Keras model on the Hub: pushed by huggingface_hub itself, to a stand-in on loopback."""

import threading

import pytest

from tests.adapters.kit import run_well
from tests.callbacks.hub_standin import Hub
from tests.warm import KERAS

TOKEN = "secret-token"
TRAINING = """
import io, os, sys
import keras, numpy as np
from runcast.adapters.keras import PushToHubCallback
from runcast.core.errors import OptionError

class Tokenizer:
    def save_pretrained(self, folder):
        (folder / "tokenizer.json").write_text("{}")

x = np.random.rand(16, 4).astype("float32")
def fit(*arguments, epochs=1, **options):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    callback = PushToHubCallback(*arguments, hub_token="secret-token", **options)
    model.fit(x, x[:, :1], batch_size=4, epochs=epochs, callbacks=[callback], verbose=0)
    return model, callback

model, callback = fit("sums", epochs=2, tokenizer=Tokenizer(), hub_model_id="team/sums", hub_private_repo=True)
print("url", callback.url)
np.save("weights.npy", model.get_weights()[0])
fit("ends", "end")
fit("steps", "steps", 3)
os.environ |= {"RANK": "1", "WORLD_SIZE": "2"}
fit("other")
del os.environ["RANK"], os.environ["WORLD_SIZE"]
try:
    fit("wrong", "often")
except OptionError as error:
    print(error)
fit("away", "end", endpoint="http://127.0.0.1:9")
print("left", sorted(os.listdir("away/.push/1")), os.listdir("sums/.push"))
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """Train, and return the hub, what was printed, and the folder."""
    folder = tmp_path_factory.mktemp("keras-hub")
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        variables = {"KERAS_BACKEND": "torch", "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1"}
        try:
            printed = run_well(TRAINING, folder, modules=KERAS, environment=variables | {"HF_HUB_OFFLINE": "0"})
        finally:
            server.shutdown()
            thread.join()
    return server, printed.splitlines(), folder


def test_the_model_and_its_card_are_pushed_as_one_commit(pushed):
    """Of the repository that was named, with the token; nothing is left in the folder."""
    hub, printed, _ = pushed

    message, files = hub.commits["team/sums"][-1]
    assert (message, sorted(files)) == ("Epoch 2", ["README.md", "model.keras", "tokenizer.json"])
    assert files["model.keras"][:2] == b"PK"
    assert 'library_name: "keras"' in files["README.md"].decode()
    assert "| loss | " in files["README.md"].decode()
    assert (hub.tokens - {""}, hub.private["team/sums"]) == ({f"Bearer {TOKEN}"}, "private")
    assert f"url {hub.url}/team/sums" in printed


@pytest.mark.parametrize(
    ("repo", "last"), [("someone/ends", "End, after 4 batches"), ("someone/steps", "End, after 4 batches")]
)
def test_the_end_is_pushed_whatever_the_strategy(pushed, repo, last):
    """By default to a repository with the name of the folder."""
    assert pushed[0].commits[repo][-1][0] == last


def test_other_ranks_push_nothing(pushed):
    """One process of a job pushes."""
    assert "someone/other" not in pushed[0].commits


def test_a_wrong_strategy_is_told_at_once(pushed):
    """With the valid ones."""
    assert "save_strategy='often' is unknown. Valid values are: epoch, steps, end." in pushed[1]


def test_a_hub_that_is_away_costs_nothing_but_the_push(pushed):
    """The training goes to its end, and the folder to push by hand stays."""
    assert "left ['README.md', 'model.keras'] []" in pushed[1]

"""Azure's own SDK, as in a job: over TLS to a stand-in for the workspace, behind which is MLflow's real server.

It wants an older MLflow than the one that the others are tested with: see AZURE in the Makefile.
"""

import datetime as dt
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import MlflowServer
from tests.integrations.gateway import Gateway

pytestmark = [pytest.mark.azure, pytest.mark.filterwarnings("ignore")]

SCOPE = "/subscriptions/s-1/resourceGroups/group-1/providers/Microsoft.MachineLearningServices/workspaces/space-1"
SCRIPT = """
import sys, runcast
with runcast.init("digits", id="job", dir=sys.argv[1], report_to="azure_ml", config={"lr": 0.5}) as run:
    for step in range(300):
        run.log({"train/loss": 1 / (step + 1), "train/accuracy": step / 300}, step=step)
    run.log_artifact(__file__, name="model.bin", type="model")
print("DELIVERED", run.finish())
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """Start MLflow's server with the environment that has all of it."""
    folder = tmp_path / "server"
    folder.mkdir()
    running = MlflowServer(folder)
    running.python = str(Path(sys.prefix).parent / "bin" / "python")
    running.start()
    yield running
    running.stop()


def ask(server: MlflowServer, call: str, **values: Any) -> dict[str, Any]:
    """Call MLflow's server directly."""
    request = urllib.request.Request(
        f"{server.url}/api/2.0/mlflow/{call}",
        json.dumps(values).encode() if values else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def test_a_job_of_azure_gets_all_of_the_run_and_stays_open(tmp_path: Path, server: MlflowServer) -> None:
    """Every point, param and file is in the job's run, which Azure closes; `verify` finds no difference."""
    import jwt

    token = jwt.encode({"exp": int(time.time()) + 7200}, "a key of thirty-two characters...", algorithm="HS256")
    public, private = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(public, private)
    gateway = Gateway(server, f"/mlflow/v2.0{SCOPE}", f"Bearer {token}", tls, artifacts=f"file://{server.folder}/files")
    try:
        job = ask(server, "runs/create", experiment_id="0", run_name="a job")["run"]["info"]["run_id"]
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"azureml://localhost:{gateway.port}/mlflow/v2.0{SCOPE}",
            "MLFLOW_TRACKING_TOKEN": token,
            "MLFLOW_RUN_ID": job,
            "MLFLOW_EXPERIMENT_ID": "0",
            "REQUESTS_CA_BUNDLE": str(public),
        }
        script = tmp_path / "train.py"
        script.write_text(SCRIPT)

        def python(*words: str | Path) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, *words], capture_output=True, text=True, env=environment, check=False
            )

        trained = python(script, tmp_path / "runs")
        verified = python("-m", "runcast", "verify", "job", "--dir", tmp_path / "runs", "--json")
        shown = python("-m", "runcast", "show", "job", "--dir", tmp_path / "runs", "--json")
    finally:
        gateway.stop()

    assert "DELIVERED True" in trained.stdout, trained.stdout + trained.stderr
    assert gateway.refused == 0
    run = ask(server, f"runs/get?run_id={job}")["run"]
    assert run["info"]["status"] == "RUNNING"
    assert {"key": "lr", "value": "0.5"} in run["data"]["params"]
    history = ask(server, f"metrics/get-history?run_id={job}&metric_key=train/loss&max_results=1000")["metrics"]
    assert sorted((point["step"], point["value"]) for point in history) == [(n, 1 / (n + 1)) for n in range(300)]
    assert [path.name for path in (server.folder / "files").rglob("model.bin")] == ["model.bin"]
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"https://ml.azure.com/runs/{job}?wsid=/subscriptions/s-1/resourceGroups/group-1/workspaces/space-1" in (
        shown.stdout
    )

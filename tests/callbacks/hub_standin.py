"""A loopback stand-in of the Hugging Face Hub, for what huggingface_hub asks when a folder is pushed as one commit."""

import base64
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """Keeps repositories: of each commit the message and the files, small ones sent along, big ones by LFS.

    `fault` is a status with which everything is answered. Commits wait while `gate` is closed; `committing` is set when
    one has come.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.private: dict[str, Any] = {}
        self.objects: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.branches: list[str] = []
        self.fault = 0
        self.gate, self.committing = threading.Event(), threading.Event()
        self.gate.set()

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if self.fault:
            return self.fault, {"error": "out of luck, secret-token"}
        if path == "/api/repos/create":
            given = json.loads(body)
            repo = f"{given.get('organization') or 'someone'}/{given['name']}"
            status = 409 if repo in self.commits else 200
            self.commits.setdefault(repo, [])
            self.private[repo] = given.get("visibility")
            return status, {"url": f"{self.url}/{repo}"}
        if path == "/api/validate-yaml":
            good = json.loads(body)["content"].startswith("---\n")
            return 200 if good else 400, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []}
        if path.startswith("/lfs/"):
            self.objects[path.removeprefix("/lfs/")] = body
            return 200, {}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return 200, {"transfer": "basic", "objects": [self._lfs_action(wanted) for wanted in objects]}
        repo = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return 200, {"files": [self._mode(file["path"]) for file in files]}
        if "/branch/" in path:
            self.branches.append(path.rpartition("/")[2])
            return 200, {}
        if "/commit/" in path:
            self.branches += [branch] if (branch := path.rpartition("/")[2]) != "main" else []
            self.committing.set()
            self.gate.wait(60)
            return 200, self._commit(repo, [json.loads(line) for line in body.splitlines()])
        return 404, {"error": f"no {path}"}

    def _mode(self, path: str) -> dict[str, Any]:
        return {
            "path": path,
            "uploadMode": "lfs" if path.endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }

    def _lfs_action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        known = wanted["oid"] in self.objects
        return wanted if known else wanted | {"actions": {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}"}}}

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        self.commits[repo].append((lines[0]["value"]["summary"], files))
        oid = f"{len(self.commits[repo]):040x}"
        return {"commitOid": oid, "commitUrl": f"{self.url}/{repo}/commit/{oid}", "pullRequestUrl": None}


class Handler(BaseHTTPRequestHandler):
    """Reads a request of any method, and sends the answer as JSON."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.tokens.add(self.headers.get("Authorization", ""))
        status, answer = self.server.answer(self.path.split("?")[0], body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Request-Id", uuid.uuid4().hex)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        """Say nothing on stderr."""

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

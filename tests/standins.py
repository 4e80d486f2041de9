"""Loopback servers that answer the real SDKs of services without a server to install: W&B, Comet, ClearML and SwanLab.

    python tests/standins.py {wandb|comet|clearml|swanlab} PORT LOG

Port 0 takes a free one; the first line on stdout is the server's URL. Each request becomes one JSON line in LOG:
`[method, path, body]`, the body as text (unzipped, undecodable bytes replaced). They keep only what a client asks for
again, such as how many rows a run has: tests look at LOG. For faults, stop or end the process. GET /standin/held lists
the [key, value, step] of every point they have; GET /standin/delete deletes every run, as a person would. What they
answer then is what is known of the services (the docstrings say from where), else a guess that is called one. After
GET /standin/refuse?403 every request is refused so, after /standin/refuse none; /standin/refused counts since then. The clients' settings:

    WANDB_BASE_URL=URL, WANDB_API_KEY=(40 characters)
    COMET_URL_OVERRIDE=URL/clientlib/, COMET_API_KEY=(25 characters)
    CLEARML_API_HOST=URL, CLEARML_WEB_HOST=URL, CLEARML_FILES_HOST=URL/files, CLEARML_API_ACCESS_KEY=(any),
    CLEARML_API_SECRET_KEY=(any)
    SWANLAB_API_HOST=URL, SWANLAB_WEB_HOST=URL, SWANLAB_API_KEY=(any)
"""

import base64
import gzip
import json
import re
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs


class Refusal(Exception):
    """Makes the server answer with an error."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(status)
        self.status, self.answer = status, answer


class Wandb:
    """Answers GraphQL queries by operation name, and takes history rows at the offset that the client gives.

    Of a deleted run: its name is never given again (409 and the message below: wandb/wandb issues 1192, 6395); queries
    find no such run (issue 1443), and so says the answer to its rows (404: issues 2673, 2928; why is a guess).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.rows: dict[str, dict[int, str]] = {}
        self.configs: dict[str, str] = {}
        self.deleted: set[str] = set()

    def held(self) -> list[Any]:
        rows = [json.loads(row) for run in self.rows.values() for row in run.values()]
        return [
            [key, value, row["global_step"]]
            for row in rows
            for key, value in row.items()
            if key != "global_step" and not key.startswith("_") and isinstance(value, int | float | str)
        ]

    def delete(self) -> None:
        self.deleted.update(self.rows)
        self.rows.clear()

    def answer(self, path: str, body: bytes) -> Any:
        if path == "/graphql":
            query = json.loads(body)
            named = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
            handler = getattr(self, query.get("operationName") or (named[1] if named else "Viewer"), None)
            return {"data": handler(query.get("variables") or {}) if handler else {}}
        if path.endswith("/file_stream"):
            if path.split("/")[-2] in self.deleted:
                raise Refusal(404, {"error": "run not found"})
            rows = self.rows.setdefault(path.split("/")[-2], {})
            history = json.loads(body or b"{}").get("files", {}).get("wandb-history.jsonl", {})
            rows.update(enumerate(history.get("content", []), history.get("offset", 0)))
            return {"exitcode": None, "limits": {}}
        return {}

    def UpsertBucket(self, given: dict[str, Any]) -> Any:
        run = given.get("name") or "unnamed"
        if run in self.deleted:
            message = f"run {run} was previously created and deleted; try a new run name"
            raise Refusal(409, {"errors": [{"message": message}], "data": {"upsertBucket": None}})
        inserted = run not in self.rows
        self.configs[run] = given.get("config") or "{}"
        project = {
            "id": "UDox",
            "name": given.get("project") or "p",
            "entity": {"id": "RTox", "name": given.get("entity") or "e"},
        }
        bucket = {
            "id": base64.b64encode(run.encode()).decode(),
            "name": run,
            "displayName": given.get("displayName") or run,
            "description": None,
            "config": "{}",
            "sweepName": None,
            "historyLineCount": len(self.rows.setdefault(run, {})),
            "project": project,
        }
        return {"upsertBucket": {"inserted": inserted, "bucket": bucket}}

    def RunResumeStatus(self, given: dict[str, Any]) -> Any:
        run = given["name"]
        rows = self.rows.get(run)
        bucket = None
        if rows is not None:
            bucket = {
                "id": "b",
                "name": run,
                "displayName": run,
                "summaryMetrics": "{}",
                "config": "{}",
                "wandbConfig": '{"t":1}',
                "tags": [],
                "notes": None,
                "logLineCount": 0,
                "eventsLineCount": 0,
                "eventsTail": "[]",
                "historyLineCount": len(rows),
                "historyTail": json.dumps([rows[max(rows)]] if rows else []),
            }
        return {"model": {"id": "m", "name": given["project"], "entity": {"id": "E", "name": "e"}, "bucket": bucket}}

    def Run(self, given: dict[str, Any]) -> Any:
        """Tell of a run what the public API asks for."""
        if given["name"] not in self.rows:
            return {"project": {"run": None}}
        run = {"projectId": "1", "id": "b", "name": given["name"], "displayName": given["name"], "state": "running"}
        run |= {
            "config": self.configs[given["name"]],
            "summaryMetrics": "{}",
            "systemMetrics": "{}",
            "tags": [],
            "user": {"name": "u", "username": "u"},
        }
        return {"project": {"run": run}}

    def Viewer(self, given: dict[str, Any]) -> Any:
        return {
            "viewer": {
                "id": "V",
                "entity": "e",
                "username": "u",
                "email": "u@x",
                "admin": False,
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    GetDefaultEntity = Viewer

    def ProbeRunInput(self, given: dict[str, Any]) -> Any:
        return {"RunType": {"fields": [{"name": "projectId"}]}}

    def ServerFeaturesQuery(self, given: dict[str, Any]) -> Any:
        return {"serverInfo": {"features": []}}

    def OrganizationCoreWeaveOrganizationID(self, given: dict[str, Any]) -> Any:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def CreateRunFiles(self, given: dict[str, Any]) -> Any:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in given.get("files", [])]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}

    def ArtifactType(self, given: dict[str, Any]) -> Any:
        return {"project": {"artifact": None}}

    def CreateArtifact(self, given: dict[str, Any]) -> Any:
        artifact = {
            "id": "QTox",
            "digest": "d",
            "state": "PENDING",
            "aliases": [],
            "artifactSequence": {"id": "S", "latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def CreateArtifactManifest(self, given: dict[str, Any]) -> Any:
        file = {
            "id": "F",
            "name": "wandb_manifest.json",
            "displayName": "m",
            "uploadUrl": f"{self.url}/upload/manifest",
            "uploadHeaders": [],
        }
        return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": file}}}

    def CreateArtifactFiles(self, given: dict[str, Any]) -> Any:
        names = [file["name"] for file in given["input"]["artifactFiles"]]
        nodes = [
            {
                "id": f"F{number}",
                "name": name,
                "displayName": name,
                "uploadUrl": f"{self.url}/upload/artifact/{name}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "storagePath": f"s/{name}",
                "artifact": {"id": "QTox"},
            }
            for number, name in enumerate(names)
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def ArtifactByID(self, given: dict[str, Any]) -> Any:
        entity = {"id": "E", "name": "e"}
        project = {"id": "P", "name": "p", "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ==", "entity": entity}
        sequence = {"__typename": "ArtifactSequence", "id": "S", "name": "a", "project": project}
        artifact = {"__typename": "Artifact", "id": given["id"], "artifactSequence": sequence, "versionIndex": 0}
        artifact |= {"artifactType": {"name": "file"}, "description": None, "metadata": None, "tags": []}
        artifact |= {"ttlDurationSeconds": -2, "ttlIsInherited": True, "historyStep": None, "state": "COMMITTED"}
        artifact |= {"size": 1, "digest": "d", "commitHash": "c", "fileCount": 1, "aliases": []}
        return {"artifact": {**artifact, "createdAt": "2026-01-01T00:00:00", "updatedAt": None}}

    def CommitArtifact(self, given: dict[str, Any]) -> Any:
        return {"commitArtifact": {"artifact": {"id": "QTox", "digest": "d"}}}


class Comet:
    """Answers the handshake, the heartbeat and artifacts with content, and everything else with an empty object.

    Of a deleted experiment: there are no metadata (404, as the SDK says in API.get_experiment_by_key), and it cannot be
    gone on with (400 and the code that the SDK turns into ExperimentNotFound). That its points and its key are refused
    is a guess; in /standin/delete?silently its points are taken, as if it were there, and are nowhere.
    """

    NO_WRITE_ACCESS, ALREADY_EXISTS = 90210, 90999

    def __init__(self, url: str) -> None:
        self.url = url
        self.points: dict[str, list[Any]] = {}
        self.deleted: set[str] = set()
        self.is_silent = False

    def held(self) -> list[Any]:
        return [point for points in self.points.values() for *point, _ in points]

    def delete(self, how: str = "") -> None:
        self.deleted.update(self.points)
        self.points.clear()
        self.is_silent = how == "silently"

    def answer(self, path: str, body: bytes) -> Any:
        endpoint = path.rsplit("/clientlib/", 1)[-1].rsplit("/v2/", 1)[-1].lstrip("/")
        handler = {
            "isAlive/ver": self.version,
            "logger/add/run": self.add,
            "batch/logger/experiment/metric": self.metric,
            "logger/get/run": self.get,
            "status-report/update": self.heartbeat,
            "experiment/metadata": self.metadata,
            "experiment/metrics/get-metric": self.get_metrics,
            "experiment/metrics/get-all": self.get_metrics,
            "write/artifacts/upsert": self.upsert_artifact,
            "artifacts/version": self.artifact_version,
        }.get(endpoint)
        return handler(body) if handler else {}

    def metric(self, body: bytes) -> Any:
        given = json.loads(body)
        if given["experimentKey"] in self.deleted:
            if self.is_silent:
                return {}
            self.refuse(given["experimentKey"])
        self.points.setdefault(given["experimentKey"], []).extend(
            [point["metricName"], point["metricValue"], point["step"], point["timestamp"]]
            for point in given["values"]
            if point["metricName"] != "process duration"
        )
        return {}

    def refuse(self, key: str, code: int = NO_WRITE_ACCESS, status: int = 400) -> None:
        raise Refusal(status, {"msg": f"experiment {key}", "code": status, "data": None, "sdk_error_code": code})

    def version(self, body: bytes) -> Any:
        return {"version": "99.0.0"}

    def add(self, body: bytes) -> Any:
        given = json.loads(body)
        key = given["experimentKey"]
        if key in self.deleted:
            self.refuse(key)
        if key in self.points and not given.get("getOrCreateEnabled"):
            self.refuse(key, self.ALREADY_EXISTS)
        self.points.setdefault(key, [])
        return self.experiment(key)

    def get(self, body: bytes) -> Any:
        key = json.loads(body)["previousExperiment"]
        if key not in self.points:
            self.refuse(key)
        return self.experiment(key)

    def experiment(self, key: str) -> Any:
        answer = {"runId": key, "project_id": "proj", "focusUrl": f"{self.url}/", "lastOffset": 0}
        return answer | {"featureToggles": [], "msg": None, "name": "n"}

    def heartbeat(self, body: bytes) -> Any:
        intervals = {"gpu_monitor_interval_millis": 60000, "cpu_monitor_interval_millis": 60000}
        return {"is_alive_beat_duration_millis": 10000, "pending_rpcs": False} | intervals

    def metadata(self, body: bytes) -> Any:
        key = parse_qs(body.decode()).get("experimentKey", ["k"])[0]
        if key not in self.points:
            self.refuse(key, status=404)
        return {"experimentKey": key, "workspaceName": "w", "projectName": "p", "throttle": False, "archived": False}

    def get_metrics(self, body: bytes) -> Any:
        asked = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        found = self.points.get(asked["experimentKey"], ())
        fields = ("metricName", "metricValue", "step", "timestamp")
        wanted = [(key, str(value), *rest) for key, value, *rest in found if asked.get("metricName", key) == key]
        return {"metrics": [dict(zip(fields, point, strict=True)) for point in wanted]}

    def upsert_artifact(self, body: bytes) -> Any:
        return {"artifactId": "A", "artifactVersionId": "V", "currentVersion": "1.0.0", "previousVersion": None}

    def artifact_version(self, body: bytes) -> Any:
        artifact = {"artifactName": "a", "artifactType": "t", "artifactId": "A", "workspaceName": "w", "tags": []}
        answer = {"artifact": artifact, "artifactVersion": "1.0.0", "artifactVersionId": "V", "metadata": None}
        return answer | {"alias": [], "tags": [], "sizeInBytes": 0, "experimentKey": "k", "state": "CLOSED"}


class Clearml:
    """Keeps tasks with what was edited, and one event for each task, title, series, step and file; takes every file."""

    STATUS = {
        "tasks.started": "in_progress",
        "tasks.stopped": "stopped",
        "tasks.failed": "failed",
        "tasks.completed": "completed",
    }

    def __init__(self, url: str) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.events: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.deleted: set[str] = set()
        claims = {"exp": int(time.time()) + 10**7, "iat": int(time.time()), "identity": {"user": "u", "company": "c"}}
        claims |= {"api_version": "2.30", "server_version": "1.17.0", "env": "stand-in", "feature_set": "basic"}
        self.token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "HS256"}, claims, "sign")
        )

    def held(self) -> list[Any]:
        return [
            ["/".join(dict.fromkeys((event["metric"], event["variant"]))), event["value"], event["iter"]]
            for event in self.events.values()
            if event["type"] == "training_stats_scalar"
        ]

    def delete(self) -> None:
        self.deleted.update(self.tasks)
        self.tasks.clear()
        self.events.clear()

    def answer(self, path: str, body: bytes) -> Any:
        endpoint = path.strip("/").split("/")[-1]
        lines = [json.loads(line) for line in body.splitlines()] if body[:1] == b"{" else []
        given = {"requests": lines} if endpoint == "events.add_batch" else lines[0] if lines else {}
        result = {
            "id": "1",
            "trx": "1",
            "endpoint": {"name": endpoint, "requested_version": "2.30", "actual_version": "1.0"},
        }
        result |= {"result_code": 200, "result_subcode": 0, "result_msg": "OK", "error_stack": "", "error_data": {}}
        tasks = {given.get("task"), *(event.get("task") for event in given.get("requests", []))}
        if gone := tasks & self.deleted:
            result |= {"result_code": 400, "result_subcode": 101, "result_msg": f"Invalid task id: id={gone.pop()}"}
            raise Refusal(400, {"meta": result, "data": {}})
        return {"meta": result, "data": self._data(endpoint, given)}

    def _data(self, endpoint: str, given: dict[str, Any]) -> Any:
        if endpoint == "auth.login":
            return {"token": self.token}
        if endpoint in ("projects.get_all", "projects.get_all_ex"):
            return {"projects": [{"id": "P", "name": "p"}]}
        if endpoint == "tasks.create":
            task = uuid.uuid4().hex
            self.tasks[task] = {**given, "id": task, "status": "created", "project": "P"}
            return {"id": task}
        if endpoint == "tasks.get_by_id":
            return {"task": self.tasks.get(given["task"], {"id": given["task"], "status": "created"})}
        if endpoint in ("tasks.get_all", "tasks.get_all_ex"):
            return {"tasks": [self.tasks[task] for task in given.get("id", []) if task in self.tasks]}
        if endpoint == "tasks.edit":
            self.tasks.setdefault(given["task"], {"id": given["task"]}).update(
                {key: value for key, value in given.items() if key != "task"}
            )
            return {"updated": 1, "fields": {}}
        if endpoint in self.STATUS:
            self.tasks.setdefault(given["task"], {"id": given["task"]})["status"] = self.STATUS[endpoint]
            return {"updated": 1, "started": 1, "fields": {}}
        if endpoint == "tasks.edit_hyper_params":
            sections = self.tasks.setdefault(given["task"], {"id": given["task"]}).setdefault("hyperparams", {})
            for item in given["hyperparams"]:
                sections.setdefault(item["section"], {})[item["name"]] = item
        if endpoint == "tasks.add_or_update_artifacts":
            execution = self.tasks.setdefault(given["task"], {"id": given["task"]}).setdefault("execution", {})
            kept = {artifact["key"]: artifact for artifact in execution.get("artifacts", []) + given["artifacts"]}
            execution["artifacts"] = list(kept.values())
        if endpoint == "events.add_batch":
            for event in given["requests"]:
                self.events[tuple(event.get(name) for name in ("task", "iter", "metric", "variant", "key"))] = event
            return {"added": len(given["requests"]), "errors": 0, "errors_info": {}}
        if endpoint == "events.get_task_events":
            wanted = (given["task"], given["event_type"])
            found = (
                [] if "scroll_id" in given else [e for e in self.events.values() if (e["task"], e["type"]) == wanted]
            )
            return {"events": found, "returned": len(found), "total": len(found), "scroll_id": "end"}
        return {}


class Swanlab:
    """Keeps one value for each key and step of an experiment, as its client does; that a later one wins is a guess.

    Of a deleted experiment it says 404, as the client expects of one that is not there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.points: dict[str, dict[tuple[str, int], Any]] = {}
        self.deleted: set[str] = set()

    def held(self) -> list[Any]:
        return [[key, value, step] for run in self.points.values() for (key, step), value in run.items()]

    def delete(self) -> None:
        self.deleted.update(self.points)
        self.points.clear()

    def answer(self, path: str, body: bytes) -> Any:
        parts, given = path.removeprefix("/api/").split("/"), json.loads(body) if body[:1] == b"{" else {}
        if path.endswith("/login/api_key"):
            return {"sid": "s", "expiredAt": "2099-01-01T00:00:00.000Z", "userInfo": {"username": "u", "name": "u"}}
        if parts[-1] == "experiment":
            if given["cuid"] in self.deleted:
                raise Refusal(409, {"code": "Conflict", "message": "was deleted"})
            self.points.setdefault(given["cuid"], {})
            return {
                "cuid": given["cuid"],
                "slug": given["cuid"],
                "name": given["name"],
                "createdAt": "2026-01-01T00:00:00Z",
            }
        if "runs" in parts and parts[parts.index("runs") + 1] not in self.points:
            raise Refusal(404, {"code": "Not Found", "message": "no such experiment"})
        if path.endswith("/house/metrics"):
            if given["experimentId"] not in self.points:
                raise Refusal(404, {"code": "Not Found", "message": "no such experiment"})
            if given["type"] == "scalar":
                self.points[given["experimentId"]].update({(m["key"], m["index"]): m["data"] for m in given["metrics"]})
        if parts[-1] in ("put", "prepare"):
            return {"urls": [f"{self.url}/file" for _ in given.get("paths", given.get("files"))]}
        if parts[0] == "project" and len(parts) == 3:
            group = {"username": "u", "name": "u", "type": "PERSON"}
            project = {"cuid": "p1", "name": parts[2], "path": f"/u/{parts[2]}", "version": 1}
            return {**project, "group": group, "_count": {"experiments": 0}}
        return {}


class Server(ThreadingHTTPServer):
    """Hands each request to the service that it stands for, and writes it to the log."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: type[Wandb | Comet | Clearml | Swanlab], port: int, log: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.service = service(self.url)
        self.refuses = self.refused = 0
        self.log = log.open("a", buffering=1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that are killed break connections."""


class Handler(BaseHTTPRequestHandler):
    """Reads a request of any method, and sends the answer as JSON."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        path, _, query = self.path.partition("?")
        if path == "/standin/refused":
            return self.send(200, self.server.refused)
        if path == "/standin/delete":
            self.server.refused = 0
            self.server.service.delete(*filter(None, [query]))
            return self.send(200, {})
        if path == "/standin/refuse":
            self.server.refuses, self.server.refused = int(query or 0), 0
            return self.send(200, {})
        if path == "/standin/held":
            return self.send(200, self.server.service.held())
        if self.server.refuses:
            return self.send(self.server.refuses, {"msg": "refused"})
        self.server.log.write(json.dumps([self.command, path, body.decode("utf-8", "replace")]) + "\n")
        try:
            return self.send(200, self.server.service.answer(path, body or query.encode()))
        except Refusal as refusal:
            return self.send(refusal.status, refusal.answer)

    def send(self, status: int, content: Any) -> None:
        self.server.refused += status >= 400
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""

    do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = handle_any


if __name__ == "__main__":
    _, kind, port, log = sys.argv
    server = Server(
        {"wandb": Wandb, "comet": Comet, "clearml": Clearml, "swanlab": Swanlab}[kind], int(port), Path(log)
    )
    print(server.url, flush=True)
    server.serve_forever()

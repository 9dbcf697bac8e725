"""A W&B server on this machine, as far as the client calls it: it answers as the public API does, and records."""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "team"
KEY = "0123456789" * 4
WHEN = "2026-11-29T12:00:00Z"

USER = {
    **{"id": "user1", "name": "A Person", "username": "person", "email": "person@example.org", "admin": False},
    **{"flags": "{}", "entity": ENTITY, "deletedAt": None, "apiKeys": {"edges": []}, "teams": {"edges": []}},
}
PROJECT = {"id": "project1", "internalId": "1", "entityName": ENTITY, "createdAt": WHEN, "isBenchmark": False}


@dataclass
class Call:
    """One operation: its name, its variables, and whether it changes something."""

    operation: str
    variables: dict[str, Any]
    mutation: bool


@dataclass
class Server:
    """What it holds, and the calls in order. refused: operation → message of an error in place of an answer."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    projects: set[str] = field(default_factory=set)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    streams: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    key: str = KEY
    lag: int = 0  # so often a run is shown without the summary that it has
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, operation: str) -> list[dict[str, Any]]:
        """The variables of all calls of an operation."""
        return [call.variables for call in self.calls if call.operation == operation]

    def answer(self, query: str, v: dict[str, Any]) -> dict[str, Any]:
        kind, name = re.search(r"\b(query|mutation)\s+(\w+)", query).groups()
        self.calls.append(Call(name, v, kind == "mutation"))
        if name in self.refused:
            return {"errors": [{"message": self.refused[name]}]}
        known: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"on_{name.lower()}", None)
        if known is None:
            self.unknown.append(name)
            return {"errors": [{"message": f"this server does not know {name}"}]}
        return {"data": known(v)}

    def project(self, name: str) -> dict[str, Any]:
        return {**PROJECT, "name": name, "entity": {"id": "entity1", "name": ENTITY}, "user": USER}

    def on_viewer(self, v: dict) -> dict:
        return {"viewer": USER}

    on_getviewer = on_getdefaultentity = on_viewer

    def on_serverfeaturesquery(self, v: dict) -> dict:
        return {"serverInfo": {"features": []}}

    def on_getprojects(self, v: dict) -> dict:
        nodes = [{"node": {"__typename": "Project", **self.project(name)}} for name in sorted(self.projects)]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": nodes}}

    def on_createproject(self, v: dict) -> dict:
        self.projects.add(v["input"]["name"])
        made = {"project": self.project(v["input"]["name"]), "model": self.project(v["input"]["name"])}
        return {"upsertModel": {**made, "inserted": True}}

    on_upsertmodel = on_createproject

    def on_projectinternalid(self, v: dict) -> dict:
        name = v["projectName"]
        return {"project": self.project(name) if name in self.projects else None}

    def bucket(self, project: str, name: str) -> dict[str, Any]:
        self.projects.add(project)
        fresh = {
            **{"id": f"bucket-{name}", "name": name, "displayName": name, "config": "{}", "summaryMetrics": "{}"},
            **{"tags": [], "group": None, "jobType": None, "state": "running", "description": None, "notes": None},
            **{"sweepName": None, "commit": None, "readOnly": False, "createdAt": WHEN, "heartbeatAt": WHEN},
            **{"systemMetrics": "{}", "historyLineCount": 0, "historyKeys": None, "user": USER, "projectId": "1"},
            **{"logLineCount": 0, "eventsLineCount": 0, "historyTail": "[]", "eventsTail": "[]"},
            **{"wandbConfig": '{"t": 1}', "lag": self.lag, "project": self.project(project)},
        }
        return self.runs.setdefault(name, fresh)

    def on_upsertbucket(self, v: dict) -> dict:
        name = v.get("name") or str(v["id"]).removeprefix("bucket-")
        inserted = name not in self.runs
        project = v.get("project") or self.runs[name]["project"]["name"]
        bucket = self.bucket(project, name)
        given = {"displayName": v.get("displayName") or v.get("display_name"), "group": v.get("groupName")}
        given |= {k: v.get(k) for k in ("config", "summaryMetrics", "jobType", "tags", "state")}
        bucket.update({k: value for k, value in given.items() if value is not None})
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def on_runresumestatus(self, v: dict) -> dict:
        about = self.project(v["project"])
        return {"model": {**about, "bucket": self.runs.get(v["name"])}}

    def on_run(self, v: dict) -> dict:
        run = self.runs.get(v["name"])
        if run is not None and run["lag"] > 0:
            run["lag"] -= 1
            return {"project": {"run": {**run, "summaryMetrics": "{}"}}}
        return {"project": None if run is None else {"run": run}}

    def stream(self, run: str, value: dict[str, Any]) -> None:
        """What a run logs: rows and the summary."""
        self.streams.setdefault(run, []).append(value)
        for line in (value.get("files") or {}).get("wandb-summary.json", {}).get("content", []):
            self.runs[run]["summaryMetrics"] = line

    def on_createrunfiles(self, v: dict) -> dict:
        found = [{"name": f, "uploadUrl": f"{self.url}/upload/run/{v['run']}/{f}"} for f in v["files"]]
        return {"createRunFiles": {"runID": f"bucket-{v['run']}", "uploadHeaders": [], "files": found}}

    def on_markrunfilesuploaded(self, v: dict) -> dict:
        return {"markRunFilesUploaded": {"success": True}}

    def on_view(self, v: dict) -> dict:
        nodes = [{"node": view} for view in self.views.values() if view["name"] == v["viewName"]]
        return {"project": {"allViews": {"edges": nodes}} if v["projectName"] in self.projects else None}

    def on_projectviews(self, v: dict) -> dict:
        if v["project"] not in self.projects:
            return {"project": None}
        nodes = [{"node": view, "cursor": view["id"]} for view in self.views.values() if view["type"] == "runs"]
        page = {"endCursor": None, "hasNextPage": False}
        return {"project": {"allViews": {"edges": nodes, "pageInfo": page}}}

    def on_upsertview(self, v: dict) -> dict:
        id = v.get("id") or f"view{len(self.views) + 1}"
        inserted = id not in self.views
        about = {k: v[k] for k in ("name", "displayName", "description", "type", "spec")}
        about |= {"user": USER, "createdAt": WHEN, "updatedAt": WHEN, "project": self.project(v["projectName"])}
        self.views[id] = {"id": id, **about}
        return {"upsertView": {"view": self.views[id], "inserted": inserted}}

    on_upsertview2 = on_upsertview

    def on_createartifact(self, v: dict) -> dict:
        given = v["input"]
        name = given.get("artifactCollectionName") or given["artifactCollectionNames"][0]
        same = [a for a in self.artifacts.values() if (a["name"], a["digest"]) == (name, given["digest"])]
        if not same:
            id = f"artifact{len(self.artifacts) + 1}"
            self.artifacts[id] = {"id": id, "name": name, "digest": given["digest"], "state": "PENDING", "input": given}
            same = [self.artifacts[id]]
        made = {
            "id": same[0]["id"],
            "state": same[0]["state"],
            "artifactSequence": {"id": name, "latestArtifact": None},
        }
        return {"createArtifact": {"artifact": made}}

    def on_createartifactmanifest(self, v: dict) -> dict:
        url = f"{self.url}/upload/manifest/{v['artifactID']}"
        file = {"id": "file1", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{v['artifactID']}", "file": file}}}

    def on_updateartifactmanifest(self, v: dict) -> dict:
        id = v["artifactManifestID"]
        file = {"id": "file1", "uploadUrl": f"{self.url}/upload/manifest/{id.removeprefix('manifest-')}"}
        return {"updateArtifactManifest": {"artifactManifest": {"id": id, "file": {**file, "uploadHeaders": []}}}}

    def on_createartifactfiles(self, v: dict) -> dict:
        nodes = []
        for spec in v["input"]["artifactFiles"]:
            path = f"artifact/{spec['artifactID']}/{spec['name']}"
            about = {"storagePath": path, "uploadUrl": f"{self.url}/upload/{path}", "uploadHeaders": []}
            about |= {"uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}, "name": spec["name"]}
            nodes.append({"node": about})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def on_commitartifact(self, v: dict) -> dict:
        artifact = self.artifacts[v["artifactID"]]
        artifact["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact["id"], "digest": artifact["digest"]}}}

    def on_useartifact(self, v: dict) -> dict:
        id = v.get("artifactID") or v["input"]["artifactID"]
        return {"useArtifact": {"artifact": {"id": id, "digest": self.artifacts[id]["digest"]}}}

    def on_xxhashdigestsenabled(self, v: dict) -> dict:
        return {"entity": {"xxhashDigestsEnabled": False}}

    def on_fetchartifactdigestalgorithm(self, v: dict) -> dict:
        return {"project": None}

    def on_artifacttype(self, v: dict) -> dict:
        named = [
            a["input"]["artifactTypeName"] for a in self.artifacts.values() if a["name"] == v["name"].split(":")[0]
        ]
        return {"project": {"artifact": {"artifactType": {"name": named[0]}} if named else None}}

    def on_artifactbyid(self, v: dict) -> dict:
        artifact = self.artifacts[v["id"]]
        given = artifact["input"]
        sequence = {"__typename": "ArtifactSequence", "name": artifact["name"], "project": self.project("proj")}
        about = {
            **{"__typename": "Artifact", "id": artifact["id"], "artifactSequence": sequence, "versionIndex": 0},
            **{"artifactType": {"name": given["artifactTypeName"]}, "description": None, "tags": []},
            **{"metadata": given.get("metadata"), "ttlDurationSeconds": -1, "ttlIsInherited": True},
            **{"historyStep": None, "state": artifact["state"], "size": 1, "digest": artifact["digest"]},
            **{"digestAlgorithm": "MANIFEST_MD5", "commitHash": "c1", "fileCount": 1, "createdAt": WHEN},
            **{"updatedAt": WHEN, "aliases": []},
        }
        return {"artifact": about}

    def stored(self, id: str) -> dict[str, bytes]:
        """Name → bytes of the files of an artifact."""
        start = f"artifact/{id}/"
        return {path.removeprefix(start): data for path, data in self.files.items() if path.startswith(start)}


class Handler(BaseHTTPRequestHandler):
    """Of one request. `state`: the Server."""

    state: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        body = self.body()
        expected = "Basic " + base64.b64encode(f"api:{self.state.key}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self.reply({"errors": [{"message": "user is not logged in"}]}, 401)
        with self.state.lock:
            if self.path.endswith("/graphql"):
                call = json.loads(body)
                return self.reply(self.state.answer(call["query"], call.get("variables") or {}))
            if self.path.endswith("/file_stream"):
                self.state.stream(self.path.split("/")[-2], json.loads(body))
                return self.reply({})
        return self.reply({}, 404)

    def do_PUT(self) -> None:
        body = self.body()
        with self.state.lock:
            self.state.files[self.path.removeprefix("/upload/")] = body
        self.reply({})

    def do_GET(self) -> None:
        self.reply({}, 404)


class Quiet(ThreadingHTTPServer):
    """Clients end with connections open: no trouble of a test."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def wandb_server() -> Iterator[Server]:
    """The server, at `url`, while the block runs."""
    state = Server()
    http = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()

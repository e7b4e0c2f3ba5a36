"""A recording fake of the Kubeflow Pipelines v2beta1 REST API, on loopback, for the real kfp.Client to talk to.

It keeps what it is sent, checks what the real server checks (schema version, parameters and their types, namespaces),
and answers in its shapes: int64 as text, 1970 for a time that has not come, a JSON message for a refusal.

    with KfpApi(token="secret") as api:
        ...
    api.requests[0].path, api.requests[0].authorization, api.requests[0].body
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import yaml
from aiohttp import web

NEVER = "1970-01-01T00:00:00Z"
NOW = "2026-03-04T05:06:07Z"
KINDS = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}

Json = dict[str, Any]
BODY = web.RequestKey("body", object)


@dataclass(frozen=True)
class Recorded:
    """A request as it arrived; ``body`` is JSON, or the uploaded file's text."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body: Any


class Refusal(Exception):
    """What the server refuses, with HTTP's status and gRPC's code."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Store:
    """What the server knows."""

    pipelines: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, Json] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    recurring_runs: dict[str, Json] = field(default_factory=dict)


class KfpApi:
    """The server, in a thread of its own, until the end of a ``with`` block.

    Args:
        token: that requests must bear; None takes all.
        multi_user: what the health check says.
        tls: serves HTTPS.
        states: that a run goes through, one for each time it is asked for; the last one stays.
        page: most items in a list's answer.
        release: what the health check says; `unknown` where its image was built without.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        multi_user: bool = False,
        tls: ssl.SSLContext | None = None,
        states: tuple[str, ...] = ("SUCCEEDED",),
        page: int = 200,
        release: str = "2.15.0",
    ) -> None:
        self.token, self.multi_user, self.tls, self.states, self.page = token, multi_user, tls, states, page
        self.release = release
        self.requests: list[Recorded] = []
        self.store = Store()
        # (method, part of the path) to (status, body): answered in the place of the API, once for each entry.
        self.instead: list[tuple[str, str, int, str]] = []
        # What is enabled after every request, to show that there are never two.
        self.most_enabled = 0
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> KfpApi:
        self._thread.start()
        self.host = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def sent(self, method: str, ending: str = "") -> list[Recorded]:
        """The requests of a method whose path ends so."""
        return [each for each in self.requests if each.method == method and each.path.endswith(ending)]

    async def _start(self) -> str:
        app = web.Application(middlewares=[self._around])
        base = "/apis/v2beta1"
        app.add_routes(
            [
                web.get(f"{base}/healthz", self._healthz),
                web.get(f"{base}/pipelines", self._list("pipelines")),
                web.post(f"{base}/pipelines", self._create_pipeline),
                web.post(f"{base}/pipelines/upload_version", self._upload_version),
                web.get(f"{base}/pipelines/{{pipeline}}/versions", self._list("versions", "pipeline_versions")),
                web.get(f"{base}/experiments", self._list("experiments")),
                web.post(f"{base}/experiments", self._create_experiment),
                web.get(f"{base}/runs", self._list("runs")),
                web.post(f"{base}/runs", self._create_run),
                web.get(f"{base}/runs/{{run}}", self._get_run),
                web.get(f"{base}/recurringruns", self._list("recurring_runs", "recurringRuns")),
                web.post(f"{base}/recurringruns", self._create_recurring_run),
                web.post(f"{base}/recurringruns/{{id}}:{{verb}}", self._switch),
                web.delete(f"{base}/recurringruns/{{id}}", self._delete_recurring_run),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"

    @web.middleware
    async def _around(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        body: Any = None
        if request.content_type == "multipart/form-data":
            body = (await request.post())["uploadfile"].file.read().decode()  # pyright: ignore[reportAttributeAccessIssue]
        elif request.can_read_body:
            body = json.loads(await request.text())
        request[BODY] = body
        self.requests.append(
            Recorded(request.method, request.path, dict(request.query), request.headers.get("Authorization"), body)
        )
        answer = await self._answer(request, handler)
        # No connection is left open when the server ends.
        answer.force_close()
        return answer

    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        for method, part, status, text in self.instead:
            if request.method == method and part in request.path:
                self.instead.remove((method, part, status, text))
                return web.Response(status=status, text=text, content_type="text/html")
        try:
            if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
                raise Refusal(401, 16, "Request header error: there is no user identity header")
            return await handler(request)
        except Refusal as refusal:
            answer = {"error": str(refusal), "code": refusal.code, "message": str(refusal), "details": []}
            return web.json_response(answer, status=refusal.status)
        finally:
            enabled = [each for each in self.store.recurring_runs.values() if each["status"] == "ENABLED"]
            self.most_enabled = max(self.most_enabled, len(enabled))

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"

    def _check_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refusal(400, 3, "Namespace cannot be empty in multi-user mode")
        if not self.multi_user and namespace:
            raise Refusal(400, 3, "In single-user mode, namespace should be empty")

    async def _healthz(self, request: web.Request) -> web.Response:
        # backend/src/apiserver/main.go, 2.15.0:364.
        health = {"commit_sha": "c0ffee", "tag_name": self.release, "multi_user": self.multi_user}
        return web.json_response({**health, "pipeline_store": "database"})

    def _list(self, kind: str, key: str | None = None) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            found = list(getattr(self.store, kind).values())
            if "pipeline" in request.match_info:
                found = [each for each in found if each["pipeline_id"] == request.match_info["pipeline"]]
            elif "experiment_id" not in request.query:
                self._check_namespace(request.query.get("namespace"))
            else:
                found = [each for each in found if each["experiment_id"] == request.query["experiment_id"]]
            for predicate in json.loads(request.query.get("filter") or "{}").get("predicates", []):
                if predicate["operation"] != 1:
                    raise Refusal(400, 3, f"unexpected operation {predicate['operation']}")
                found = [each for each in found if each[predicate["key"]] == predicate["stringValue"]]
            if request.query.get("sort_by") == "created_at desc":
                found.reverse()
            start = int(request.query.get("page_token") or 0)
            size = min(int(request.query.get("page_size") or 10), self.page)
            body: Json = {key or kind: found[start : start + size], "total_size": len(found)}
            if start + size < len(found):
                body["next_page_token"] = str(start + size)
            return web.json_response(body)

        return answer

    async def _create_pipeline(self, request: web.Request) -> web.Response:
        body: Any = request[BODY]
        self._check_namespace(body.get("namespace"))
        if any(each["display_name"] == body["display_name"] for each in self.store.pipelines.values()):
            raise Refusal(409, 6, f"Already exist error: The name {body['display_name']} already exist.")
        made = {**body, "pipeline_id": self._id("pipeline"), "created_at": NOW}
        self.store.pipelines[made["pipeline_id"]] = made
        return web.json_response(made)

    async def _upload_version(self, request: web.Request) -> web.Response:
        query = request.query
        if query["pipelineid"] not in self.store.pipelines:
            raise Refusal(404, 5, f"Pipeline {query['pipelineid']} not found.")
        documents = list(yaml.safe_load_all(str(request[BODY])))
        self._check_schema(documents[0])
        made = {
            "pipeline_id": query["pipelineid"],
            "pipeline_version_id": self._id("version"),
            "display_name": query["name"],
            "created_at": NOW,
            "pipeline_spec": documents[0],
        }
        self.store.versions[made["pipeline_version_id"]] = made
        return web.json_response(made)

    def _check_schema(self, spec: Json) -> None:
        if spec.get("schemaVersion") != "2.1.0":
            raise Refusal(
                400,
                3,
                "Failed to create a pipeline version: KFP only supports schema version 2.1.0, but the pipeline spec "
                f"has version {spec.get('schemaVersion')}",
            )

    async def _create_experiment(self, request: web.Request) -> web.Response:
        body: Any = request[BODY]
        self._check_namespace(body.get("namespace"))
        made = {**body, "experiment_id": self._id("experiment"), "created_at": NOW}
        self.store.experiments[made["experiment_id"]] = made
        return web.json_response(made)

    def _check_job(self, body: Json) -> None:
        if body.get("experiment_id") not in self.store.experiments:
            raise Refusal(404, 5, f"Experiment {body.get('experiment_id')} not found.")
        if "pipeline_version_reference" in body:
            version = self.store.versions.get(body["pipeline_version_reference"]["pipeline_version_id"])
            if version is None:
                raise Refusal(404, 5, "PipelineVersion not found.")
            spec = version["pipeline_spec"]
        else:
            spec = body["pipeline_spec"].get("pipeline_spec", body["pipeline_spec"])
            self._check_schema(spec)
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body.get("runtime_config", {}).get("parameters", {})
        for name, parameter in known.items():
            if name not in given and "defaultValue" not in parameter and not parameter.get("isOptional"):
                raise Refusal(400, 3, f"parameter {name} is not optional, yet has neither default value nor user value")
        for name, value in given.items():
            if name not in known:
                raise Refusal(400, 3, f"parameter(s) provided are not required by pipeline: {name}")
            kind = KINDS.get(known[name]["parameterType"], object)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool and kind is not object):
                raise Refusal(400, 3, f"input parameter {name} requires type {known[name]['parameterType']}")

    async def _create_run(self, request: web.Request) -> web.Response:
        body: Any = request[BODY]
        self._check_job(body)
        run = {
            **body,
            "run_id": self._id("run"),
            "state": "PENDING",
            "created_at": NOW,
            "finished_at": NEVER,
            "asked": 0,
        }
        self.store.runs[run["run_id"]] = run
        return web.json_response(run)

    async def _get_run(self, request: web.Request) -> web.Response:
        run = self.store.runs.get(request.match_info["run"])
        if run is None:
            raise Refusal(404, 5, f"Run {request.match_info['run']} not found.")
        run["state"] = self.states[min(run["asked"], len(self.states) - 1)]
        run["asked"] += 1
        return web.json_response(run)

    async def _create_recurring_run(self, request: web.Request) -> web.Response:
        body: Any = request[BODY]
        self._check_job(body)
        cron = body["trigger"]["cron_schedule"]["cron"]
        if len(cron.split()) != 6 and not cron.startswith("@"):
            raise Refusal(400, 3, f"The Cron expression {cron} is not six fields")
        made = {
            # The server gives numbers of 64 bits as text, and writes its default record.
            "service_account": "pipeline-runner",
            **body,
            "max_concurrency": str(body["max_concurrency"]),
            "recurring_run_id": self._id("recurring"),
            "status": "ENABLED" if body["mode"] == "ENABLE" else "DISABLED",
            "created_at": NOW,
        }
        self.store.recurring_runs[made["recurring_run_id"]] = made
        return web.json_response(made)

    def _recurring_run(self, request: web.Request) -> Json:
        found = self.store.recurring_runs.get(request.match_info["id"])
        if found is None:
            raise Refusal(404, 5, f"Recurring run {request.match_info['id']} not found.")
        return found

    async def _switch(self, request: web.Request) -> web.Response:
        found = self._recurring_run(request)
        enable = request.match_info["verb"] == "enable"
        found.update(mode="ENABLE" if enable else "DISABLE", status="ENABLED" if enable else "DISABLED")
        return web.json_response({})

    async def _delete_recurring_run(self, request: web.Request) -> web.Response:
        del self.store.recurring_runs[self._recurring_run(request)["recurring_run_id"]]
        return web.json_response({})

"""The dashboard's server: aiohttp on loopback, one thread that reads and draws.

>>> serve_dashboard([Path("runs/vowels")], host="127.0.0.1", port=8080)  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from noisy_gru.pipeline.dashboard.guards import ChangeTokens, HostCheck, is_loopback, is_same_origin
from noisy_gru.pipeline.dashboard.links import model_path
from noisy_gru.pipeline.dashboard.roots import Roots
from noisy_gru.pipeline.dashboard.views import ACTIONS, NotFoundError, Views, change_text, error_page, script
from noisy_gru.registry import rollout
from noisy_gru.schema.errors import UserError

_FORM_BYTES = 65_536
_HTML = "text/html"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# A report is a file that somebody may have put there: it gets no script, and not this server's origin.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Result = TypeVar("Result")


def serve_dashboard(
    roots: Sequence[Path],
    *,
    host: str,
    port: int,
    allow_changes: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Serve the dashboard until SIGINT or SIGTERM.

    Args:
        roots: root folders of runs.
        host: address to listen on.
        port: 0 for any free port.
        allow_changes: whether rollback and promote are offered.
        log: receives the address, and a line for each change.

    Raises:
        UserError: a root isn't there, the port is taken, or changes are asked for on an address that others reach.
    """
    if allow_changes and not is_loopback(host):
        raise UserError(
            f"--allow-changes with --host {host}: the dashboard knows no users, so whoever reaches it could roll back. "
            "Listen on 127.0.0.1, and reach it through an SSH tunnel or a proxy that asks who it is"
        )
    asyncio.run(_serve(Dashboard(roots, host=host, allow_changes=allow_changes, log=log), host, port))


async def _serve(dashboard: Dashboard, host: str, port: int) -> None:
    runner = web.AppRunner(dashboard.application(), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            advice = "Choose another with --port" if taken else "Choose another with --host"
            raise UserError(
                f"can't listen on {host}, port {port}: {os.strerror(error.errno or 0)}. {advice}"
            ) from error
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        address = runner.addresses[0]
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        dashboard.log(f"http://{name}:{address[1]}/ (Ctrl-C ends it)")
        await stopped.wait()
    finally:
        await runner.cleanup()


class Dashboard:
    """Routes of the dashboard. Arguments as those of ``serve_dashboard``."""

    def __init__(
        self, roots: Sequence[Path], *, host: str, allow_changes: bool = False, log: Callable[[str], None] = print
    ):
        self.log = log
        self._views = Views(Roots(roots), allow_changes=allow_changes)
        self._hosts = HostCheck(host)
        self._tokens = ChangeTokens()
        self._allow_changes = allow_changes
        # One thread: what was read is kept without locks, and Matplotlib isn't for several.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="dashboard")

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._guard], client_max_size=_FORM_BYTES)
        app.cleanup_ctx.append(self._with_worker)
        app.add_routes(
            [
                web.get("/", self._overview),
                web.get("/runs", self._runs),
                web.get("/compare", self._compare),
                web.get("/static/follow.js", self._script),
                web.get("/root/{root}/model/{model}", self._model),
                web.get("/root/{root}/run/{run}", self._run),
                web.get("/root/{root}/run/{run}/live", self._live),
                web.get("/root/{root}/report/{run}", self._report),
                web.get("/root/{root}/model/{model}/change/{action}", self._confirm),
                web.post("/root/{root}/model/{model}/change/{action}", self._change),
            ]
        )
        return app

    async def _with_worker(self, _: web.Application) -> AsyncIterator[None]:
        # An error in it comes again with the first page, and is shown there.
        self._worker.submit(self._views.warm)
        yield
        self._worker.shutdown(cancel_futures=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse names that aren't this server's, make pages of errors, and set the headers."""
        if not self._hosts.allows(request.headers.get("Host")):
            text = "The name in the address is not one of this server's. Open it as localhost or 127.0.0.1"
            response: web.StreamResponse = _page(error_page("Refused", [text]), 421)
        else:
            try:
                response = await handler(request)
            except NotFoundError as error:
                response = _page(error_page("Not found", [str(error)]), 404)
            except UserError as error:
                response = _page(error_page("It was not done", [str(error)]), 409)
            except OSError as error:
                response = _page(error_page("It was not done", [f"{error.filename or ''}: {error.strerror}"]), 500)
            except web.HTTPException as error:
                response = _page(error_page(error.reason, [error.text or error.reason]), error.status)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def _in_worker(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def _overview(self, _: web.Request) -> web.Response:
        return _page(await self._in_worker(self._views.overview))

    async def _runs(self, request: web.Request) -> web.Response:
        return _page(await self._in_worker(lambda: self._views.runs(request.query)))

    async def _compare(self, request: web.Request) -> web.Response:
        first, second = (request.query.get(name, "") for name in ("first", "second"))
        return _page(await self._in_worker(lambda: self._views.compare(first, second)))

    async def _model(self, request: web.Request) -> web.Response:
        root, model = _names(request, "root", "model")
        return _page(await self._in_worker(lambda: self._views.model(root, model)))

    async def _run(self, request: web.Request) -> web.Response:
        root, run = _names(request, "root", "run")
        return _page(await self._in_worker(lambda: self._views.run(root, run)))

    async def _live(self, request: web.Request) -> web.Response:
        root, run = _names(request, "root", "run")
        live = await self._in_worker(lambda: self._views.live(root, run))
        return web.Response(text=live.html, content_type=_HTML, headers={"X-Run-Status": live.status})

    async def _report(self, request: web.Request) -> web.Response:
        root, run = _names(request, "root", "run")
        content = await self._in_worker(lambda: self._views.report(root, run))
        headers = {"Content-Security-Policy": _REPORT_POLICY}
        return web.Response(body=content, content_type=_HTML, charset="utf-8", headers=headers)

    async def _script(self, _: web.Request) -> web.Response:
        return web.Response(body=script(), content_type="text/javascript", charset="utf-8")

    async def _confirm(self, request: web.Request) -> web.Response:
        root, name, action = self._requested_change(request)

        def page() -> str:
            _, model = self._views.find_model(root, name)
            return self._views.confirmation(root, name, action, self._tokens.token(root, model, action))

        return _page(await self._in_worker(page))

    async def _change(self, request: web.Request) -> web.Response:
        root, name, action = self._requested_change(request)
        if not is_same_origin(request.headers):
            raise web.HTTPForbidden(text="This form was sent by a page of another site. Nothing was changed")
        form = await request.post()
        token, reason = form.get("token"), form.get("reason", "")
        if not isinstance(reason, str):
            raise web.HTTPBadRequest(text="reason: expected a text")

        def change() -> str:
            state, model = self._views.find_model(root, name)
            if not self._tokens.accepts(token, root, model, action):
                raise web.HTTPForbidden(
                    text="This confirmation is not of this server, or what serves has changed since it was shown. "
                    "Nothing was changed: look at the model's page, and confirm again"
                )
            change_text(model, action)
            serving = state.directory.serving
            if action == "rollback":
                return rollout.rollback(serving, name, to=model.back_to, reason=reason).text
            return rollout.promote(serving, name, reason=reason).text

        self.log(f"{name}: {await self._in_worker(change)}")
        return web.Response(status=303, headers={"Location": model_path(root, name)})

    def _requested_change(self, request: web.Request) -> tuple[str, str, str]:
        if not self._allow_changes:
            raise web.HTTPForbidden(text="The dashboard is read-only: start it with --allow-changes to change versions")
        root, name, action = _names(request, "root", "model", "action")
        if action not in ACTIONS:
            raise web.HTTPNotFound(text=f"{action}: expected one of {', '.join(ACTIONS)}")
        return root, name, action


def _names(request: web.Request, *names: str) -> list[str]:
    return [request.match_info[name] for name in names]


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type=_HTML, status=status)

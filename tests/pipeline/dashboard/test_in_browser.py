"""The dashboard in headless Chromium: no request leaves it, nothing of the data runs, and a run is followed live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from noisy_gru.pipeline.dashboard.server import Dashboard
from noisy_gru.pipeline.runs.run_record import StepRecord
from noisy_gru.registry.history import read_history
from tests.browser import chromium, needs_chromium, patient
from tests.patience import PATIENCE
from tests.pipeline.dashboard.conftest import HOSTILE, MODEL

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
web = pytest.importorskip("aiohttp.web")
pytestmark = [pytest.mark.slow, needs_chromium]


class Running:
    """A dashboard in a thread."""

    def __init__(self, paths: list[Any], **options: Any):
        self._app = Dashboard(paths, host="127.0.0.1", log=lambda _: None, **options).application()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self.address

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._until_stopped())
        self._loop.close()

    async def _until_stopped(self) -> None:
        self._stopped = asyncio.Event()
        runner = web.AppRunner(self._app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(browser) -> Iterator[Any]:
    """A page; ``page.asked`` has every request, and ``page.complaints`` what should not happen."""
    page = patient(browser.new_context(viewport={"width": 360, "height": 640})).new_page()
    page.requests, page.complaints = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
    yield page
    page.context.close()


def test_pages_fetch_nothing_and_run_nothing_of_the_data(plant, page):
    with Running([plant.path]) as address:
        places = ["/", "/runs", f"/root/plant/model/{MODEL}", *(f"/root/plant/run/{r.run_id}" for r in plant.records)]
        for place in places:
            page.goto(address + place)
            assert "hacked" not in page.title()
            assert page.locator("script, img").count() == 0, place
            # A phone scrolls one way.
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
        page.goto(f"{address}/root/plant/model/{MODEL}")
        assert page.locator("#metrics svg").count() == page.locator("#drift svg").count() == 1
        assert page.locator("#checks td", has_text="document.title").first.text_content() == f"not due: {HOSTILE}"
        shown = page.eval_on_selector_all("#metrics data", "all => all.map(each => Number(each.value))")
        known = [record.metrics["accuracy"] for record in reversed(plant.records)]
        # The refused model's is NaN, which JavaScript compares with nothing.
        assert [value for value in shown if value > 0] == [value for value in known if value > 0]
        page.goto(f"{address}/root/plant/run/{plant.records[0].run_id}")
        page.get_by_role("link", name="open").click()
        page.wait_for_url("**/report/*")
        assert page.title() == "the report"
    assert page.complaints == []
    assert all(url.startswith((f"{address}/", "data:,")) for url in page.requests)


def test_a_run_is_followed_until_its_end(make_root, page):
    root = make_root()
    running = StepRecord(name="Trainer", status="running")
    record = root.run("running", steps=[running], started="2026-01-01T00:00:00Z", metrics={})
    with Running([root.path]) as address:
        page.goto(f"{address}/root/plant/run/{record.run_id}")
        assert page.locator("#steps tbody tr").count() == 1
        assert page.locator("#training .grey").inner_text() == "No epoch has ended yet."
        page.evaluate("window.first = true")
        history = root.directory.artifacts / "Trainer" / "model_run" / "1"
        history.mkdir(parents=True)
        (history / "history.csv").write_text("epoch,loss,val_loss\n1,1.5,1.25\n2,0.5,0.75\n")
        root.directory.log_file(record.run_id).write_text(f"one\n{HOSTILE}\n")
        step = StepRecord(name="Evaluator", status="running")
        done = StepRecord(name="Trainer", status="complete", seconds=2.5, summary=HOSTILE)
        root.directory.write(record.model_copy(update={"steps": [done, step]}))
        page.locator("#steps td", has_text="Evaluator").wait_for()
        page.locator("#training svg").wait_for()
        values = page.eval_on_selector_all("#training tbody tr:first-child data", "all => all.map(each => each.value)")
        assert [float(value) for value in values] == [2, 0.5, 0.75]
        page.locator("#log p", has_text="document.title").wait_for()
        assert page.locator("#log p").last.text_content() == HOSTILE
        assert page.evaluate("window.first") is True
        ended = {"status": "succeeded", "finished": "2026-01-01T00:05:00Z", "metrics": {"accuracy": 0.75}}
        root.directory.write(record.model_copy(update=ended))
        page.locator("#metrics data[value='0.75']").wait_for()
        assert page.locator("script").count() == 0
    assert page.complaints == []


def test_promote_by_click(plant, page):
    with Running([plant.path], allow_changes=True) as address:
        page.goto(f"{address}/root/plant/model/{MODEL}")
        page.get_by_role("link", name="Promote version 200").click()
        page.get_by_label("Reason").fill("looks fine")
        page.get_by_role("button", name="Promote version 200").click()
        page.wait_for_url(f"{address}/root/plant/model/{MODEL}")
        assert page.locator("#serving dd").first.inner_text() == "version 200"
    event = read_history(plant.directory.serving / MODEL)[-1]
    assert (event.action, event.version, event.reason) == ("promote", 200, "looks fine")


def test_a_page_of_another_origin_changes_nothing(plant, page, tmp_path):
    before = read_history(plant.directory.serving / MODEL)
    with Running([plant.path], allow_changes=True) as address:
        action = f"{address}/root/plant/model/{MODEL}/change/rollback"
        forged = tmp_path / "forged.html"
        forged.write_text(
            f'<form method="post" action="{action}"><input name="token" value="0"><button>x</button></form>'
        )
        page.goto(forged.as_uri())
        page.get_by_role("button").click()
        assert page.locator("h1").inner_text() == "Forbidden"
    assert read_history(plant.directory.serving / MODEL) == before

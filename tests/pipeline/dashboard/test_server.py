"""The dashboard over HTTP: what it says is in the records, and it changes nothing for whoever may not."""

from __future__ import annotations

import asyncio
import html
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from noisy_gru.pipeline.dashboard.guards import HostCheck
from noisy_gru.pipeline.dashboard.server import Dashboard, serve_dashboard
from noisy_gru.pipeline.runs.check_log import RetrainCheck, append_check
from noisy_gru.registry.history import read_history
from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import published_versions, withdrawn_versions
from noisy_gru.schema.errors import UserError
from tests.pipeline.dashboard.conftest import BEGIN, CANARY, HOSTILE, MODEL

test_utils = pytest.importorskip("aiohttp.test_utils")
NONE = "\N{EN DASH}"
CHANGE = f"/root/plant/model/{MODEL}/change"


def ask(
    paths: list[Any], *requests: str | Callable[[Any], Any], host: str = "127.0.0.1", allow: bool = False
) -> list[Any]:
    """Send requests to a dashboard, one after the other; return status, text and headers of each answer."""

    async def _ask() -> list[Any]:
        app = Dashboard(paths, host=host, allow_changes=allow, log=lambda _: None).application()
        async with test_utils.TestClient(test_utils.TestServer(app)) as client:
            answers = []
            for request in requests:
                answer = await request(client) if callable(request) else await client.get(request)
                answers.append((answer.status, await answer.text(), answer.headers))
            return answers

    return asyncio.run(_ask())


def get(path: str, **options: Any) -> Callable[[Any], Any]:
    return lambda client: client.get(path, **options)


def confirm(action: str, headers: dict[str, str] | None = None, **form: str) -> Callable[[Any], Any]:
    """Open the confirmation and send it, as a browser does."""

    async def _confirm(client: Any) -> Any:
        page = await (await client.get(f"{CHANGE}/{action}")).text()
        found = re.search(r'name="token" value="([0-9a-f]+)"', page)
        token = found[1] if found else ""
        return await client.post(
            f"{CHANGE}/{action}", data={"token": token} | form, headers=headers, allow_redirects=False
        )

    return _confirm


def table(page: str, section: str) -> list[list[str]]:
    """The cells of the first table of a section; of numbers the whole value."""
    part = page.split(f'<section id="{section}"', 1)[1].split("</section>", 1)[0].split("<tbody>", 1)[1]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", part.split("</tbody>", 1)[0], re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[_text(cell) for cell in row] for row in cells]


def _text(cell: str) -> str:
    number = re.search(r'<data value="([^"]*)"', cell)
    return number[1] if number else html.unescape(re.sub(r"<[^>]*>", "", cell)).strip()


def test_what_it_says_is_in_the_records(plant):
    pages = ask([plant.path], "/", "/runs", f"/root/plant/model/{MODEL}", f"/root/plant/run/{plant.records[1].run_id}")
    assert [status for status, *_ in pages] == [200] * 4
    overview, runs, model, run = (text for _, text, _ in pages)
    listed = table(runs, "runs")
    ids = [record.run_id for record in reversed(plant.records)]
    assert [row[0] for row in listed] == [*ids, "20250102-000000-000000", "20250101-000000-000000"]
    assert [row[2] for row in listed] == ["failed", "refused", "succeeded", "succeeded", "unreadable", "unreadable"]
    assert "accuracy 0.9078 (+0.033)" in listed[2]
    assert [row[8] for row in listed] == [NONE, NONE, NONE, "open", NONE, NONE]
    assert "the file is empty" in listed[5][6]
    assert runs.count('<tr class="grey">') == 2
    (row,) = (row for row in table(overview, "root-0") if row[0] == MODEL)
    assert row[1] == "stable 100, canary 200"
    assert [row[:3] for row in table(model, "versions")] == [
        ["200", "published", "canary"],
        ["100", "published", "stable"],
    ]
    numbers = {row[0]: row[-1] for row in table(model, "metrics")}
    assert numbers[plant.records[0].run_id] == "0.9"
    assert numbers[plant.records[1].run_id] == str(plant.records[1].metrics["accuracy"])
    assert [row[1:3] for row in table(model, "checks")] == [
        ["not due", f"not due: {HOSTILE}"],
        ["succeeded", "due: 1 new span"],
    ]
    assert [row[1:] for row in table(model, "drift")] == [["0.375", NONE], ["0.25", "0.125"]]
    assert ["accuracy", str(plant.records[1].metrics["accuracy"]), "0.875"] == table(run, "metrics")[0][:3]
    assert table(run, "steps")[0][:4] == ["Trainer", "complete", "1.5", "1.25"]


def test_a_night_that_was_held_leads_to_its_page(plant):
    at = f"{BEGIN:%Y-%m-%dT%H:%M:%SZ}"
    append_check(plant.path, RetrainCheck(at=at, pipeline=MODEL, outcome="held", summary="held for a person"))
    page = f"held-{BEGIN:%Y%m%d-%H%M%S}"
    (plant.directory.runs / f"{page}.html").write_text("held")
    model, held = ask([plant.path], f"/root/plant/model/{MODEL}", f"/root/plant/report/{page}")
    assert [at, "held", "held for a person", "report"] in table(model[1], "checks")
    assert f'href="/root/plant/report/{page}"' in model[1]
    assert held[:2] == (200, "held")


def test_two_runs_side_by_side(plant):
    first, second = plant.records[:2]
    address = f"/compare?first=plant/{first.run_id}&second=plant/{second.run_id}"
    ((status, page, _),) = ask([plant.path], address)
    assert status == 200
    assert ["training.epochs", "10", "11"] in table(page, "config")
    values = [str(each.metrics["accuracy"]) for each in (first, second)]
    (accuracy,) = (row for row in table(page, "metrics") if row[0] == "accuracy")
    assert accuracy[1:3] == values


def test_several_roots_and_names_that_repeat(make_root):
    roots = [make_root("a/plant"), make_root("b/plant", "fans"), make_root("c", "a/b ü?#")]
    for root in roots:
        root.run()
    paths = [root.path for root in roots]
    runs = "/root/plant-2/run/" + roots[1].records[0].run_id
    answers = ask(paths, "/runs", runs, "/runs?root=plant-2", "/runs?status=failed", "/runs?page=99")
    assert [status for status, *_ in answers] == [200] * 5
    assert len(table(answers[0][1], "runs")) == 3
    assert [row[1] for row in table(answers[2][1], "runs")] == ["fans"]
    for link in re.findall(r'href="(/root/[^"]*)"', answers[0][1]):
        ((status, *_),) = ask(paths, html.unescape(link))
        assert status == 200, link


def test_hostile_text_stays_text(plant):
    name = plant.records[2].run_id
    addresses = [
        "/",
        "/runs",
        f"/root/plant/model/{MODEL}",
        f"/root/plant/run/{name}",
        "/root/plant/run/%3Cscript%3E",
    ]
    failed = f"/root/plant/run/{plant.records[3].run_id}"
    filtered = f"/runs?status={HOSTILE}&model=%3Cscript%3E"
    for status, page, headers in ask([plant.path], *addresses, failed, filtered, f"/compare?first={HOSTILE}&second=x"):
        assert status in (200, 404)
        assert "<script>" not in page
        assert "<img" not in page
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_reports_and_nothing_beside_them(plant):
    (plant.path / "runs" / ".secret.html").write_text("secret")
    (plant.path / "secret.html").write_text("secret")
    names = ["..%2Fsecret", "..%2f..%2fplant%2fsecret", ".secret", "%2Fetc%2Fpasswd", "absent", "%00", "..", "%2e%2e"]
    run = plant.records[0].run_id
    good, *bad = ask([plant.path], f"/root/plant/report/{run}", *(f"/root/plant/report/{name}" for name in names))
    assert good[:2] == (200, "<!DOCTYPE html><title>the report</title>")
    assert good[2]["Content-Security-Policy"].endswith("sandbox")
    assert {status for status, *_ in bad} == {404}
    assert not any("secret</" in page or page == "secret" for _, page, _ in bad)


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("localhost:8080", True),
        ("127.0.0.1", True),
        ("127.0.0.1:9", True),
        ("[::1]:8080", True),
        ("LOCALHOST", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("evil.example:8080@localhost", False),
        ("192.0.2.1", False),
        ("", False),
        ("[::1", False),
        ("localhost:x", False),
    ],
)
def test_names_that_are_not_this_server(plant, header, allowed):
    assert HostCheck("127.0.0.1").allows(header) is allowed
    if header:
        ((status, page, _),) = ask([plant.path], get("/", headers={"Host": header}))
        assert status in ((200,) if allowed else (400, 421))
        assert (MODEL in page) is allowed


def test_on_the_network_addresses_are_allowed_and_foreign_names_not():
    check = HostCheck("0.0.0.0")
    assert check.allows("192.0.2.1:8080")
    assert not check.allows("evil.example")
    assert HostCheck("box.example").allows("box.example:80")


def test_read_only_unless_asked_for(plant):
    before = read_history(plant.directory.serving / MODEL)
    answers = ask([plant.path], get(f"{CHANGE}/rollback"), confirm("rollback"), confirm("promote"))
    assert [status for status, *_ in answers] == [403, 403, 403]
    assert all("--allow-changes" in page for _, page, _ in answers)
    ((_, page, _),) = ask([plant.path], f"/root/plant/model/{MODEL}")
    assert "/change/" not in page
    assert read_history(plant.directory.serving / MODEL) == before


def test_forged_forms_change_nothing(plant):
    before = read_history(plant.directory.serving / MODEL)
    answers = ask(
        [plant.path],
        lambda client: client.post(f"{CHANGE}/rollback"),
        lambda client: client.post(f"{CHANGE}/rollback", data={"token": "0" * 64}),
        lambda client: client.post(f"{CHANGE}/rollback", data={"token": "é"}),
        confirm("rollback", token=""),
        confirm("rollback", headers={"Origin": "http://evil.example"}),
        confirm("rollback", headers={"Origin": "null"}),
        confirm("rollback", headers={"Sec-Fetch-Site": "cross-site"}),
        confirm("rollback", headers={"Host": "evil.example"}),
        get(f"{CHANGE}/restore"),
        lambda client: client.put(f"{CHANGE}/rollback"),
        lambda client: client.post("/"),
        allow=True,
    )
    assert [status for status, *_ in answers] == [403, 403, 403, 403, 403, 403, 403, 421, 404, 405, 405]
    assert read_history(plant.directory.serving / MODEL) == before


def test_promote_with_a_confirmation(plant):
    pages = ask(
        [plant.path],
        f"/root/plant/model/{MODEL}",
        f"{CHANGE}/promote",
        confirm("promote", reason=HOSTILE),
        f"/root/plant/model/{MODEL}",
        get(f"{CHANGE}/promote"),
        allow=True,
    )
    assert [status for status, *_ in pages] == [200, 200, 303, 200, 404]
    assert "Promote version 200" in pages[0][1]
    assert "becomes stable in the place of version 100" in pages[1][1]
    event = read_history(plant.directory.serving / MODEL)[-1]
    assert (event.action, event.version, event.stable, event.reason) == ("promote", 200, 200, HOSTILE)
    assert "<script>" not in pages[3][1]


def test_rollback_with_a_confirmation(plant):
    folder = plant.directory.serving / MODEL
    done, again = ask([plant.path], confirm("rollback", reason="alarms"), confirm("rollback"), allow=True)
    assert (done[0], done[2]["Location"]) == (303, f"/root/plant/model/{MODEL}")
    assert (published_versions(folder), withdrawn_versions(folder)) == ([100], [200])
    # One version is left: there is nothing to go back to, and no token for it.
    assert again[0] == 403


def test_a_confirmation_is_for_what_was_shown(plant, tmp_path):
    source = tmp_path / "later"
    source.mkdir()
    (source / "saved_model.pb").write_text("later")
    folder = plant.directory.serving / MODEL

    async def changed_meanwhile(client: Any) -> Any:
        page = await (await client.get(f"{CHANGE}/rollback")).text()
        token = re.search(r'name="token" value="([0-9a-f]+)"', page)[1]  # type: ignore[index]
        publish(source, plant.directory.serving, MODEL, settings=CANARY, clock=lambda: 300.0)
        return await client.post(f"{CHANGE}/rollback", data={"token": token})

    ((status, page, _),) = ask([plant.path], changed_meanwhile, allow=True)
    assert status == 403
    assert "has changed since" in page
    assert published_versions(folder) == [100, 200, 300]


def test_what_is_damaged_is_said_and_the_rest_is_shown(plant):
    folder = plant.directory.serving / MODEL
    (folder / "publishing.json").write_text("{")
    (folder / "history.jsonl").write_text((folder / "history.jsonl").read_text() + '{"at": "2026')
    (plant.path / "schedule.json").write_text("[]")
    (plant.path / "checks.jsonl").write_bytes(b"\xff\xfe\n{}\n")
    (plant.path / "serving" / "empty").mkdir()
    pages = ask([plant.path], "/", "/runs", f"/root/plant/model/{MODEL}", "/root/plant/model/empty", allow=True)
    assert [status for status, *_ in pages] == [200] * 4
    assert "publishing.json can't be read" in html.unescape(pages[0][1])
    assert "schedule.json can't be read" in html.unescape(pages[0][1])


@pytest.mark.parametrize(
    "change",
    [
        {"plan": {"reasons": ["drift"]}},
        {"plan": {"reasons": [{"rule": "drift", "numbers": {"features": 0.5}}]}},
        {"config": {"retraining": {"schedule": {"cron": 5, "timezone": 7}}}},
        {"config": {"serving": 5, "retraining": {"schedule": {"cron": "* * *"}}}},
        {"files": [{"sha256": 5}]},
        {"spans": [{"files": [{}]}, {}]},
        {"started": "yesterday", "status": "running"},
        {"metrics": {"accuracy": 1e308, "other": -1e308}, "previous": {"accuracy": -math.inf}},
        {"comparisons": [{}], "artifacts": {"": {"": [""]}}, "warm_start": {"base": 5}},
    ],
)
def test_parts_of_no_known_shape_are_grey(plant, change):
    odd, last = plant.run(**change), plant.run()
    addresses = [f"/root/plant/run/{odd.run_id}", f"/compare?first=plant/{odd.run_id}&second=plant/{last.run_id}"]
    pages = ask([plant.path], "/", "/runs", f"/root/plant/model/{MODEL}", *addresses, f"{addresses[0]}/live")
    assert [status for status, *_ in pages] == [200] * 6
    assert table(pages[1][1], "runs")[0][:3] == [last.run_id, MODEL, "succeeded"]
    assert all(page.count("<section") for _, page, _ in pages)


def test_what_is_not_there(plant):
    run = plant.records[0].run_id
    missing = ["/absent", "/root/other/run/x", "/root/plant/run/2099", "/root/plant/model/fans", "/compare"]
    torn = "/root/plant/run/20250101-000000-000000"
    answers = ask([plant.path], *missing, torn, f"/compare?first=plant/{run}&second=plant/")
    assert [status for status, *_ in answers] == [404] * 7
    assert "the file is empty" in answers[5][1]


def test_changes_are_for_this_machine_alone(plant):
    with pytest.raises(UserError, match="knows no users"):
        serve_dashboard([plant.path], host="0.0.0.0", port=0, allow_changes=True)
    with pytest.raises(UserError, match="found no folder"):
        serve_dashboard([plant.path / "absent"], host="127.0.0.1", port=0)

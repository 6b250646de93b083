"""The page on a real server; in a real Chromium where there is one."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serve.http.conftest import Served, serve

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback") / "feedback.db"


@pytest.fixture(scope="module")
def rated(store: Path) -> Iterator[Served]:
    yield from serve("--feedback", str(store))


def test_browsers_get_the_page_and_balancers_an_object(rated: Served) -> None:
    page = httpx.get(rated.root, headers={"Accept": "text/html,*/*"}, trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert "https://" not in page.text
    assert httpx.get(rated.root, trust_env=False).json() == {}
    for name, status in (("page.js", 200), ("page.css", 200), ("index.html", 422), ("..%2f__init__.py", 404)):
        assert httpx.get(f"{rated.root}/page/{name}", trust_env=False).status_code == status


def test_ratings_over_http_are_stored(rated: Served) -> None:
    with httpx.Client(base_url=rated.root, trust_env=False, timeout=60) as http:
        answer = http.post("/v1/rerank", json={"query": "q", "documents": [{"text": "a", "id": "x"}, "b"]}).json()
        before = http.get("/v1/feedback").json()["stored"]
        for judgement in (
            {"document_id": "x", "stars": 4},
            {"document_id": "1", "thumb": "down", "comment": "no"},
            {"document_id": "x", "click": True},
        ):
            assert http.post("/v1/feedback", json={"request_id": answer["id"], **judgement}).status_code == 200
        after = http.get("/v1/feedback").json()["stored"]
        assert {kind: after[kind] - before[kind] for kind in after} == {"stars": 1, "thumb": 1, "click": 1}
        for body, status in (
            ({"request_id": "unknown", "document_id": "x", "stars": 4}, 404),
            ({"request_id": answer["id"], "document_id": "x"}, 400),
            ({"request_id": answer["id"], "document_id": "x", "stars": 6}, 400),
            ({"request_id": answer["id"], "document_id": "x", "stars": 4, "thumb": "up"}, 400),
        ):
            assert http.post("/v1/feedback", json=body).status_code == status


def test_without_a_store_there_is_no_such_route(http: httpx.Client) -> None:
    assert http.get("/v1/feedback").status_code == 404


@pytest.mark.verify
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_person_ranks_and_rates_by_keyboard_and_mouse(rated: Served, store: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    text = "The weather was fine. " * 150 + "Paris is the capital of France." + " It rained." * 300
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(rated.root)
        page.locator("#query").fill("What is the capital of France?")
        page.locator("#documents").fill(f'{{"id": "<b>long</b>", "text": "{text}"}}\nBerlin <img src=x>\n')
        page.locator("#query").press("Enter")
        page.get_by_text("2 documents ranked").wait_for()
        assert page.locator(".text").first.evaluate("box => box.scrollTop") > 0
        assert page.locator("mark").inner_text().count("capital") == 1
        assert page.locator("li").first.locator(".name").inner_text() == "<b>long</b>"
        assert page.locator("li img").count() == 0
        stars = page.get_by_role("button", name="4 of 5 stars: <b>long</b>")
        stars.focus()
        stars.press("Enter")
        page.get_by_text("Stored: 4 of 5 stars").wait_for()
        assert stars.get_attribute("aria-pressed") == "true"
        page.get_by_label("Compare with").select_option("default")
        page.get_by_role("button", name="Rank").click()
        page.locator("section").nth(1).wait_for()
        for name, width, dark in (("wide", 1280, "light"), ("narrow", 390, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=dark)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.screenshot(path=str(tmp_path / f"{name}.png"), full_page=True)
        browser.close()
    assert faults == []
    with sqlite3.connect(store) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        rows = [row for table in tables for row in database.execute(f"select * from {table}")]
    assert any("<b>long</b>" in map(str, row) and 4 in row for row in rows)

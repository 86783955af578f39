"""Every page in a real browser: light and dark, wide and phone, without a result, with trouble, with hostile text."""

import contextlib
from urllib.parse import quote, urlsplit

import pytest

pytestmark = pytest.mark.slow

DB = quote("shop/db/postgresql", safe="")
PAGES = {
    "": "Live, updated",
    "request-path": "Failing tier: Database.",
    f"check?check={DB}": "Last errors",
    "incidents": "1 open",
    "notifications": "Deliveries",
    "itself": "Worker and alert engine are at work",
    "events": "What happened",
}
SIZES = {"wide": (1600, 1000), "phone": (390, 844)}


class Visit:
    """A tab, what it complained about, and which hosts it asked."""

    def __init__(self, page, url):
        self.page, self.url = page, url
        self.complaints, self.hosts = [], set()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _hear(self, message):
        # Streamlit's front end finds its base path by asking for its health under the page's path first.
        asked = message.location.get("url", "")
        if message.type == "error" and "/_stcore/" not in asked:
            self.complaints.append(f"{message.text} {asked}")

    def open(self, path):
        self.page.goto(f"{self.url}/{path}")
        return self

    def shows(self, text, timeout=15_000):
        self.page.get_by_text(text).first.wait_for(state="visible", timeout=timeout)

    def is_clean(self):
        assert self.complaints == []
        assert self.hosts <= {"", urlsplit(self.url).netloc}


@pytest.fixture
def visit(browser):
    with contextlib.ExitStack() as stack:

        def start(served, size="wide", mode="light"):
            width, height = SIZES[size]
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=mode)
            stack.callback(context.close)
            return Visit(context.new_page(), served.url)

        yield start


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_shows_what_it_is_for(shop, estate, visit, size, mode):
    estate.beat_all(shop.made)
    visit = visit(shop, size, mode)
    for path, text in PAGES.items():
        visit.open(path).shows(text if path or size == "wide" else "checks")
        across = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert across <= 0, f"{path} scrolls sideways by {across}"
    visit.is_clean()
    background = visit.page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert background == ("rgb(15, 20, 27)" if mode == "dark" else "rgb(255, 255, 255)")


def test_request_path_says_who_is_at_fault_as_an_alert(shop, visit):
    visit = visit(shop).open("request-path")
    alert = visit.page.get_by_role("alert").filter(has_text="Failing tier")
    alert.wait_for()
    said = alert.inner_text()
    assert "Database" in said
    assert "connection refused" in said
    assert "only wait for db" in said
    assert "Start here: db" in said
    assert visit.page.locator("a.node.root").get_attribute("href") == f"/check?check={DB}"
    assert visit.page.get_by_role("table").get_by_text("waits for db").count() >= 4


def test_every_page_of_an_empty_store_says_so(empty, estate, visit):
    estate.beat_all(empty.made, estate.now_ms() - 600_000)
    visit = visit(empty)
    visit.open("").shows("No worker is running")
    assert visit.page.locator(".count.up .number").inner_text() == "0"
    visit.open("request-path").shows("Nothing is known of this site now")
    visit.open(f"check?check={DB}").shows("No results in this range")
    visit.open("incidents").shows("No incident is open")
    visit.open("notifications").shows("No message was ever due")
    visit.open("itself").shows("No worker and alert engine is at work")
    visit.open("events").shows("No events in this range")
    visit.is_clean()


def test_a_configuration_without_checks_says_what_to_do(estate, serve, visit, tmp_path):
    made = estate.make(tmp_path, {"sites": {}})
    with serve(made) as served:
        visit = visit(served)
        for path in ("", "request-path", "check"):
            visit.open(path).shows("Nothing is watched yet")
        visit.is_clean()


def test_a_store_that_cannot_be_read_is_said_on_every_page(estate, serve, visit, tmp_path):
    from sqlalchemy import text

    made = estate.make(tmp_path, estate.shop())
    with serve(made) as served:
        with made.engine.begin() as connection:
            for table in ("state", "process", "incident", "outbox", "silence"):
                connection.execute(text(f"DROP TABLE {table}"))
        visit = visit(served)
        visit.open("").shows("What you see is old")
        for path in ("request-path", f"check?check={DB}", "incidents", "notifications", "itself"):
            visit.open(path).shows("The store cannot be read")
            assert visit.page.locator(".badge.up").count() == 0


def test_the_wall_turns_loud_when_the_server_is_gone(estate, serve, visit, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    estate.history(made, 0.2)
    estate.beat_all(made)
    with serve(made) as served:
        visit = visit(served).open("")
        visit.shows("Live, updated")
        served.process.terminate()
        served.process.wait(10)
        visit.shows("What you see is old", timeout=40_000)
        assert visit.page.locator(".wall.stale").count() == 1


def test_filters_are_kept_in_the_address(shop, visit):
    visit = visit(shop).open("?state=down&view=rows&q=app")
    visit.page.locator(".item").first.wait_for()
    assert visit.page.locator(".item").count() == 2
    assert visit.page.locator(".item.rows.down").count() == 2
    visit.page.get_by_label("Search checks by name").fill("")
    visit.page.get_by_label("Filter by tier").select_option("database")
    visit.page.get_by_role("button", name="tiles").click()
    assert visit.page.evaluate("location.search") == "?state=down&view=tiles&tier=database"
    assert visit.page.locator(".item.tiles").count() == 2
    visit.page.locator("button.count.down").click()
    visit.page.reload()
    visit.page.locator(".item").first.wait_for()
    assert visit.page.locator(".item.tiles").count() == 2


def test_the_wall_is_used_with_the_keyboard(shop, visit):
    visit = visit(shop).open("")
    visit.page.locator(".item").first.wait_for()
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("db/postgresql")
    assert visit.page.locator(".item").count() == 1
    visit.page.locator(".item").first.focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/check?check=shop%2Fdb%2Fpostgresql*")
    visit.shows("Orders database")


def test_a_check_that_is_not_there_is_said(shop, visit):
    visit(shop).open("check?check=shop%2Fgone%2Fhttp").shows("Check not found")
    visit(shop).open("incidents?incident=gone").shows("Incident not found")


def test_run_now_asks_the_worker(shop, visit):
    from probes.store.asks import take_run_requests

    take_run_requests(shop.made.engine)
    visit = visit(shop).open(f"check?check={DB}")
    visit.page.get_by_role("button", name="Run now").click()
    visit.shows("A worker runs it")
    assert take_run_requests(shop.made.engine) == ["shop/db/postgresql"]


def test_acknowledging_an_incident_shows_who_has_it(estate, serve, visit, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    estate.history(made, 0.2)
    incident = estate.open_incident(made)
    with serve(made) as served:
        visit = visit(served).open(f"incidents?incident={incident}")
        visit.shows("nobody has it")
        visit.page.get_by_role("button", name="Acknowledge").click()
        visit.page.get_by_label("Your name").fill("ada")
        visit.page.get_by_label("Comment").fill("<b>looking</b>")
        visit.page.get_by_role("button", name="I have it").click()
        visit.shows("ada has it")
        visit.shows("<b>looking</b>")
        visit.is_clean()


def test_an_overloaded_worker_is_said_loudly_with_what_to_do(estate, serve, visit, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    estate.beat_all(made)
    estate.beat_overloaded(made)
    with serve(made) as served:
        visit = visit(served).open("itself")
        visit.shows("The worker is overloaded")
        visit.shows("Run more workers")
        visit.shows("34.0%")
        visit.is_clean()


def test_a_test_message_is_queued(shop, visit):
    from alerts.store import load_notifications

    visit = visit(shop).open("notifications")
    visit.page.get_by_role("button", name="Send a test").click()
    visit.shows("Queued")
    assert [one.notifier for one in load_notifications(shop.made.engine)] == ["ops"]
    visit.shows("[TEST]")


def test_what_changed_is_shown_on_the_check_and_among_all_events(estate, serve, visit, tmp_path):
    from probes.store.events import record_event

    made = estate.make(tmp_path, estate.shop())
    estate.history(made, 1)
    said = "certificate changed, issuer too: a1b2 by CN=Old → c3d4 by <b>New</b>"
    record_event(made.engine, estate.now_ms() - 60_000, "certificate", said, subject="shop/db/postgresql")
    record_event(made.engine, estate.now_ms() - 50_000, "deploy", "release 7")
    with serve(made) as served:
        visit = visit(served)
        visit.open(f"check?check={DB}").shows(said)
        visit.open("events").shows("release 7")
        assert visit.page.get_by_role("link", name="shop/db/postgresql").get_attribute("href") == f"/check?check={DB}"
        visit.open("events?kind=Certificate").shows(said)
        assert visit.page.get_by_text("release 7").count() == 0
        visit.is_clean()


def test_text_from_outside_is_never_markup(estate, serve, visit, tmp_path):
    from probes.result import Reason, Status

    made = estate.make(tmp_path, estate.hostile())
    checks = list(estate.checks_of(made))
    answers = {
        check: (Status.DOWN, Reason.QUERY_ERROR, payload)
        for check, payload in zip(checks, estate.PAYLOADS, strict=True)
    }
    estate.fail(made, answers, minutes=30)
    estate.open_incident(made, root="evil/t0", said=estate.PAYLOADS[0])
    estate.beat_all(made)
    with serve(made) as served:
        visit = visit(served)
        first = f"check?check={quote(checks[0], safe='')}"
        for path in ("", "?view=rows", "request-path", first, "incidents", "itself"):
            visit.open(path).shows(estate.PAYLOADS[0] if path not in ("itself",) else "at work")
            visit.page.wait_for_timeout(300)
            assert visit.page.evaluate("window.pwned") is None
        visit.is_clean()


def test_sample_data_is_said_where_the_range_reaches_it(estate, serve, visit, tmp_path):
    from probes.store.meta import set_meta

    made = estate.make(tmp_path, estate.shop())
    estate.history(made, 3)
    set_meta(made.engine, "sample_until_ms", str(estate.now_ms() - 3_600_000 * 2))
    with serve(made) as served:
        visit(served).open(f"check?check={DB}&range=6h").shows("is sample data")
        later = visit(served).open(f"check?check={DB}&range=1h")
        later.shows("Last errors")
        assert later.page.get_by_text("is sample data").count() == 0

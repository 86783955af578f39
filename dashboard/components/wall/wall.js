// The wall: every check at a glance, live. All text from outside is set with textContent, never as markup.
const POLL_MS = 5000;
const SILENT_MS = 15000; // without an answer for this long the page says so loudly
const LOOKS = ["down", "degraded", "unknown", "maintenance", "up"];
const HEIGHT = { up: 0.58, degraded: 0.8, down: 1, maintenance: 0.58, unknown: 0.22 };
const BAR_LOOKS = ["unknown", "up", "degraded", "down", "maintenance"];
const VIEWS = {
  cards: { height: 84, gap: 8, least: 300 },
  rows: { height: 36, gap: 0, least: 1e9 },
  tiles: { height: 44, gap: 6, least: 132 },
};
const walls = new WeakMap();

function latency(seconds) {
  if (seconds === null) return "—";
  const ms = seconds * 1000;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${seconds.toFixed(1)} s`;
}

function uptime(ratio) {
  if (ratio === null) return "—";
  return ratio >= 1 ? "100 %" : `${(Math.floor(ratio * 100000) / 1000).toFixed(3)} %`;
}

class Wall {
  constructor(parent) {
    this.parent = parent;
    this.rows = [];
    this.shown = [];
    this.etag = null;
    this.heardAt = 0; // when the server last answered
    this.startedAt = Date.now();
    this.items = new Map();
    this.filter = this.readUrl();
    this.build();
  }

  readUrl() {
    const query = new URLSearchParams(location.search);
    const states = (query.get("state") || "").split(",").filter((state) => LOOKS.includes(state));
    return {
      q: query.get("q") || "",
      site: query.get("site") || "",
      tier: query.get("tier") || "",
      tag: query.get("tag") || "",
      state: new Set(states),
      view: VIEWS[query.get("view")] ? query.get("view") : "cards",
    };
  }

  writeUrl() {
    const query = new URLSearchParams(location.search);
    const put = (name, value) => (value ? query.set(name, value) : query.delete(name));
    for (const name of ["q", "site", "tier", "tag"]) put(name, this.filter[name]);
    put("state", [...this.filter.state].join(","));
    put("view", this.filter.view === "cards" ? "" : this.filter.view);
    const text = query.toString();
    history.replaceState(history.state, "", location.pathname + (text ? `?${text}` : "") + location.hash);
  }

  build() {
    const root = (this.root = make("div", "wall"));
    this.alert = make("div", "banner");
    this.alert.setAttribute("role", "alert");
    this.alert.hidden = true;
    root.append(this.buildFilters(), this.buildCounts(), this.alert, this.buildStatus());
    this.list = make("div", "list");
    this.list.setAttribute("role", "list");
    this.list.setAttribute("aria-label", "Checks");
    this.empty = make("div", "empty");
    this.empty.hidden = true;
    root.append(this.list, this.empty);
    this.parent.append(root);
    this.list.addEventListener("keydown", (event) => this.onKey(event));
  }

  buildFilters() {
    const bar = make("div", "filters");
    this.search = make("input");
    Object.assign(this.search, { type: "search", placeholder: "Search name…", value: this.filter.q, spellcheck: false });
    this.search.setAttribute("aria-label", "Search checks by name");
    this.search.addEventListener("input", () => this.change("q", this.search.value));
    bar.append(this.search);
    this.selects = {};
    for (const [name, all] of [["site", "All sites"], ["tier", "All tiers"], ["tag", "All tags"]]) {
      const select = (this.selects[name] = make("select"));
      select.setAttribute("aria-label", `Filter by ${name}`);
      select.append(new Option(all, ""));
      select.addEventListener("change", () => this.change(name, select.value));
      bar.append(select);
    }
    const views = make("div", "views");
    views.setAttribute("role", "group");
    views.setAttribute("aria-label", "View");
    this.viewButtons = Object.keys(VIEWS).map((view) => {
      const button = make("button", "", view);
      button.type = "button";
      button.addEventListener("click", () => this.change("view", view));
      views.append(button);
      return button;
    });
    bar.append(views);
    return bar;
  }

  buildCounts() {
    const line = make("div", "counts");
    this.counts = {};
    for (const look of LOOKS) {
      const button = make("button", `count ${look}`);
      button.type = "button";
      const number = make("span", "number", "–");
      const word = make("span", "word");
      word.append(glyph(look), WORD[look]);
      button.append(word, number);
      button.addEventListener("click", () => this.toggle(look));
      this.counts[look] = { button, number };
      line.append(button);
    }
    const healthy = make("div", "count healthy");
    this.healthy = make("span", "number", "–");
    healthy.append(make("span", "word", "Healthy now"), this.healthy);
    line.append(healthy);
    return line;
  }

  buildStatus() {
    const line = make("div", "status");
    this.dot = make("span", "dot");
    this.live = make("span", "live", "Loading…");
    this.total = make("span", "total");
    const legend = make("span", "legend");
    for (const look of ["up", "degraded", "down", "maintenance", "unknown"]) {
      const entry = make("span", `key ${look}`);
      entry.append(glyph(look), WORD[look]);
      legend.append(entry);
    }
    line.append(this.dot, this.live, this.total, legend);
    return line;
  }

  change(name, value) {
    this.filter[name] = value;
    this.writeUrl();
    this.select();
  }

  toggle(look) {
    const { state } = this.filter;
    state.has(look) ? state.delete(look) : state.add(look);
    this.writeUrl();
    this.select();
  }

  start() {
    this.root.dataset.mode = isDark(this.parent.host || this.parent) ? "dark" : "light";
    if (this.timer) return;
    this.onScroll = () => this.schedule();
    this.onVisible = () => document.visibilityState === "visible" && this.poll();
    this.onSlash = (event) => {
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.composedPath()[0]?.tagName || "");
      if (event.key === "/" && !typing) {
        event.preventDefault();
        this.search.focus();
      }
    };
    document.addEventListener("scroll", this.onScroll, { capture: true, passive: true });
    document.addEventListener("visibilitychange", this.onVisible);
    document.addEventListener("keydown", this.onSlash);
    this.resize = new ResizeObserver(() => this.schedule());
    this.resize.observe(this.root);
    this.timer = setInterval(() => document.visibilityState === "visible" && this.poll(), POLL_MS);
    this.clock = setInterval(() => this.tell(), 1000);
    this.poll();
  }

  stop() {
    clearInterval(this.timer);
    clearInterval(this.clock);
    this.timer = null;
    document.removeEventListener("scroll", this.onScroll, { capture: true });
    document.removeEventListener("visibilitychange", this.onVisible);
    document.removeEventListener("keydown", this.onSlash);
    this.resize?.disconnect();
    this.abort?.abort();
  }

  async poll() {
    if (this.asking) return;
    this.asking = true;
    this.abort = new AbortController();
    const timer = setTimeout(() => this.abort.abort(), 10000);
    try {
      const headers = this.etag ? { "If-None-Match": this.etag } : {};
      const answer = await fetch("/api/v1/wall", { headers, cache: "no-store", signal: this.abort.signal });
      if (answer.status !== 200 && answer.status !== 304) {
        const problem = await answer.json().catch(() => ({}));
        this.trouble = problem.detail || problem.title || `the server answers ${answer.status}`;
        this.heardAt = 0;
      } else {
        this.trouble = "";
        this.heardAt = Date.now();
        const age = Number(answer.headers.get("Backwatch-Data-Age"));
        this.dataAt = answer.headers.has("Backwatch-Data-Age") ? Date.now() - age * 1000 : null;
        if (answer.status === 200) {
          this.etag = answer.headers.get("ETag");
          this.take(await answer.json());
        }
      }
    } catch (error) {
      if (error.name !== "AbortError" || this.timer) this.trouble = "the dashboard's server does not answer";
    } finally {
      clearTimeout(timer);
      this.asking = false;
      this.tell();
    }
  }

  take(data) {
    const names = data.fields;
    this.rows = data.rows.map((values) => {
      const row = {};
      names.forEach((name, index) => (row[name] = values[index]));
      row.text = `${row.check} ${row.title} ${row.kind} ${row.tags.join(" ")} ${row.message}`.toLowerCase();
      return row;
    });
    this.notices = data.notices;
    const tags = [...new Set(this.rows.flatMap((row) => row.tags))].sort();
    this.fill("site", Object.entries(data.sites));
    this.fill("tier", Object.entries(data.tiers));
    this.fill("tag", tags.map((tag) => [tag, tag]));
    this.tierWords = data.tiers;
    this.oneSite = Object.keys(data.sites).length === 1;
    this.items.forEach((item) => (item.row = null));
    this.select();
    if (!this.drawn && this.rows.length) {
      this.drawn = true;
      performance.mark("backwatch-first-card");
    }
  }

  fill(name, entries) {
    const select = this.selects[name];
    const key = JSON.stringify(entries);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      while (select.options.length > 1) select.remove(1);
      for (const [value, word] of entries) select.append(new Option(word, value));
    }
    const wanted = this.filter[name];
    if (wanted && !entries.some(([value]) => value === wanted)) select.append(new Option(`${wanted} (none)`, wanted));
    select.value = wanted;
    select.hidden = entries.length === 0 && !wanted;
  }

  select() {
    const { q, site, tier, tag, state, view } = this.filter;
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    const inScope = this.rows.filter(
      (row) =>
        (!site || row.site === site) &&
        (!tier || row.tier === tier) &&
        (!tag || row.tags.includes(tag)) &&
        words.every((word) => row.text.includes(word)),
    );
    const tally = Object.fromEntries(LOOKS.map((look) => [look, 0]));
    inScope.forEach((row) => tally[row.look]++);
    for (const look of LOOKS) {
      const { button, number } = this.counts[look];
      number.textContent = String(tally[look]);
      button.classList.toggle("some", tally[look] > 0);
      button.setAttribute("aria-pressed", String(state.has(look)));
    }
    const judged = inScope.length - tally.unknown - tally.maintenance;
    const share = judged ? (tally.up + tally.degraded) / judged : null;
    this.healthy.textContent = share === null ? "—" : share === 1 ? "100 %" : `${(Math.floor(share * 10000) / 100).toFixed(2)} %`;
    this.shown = inScope.filter((row) => !state.size || state.has(row.look));
    const rank = (row) => LOOKS.indexOf(row.look);
    this.shown.sort((a, b) => rank(a) - rank(b) || (rank(a) < 2 ? a.since - b.since : 0) || (a.check < b.check ? -1 : 1));
    this.viewButtons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === view)));
    this.total.textContent = `${this.shown.length.toLocaleString("en")} of ${this.rows.length.toLocaleString("en")} checks`;
    this.empty.hidden = this.shown.length > 0 || !this.etag;
    this.empty.textContent = this.rows.length
      ? "No check matches these filters."
      : "Nothing is watched yet. Add a site with targets and checks to the configuration, and they appear here.";
    if (this.view !== view) {
      this.view = view;
      this.items.forEach((item) => item.element.remove());
      this.items.clear();
    }
    this.draw();
  }

  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { height, gap, least } = VIEWS[this.view || "cards"];
    const box = this.list.getBoundingClientRect();
    if (!box.width) return;
    const columns = Math.max(1, Math.floor((box.width + gap) / (least + gap)));
    const width = (box.width - gap * (columns - 1)) / columns;
    const step = height + gap;
    this.columns = columns;
    this.list.style.height = `${Math.ceil(this.shown.length / columns) * step}px`;
    const first = Math.max(0, Math.floor(-box.top / step) - 2) * columns;
    const last = Math.min(this.shown.length, (Math.ceil((innerHeight - box.top) / step) + 2) * columns);
    for (const [index, item] of this.items) {
      if (index < first || index >= last) {
        item.element.remove();
        this.items.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      let item = this.items.get(index);
      if (!item) {
        item = this.makeItem();
        item.element.dataset.index = index;
        this.items.set(index, item);
        this.list.append(item.element);
      }
      const { style } = item.element;
      style.transform = `translate(${(index % columns) * (width + gap)}px, ${Math.floor(index / columns) * step}px)`;
      style.width = `${width}px`;
      style.height = `${height}px`;
      if (item.row !== this.shown[index] || item.width !== width) this.dress(item, this.shown[index], width);
    }
  }

  makeItem() {
    const element = make("a", "item");
    const parts = {};
    for (const name of ["badge", "name", "place", "strip", "uptime", "spark", "latency", "p95"]) {
      parts[name] = make(name === "strip" || name === "spark" ? "canvas" : "span", name);
      element.append(parts[name]);
    }
    element.setAttribute("role", "listitem");
    return { element, parts, row: null };
  }

  dress(item, row, width) {
    item.row = row;
    item.width = width;
    const { element, parts } = item;
    element.className = `item ${this.view} ${row.look}`;
    element.href = `/check?check=${encodeURIComponent(row.check)}`;
    const troubled = row.look === "down" || row.look === "degraded" || row.look === "unknown";
    const age = row.since ? span(Date.now() - row.since) : "";
    const lasts = troubled && age && this.view === "cards" ? ` ${age}` : "";
    parts.badge.replaceChildren(glyph(row.look), WORD[row.look] + lasts);
    const name = this.oneSite || this.view === "tiles" ? row.check.slice(row.site.length + 1) : row.check;
    parts.name.textContent = name;
    const place = this.tierWords[row.tier] || row.tier;
    parts.place.textContent = troubled && row.message ? row.message : `${place} · ${row.kind}`;
    parts.uptime.textContent = uptime(row.uptime_90d);
    parts.latency.textContent = row.look === "down" ? "—" : latency(row.duration_s);
    parts.p95.textContent = row.p95_s === null ? "" : `p95 ${latency(row.p95_s)}`;
    const since = row.since ? ` since ${new Date(row.since).toLocaleString()}` : "";
    element.title = `${row.title}\n${WORD[row.look]}${since}${row.message ? `\n${row.message}` : ""}`;
    element.setAttribute("aria-label", `${row.check}, ${WORD[row.look]}${age ? ` for ${age}` : ""}. ${row.message}`);
    if (this.view !== "tiles") {
      this.drawStrip(parts.strip, row.bars);
      this.drawSpark(parts.spark, row.spark);
    }
  }

  context(canvas) {
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    return [context, width, height];
  }

  colour(name) {
    return getComputedStyle(this.root).getPropertyValue(`--${name}`).trim();
  }

  drawStrip(canvas, bars) {
    const [context, width, height] = this.context(canvas);
    if (!width) return;
    const days = width < 120 ? 45 : 90;
    const shown = bars.slice(-days).padStart(days, "0");
    const step = width / days;
    const colours = BAR_LOOKS.map((look) => this.colour(look));
    for (let day = 0; day < days; day++) {
      const kind = Number(shown[day]);
      const tall = Math.max(2, height * HEIGHT[BAR_LOOKS[kind]]);
      context.fillStyle = colours[kind];
      context.globalAlpha = kind === 0 ? 0.5 : kind === 1 ? 0.82 : 1;
      context.fillRect(day * step, height - tall, Math.max(1, step - (step > 3 ? 1 : 0.6)), tall);
    }
  }

  drawSpark(canvas, spark) {
    const [context, width, height] = this.context(canvas);
    if (!width || !spark) return;
    const values = [...spark].map((digit) => (digit === "." ? null : parseInt(digit, 36) / 35));
    const x = (index) => (index / (values.length - 1)) * width;
    const y = (value) => height - 2 - value * (height - 5);
    const path = (close) => {
      let from = null;
      context.beginPath();
      values.forEach((value, index) => {
        if (value === null) return;
        from === null ? context.moveTo(x(index), y(value)) : context.lineTo(x(index), y(value));
        if (from === null) from = index;
        if (close && (index === values.length - 1 || values[index + 1] === null)) {
          context.lineTo(x(index), height);
          context.lineTo(x(from), height);
          context.closePath();
          from = null;
        } else if (values[index + 1] === null) from = null;
      });
    };
    context.strokeStyle = context.fillStyle = this.colour("accent");
    context.globalAlpha = 0.14;
    path(true);
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.4;
    path(false);
    context.stroke();
  }

  onKey(event) {
    const at = Number(event.target.closest?.(".item")?.dataset.index ?? NaN);
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
    if (Number.isNaN(at) || !move) return;
    const to = at + move;
    if (to < 0 || to >= this.shown.length) return;
    event.preventDefault();
    this.items.get(to)?.element.focus();
    this.schedule();
  }

  tell() {
    const now = Date.now();
    const quiet = now - (this.heardAt || this.startedAt);
    const lost = this.trouble && (quiet > SILENT_MS || !this.heardAt);
    const notices = lost
      ? [`What you see is old: ${this.trouble}${this.heardAt ? ` (last answer ${span(quiet)} ago)` : ""}. Trying again every ${POLL_MS / 1000} s.`]
      : (this.notices || []).map((notice) => notice.text + (notice.since ? ` (for ${span(now - notice.since)})` : ""));
    const text = notices.join("\n");
    if (this.alert.textContent !== text) this.alert.textContent = text;
    this.alert.hidden = !text;
    const stale = Boolean(text);
    this.root.classList.toggle("stale", Boolean(lost));
    this.dot.className = stale ? "dot bad" : "dot";
    if (!this.etag) this.live.textContent = this.trouble ? "No data" : "Loading…";
    else if (lost) this.live.textContent = `Not live, data from ${span(quiet)} ago`;
    else if (this.dataAt === null) this.live.textContent = "No result yet";
    else this.live.textContent = `${stale ? "Updated" : "Live, updated"} ${span(now - this.dataAt)} ago`;
  }
}

export default function (component) {
  const { parentElement } = component;
  let wall = walls.get(parentElement);
  if (!wall) {
    wall = new Wall(parentElement);
    walls.set(parentElement, wall);
  }
  wall.start();
  return () => wall.stop();
}

// Headings, figures, tables and timelines. All text from outside is set with textContent, never as markup.
const OLD_MS = 60000; // a page that was not renewed for this long says so loudly
const panels = new WeakMap();

function link(href) {
  // Only our own pages and plain web addresses: a javascript: URL never becomes a link.
  return typeof href === "string" && /^(\/(?!\/)|https?:\/\/)/.test(href) ? href : null;
}

function when(ms, skew) {
  const element = make("time", "when");
  element.dataset.at = String(ms);
  element.dateTime = new Date(ms).toISOString();
  element.title = new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  renew(element, skew);
  return element;
}

function renew(element, skew) {
  const left = Date.now() + skew - Number(element.dataset.at);
  const lasts = element.dataset.form === "lasts";
  const text = lasts ? span(left) : left < 0 ? `in ${span(-left)}` : `${span(left)} ago`;
  if (element.textContent !== text) element.textContent = text;
}

function since(ms, skew) {
  const begun = new Date(ms);
  const today = begun.toDateString() === new Date(Date.now() + skew).toDateString();
  const clock = begun.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
  const element = make("span");
  const lasts = when(ms, skew);
  lasts.dataset.form = "lasts";
  renew(lasts, skew);
  element.append(`since ${today ? "" : `${begun.toLocaleDateString()} `}${clock} (`, lasts, ")");
  return element;
}

function badge(look, word) {
  const element = make("span", `badge ${look}`);
  element.append(glyph(look), word || WORD[look]);
  return element;
}

function fill(parent, cell, skew) {
  if (cell === null || cell === undefined) return parent;
  if (typeof cell !== "object") {
    parent.append(String(cell));
    return parent;
  }
  if (Array.isArray(cell)) {
    cell.forEach((part) => fill(parent, part, skew));
    return parent;
  }
  let into = parent;
  const href = link(cell.href);
  if (href) {
    into = make("a", "link");
    into.href = href;
    parent.append(into);
  }
  if (cell.look) into.append(badge(cell.look, cell.word));
  else if (cell.since !== undefined) into.append(since(cell.since, skew));
  else if (cell.at !== undefined) into.append(cell.at === null ? "—" : when(cell.at, skew));
  else into.append(make(cell.strong ? "strong" : "span", `${cell.tone || ""} ${cell.mono ? "mono" : ""}`.trim(), cell.text));
  return parent;
}

const BLOCKS = {
  head(block, skew) {
    const element = make("header", "head");
    if (block.title) element.append(make("h1", "", block.title));
    if (block.look) element.append(badge(block.look, block.word));
    if (block.notes) {
      const notes = make("span", "notes");
      block.notes.forEach((note, index) => {
        if (index) notes.append(" · ");
        fill(notes, note, skew);
      });
      element.append(notes);
    }
    return element;
  },
  age(block, skew) {
    const element = make("p", "age");
    element.dataset.loaded = String(block.loaded);
    element.append(make("span", "dot"), make("span", "newest"));
    const text = element.lastChild;
    if (block.newest === null) text.textContent = "No result yet";
    else fill(text, [{ text: "Newest result " }, { at: block.newest }], skew);
    if (block.note) element.append(make("span", "", block.note));
    return element;
  },
  cards(block, skew) {
    const element = make("div", "figures");
    for (const item of block.items) {
      const card = make("div", `figure ${item.look || ""}`);
      card.append(make("span", "label", item.label), fill(make("span", "value"), item.value, skew));
      if (item.note) card.append(fill(make("span", "note"), item.note, skew));
      element.append(card);
    }
    return element;
  },
  table(block, skew) {
    const section = make("section", "table");
    if (block.title) section.append(make("h2", "", block.title));
    if (!block.rows.length) {
      section.append(make("p", "empty", block.empty || "Nothing here."));
      return section;
    }
    const frame = make("div", "frame");
    const table = make("table");
    const row = make("tr");
    block.columns.forEach((column) => {
      const cell = make("th", "", column);
      cell.scope = "col";
      row.append(cell);
    });
    const head = make("thead");
    head.append(row);
    const body = make("tbody");
    for (const values of block.rows) {
      const line = make("tr");
      values.forEach((value, index) => {
        const cell = fill(make("td"), value, skew);
        // Short words stay whole; only a long one (a URL, a path) may be broken to keep the table on the page.
        if (!cell.textContent.split(/\s+/).some((word) => word.length > 28)) cell.classList.add("words");
        cell.dataset.label = block.columns[index];
        line.append(cell);
      });
      body.append(line);
    }
    table.append(head, body);
    if (block.title) table.setAttribute("aria-label", block.title);
    frame.append(table);
    section.append(frame);
    return section;
  },
  sentence(block, skew) {
    const element = make("p", `sentence ${block.look}`);
    element.setAttribute("role", block.look === "up" ? "status" : "alert");
    element.append(glyph(block.look));
    return fill(element, block.parts, skew);
  },
  banner(block, skew) {
    const element = make("p", `banner ${block.tone || ""}`);
    element.setAttribute("role", block.tone === "quiet" ? "note" : "alert");
    return fill(element, block.parts, skew);
  },
  empty(block) {
    const element = make("div", "nothing");
    element.append(make("strong", "", block.title), make("span", "", block.text));
    return element;
  },
  text(block) {
    const element = make("pre", "text", block.text);
    element.tabIndex = 0;
    return element;
  },
  timeline(block, skew) {
    const section = make("section", "table");
    if (block.title) section.append(make("h2", "", block.title));
    const list = make("ol", "timeline");
    for (const item of block.items) {
      const entry = make("li", item.look || "");
      entry.append(when(item.at, skew), make("strong", "", item.kind));
      if (item.author) entry.append(make("span", "author", `by ${item.author}`));
      if (item.text) entry.append(make("span", "said", item.text));
      list.append(entry);
    }
    section.append(list);
    return section;
  },
};

class Panel {
  constructor(parent) {
    this.parent = parent;
    this.root = make("div", "panel");
    parent.append(this.root);
  }

  show(data) {
    this.root.dataset.mode = isDark(this.parent.host || this.parent) ? "dark" : "light";
    const text = JSON.stringify(data.blocks);
    if (text === this.text) return;
    this.text = text;
    this.skew = data.now - Date.now(); // ages by the server's clock: the viewer's may be wrong
    this.shownAt = Date.now();
    this.root.replaceChildren(...data.blocks.map((block) => BLOCKS[block.type](block, this.skew)));
  }

  start() {
    this.timer ??= setInterval(() => this.tick(), 1000);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }

  tick() {
    this.root.querySelectorAll("time.when").forEach((element) => renew(element, this.skew));
    const age = this.root.querySelector(".age");
    if (!age) return;
    const old = Date.now() + this.skew - Number(age.dataset.loaded) > OLD_MS;
    if (old !== age.classList.contains("old")) {
      age.classList.toggle("old", old);
      age.setAttribute("role", old ? "alert" : "note");
    }
  }
}

export default function (component) {
  const { data, parentElement } = component;
  let panel = panels.get(parentElement);
  if (!panel) {
    panel = new Panel(parentElement);
    panels.set(parentElement, panel);
  }
  panel.show(data);
  panel.start();
  return () => panel.stop();
}

// The request path: tiers as columns, who needs whom as lines. Text from outside is set with textContent only.
const drawings = new WeakMap();

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function place(look, x, y) {
  const group = draw("g", { transform: `translate(${x} ${y}) scale(0.8)`, class: `glyph ${look}` });
  group.append(shapeOf(look));
  return group;
}

function fit(text, room, size) {
  const most = Math.max(3, Math.floor(room / (size * 0.54)));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

const NODE = 56;
const NODE_GAP = 14;
const HEAD = 62;

class Path {
  constructor(parent) {
    this.parent = parent;
    this.root = document.createElement("div");
    this.root.className = "path";
    parent.append(this.root);
    this.resize = new ResizeObserver(() => this.draw());
  }

  show(data) {
    this.root.dataset.mode = isDark(this.parent.host || this.parent) ? "dark" : "light";
    const text = JSON.stringify(data);
    if (text === this.text) return;
    this.text = text;
    this.data = data;
    this.width = 0;
    this.draw();
  }

  start() {
    this.resize.observe(this.root);
  }

  stop() {
    this.resize.disconnect();
  }

  draw() {
    const width = this.root.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    const narrow = width < 640;
    const svg = narrow ? this.column(width) : this.row(width);
    this.root.replaceChildren(svg);
  }

  sheet(width, height) {
    const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group" });
    svg.setAttribute("aria-label", this.data.label);
    return svg;
  }

  row(available) {
    const { tiers } = this.data;
    const gap = 10;
    const wide = Math.max(138, (available - gap * (tiers.length - 1)) / tiers.length);
    const most = Math.max(...tiers.map((tier) => tier.nodes.length));
    const height = Math.max(250, HEAD + most * (NODE + NODE_GAP) + 26);
    const svg = this.sheet(wide * tiers.length + gap * (tiers.length - 1), height);
    const places = new Map();
    const boxes = draw("g");
    const nodes = draw("g");
    tiers.forEach((tier, index) => {
      const x = index * (wide + gap);
      boxes.append(this.tier(tier, x + 1, 1, wide - 2, height - 2));
      const tall = tier.nodes.length * (NODE + NODE_GAP) - NODE_GAP;
      const inset = Math.min(22, wide * 0.06);
      tier.nodes.forEach((node, place) => {
        const y = HEAD + (height - HEAD - tall) / 2 - 6 + place * (NODE + NODE_GAP);
        places.set(node.id, { x: x + inset, y, w: wide - 2 * inset, column: index });
        nodes.append(this.node(node, x + inset, y, wide - 2 * inset));
      });
    });
    svg.append(boxes, this.edges(places), nodes);
    return svg;
  }

  column(width) {
    const { tiers } = this.data;
    let y = 0;
    const boxes = draw("g");
    const nodes = draw("g");
    const places = new Map();
    tiers.forEach((tier) => {
      const tall = 54 + tier.nodes.length * (NODE + 8) + 4;
      boxes.append(this.tier(tier, 1, y + 1, width - 2, tall - 2));
      tier.nodes.forEach((node, place) => {
        const top = y + 54 + place * (NODE + 8);
        places.set(node.id, { x: 14, y: top, w: width - 40 });
        nodes.append(this.node(node, 14, top, width - 40));
      });
      y += tall + 8;
    });
    const svg = this.sheet(width, y);
    const lines = draw("g", { class: "edges" });
    // On a phone only the lines to the tier at fault are drawn, along the right edge.
    for (const edge of this.data.edges.filter((one) => one.kind === "root")) {
      const from = places.get(edge.from);
      const to = places.get(edge.to);
      const x = width - 26;
      const d = `M ${x} ${from.y + NODE / 2} C ${x + 22} ${from.y + NODE / 2}, ${x + 22} ${to.y + NODE / 2}, ${x} ${to.y + NODE / 2}`;
      lines.append(draw("path", { d, class: "edge root" }));
    }
    svg.append(boxes, nodes, lines);
    return svg;
  }

  tier(tier, x, y, width, height) {
    const group = draw("g", { class: `tier ${tier.look}${tier.root ? " root" : ""}` });
    group.append(draw("rect", { x, y, width, height, rx: 8, class: "box" }));
    const middle = { x: x + width / 2, "text-anchor": "middle" };
    group.append(draw("text", { ...middle, y: y + 24, class: "title" }, tier.word));
    const note = fit(tier.note, width - 34, 12.5);
    group.append(draw("text", { ...middle, x: middle.x + 7, y: y + 43, class: "note" }, note));
    group.append(place(tier.look, middle.x - note.length * 3.15 - 8, y + 34));
    return group;
  }

  node(node, x, y, width) {
    const link = draw("a", { href: node.href, class: `node ${node.look}${node.root ? " root" : ""}` });
    link.setAttribute("aria-label", `${node.name}: ${node.word}. ${node.text}`);
    link.append(draw("title", {}, `${node.name}\n${node.word}\n${node.text}`));
    link.append(draw("rect", { x, y, width, height: NODE, rx: 6, class: "card" }));
    link.append(draw("rect", { x, y, width: 5, height: NODE, rx: 1, class: "mark" }));
    link.append(draw("text", { x: x + 14, y: y + 23, class: "name" }, fit(node.name, width - 24, 13.5)));
    link.append(place(node.look, x + 14, y + 33));
    link.append(draw("text", { x: x + 28, y: y + 42, class: "say" }, fit(node.text, width - 34, 12.5)));
    return link;
  }

  edges(places) {
    const group = draw("g", { class: "edges" });
    const order = { calm: 0, soft: 0, wait: 1, root: 2 };
    for (const edge of [...this.data.edges].sort((a, b) => order[a.kind] - order[b.kind])) {
      const from = places.get(edge.from);
      const to = places.get(edge.to);
      if (!from || !to) continue;
      let d;
      const y1 = from.y + NODE / 2;
      const y2 = to.y + NODE / 2;
      if (from.column === to.column) {
        const x = from.x + from.w;
        d = `M ${x} ${y1} C ${x + 26} ${y1}, ${x + 26} ${y2}, ${x} ${y2}`;
      } else {
        const forward = to.column > from.column;
        const x1 = forward ? from.x + from.w : from.x;
        const x2 = forward ? to.x : to.x + to.w;
        const bend = Math.max(24, Math.abs(x2 - x1) * 0.42) * (forward ? 1 : -1);
        d = `M ${x1} ${y1} C ${x1 + bend} ${y1}, ${x2 - bend} ${y2}, ${x2} ${y2}`;
      }
      group.append(draw("path", { d, class: `edge ${edge.kind}` }));
    }
    return group;
  }
}

export default function (component) {
  const { data, parentElement } = component;
  let path = drawings.get(parentElement);
  if (!path) {
    path = new Path(parentElement);
    drawings.set(parentElement, path);
  }
  path.show(data);
  path.start();
  return () => path.stop();
}

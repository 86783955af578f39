// What the components share: words, shapes and small makers. It stands before each component's own script.
const SVG = "http://www.w3.org/2000/svg";
const WORD = { down: "Down", degraded: "Degraded", unknown: "Unknown", maintenance: "Maintenance", up: "Up" };
const SHAPES = {
  up: ["circle", { cx: 6, cy: 6, r: 5 }],
  degraded: ["path", { d: "M6 0.8 L11.6 11 H0.4 Z" }],
  down: ["path", { d: "M2.6 0.9 L6 4.2 L9.4 0.9 L11.1 2.6 L7.8 6 L11.1 9.4 L9.4 11.1 L6 7.8 L2.6 11.1 L0.9 9.4 L4.2 6 L0.9 2.6 Z" }],
  maintenance: ["path", { d: "M6 0.2 L11.8 6 L6 11.8 L0.2 6 Z" }],
  unknown: ["circle", { cx: 6, cy: 6, r: 4.4, fill: "none", stroke: "currentColor", "stroke-width": 1.6 }],
};

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined && text !== null) element.textContent = text;
  return element;
}

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// Drawn, because fonts differ too much in the size of these characters.
function shapeOf(look) {
  const [tag, attributes] = SHAPES[look];
  const shape = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries({ fill: "currentColor", ...attributes })) shape.setAttribute(name, value);
  return shape;
}

function glyph(look) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("class", `glyph ${look}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(shapeOf(look));
  return svg;
}

function isDark(host) {
  const colour = getComputedStyle(host).getPropertyValue("--st-background-color").trim();
  const hex = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(colour);
  const parts = hex ? hex.slice(1, 4).map((part) => parseInt(part, 16)) : (colour.match(/\d+/g) || [255, 255, 255]).map(Number);
  return parts[0] + parts[1] + parts[2] < 384;
}


// Elements made of plain text: nothing that a run says is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export const element = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

export const shape = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Show a line of text, or hide its element if there is none.
export function say(node, text) {
  if (node.textContent !== (text ?? "")) node.textContent = text ?? "";
  node.hidden = !text;
}

// JSON from the server; {trouble} in words if it cannot be reached.
export async function ask(path) {
  try {
    const answer = await fetch(path);
    if (answer.ok) return await answer.json();
    return { trouble: await answer.text() };
  } catch {
    return { trouble: "rtpd watch does not answer: it may have ended", gone: true };
  }
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Until somebody looks at the page.
export function shown() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => {
    document.addEventListener("visibilitychange", done, { once: true });
  }).then(shown);
}

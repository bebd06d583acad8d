// Keeps the page live. Without it the page is the same and reloads by itself every few seconds.
"use strict";

const content = document.getElementById("fleet");
const connection = document.getElementById("connection");

// Difference between this machine's clock and the doctor's, milliseconds.
let skew = 0;

// Makes `from` like `to` and touches only what differs, so that scrolling, selections and opened details survive.
function morph(from, to) {
  if (from.isEqualNode(to)) return;
  if (from.nodeType !== Node.ELEMENT_NODE || from.nodeName !== to.nodeName || from.id !== to.id) {
    from.replaceWith(to);
    return;
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  const before = [...from.childNodes];
  const after = [...to.childNodes];
  after.forEach((node, index) => (before[index] ? morph(before[index], node) : from.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

// The same words as the server's, see figures.rs.
function ago(milliseconds) {
  const s = Math.max(0, Math.floor(milliseconds / 1000));
  const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  if (s < 60) return `${s}s`;
  if (m < 60) return `${m}m${s % 60}s`;
  if (h < 24) return `${h}h${m % 60}m`;
  return `${d}d${h % 24}h`;
}

function tick() {
  const now = Date.now() - skew;
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(now - Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

function learnClock() {
  const now = Date.parse(content.firstElementChild?.dataset.now);
  if (!Number.isNaN(now)) skew = Date.now() - now;
}

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("open", () => (connection.textContent = "live"));
  source.addEventListener("fleet", (event) => {
    const template = document.createElement("template");
    template.innerHTML = event.data;
    morph(content.firstElementChild, template.content.firstElementChild);
    learnClock();
    tick();
  });
  source.addEventListener("error", () => {
    connection.textContent = "connection lost, trying again";
    // The browser retries by itself, except after an answer that is no event stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  });
}

learnClock();
setInterval(tick, 1000);
connect();

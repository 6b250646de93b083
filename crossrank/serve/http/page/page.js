"use strict";

const element = (id) => document.getElementById(id);
let keepsFeedback = false;

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function ask(path, body, headers = {}) {
  const key = element("key").value;
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = await response.json().catch(() => ({}));
  if (response.status === 401) element("keyed").hidden = false;
  if (!response.ok) throw Object.assign(new Error(content.message || `HTTP ${response.status}`), { status: response.status });
  return content;
}

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

/* A line of JSON with a text is a document; any other line is the text itself. */
function documentsOf(text) {
  return text.split("\n").filter((line) => line.trim()).map((line) => {
    try {
      const found = JSON.parse(line);
      if (typeof found.text === "string") return { text: found.title ? `${found.title}\n${found.text}` : found.text, id: found.id ?? found._id };
    } catch { /* no JSON */ }
    return { text: line };
  });
}

async function showModels() {
  const { data } = await ask("/v1/models");
  element("model").replaceChildren(...data.map((model) => make("option", { value: model.id }, model.id)));
  element("second").replaceChildren(make("option", { value: "" }, "no other"), ...data.map((model) => make("option", { value: model.id }, model.id)));
}

async function showStored() {
  try {
    const { stored } = await ask("/v1/feedback");
    keepsFeedback = true;
    const total = Object.values(stored).reduce((sum, count) => sum + count, 0);
    element("stored").textContent = `Ratings stored since the server started: ${total}`;
  } catch (error) {
    keepsFeedback = false;
    element("stored").textContent = error.status === 404 ? "This server keeps no ratings (serve --feedback FILE does)." : "";
  }
}

async function rank(model, query, documents) {
  const started = performance.now();
  const answer = await ask("/v1/rerank", {
    model, query, documents,
    crossrank: { score_kind: element("kind").value, long_document_strategy: element("long").value },
  });
  return { ...answer, seconds: (performance.now() - started) / 1000 };
}

function textOf(text, chunk) {
  const shown = make("div", { className: "text", tabIndex: 0 });
  if (!chunk) {
    shown.append(text);
    return shown;
  }
  const letters = Array.from(text);
  const part = (start, end) => letters.slice(start, end).join("");
  shown.append(part(0, chunk.start), make("mark", {}, part(chunk.start, chunk.end)), part(chunk.end));
  return shown;
}

function ratings(answer, documentId, name) {
  const group = make("div", { className: "ratings" });
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", `Rate ${name}`);
  const button = (label, title, judgement) => {
    const made = make("button", { type: "button", title }, label);
    made.setAttribute("aria-label", `${title}: ${name}`);
    made.setAttribute("aria-pressed", "false");
    made.addEventListener("click", async () => {
      try {
        await ask("/v1/feedback", { request_id: answer.id, document_id: documentId, ...judgement });
        const kind = Object.keys(judgement)[0];
        for (const other of group.children) if (other.dataset.kind === kind) other.setAttribute("aria-pressed", "false");
        made.setAttribute("aria-pressed", "true");
        say(`Stored: ${title} for ${name}`);
        await showStored();
      } catch (error) {
        say(error.message, true);
      }
    });
    made.dataset.kind = Object.keys(judgement)[0];
    return made;
  };
  for (let stars = 1; stars <= 5; stars += 1) group.append(button(`${stars}★`, `${stars} of 5 stars`, { stars }));
  group.append(button("good", "Thumb up", { thumb: "up" }), button("bad", "Thumb down", { thumb: "down" }));
  return group;
}

function shown(answer, documents) {
  const { model, version, timings_ms: times, chunks } = answer.crossrank;
  const scores = answer.results.map((result) => result.relevance_score);
  const isProbability = element("kind").value === "probability";
  const [low, high] = isProbability ? [0, 1] : [Math.min(...scores), Math.max(...scores)];
  const rows = answer.results.map((result, place) => {
    const found = documents[result.index];
    const name = found.id === undefined ? `document ${result.index + 1}` : String(found.id);
    const bar = make("meter", { min: 0, max: 1, value: high > low ? (result.relevance_score - low) / (high - low) : 1 });
    bar.setAttribute("aria-label", `Score of ${name}`);
    const head = make("div", { className: "score" }, make("span", { className: "rank" }, `${place + 1}`), bar, make("strong", {}, result.relevance_score.toFixed(4)));
    const chunk = chunks.find((part) => part.index === result.index);
    const row = make("li", {}, head, make("div", { className: "name" }, name), textOf(found.text, chunk));
    const documentId = found.id === undefined ? String(result.index) : String(found.id);
    if (keepsFeedback) row.append(ratings(answer, documentId, name));
    return row;
  });
  const parts = `${answer.usage.total_tokens} tokens in ${(answer.seconds * 1000).toFixed(0)} ms: tokenise ${times.tokenize.toFixed(1)}, queue ${times.queue.toFixed(1)}, compute ${times.compute.toFixed(1)} ms`;
  return make("section", {}, make("h2", {}, `${model} @ ${version}`), make("p", { className: "times" }, parts), make("ol", {}, ...rows));
}

async function submit(event) {
  event.preventDefault();
  say("Ranking …");
  try {
    if (!element("model").value) await showModels();
    await showStored();
    const documents = documentsOf(element("documents").value);
    const models = [element("model").value, element("second").value].filter(Boolean);
    const answers = await Promise.all(models.map((model) => rank(model, element("query").value, documents)));
    element("answers").replaceChildren(...answers.map((answer) => shown(answer, documents)));
    for (const mark of document.querySelectorAll("mark")) mark.parentElement.scrollTop = mark.offsetTop - mark.parentElement.offsetTop;
    say(`${documents.length} documents ranked`);
  } catch (error) {
    element("answers").replaceChildren();
    say(error.message, true);
  }
}

async function drop(event) {
  event.preventDefault();
  element("documents").classList.remove("over");
  const lines = await Promise.all(Array.from(event.dataTransfer.files).map(async (file) => {
    const text = await file.text();
    return file.name.endsWith(".jsonl") ? text.trimEnd() : JSON.stringify({ id: file.name, text });
  }));
  element("documents").value = lines.join("\n");
}

element("ask").addEventListener("submit", submit);
element("documents").addEventListener("drop", drop);
element("documents").addEventListener("dragover", (event) => { event.preventDefault(); element("documents").classList.add("over"); });
element("documents").addEventListener("dragleave", () => element("documents").classList.remove("over"));
showModels().then(showStored).catch((error) => say(error.message, true));

/* Debug overlay of the Kairos web SDK: messages that the page sent, decisions and their explanations.
   Loaded by kairos.debug(TOKEN); a server key makes the token (POST /v1/debug-tokens). */
(() => {
  "use strict";
  const k = window.kairos;
  if (!k || document.getElementById("kairos-debug")) return;

  const SHEET = `
    :host { all: initial; position: fixed; right: 12px; bottom: 12px; z-index: 2147483647; }
    section { box-sizing: border-box; width: min(420px, calc(100vw - 24px)); max-height: 70vh;
      overflow: auto; overflow-wrap: break-word; background: #fff; color: #1b1f24;
      border: 1px solid #8c959f; border-radius: 8px; box-shadow: 0 8px 28px #0004;
      font: 13px/1.45 system-ui, sans-serif; }
    header { position: sticky; top: 0; display: flex; gap: 8px; align-items: center;
      background: #0b3d5c; color: #fff; padding: 8px 12px; font-weight: 600; }
    header span { flex: 1; }
    button { font: inherit; cursor: pointer; border: 1px solid #8c959f; border-radius: 5px;
      background: #f6f8fa; color: #1b1f24; padding: 1px 8px; min-height: 28px; }
    article { padding: 8px 12px; border-top: 1px solid #d8dee4; }
    h3 { margin: 0 0 2px; font-size: 13px; }
    p { margin: 2px 0; white-space: pre-wrap; }
    .quiet { color: #59636e; }
    .filled { color: #0a6b2d; } .default { color: #59636e; } .late { color: #9a3412; }
    table { border-collapse: collapse; width: 100%; margin: 4px 0; }
    th, td { text-align: left; padding: 2px 6px 2px 0; border-bottom: 1px solid #eaeef2;
      vertical-align: top; }
    td.number, th.number { text-align: right; }
  `;
  const element = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const host = element("div");
  host.id = "kairos-debug";
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(SHEET);
  root.adoptedStyleSheets = [sheet];
  const panel = root.appendChild(element("section"));
  const header = panel.appendChild(element("header"));
  header.append(element("span", `Kairos ${k.version}`));
  const close = header.appendChild(element("button", "Close"));
  close.addEventListener("click", () => {
    k.off("note", draw);
    try { sessionStorage.removeItem("kairos_debug"); } catch { /* storage is blocked */ }
    host.remove();
  });
  const body = panel.appendChild(element("div"));
  const answers = new Map(); // explanations by decision

  const explain = async (decision) => {
    answers.set(decision, { words: "…" });
    draw();
    const post = { method: "POST", headers: { "Content-Type": "text/plain" }, credentials: "omit",
      body: JSON.stringify({ token: k.debugToken, decisionId: decision }) };
    try {
      const answer = await fetch(`${k.host}/v1/explain`, post);
      const reply = await answer.json();
      answers.set(decision, answer.ok ? reply : { words: reply.error.message });
    } catch (error) {
      answers.set(decision, { words: `The gateway does not answer: ${error.message}` });
    }
    draw();
  };
  const number = (value) => (typeof value === "number" ? String(+value.toFixed(3)) : String(value ?? ""));
  const table = (columns, rows) => {
    const node = element("table");
    const head = node.appendChild(element("tr"));
    const kind = (column) => (["p", "value", "cost", "score"].includes(column) ? "number" : "");
    columns.forEach((column) => head.append(element("th", column, kind(column))));
    for (const row of rows) {
      const line = node.appendChild(element("tr"));
      columns.forEach((column) => line.append(element("td", number(row[column]), kind(column))));
    }
    return node;
  };
  const explanation = (reply) => {
    const box = element("div");
    box.append(element("p", reply.words));
    for (const slot of reply.slots || []) {
      box.append(element("h3", slot.slot));
      if (slot.candidates.length)
        box.append(table(["treatment", "p", "value", "cost", "score", "fate"], slot.candidates));
      if (slot.rejected.length) box.append(table(["treatment", "stage", "words"], slot.rejected));
    }
    return box;
  };
  const decisionBox = (note) => {
    const box = element("article");
    const answer = note.answer;
    box.append(element("h3", `Decision in ${note.ms} ms`));
    if (!answer) {
      box.append(element("p", note.status ? `HTTP ${note.status}` : "no answer", "late"));
      return box;
    }
    const unknown = answer.unknown_placements || [];
    for (const [placement, actions] of Object.entries(answer.placements)) {
      const list = [].concat(actions || []).map((one) => `${one.offer} (${one.treatment})`).join(", ");
      const text = list || (unknown.includes(placement) ? "default: no channel has this placement"
        : answer.defaulted ? `default: ${(answer.reason || "no_answer").replaceAll("_", " ")}`
          : "default: nothing to say");
      box.append(element("p", `${placement}: ${text}`, list ? "filled" : "default"));
    }
    if (answer.decision_id) {
      box.append(element("p", answer.decision_id, "quiet"));
      const reply = answers.get(answer.decision_id);
      if (reply) box.append(explanation(reply));
      else {
        const why = box.appendChild(element("button", "Why, and why not?"));
        why.addEventListener("click", () => explain(answer.decision_id));
      }
    }
    return box;
  };
  const treatment = (token) => k.notes
    .flatMap((note) => Object.values((note.answer || {}).placements || {}).flat())
    .find((one) => one && one.token === token)?.treatment || "";
  const noteBox = (note) => {
    const box = element("article");
    const words = {
      queued: () => (note.path === "outcomes"
        ? `${note.body.outcome} ${treatment(note.body.token)}`
        : `${note.body.type} ${note.body.event || note.body.name || ""}`),
      sent: () => `${note.messages} to /v1/${note.path}: ${note.status || "no answer"}`,
      placement: () => `${note.placement}: ${note.state}`,
    }[note.what];
    box.append(element("p", `${note.what} ${words ? words() : ""}`, note.state || "quiet"));
    return box;
  };
  let drawing = 0;
  function draw() {
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => {
      const notes = [...k.notes].reverse();
      body.replaceChildren(...notes.map((note) => (note.what === "decided" ? decisionBox : noteBox)(note)));
    });
  }
  k.on("note", draw);
  document.body.append(host);
  draw();
})();

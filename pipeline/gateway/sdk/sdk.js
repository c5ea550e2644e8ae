/* Kairos web SDK: reports the events of a page to the gateway, and fills the page's placements.
   Usage: pipeline/gateway/sdk/README.md. This file is served unchanged. */
(() => {
  "use strict";
  const VERSION = "1.0.0";
  const w = window, d = document, nav = navigator;
  const stub = Array.isArray(w.kairos) ? w.kairos : Array.isArray(w.analytics) ? w.analytics : [];
  if (w.kairos && w.kairos.version) return;
  const script = d.currentScript;
  const attributes = script ? script.dataset : {};

  const MAX_ITEMS = 1000, MAX_CHARS = 1e6; // of the queue; above them, the oldest are dropped
  const BATCH_ITEMS = 100, BATCH_BYTES = 30000; // a page's end allows 64 KiB in flight: two requests
  const MESSAGE_CHARS = 200000, SEND_MS = 15000, FLUSH_MS = 300;
  const FIRST_WAIT_MS = 500, MAX_WAIT_MS = 60000, MAX_RETRY_AFTER_MS = 300000;
  const YEAR_S = 31536000, COOKIE_RENEWAL_MS = 2592e6;
  const SEEN_MS = 1000, HOLD_MS = 5000, ROUTE_MS = 50;
  const ID = "ajs_anonymous_id", USER = "ajs_user_id", TRAITS = "ajs_user_traits"; // Segment's names
  const GROUP = "ajs_group_id", GROUP_TRAITS = "ajs_group_properties";
  const PROOF = "kairos_proof", CONSENT = "kairos_consent", UNTIL = "kairos_until";
  const SERVER_COOKIE = "kairos_cookie", ITEM = "kairos_q_";

  let key = "", host = "", options = {}, domain;
  let open = false, denied = false; // open: consent allows storing and sending
  let backlog = []; // messages made before `open`
  let consentState = null; // consent by category

  // --- storage: localStorage where it is allowed, else memory ---

  const memory = {};
  const local = (use) => {
    try { return use(w.localStorage); } catch { return undefined; }
  };
  const read = (name) => {
    if (name in memory) return memory[name];
    return (open && local((s) => JSON.parse(s.getItem(name)))) || null;
  };
  const write = (name, value) => {
    const text = JSON.stringify(value);
    if (open && local((s) => (s.setItem(name, text), true))) delete memory[name];
    else memory[name] = value;
  };
  const erase = (name) => {
    delete memory[name];
    local((s) => s.removeItem(name));
  };
  const cookie = (name) => {
    try {
      const pair = d.cookie.split("; ").find((one) => one.startsWith(name + "="));
      return pair ? decodeURIComponent(pair.slice(name.length + 1)) : null;
    } catch { return null; }
  };
  const setCookie = (name, value, age, where) => {
    try {
      d.cookie = `${name}=${encodeURIComponent(value)};path=/;max-age=${age};samesite=lax` +
        (where ? `;domain=${where}` : "") + (location.protocol === "https:" ? ";secure" : "");
    } catch { /* a sandboxed frame has no cookies */ }
  };
  const topDomain = () => { // the shortest domain for which the browser accepts cookies
    if (domain !== undefined) return domain;
    const parts = location.hostname.split(".");
    domain = "";
    if (/^[\d.]+$|:/.test(location.hostname)) return domain;
    for (let n = 2; n <= parts.length && !domain; n++) {
      const candidate = parts.slice(-n).join(".");
      setCookie("kairos_try", "1", 9, candidate);
      if (cookie("kairos_try")) {
        domain = candidate;
        setCookie("kairos_try", "", 0, candidate);
      }
    }
    return domain;
  };

  // --- identity ---

  const uuid = () => {
    if (w.crypto.randomUUID) return w.crypto.randomUUID(); // only with https
    const hex = [...w.crypto.getRandomValues(new Uint8Array(16))]
      .map((n, i) => (i === 6 ? (n & 15) | 64 : i === 8 ? (n & 63) | 128 : n) + 256)
      .map((n) => n.toString(16).slice(1)).join("");
    return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
  const saveId = (id) => {
    write(ID, id);
    if (!open) return id;
    if (!options.serverCookie || cookie(ID) !== id) setCookie(ID, id, YEAR_S, topDomain());
    if (options.serverCookie) askForCookie(id);
    return id;
  };
  const anonymousId = () => {
    const id = (open && cookie(ID)) || read(ID);
    return id ? String(id) : saveId(uuid());
  };
  const askForCookie = (id) => { // browsers limit a script's cookie to days, unlike a server's
    const request = read(SERVER_COOKIE);
    if (request && request.id === id && Date.now() - request.at < COOKIE_RENEWAL_MS) return;
    write(SERVER_COOKIE, { id, at: Date.now() });
    post("cookie", { writeKey: key, anonymousId: id, domain: topDomain() }, { credentials: "include" })
      .then((answer) => answer.ok || erase(SERVER_COOKIE), () => erase(SERVER_COOKIE));
  };

  // --- messages ---

  const pageUrl = () => {
    const { href, hash } = location;
    return /^#[/!]/.test(hash) || !hash ? href : href.slice(0, -hash.length);
  };
  let previousUrl = ""; // of the previous route
  const pageFields = () => ({
    path: location.pathname, referrer: previousUrl || d.referrer, search: location.search,
    title: d.title, url: pageUrl(),
  });
  const contextNow = () => {
    const tags = {};
    new URLSearchParams(location.search).forEach((value, name) => {
      if (/^utm_./.test(name)) tags[name === "utm_campaign" ? "name" : name.slice(4)] = value;
    });
    const context = {
      page: pageFields(), userAgent: nav.userAgent, locale: nav.language, campaign: tags,
      library: { name: "kairos", version: VERSION },
      screen: { width: screen.width, height: screen.height, density: w.devicePixelRatio },
    };
    try { context.timezone = Intl.DateTimeFormat().resolvedOptions().timeZone; } catch { /* an old browser */ }
    return context;
  };
  const isObject = (value) => value !== null && typeof value === "object";
  const isName = (value) => typeof value === "string" || typeof value === "number";

  const message = (type, fields, more = {}) => {
    const msg = { type, messageId: uuid(), timestamp: new Date(), ...fields };
    const user = fields.userId === undefined ? read(USER) : fields.userId;
    if (user !== null) msg.userId = user;
    msg.context = { ...contextNow(), ...more.context };
    const proof = read(PROOF);
    if (proof && msg.userId === proof.id) msg.context.proof = proof.proof;
    for (const name of ["timestamp", "anonymousId", "integrations", "messageId"])
      if (more[name] !== undefined) msg[name] = more[name];
    return msg;
  };
  const complete = (msg) => { // add the fields that need consent to sending
    msg.anonymousId = msg.anonymousId || anonymousId();
    if (consentState) msg.context.consent = { categoryPreferences: consentState };
    return msg;
  };
  const send = (msg, callback, holdMs) => {
    let item = null;
    if (open) item = enqueue("b", complete(msg), holdMs);
    else if (!denied && backlog.push(msg) > MAX_ITEMS) backlog.shift();
    emit(msg.type, msg);
    if (typeof callback === "function") setTimeout(() => callback(msg), 0);
    return item;
  };
  const lastFunction = (args) => args.find((one) => typeof one === "function");

  // --- queue: one entry of localStorage per message, shared by tabs ---

  let lastStamp = 0;
  const enqueue = (path, body, holdMs) => {
    const text = JSON.stringify(body);
    if (text.length > MESSAGE_CHARS) return note("too large", { path, chars: text.length });
    lastStamp = Math.max(lastStamp + 1, Date.now());
    const name = ITEM + lastStamp.toString(36).padStart(9, "0") + uuid().slice(0, 8);
    const item = { path, key, body, until: holdMs ? Date.now() + holdMs : 0 };
    makeRoom(text.length);
    write(name, item);
    note("queued", { path, body });
    schedule(holdMs || FLUSH_MS);
    return name;
  };
  const names = () => {
    const stored = (open && local((s) => Object.keys(s))) || [];
    return [...new Set([...stored, ...Object.keys(memory)])].filter((n) => n.startsWith(ITEM)).sort();
  };
  const makeRoom = (chars) => {
    const allNames = names();
    const sizes = allNames.map((n) => (local((s) => s.getItem(n)) || JSON.stringify(memory[n]) || "").length);
    let total = sizes.reduce((sum, one) => sum + one, chars);
    for (let i = 0; i < allNames.length && (allNames.length - i >= MAX_ITEMS || total > MAX_CHARS); i++) {
      total -= sizes[i];
      erase(allNames[i]);
      note("dropped", { item: allNames[i] });
    }
  };

  // --- sending ---

  let timer = 0, timerAt = 0, busy = false, failures = 0, resumeAt = 0;
  const inFlight = new Set();
  const schedule = (ms) => {
    const at = Date.now() + ms;
    if (timer && timerAt <= at) return;
    clearTimeout(timer);
    timerAt = at;
    timer = setTimeout(() => { timer = 0; flush(); }, ms);
  };
  const post = (path, body, more) => {
    const stop = new AbortController();
    const timeout = setTimeout(() => stop.abort(), (more && more.ms) || SEND_MS);
    return fetch(`${host}/v1/${path}`, {
      method: "POST", headers: { "Content-Type": "text/plain" }, credentials: "omit",
      body: typeof body === "string" ? body : JSON.stringify(body), signal: stop.signal, ...more,
    }).finally(() => clearTimeout(timeout));
  };
  const envelope = (path, bodies) =>
    JSON.stringify({ writeKey: key, sentAt: new Date(), [path === "b" ? "batch" : path]: bodies });
  const bytes = (text) => new Blob([text]).size;
  const take = (limit, all) => { // return the oldest messages that fit into one request
    const batch = { path: "", names: [], bodies: [], bytes: 200 };
    let wait = 0;
    for (const name of names()) {
      const item = inFlight.has(name) ? null : read(name);
      if (!item || item.key !== key) continue;
      if (!all && item.until > Date.now()) {
        wait = Math.min(wait || Infinity, item.until - Date.now());
        continue;
      }
      const size = bytes(JSON.stringify(item.body)) + 1;
      if (batch.path && (batch.path !== item.path || batch.bytes + size > BATCH_BYTES)) break;
      batch.path = item.path;
      batch.names.push(name);
      batch.bodies.push(item.body);
      batch.bytes += size;
      if (batch.names.length >= limit) break;
    }
    if (wait) schedule(wait);
    return batch.path ? batch : null;
  };
  const retryAfterMs = (answer) => {
    const text = answer.headers.get("retry-after") || "";
    const ms = /^\d+$/.test(text) ? text * 1000 : Date.parse(text) - Date.now();
    return ms > 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : 0;
  };
  const dispatch = async (batch) => { // return the size of the next batch; 0: wait
    batch.names.forEach((name) => inFlight.add(name));
    let status = 0, wait = 0;
    try {
      const answer = await post(batch.path, envelope(batch.path, batch.bodies),
        { keepalive: batch.bytes <= BATCH_BYTES });
      status = answer.status;
      if (!answer.ok) wait = retryAfterMs(answer);
    } catch { /* offline, or no answer */ }
    batch.names.forEach((name) => inFlight.delete(name));
    note("sent", { path: batch.path, status, messages: batch.bodies.length });
    if (status === 413 && batch.names.length > 1) return Math.ceil(batch.names.length / 2);
    if ((status >= 200 && status < 300) || status === 400 || status === 413) {
      batch.names.forEach(erase); // messages refused with 400 are in the gateway's dead letters
      failures = resumeAt = 0;
      return BATCH_ITEMS;
    }
    const backOffMs = FIRST_WAIT_MS * 2 ** (status > 400 && status < 405 ? 7 : failures++);
    if (wait) write(UNTIL, Date.now() + wait); // every tab waits
    else resumeAt = Date.now() + Math.min(backOffMs, MAX_WAIT_MS) * (0.5 + Math.random() / 2);
    schedule(waitMs());
    return 0;
  };
  const waitMs = () =>
    Math.max(resumeAt - Date.now(), Math.min((read(UNTIL) || 0) - Date.now(), MAX_RETRY_AFTER_MS));
  const flush = async () => {
    if (busy || !open || nav.onLine === false) return;
    if (waitMs() > 0) return schedule(waitMs());
    busy = true;
    const drain = async (lock) => {
      if (lock === null) return schedule(1000); // another tab sends
      let batch, limit = BATCH_ITEMS;
      while (limit && (batch = take(limit))) limit = await dispatch(batch);
    };
    try {
      await nav.locks.request("kairos", { ifAvailable: true }, drain);
    } catch { // there are no locks without https, or with blocked storage
      await drain();
    }
    busy = false;
  };
  const leave = () => { // the page may end: requests in flight continue, other messages stay queued
    if (!open || nav.onLine === false || waitMs() > 0) return;
    for (let n = 0, batch; n < 2 && (batch = take(BATCH_ITEMS, true)); n++) {
      if (batch.bytes > BATCH_BYTES) return;
      if ("keepalive" in Request.prototype) dispatch(batch);
      else {
        batch.names.forEach((name) => inFlight.add(name));
        nav.sendBeacon(`${host}/v1/${batch.path}`, envelope(batch.path, batch.bodies));
      }
    }
  };

  // --- consent ---

  const release = () => {
    open = true;
    Object.keys(memory).forEach((name) => write(name, memory[name]));
    saveId(anonymousId());
    const waiting = backlog;
    backlog = [];
    waiting.forEach((msg) => enqueue("b", complete(msg)));
    schedule(0);
  };
  const forget = () => {
    [...names(), ID, USER, TRAITS, GROUP, GROUP_TRAITS, PROOF, CONSENT, UNTIL, SERVER_COOKIE].forEach(erase);
    setCookie(ID, "", 0, topDomain());
  };
  const consent = (choice) => {
    const categories = isObject(choice) ? { ...choice } : null;
    const granted = categories ? Object.values(categories).some(Boolean) : Boolean(choice);
    const changed = open && JSON.stringify(categories) !== JSON.stringify(consentState);
    consentState = categories;
    denied = !granted;
    if (changed) k.track("Segment Consent Preference Updated");
    if (granted) {
      if (key && !open) release();
      write(CONSENT, categories || true);
    } else {
      backlog = [];
      if (open) leave();
      open = false;
      forget();
    }
  };

  // --- events of the SDK itself ---

  const listeners = {};
  const emit = (name, ...args) => (listeners[name] || []).slice().forEach((one) => one(...args));
  const note = (what, data) => {
    k.notes.push({ at: Date.now(), what, ...data });
    if (k.notes.length > 200) k.notes.shift();
    emit("note");
    return null;
  };

  // --- placements ---

  const outcomeKeys = new Set();
  const outcome = (token, name, properties) => {
    if (!token || outcomeKeys.has(token + name) || !open) return;
    outcomeKeys.add(token + name);
    enqueue("outcomes", { token, outcome: name, timestamp: new Date(), properties });
  };
  const watch = (element, action) => { // report an impression after half was visible for a second
    const token = action.token;
    let viewTimer = 0;
    const eye = w.IntersectionObserver && new IntersectionObserver((entries) => {
      clearTimeout(viewTimer);
      const entry = entries[entries.length - 1];
      if (d.hidden || entry.intersectionRatio < 0.5) return;
      viewTimer = setTimeout(() => {
        if (d.hidden) return;
        eye.disconnect();
        d.removeEventListener("visibilitychange", again);
        outcome(token, "impression");
      }, SEEN_MS);
    }, { threshold: [0, 0.5] });
    const again = () => { // a new observation reports what is visible now
      clearTimeout(viewTimer);
      eye.disconnect();
      eye.observe(element);
    };
    if (eye) {
      eye.observe(element);
      d.addEventListener("visibilitychange", again);
    }
    const onClick = (event) => {
      if (event.button > 1 || !event.target.closest) return;
      if (event.target.closest("[data-kairos-dismiss]")) {
        event.preventDefault();
        outcome(token, "dismiss");
        element.hidden = true;
      } else if (event.target.closest("a,button,input,[data-kairos-click]")) outcome(token, "click");
    };
    element.addEventListener("click", onClick);
    element.addEventListener("auxclick", onClick);
  };

  const PLACE = /\{\{\s*([\w.-]+)\s*\}\}/g;
  const CODE = /^(on|style$|srcdoc$|to$|from$|values$)/i; // attributes without placeholders: they run or style
  const URLS = /^(href|src|action|formaction|data|poster|xlink:href)$/i;
  const safe = (url) => {
    try { return /^(https?|mailto|tel|sms):$/.test(new URL(url, location.href).protocol); } catch { return false; }
  };
  const fillIn = (node, content) => {
    const put = (text) => text.replace(PLACE, (_, name) => content[name] ?? "");
    for (const child of [...node.childNodes]) {
      if (child.nodeType === 3) child.data = put(child.data);
      if (child.nodeType !== 1 || /^(script|style)$/i.test(child.localName)) continue;
      const condition = child.getAttribute("data-kairos-if");
      if (condition && !content[condition]) { child.remove(); continue; }
      for (const { name, value } of [...child.attributes]) {
        if (value.search(PLACE) < 0) continue;
        const text = put(value);
        if (CODE.test(name) || (URLS.test(name) && !safe(text))) child.removeAttribute(name);
        else child.setAttribute(name, text);
      }
      const raw = child.getAttribute("data-kairos-html"); // the page opted in to HTML
      if (raw) child.innerHTML = content[raw] ?? "";
      else fillIn(child.content || child, content);
    }
    return node;
  };
  const plain = (content) => { // for a placement without a template
    const box = d.createElement(safe(content.url) && content.url ? "a" : "div");
    if (box.localName === "a") box.href = content.url;
    if (content.image && safe(content.image)) {
      const image = box.appendChild(d.createElement("img"));
      image.src = content.image;
      image.alt = content.alt || "";
    }
    for (const [name, tag] of [["title", "strong"], ["text", "p"]])
      if (content[name]) box.appendChild(d.createElement(tag)).textContent = content[name];
    return box;
  };
  const render = (element, actions) => {
    const id = element.dataset.kairosTemplate;
    const template = id ? d.getElementById(id) : element.querySelector("template");
    const boxes = actions.map((action) => {
      const box = d.createElement("div");
      box.append(template && template.content
        ? fillIn(d.importNode(template.content, true), action.content) : plain(action.content));
      return box;
    });
    element.replaceChildren(...boxes);
    boxes.forEach((box, i) => watch(box, actions[i]));
  };
  const isHidden = (element) => getComputedStyle(element).visibility === "hidden";
  const placements = () => [...d.querySelectorAll("[data-kairos-placement]:not([data-kairos-state])")];
  const hide = () => { // by CSS alone, so that elements without an answer show again
    const ms = options.hideMs ?? 300;
    const rules = `@keyframes kairos{to{visibility:visible}}[data-kairos-placement]:not([data-kairos-state])` +
      `{visibility:hidden;animation:kairos 0s ${ms}ms forwards}`;
    try {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(rules);
      d.adoptedStyleSheets = [...d.adoptedStyleSheets, sheet];
    } catch { /* an old browser shows the page's content until the answer arrives */ }
  };
  const ask = async (interaction, requests, ms) => {
    const body = { interaction: { ...interaction, writeKey: key, sentAt: new Date() }, placements: requests };
    if (ms) body.budget_ms = ms;
    const startedAt = Date.now();
    try {
      const answer = await post("decide", body, { ms: (ms || 1000) + 1000 });
      const reply = answer.ok ? await answer.json() : null;
      note("decided", { status: answer.status, ms: Date.now() - startedAt, answer: reply, body });
      return reply;
    } catch { return note("decided", { status: 0, ms: Date.now() - startedAt, answer: null, body }); }
  };
  const fill = async (msg, item) => {
    if (d.readyState === "loading")
      await new Promise((done) => d.addEventListener("DOMContentLoaded", done, { once: true }));
    const elements = placements().filter(isHidden).slice(0, 32);
    const free = () => {
      const entry = read(item);
      if (entry) write(item, { ...entry, until: 0 });
      schedule(FLUSH_MS);
    };
    if (!elements.length || options.placements === false) return free();
    const limits = {};
    for (const { dataset } of elements)
      limits[dataset.kairosPlacement] = Math.max(+dataset.kairosLimit || 0, limits[dataset.kairosPlacement] || 0);
    const requests = Object.entries(limits).map(([placement, limit]) => (limit ? { placement, limit } : placement));
    const answer = await ask(msg, requests, options.hideMs ?? 300);
    if (answer) erase(item); // the page is in Kafka
    else free();
    for (const element of elements) {
      const value = (answer && answer.placements[element.dataset.kairosPlacement]) || [];
      const actions = (Array.isArray(value) ? value : [value]).slice(0, +element.dataset.kairosLimit || 1);
      const isLate = !isHidden(element) || !element.isConnected;
      if (actions.length && !isLate) {
        try { render(element, actions); } catch (error) { note("failed", { error: String(error) }); }
      }
      const state = isLate ? "late" : actions.length ? "filled" : "default";
      element.dataset.kairosState = state;
      note("placement", { placement: element.dataset.kairosPlacement, state, actions });
      emit("placement", element, state, actions);
    }
  };

  // --- functions for pages ---

  let lastPage = "";
  const page = (type) => (...args) => {
    const names = args.filter(isName), objects = args.filter(isObject);
    const [category, title] = names.length > 1 ? names : [undefined, names[0]];
    const properties = { ...(type === "page" ? pageFields() : {}), ...objects[0] };
    const msg = message(type, { name: title, category, properties }, objects[1]);
    const first = type === "page";
    if (first) lastPage = pageUrl();
    const item = send(msg, lastFunction(args), first ? HOLD_MS : 0);
    if (first && item) fill(msg, item);
    return Promise.resolve(msg);
  };
  const mergeTraits = (part, id, traits) => ({ ...(id === undefined || id === read(part[0]) ? read(part[1]) : {}), ...traits });
  const reader = (part, more) => ({ id: () => read(part[0]), traits: () => read(part[1]) || {}, ...more });

  const k = {
    version: VERSION,
    notes: [],
    load(writeKey, settings = {}) {
      if (key) return k;
      key = writeKey;
      options = settings;
      host = (options.host || stub._host || host).replace(/\/$/, "");
      if (options.placements !== false) hide();
      const choice = local((s) => JSON.parse(s.getItem(CONSENT)));
      if (isObject(choice) && !consentState) consentState = choice;
      if (!denied && (options.consent !== "required" || choice || consentState)) release();
      if (options.spa !== false) watchRoutes();
      emit("ready");
      return k;
    },
    track(event, properties, more, callback) {
      const args = [properties, more, callback];
      const msg = message("track", { event, properties: isObject(properties) ? properties : {} }, isObject(more) ? more : {});
      send(msg, lastFunction(args));
      return Promise.resolve(msg);
    },
    page: page("page"),
    screen: page("screen"),
    identify(...args) {
      const [id, ...rest] = isName(args[0]) ? args : [undefined, ...args.filter((one) => one != null)];
      const objects = rest.filter(isObject), more = objects[1] || {};
      const traits = mergeTraits([USER, TRAITS], id, objects[0]);
      write(TRAITS, traits);
      if (id !== undefined) write(USER, String(id));
      if (more.proof) write(PROOF, { id: read(USER), proof: more.proof });
      const msg = message("identify", { traits }, more);
      send(msg, lastFunction(args));
      return Promise.resolve(msg);
    },
    group(...args) {
      if (!args.length) return reader([GROUP, GROUP_TRAITS]);
      const [id, ...rest] = isName(args[0]) ? args : [undefined, ...args];
      const objects = rest.filter(isObject);
      const traits = mergeTraits([GROUP, GROUP_TRAITS], id, objects[0]);
      write(GROUP_TRAITS, traits);
      if (id !== undefined) write(GROUP, String(id));
      const msg = message("group", { groupId: read(GROUP), traits }, objects[1]);
      send(msg, lastFunction(args));
      return Promise.resolve(msg);
    },
    alias(to, from, more, callback) {
      const previousId = isName(from) ? from : read(USER) || anonymousId();
      const msg = message("alias", { userId: to, previousId }, isObject(from) ? from : more || {});
      send(msg, lastFunction([from, more, callback]));
      return Promise.resolve(msg);
    },
    user: () => reader([USER, TRAITS], { anonymousId: (id) => (id ? saveId(String(id)) : anonymousId()) }),
    setAnonymousId: (id) => saveId(String(id)),
    reset() {
      [ID, USER, TRAITS, GROUP, GROUP_TRAITS, PROOF, SERVER_COOKIE].forEach(erase);
      if (open) setCookie(ID, "", 0, topDomain());
      outcomeKeys.clear();
      emit("reset");
    },
    ready(callback) {
      const done = new Promise((ok) => (key ? ok() : k.once("ready", ok)));
      return typeof callback === "function" ? done.then(callback) : done;
    },
    on: (event, callback) => ((listeners[event] = listeners[event] || []).push(callback), k),
    off: (event, callback) => ((listeners[event] = (listeners[event] || []).filter((one) => one !== callback)), k),
    once(event, callback) {
      const once = (...args) => (k.off(event, once), callback(...args));
      return k.on(event, once);
    },
    consent,
    flush: () => flush(),
    outcome,
    watch,
    async decide(requests, more = {}, callback) {
      const msg = message(more.type || "track", { event: more.event || "Placements Requested", name: more.name,
        properties: more.properties || {} }, more);
      const answer = (open && (await ask(complete(msg), requests, more.budgetMs))) || {
        decision_id: null, defaulted: true,
        placements: Object.fromEntries(requests.map((one) => (isObject(one) ? [one.placement, []] : [one, null]))),
      };
      if (callback) callback(answer);
      return answer;
    },
    debug(token) {
      try {
        if (typeof token === "string") sessionStorage.setItem("kairos_debug", token);
        token = sessionStorage.getItem("kairos_debug");
      } catch { /* for this page only */ }
      k.debugToken = token;
      k.host = host;
      const overlay = d.createElement("script");
      overlay.src = `${host}/sdk-debug.js`;
      d.head.append(overlay);
    },
  };
  const follow = (event) => (targets, what, properties) => {
    const list = targets instanceof Element ? [targets] : [...(targets || [])];
    const value = (one, element) => (typeof one === "function" ? one(element) : one);
    list.forEach((element) => element.addEventListener(event, () =>
      k.track(value(what, element), value(properties, element))));
    return k;
  };
  k.trackLink = k.trackClick = follow("click");
  k.trackForm = k.trackSubmit = follow("submit");
  k.pageview = k.page;

  const watchRoutes = () => {
    let currentUrl = pageUrl();
    const onMove = () => {
      const now = pageUrl();
      if (now === currentUrl) return;
      currentUrl = now;
      if (!lastPage) return;
      if (lastPage !== now) previousUrl = lastPage;
      setTimeout(() => { if (currentUrl === now && lastPage !== now) k.page(); }, ROUTE_MS);
    };
    for (const method of ["pushState", "replaceState"]) {
      const original = history[method];
      history[method] = function (...args) {
        const result = original.apply(this, args);
        onMove();
        return result;
      };
    }
    w.addEventListener("popstate", onMove);
    w.addEventListener("hashchange", onMove);
    w.addEventListener("pageshow", (event) => { if (event.persisted && lastPage) k.page(); });
  };

  w.addEventListener("online", () => { failures = resumeAt = 0; schedule(0); });
  w.addEventListener("pagehide", leave);
  d.addEventListener("visibilitychange", () => (d.hidden ? leave() : schedule(FLUSH_MS)));

  if (script && script.src) host = script.src.replace(/\/(sdk[^/]*|analytics\.js\/.*)$/, "");
  w.kairos = k;
  if (!w.analytics || w.analytics === stub) w.analytics = k;
  if (attributes.writeKey) {
    k.load(attributes.writeKey, { consent: attributes.consent, spa: attributes.spa !== "false", serverCookie: "serverCookie" in attributes,
      placements: attributes.placements !== "false", hideMs: attributes.hideMs === undefined ? undefined : +attributes.hideMs });
    if (attributes.page !== "false") k.page();
  }
  if (stub._writeKey) k.load(stub._writeKey, stub._loadOptions); // by Segment's own snippet
  const calls = stub.filter(Array.isArray);
  [...calls.filter((one) => one[0] === "load"), ...calls.filter((one) => one[0] !== "load")]
    .forEach(([method, ...args]) => typeof k[method] === "function" && k[method](...args.filter((one) => !(one && one.__t)))); // Segment's stub adds the page
  const match = /[#?&]kairos_debug=([^&#]+)/.exec(location.href);
  try { if (match || sessionStorage.getItem("kairos_debug")) k.debug(match && decodeURIComponent(match[1])); } catch { /* blocked */ }
})();

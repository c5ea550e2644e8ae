/* Kairos web SDK: tells the gateway what happens on a page, and fills its placements.
   How to use it: pipeline/gateway/sdk/README.md. Served as it stands here. */
(() => {
  "use strict";
  const VERSION = "1.0.0";
  const w = window, d = document, nav = navigator;
  const queued = Array.isArray(w.kairos) ? w.kairos : Array.isArray(w.analytics) ? w.analytics : [];
  if (w.kairos && w.kairos.version) return;
  const script = d.currentScript;
  const given = script ? script.dataset : {};

  const MOST_ITEMS = 1000, MOST_CHARS = 1e6; // of the queue; beyond, the oldest go
  const BATCH_ITEMS = 100, BATCH_BYTES = 30000; // two requests fit into a page's end: 64 KiB in all
  const MESSAGE_CHARS = 200000, SEND_MS = 15000, FLUSH_MS = 300;
  const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 60000, LONGEST_RETRY_AFTER_MS = 300000;
  const YEAR_S = 31536000, COOKIE_RENEWAL_MS = 2592e6;
  const SEEN_MS = 1000, HOLD_MS = 5000, ROUTE_MS = 50;
  const ID = "ajs_anonymous_id", USER = "ajs_user_id", TRAITS = "ajs_user_traits"; // Segment's names
  const GROUP = "ajs_group_id", GROUP_TRAITS = "ajs_group_properties";
  const PROOF = "kairos_proof", CONSENT = "kairos_consent", UNTIL = "kairos_until";
  const SERVER_COOKIE = "kairos_cookie", ITEM = "kairos_q_";

  let key = "", host = "", options = {}, domain;
  let open = false, denied = false; // open: messages may be stored and sent
  let held = []; // messages from before `open`
  let consented = null; // categories

  // --- storage: localStorage where it may be used, else memory ---

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
      const found = d.cookie.split("; ").find((one) => one.startsWith(name + "="));
      return found ? decodeURIComponent(found.slice(name.length + 1)) : null;
    } catch { return null; }
  };
  const setCookie = (name, value, age, where) => {
    try {
      d.cookie = `${name}=${encodeURIComponent(value)};path=/;max-age=${age};samesite=lax` +
        (where ? `;domain=${where}` : "") + (location.protocol === "https:" ? ";secure" : "");
    } catch { /* a sandboxed frame has no cookies */ }
  };
  const topDomain = () => { // the shortest one that the browser lets this page set cookies for
    if (domain !== undefined) return domain;
    const parts = location.hostname.split(".");
    domain = "";
    if (/^[\d.]+$|:/.test(location.hostname)) return domain;
    for (let n = 2; n <= parts.length && !domain; n++) {
      const tried = parts.slice(-n).join(".");
      setCookie("kairos_try", "1", 9, tried);
      if (cookie("kairos_try")) {
        domain = tried;
        setCookie("kairos_try", "", 0, tried);
      }
    }
    return domain;
  };

  // --- identity ---

  const uuid = () => {
    if (w.crypto.randomUUID) return w.crypto.randomUUID(); // https only
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
    const known = (open && cookie(ID)) || read(ID);
    return known ? String(known) : saveId(uuid());
  };
  const askForCookie = (id) => { // browsers cut a script's cookies to days, a server's not
    const asked = read(SERVER_COOKIE);
    if (asked && asked.id === id && Date.now() - asked.at < COOKIE_RENEWAL_MS) return;
    write(SERVER_COOKIE, { id, at: Date.now() });
    post("cookie", { writeKey: key, anonymousId: id, domain: topDomain() }, { credentials: "include" })
      .then((answer) => answer.ok || erase(SERVER_COOKIE), () => erase(SERVER_COOKIE));
  };

  // --- messages ---

  const pageUrl = () => {
    const { href, hash } = location;
    return /^#[/!]/.test(hash) || !hash ? href : href.slice(0, -hash.length);
  };
  let before = ""; // the route before this one
  const pageFields = () => ({
    path: location.pathname, referrer: before || d.referrer, search: location.search,
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
    try { context.timezone = Intl.DateTimeFormat().resolvedOptions().timeZone; } catch { /* old */ }
    return context;
  };
  const isObject = (value) => value !== null && typeof value === "object";
  const isName = (value) => typeof value === "string" || typeof value === "number";

  const message = (type, fields, more = {}) => {
    const made = { type, messageId: uuid(), timestamp: new Date(), ...fields };
    const user = fields.userId === undefined ? read(USER) : fields.userId;
    if (user !== null) made.userId = user;
    made.context = { ...contextNow(), ...more.context };
    const proof = read(PROOF);
    if (proof && made.userId === proof.id) made.context.proof = proof.proof;
    for (const name of ["timestamp", "anonymousId", "integrations", "messageId"])
      if (more[name] !== undefined) made[name] = more[name];
    return made;
  };
  const complete = (made) => { // what is known only once the message may be sent
    made.anonymousId = made.anonymousId || anonymousId();
    if (consented) made.context.consent = { categoryPreferences: consented };
    return made;
  };
  const send = (made, callback, holdMs) => {
    let item = null;
    if (open) item = enqueue("b", complete(made), holdMs);
    else if (!denied && held.push(made) > MOST_ITEMS) held.shift();
    emit(made.type, made);
    if (typeof callback === "function") setTimeout(() => callback(made), 0);
    return item;
  };
  const lastFunction = (args) => args.find((one) => typeof one === "function");

  // --- queue: one entry of localStorage per message, shared by tabs ---

  let last = 0;
  const enqueue = (path, body, holdMs) => {
    const text = JSON.stringify(body);
    if (text.length > MESSAGE_CHARS) return note("too large", { path, chars: text.length });
    last = Math.max(last + 1, Date.now());
    const name = ITEM + last.toString(36).padStart(9, "0") + uuid().slice(0, 8);
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
    const every = names();
    const sizes = every.map((n) => (local((s) => s.getItem(n)) || JSON.stringify(memory[n]) || "").length);
    let total = sizes.reduce((sum, one) => sum + one, chars);
    for (let i = 0; i < every.length && (every.length - i >= MOST_ITEMS || total > MOST_CHARS); i++) {
      total -= sizes[i];
      erase(every[i]);
      note("dropped", { item: every[i] });
    }
  };

  // --- sending ---

  let timer = 0, timerAt = 0, busy = false, failures = 0, resumeAt = 0;
  const flying = new Set();
  const schedule = (ms) => {
    const at = Date.now() + ms;
    if (timer && timerAt <= at) return;
    clearTimeout(timer);
    timerAt = at;
    timer = setTimeout(() => { timer = 0; flush(); }, ms);
  };
  const post = (path, body, more) => {
    const stop = new AbortController();
    const late = setTimeout(() => stop.abort(), (more && more.ms) || SEND_MS);
    return fetch(`${host}/v1/${path}`, {
      method: "POST", headers: { "Content-Type": "text/plain" }, credentials: "omit",
      body: typeof body === "string" ? body : JSON.stringify(body), signal: stop.signal, ...more,
    }).finally(() => clearTimeout(late));
  };
  const envelope = (path, bodies) =>
    JSON.stringify({ writeKey: key, sentAt: new Date(), [path === "b" ? "batch" : path]: bodies });
  const bytes = (text) => new Blob([text]).size;
  const take = (most, all) => { // the oldest that go together
    const batch = { path: "", names: [], bodies: [], bytes: 200 };
    let wait = 0;
    for (const name of names()) {
      const item = flying.has(name) ? null : read(name);
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
      if (batch.names.length >= most) break;
    }
    if (wait) schedule(wait);
    return batch.path ? batch : null;
  };
  const retryAfterMs = (answer) => {
    const text = answer.headers.get("retry-after") || "";
    const ms = /^\d+$/.test(text) ? text * 1000 : Date.parse(text) - Date.now();
    return ms > 0 ? Math.min(ms, LONGEST_RETRY_AFTER_MS) : 0;
  };
  const dispatch = async (batch) => { // true: go on with the next
    batch.names.forEach((name) => flying.add(name));
    let status = 0, wait = 0;
    try {
      const answer = await post(batch.path, envelope(batch.path, batch.bodies),
        { keepalive: batch.bytes <= BATCH_BYTES });
      status = answer.status;
      if (!answer.ok) wait = retryAfterMs(answer);
    } catch { /* offline, or nobody answers */ }
    batch.names.forEach((name) => flying.delete(name));
    note("sent", { path: batch.path, status, messages: batch.bodies.length });
    if (status === 413 && batch.names.length > 1) return Math.ceil(batch.names.length / 2);
    if ((status >= 200 && status < 300) || status === 400 || status === 413) {
      batch.names.forEach(erase); // what a 400 refuses is in the gateway's dead letters
      failures = resumeAt = 0;
      return BATCH_ITEMS;
    }
    const most = FIRST_WAIT_MS * 2 ** (status > 400 && status < 405 ? 7 : failures++);
    if (wait) write(UNTIL, Date.now() + wait); // every tab waits
    else resumeAt = Date.now() + Math.min(most, LONGEST_WAIT_MS) * (0.5 + Math.random() / 2);
    schedule(waitMs());
    return 0;
  };
  const waitMs = () =>
    Math.max(resumeAt - Date.now(), Math.min((read(UNTIL) || 0) - Date.now(), LONGEST_RETRY_AFTER_MS));
  const flush = async () => {
    if (busy || !open || nav.onLine === false) return;
    if (waitMs() > 0) return schedule(waitMs());
    busy = true;
    const drain = async (lock) => {
      if (lock === null) return schedule(1000); // another tab sends
      let batch, most = BATCH_ITEMS;
      while (most && (batch = take(most))) most = await dispatch(batch);
    };
    try {
      await nav.locks.request("kairos", { ifAvailable: true }, drain);
    } catch { // no locks without https, nor where storage is blocked
      await drain();
    }
    busy = false;
  };
  const leave = () => { // the page may end: its requests go on, and what they do not take stays queued
    if (!open || nav.onLine === false || waitMs() > 0) return;
    for (let n = 0, batch; n < 2 && (batch = take(BATCH_ITEMS, true)); n++) {
      if (batch.bytes > BATCH_BYTES) return;
      if ("keepalive" in Request.prototype) dispatch(batch);
      else {
        batch.names.forEach((name) => flying.add(name));
        nav.sendBeacon(`${host}/v1/${batch.path}`, envelope(batch.path, batch.bodies));
      }
    }
  };

  // --- consent ---

  const release = () => {
    open = true;
    Object.keys(memory).forEach((name) => write(name, memory[name]));
    saveId(anonymousId());
    const waiting = held;
    held = [];
    waiting.forEach((made) => enqueue("b", complete(made)));
    schedule(0);
  };
  const forget = () => {
    [...names(), ID, USER, TRAITS, GROUP, GROUP_TRAITS, PROOF, CONSENT, UNTIL, SERVER_COOKIE].forEach(erase);
    setCookie(ID, "", 0, topDomain());
  };
  const consent = (choice) => {
    const categories = isObject(choice) ? { ...choice } : null;
    const yes = categories ? Object.values(categories).some(Boolean) : Boolean(choice);
    const changed = open && JSON.stringify(categories) !== JSON.stringify(consented);
    consented = categories;
    denied = !yes;
    if (changed) k.track("Segment Consent Preference Updated");
    if (yes) {
      if (key && !open) release();
      write(CONSENT, categories || true);
    } else {
      held = [];
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

  const told = new Set();
  const outcome = (token, name, properties) => {
    if (!token || told.has(token + name) || !open) return;
    told.add(token + name);
    enqueue("outcomes", { token, outcome: name, timestamp: new Date(), properties });
  };
  const watch = (element, action) => { // an impression is half of it for a second
    const token = action.token;
    let seen = 0;
    const eye = w.IntersectionObserver && new IntersectionObserver((entries) => {
      clearTimeout(seen);
      const entry = entries[entries.length - 1];
      if (d.hidden || entry.intersectionRatio < 0.5) return;
      seen = setTimeout(() => {
        if (d.hidden) return;
        eye.disconnect();
        d.removeEventListener("visibilitychange", again);
        outcome(token, "impression");
      }, SEEN_MS);
    }, { threshold: [0, 0.5] });
    const again = () => { // a new observation reports what is visible now
      clearTimeout(seen);
      eye.disconnect();
      eye.observe(element);
    };
    if (eye) {
      eye.observe(element);
      d.addEventListener("visibilitychange", again);
    }
    const clicked = (event) => {
      if (event.button > 1 || !event.target.closest) return;
      if (event.target.closest("[data-kairos-dismiss]")) {
        event.preventDefault();
        outcome(token, "dismiss");
        element.hidden = true;
      } else if (event.target.closest("a,button,input,[data-kairos-click]")) outcome(token, "click");
    };
    element.addEventListener("click", clicked);
    element.addEventListener("auxclick", clicked);
  };

  const PLACE = /\{\{\s*([\w.-]+)\s*\}\}/g;
  const CODE = /^(on|style$|srcdoc$|to$|from$|values$)/i; // attributes that no content gets into
  const URLS = /^(href|src|action|formaction|data|poster|xlink:href)$/i;
  const safe = (url) => {
    try { return /^(https?|mailto|tel|sms):$/.test(new URL(url, location.href).protocol); } catch { return false; }
  };
  const fillIn = (node, content) => {
    const put = (text) => text.replace(PLACE, (_, name) => content[name] ?? "");
    for (const child of [...node.childNodes]) {
      if (child.nodeType === 3) child.data = put(child.data);
      if (child.nodeType !== 1 || /^(script|style)$/i.test(child.localName)) continue;
      const wanted = child.getAttribute("data-kairos-if");
      if (wanted && !content[wanted]) { child.remove(); continue; }
      for (const { name, value } of [...child.attributes]) {
        if (value.search(PLACE) < 0) continue;
        const text = put(value);
        if (CODE.test(name) || (URLS.test(name) && !safe(text))) child.removeAttribute(name);
        else child.setAttribute(name, text);
      }
      const raw = child.getAttribute("data-kairos-html"); // the page asks for HTML as it comes
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
    const made = actions.map((action) => {
      const box = d.createElement("div");
      box.append(template && template.content
        ? fillIn(d.importNode(template.content, true), action.content) : plain(action.content));
      return box;
    });
    element.replaceChildren(...made);
    made.forEach((box, i) => watch(box, actions[i]));
  };
  const isHidden = (element) => getComputedStyle(element).visibility === "hidden";
  const placements = () => [...d.querySelectorAll("[data-kairos-placement]:not([data-kairos-state])")];
  const hide = () => { // by style alone, so that what never gets an answer shows by itself
    const ms = options.hideMs ?? 300;
    const rules = `@keyframes kairos{to{visibility:visible}}[data-kairos-placement]:not([data-kairos-state])` +
      `{visibility:hidden;animation:kairos 0s ${ms}ms forwards}`;
    try {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(rules);
      d.adoptedStyleSheets = [...d.adoptedStyleSheets, sheet];
    } catch { /* an old browser shows the page's content until the answer is there */ }
  };
  const ask = async (interaction, wanted, ms) => {
    const body = { interaction: { ...interaction, writeKey: key, sentAt: new Date() }, placements: wanted };
    if (ms) body.budget_ms = ms;
    const started = Date.now();
    try {
      const answer = await post("decide", body, { ms: (ms || 1000) + 1000 });
      const found = answer.ok ? await answer.json() : null;
      note("decided", { status: answer.status, ms: Date.now() - started, answer: found, body });
      return found;
    } catch { return note("decided", { status: 0, ms: Date.now() - started, answer: null, body }); }
  };
  const fill = async (made, item) => {
    if (d.readyState === "loading")
      await new Promise((done) => d.addEventListener("DOMContentLoaded", done, { once: true }));
    const elements = placements().filter(isHidden).slice(0, 32);
    const free = () => {
      const kept = read(item);
      if (kept) write(item, { ...kept, until: 0 });
      schedule(FLUSH_MS);
    };
    if (!elements.length || options.placements === false) return free();
    const limits = {};
    for (const { dataset } of elements)
      limits[dataset.kairosPlacement] = Math.max(+dataset.kairosLimit || 0, limits[dataset.kairosPlacement] || 0);
    const wanted = Object.entries(limits).map(([placement, limit]) => (limit ? { placement, limit } : placement));
    const answer = await ask(made, wanted, options.hideMs ?? 300);
    if (answer) erase(item); // it is in Kafka
    else free();
    for (const element of elements) {
      const found = (answer && answer.placements[element.dataset.kairosPlacement]) || [];
      const actions = (Array.isArray(found) ? found : [found]).slice(0, +element.dataset.kairosLimit || 1);
      const late = !isHidden(element) || !element.isConnected;
      if (actions.length && !late) {
        try { render(element, actions); } catch (error) { note("failed", { error: String(error) }); }
      }
      const state = late ? "late" : actions.length ? "filled" : "default";
      element.dataset.kairosState = state;
      note("placement", { placement: element.dataset.kairosPlacement, state, actions });
      emit("placement", element, state, actions);
    }
  };

  // --- functions for pages ---

  let paged = "";
  const page = (type) => (...args) => {
    const names = args.filter(isName), objects = args.filter(isObject);
    const [category, title] = names.length > 1 ? names : [undefined, names[0]];
    const properties = { ...(type === "page" ? pageFields() : {}), ...objects[0] };
    const made = message(type, { name: title, category, properties }, objects[1]);
    const first = type === "page";
    if (first) paged = pageUrl();
    const item = send(made, lastFunction(args), first ? HOLD_MS : 0);
    if (first && item) fill(made, item);
    return Promise.resolve(made);
  };
  const changed = (part, id, traits) => ({ ...(id === undefined || id === read(part[0]) ? read(part[1]) : {}), ...traits });
  const reader = (part, more) => ({ id: () => read(part[0]), traits: () => read(part[1]) || {}, ...more });

  const k = {
    version: VERSION,
    notes: [],
    load(writeKey, chosen = {}) {
      if (key) return k;
      key = writeKey;
      options = chosen;
      host = (options.host || queued._host || host).replace(/\/$/, "");
      if (options.placements !== false) hide();
      const kept = local((s) => JSON.parse(s.getItem(CONSENT)));
      if (isObject(kept) && !consented) consented = kept;
      if (!denied && (options.consent !== "required" || kept || consented)) release();
      if (options.spa !== false) watchRoutes();
      emit("ready");
      return k;
    },
    track(event, properties, more, callback) {
      const args = [properties, more, callback];
      const made = message("track", { event, properties: isObject(properties) ? properties : {} }, isObject(more) ? more : {});
      send(made, lastFunction(args));
      return Promise.resolve(made);
    },
    page: page("page"),
    screen: page("screen"),
    identify(...args) {
      const [id, ...rest] = isName(args[0]) ? args : [undefined, ...args.filter((one) => one != null)];
      const objects = rest.filter(isObject), more = objects[1] || {};
      const traits = changed([USER, TRAITS], id, objects[0]);
      write(TRAITS, traits);
      if (id !== undefined) write(USER, String(id));
      if (more.proof) write(PROOF, { id: read(USER), proof: more.proof });
      const made = message("identify", { traits }, more);
      send(made, lastFunction(args));
      return Promise.resolve(made);
    },
    group(...args) {
      if (!args.length) return reader([GROUP, GROUP_TRAITS]);
      const [id, ...rest] = isName(args[0]) ? args : [undefined, ...args];
      const objects = rest.filter(isObject);
      const traits = changed([GROUP, GROUP_TRAITS], id, objects[0]);
      write(GROUP_TRAITS, traits);
      if (id !== undefined) write(GROUP, String(id));
      const made = message("group", { groupId: read(GROUP), traits }, objects[1]);
      send(made, lastFunction(args));
      return Promise.resolve(made);
    },
    alias(to, from, more, callback) {
      const previousId = isName(from) ? from : read(USER) || anonymousId();
      const made = message("alias", { userId: to, previousId }, isObject(from) ? from : more || {});
      send(made, lastFunction([from, more, callback]));
      return Promise.resolve(made);
    },
    user: () => reader([USER, TRAITS], { anonymousId: (id) => (id ? saveId(String(id)) : anonymousId()) }),
    setAnonymousId: (id) => saveId(String(id)),
    reset() {
      [ID, USER, TRAITS, GROUP, GROUP_TRAITS, PROOF, SERVER_COOKIE].forEach(erase);
      if (open) setCookie(ID, "", 0, topDomain());
      told.clear();
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
    async decide(wanted, more = {}, callback) {
      const made = message(more.type || "track", { event: more.event || "Placements Requested", name: more.name,
        properties: more.properties || {} }, more);
      const answer = (open && (await ask(complete(made), wanted, more.budgetMs))) || {
        decision_id: null, defaulted: true,
        placements: Object.fromEntries(wanted.map((one) => (isObject(one) ? [one.placement, []] : [one, null]))),
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
    let at = pageUrl();
    const moved = () => {
      const now = pageUrl();
      if (now === at) return;
      at = now;
      if (!paged) return;
      if (paged !== now) before = paged;
      setTimeout(() => { if (at === now && paged !== now) k.page(); }, ROUTE_MS);
    };
    for (const method of ["pushState", "replaceState"]) {
      const original = history[method];
      history[method] = function (...args) {
        const result = original.apply(this, args);
        moved();
        return result;
      };
    }
    w.addEventListener("popstate", moved);
    w.addEventListener("hashchange", moved);
    w.addEventListener("pageshow", (event) => { if (event.persisted && paged) k.page(); });
  };

  w.addEventListener("online", () => { failures = resumeAt = 0; schedule(0); });
  w.addEventListener("pagehide", leave);
  d.addEventListener("visibilitychange", () => (d.hidden ? leave() : schedule(FLUSH_MS)));

  if (script && script.src) host = script.src.replace(/\/(sdk[^/]*|analytics\.js\/.*)$/, "");
  w.kairos = k;
  if (!w.analytics || w.analytics === queued) w.analytics = k;
  if (given.writeKey) {
    k.load(given.writeKey, { consent: given.consent, spa: given.spa !== "false", serverCookie: "serverCookie" in given,
      placements: given.placements !== "false", hideMs: given.hideMs === undefined ? undefined : +given.hideMs });
    if (given.page !== "false") k.page();
  }
  if (queued._writeKey) k.load(queued._writeKey, queued._loadOptions); // by Segment's own snippet
  const calls = queued.filter(Array.isArray);
  [...calls.filter((one) => one[0] === "load"), ...calls.filter((one) => one[0] !== "load")]
    .forEach(([method, ...args]) => typeof k[method] === "function" && k[method](...args.filter((one) => !(one && one.__t)))); // Segment's stub adds the page
  const asked = /[#?&]kairos_debug=([^&#]+)/.exec(location.href);
  try { if (asked || sessionStorage.getItem("kairos_debug")) k.debug(asked && decodeURIComponent(asked[1])); } catch { /* blocked */ }
})();

// Shows the state of the tree, asked for once a second, and sends what people press.
"use strict";
(() => {
  const texts = JSON.parse(document.getElementById("texts").textContent);
  const key = document.body.dataset.key;
  const zh = document.documentElement.lang !== "en";
  const every = 1000, patience = 3000, healedFor = 15000; // ms
  const old = 60; // s; a figure of neighbours that hear each other is younger.
  const cards = new Map(), healed = new Map();
  let answered = Date.now(), last = null, refusal = null;

  const t = (name, values = {}) =>
    (texts[name] ?? name).replace(/\{(\w+)\}/g, (_, v) => values[v] ?? "");
  const age = (s) => s < 100 ? t("age.s", {n: Math.round(s)})
    : s < 6000 ? t("age.m", {n: Math.round(s / 60)}) : t("age.h", {n: Math.round(s / 3600)});
  const clock = (s) => new Date(Date.now() - s * 1000).toLocaleTimeString(zh ? "zh-CN" : "en-GB", {hour12: false});
  const bytes = (n) => n < 1000 ? n + "\u00a0B" : n < 1e6 ? (n / 1000).toFixed(0) + "\u00a0kB" : (n / 1e6).toFixed(1) + "\u00a0MB";
  const number = (n) => n.toLocaleString(zh ? "zh-CN" : "en-GB");

  function make(tag, cls, parent) {
    const e = document.createElement(tag);
    if (cls) e.className = cls;
    if (parent) parent.append(e);
    return e;
  }
  // set writes only what changed, so that nothing flickers and nobody is told twice.
  function set(e, text) { if (e.textContent !== text) e.textContent = text; }
  function list(e, items) {
    while (e.children.length > items.length) e.lastChild.remove();
    items.forEach((item, i) => {
      const li = e.children[i] ?? make("li", "", e);
      set(li, item.text);
      li.className = item.cls ?? "";
    });
  }

  const named = (s, code) => {
    const d = s.divisions.find((d) => d.code === code);
    return d ? (zh ? d.name : d.english) : code;
  };
  const depth = (s, d) => d.parent ? 1 + depth(s, s.divisions.find((p) => p.code === d.parent)) : 0;
  const busy = (s, at) => s.jobs.some((j) => j.at === at && !j.err);

  async function send(what, at, button) {
    button.disabled = true;
    try {
      const r = await fetch("do", {method: "POST", headers: {"X-Page-Key": key},
        body: new URLSearchParams({do: what, at: at ?? ""}), signal: AbortSignal.timeout(patience)});
      const body = await r.json();
      refusal = r.ok ? null : body.reason === "busy" ? t("busy") : t("failed", {err: body.reason});
      if (r.ok) draw(body); else if (last) draw(last);
    } catch (e) {
      refusal = t("failed", {err: e.message});
    }
    button.disabled = false;
  }

  function lineOf(s, l) {
    let c = cards.get("line " + l.id);
    if (!c) {
      const e = make("div", "line");
      c = {e, name: make("span", "name", e), text: make("span", "text", e), wire: make("span", "wire", e), button: make("button", "", e)};
      c.wire.setAttribute("aria-hidden", "true");
      c.button.type = "button";
      c.button.addEventListener("click", () => send(c.cut ? "heal" : "cut", l.id, c.button));
      cards.set("line " + l.id, c);
    }
    const ends = {parent: named(s, l.parent), child: named(s, l.id)};
    c.cut = l.cut;
    c.e.classList.toggle("cut", l.cut);
    set(c.name, t("line", ends));
    set(c.text, l.cut ? t("line_cut", {age: age(l.for)}) + " · " + t("crossed", {n: l.while_cut}) : t("traffic", {up: bytes(l.up), down: bytes(l.down)}));
    set(c.button, t(l.cut ? "heal" : "cut"));
    c.button.className = l.cut ? "heal" : "harm";
    c.button.setAttribute("aria-label", t(l.cut ? "heal" : "cut") + ": " + t("line", ends));
    return c.e;
  }

  function cardOf(s, d) {
    let c = cards.get(d.code);
    if (!c) {
      const e = make("article", d.parent ? "card" : "card root");
      const h = make("h2", "", e);
      c = {e, level: make("span", "level", h), name: make("span", "", h), code: make("span", "code", h), figure: make("p", "figure", e),
        age: make("p", "age", e), old: make("p", "old", e), parts: make("ul", "parts", e), boxes: make("ul", "boxes", e), box: new Map()};
      c.big = make("strong", "", c.figure);
      c.unit = make("span", "", c.figure);
      c.applied = make("span", "applied", c.figure);
      cards.set(d.code, c);
    }
    set(c.level, t("level." + d.level));
    set(c.name, zh ? d.name : d.english);
    set(c.code, d.code);
    const f = d.figures, place = (x) => s.divisions.findIndex((d) => d.code === x.code);
    const children = f ? (f.children ?? []).toSorted((a, b) => place(a) - place(b)) : [];
    const silent = children.filter((x) => x.silent);
    set(c.big, f ? number(f.decided) : "–");
    set(c.unit, t("decided"));
    set(c.applied, f ? t("applied", {n: number(f.applied)}) : "");
    set(c.age, d.mute ? (f ? t("mute", {age: age(d.mute)}) : t("mute_never")) : f ? t("as_of", {at: clock(f.age), age: age(f.age)}) : t("never"));
    set(c.old, silent.length ? t("old", {who: silent.map((x) => named(s, x.code)).join(zh ? "、" : ", ")}) : "");
    c.old.hidden = !silent.length;
    list(c.parts, children.length > 1 ? children.map((x) => ({cls: x.silent || x.age > old ? "silent" : "",
      text: x.known ? t("from_child", {who: named(s, x.code), n: number(x.decided), age: age(x.age)}) : named(s, x.code) + " " + t("never")})) : []);
    c.e.classList.toggle("stale", silent.length > 0 || Boolean(f) && f.age > old);
    c.e.classList.toggle("mute", d.mute > 0);
    d.boxes.forEach((b) => boxOf(s, c, d, b));
    return c.e;
  }

  function boxOf(s, c, d, b) {
    let x = c.box.get(b.id);
    if (!x) {
      const e = make("li", "", c.boxes);
      x = {e, link: make("a", "", e), state: make("span", "state", e), button: make("button", "", e)};
      x.link.rel = "noreferrer";
      x.link.target = "_blank";
      x.button.type = "button";
      x.button.addEventListener("click", () => send(x.runs ? "kill" : "start", b.id, x.button));
      c.box.set(b.id, x);
    }
    x.runs = b.runs;
    x.e.classList.toggle("dead", !b.runs);
    if (b.runs) x.link.href = b.web; else x.link.removeAttribute("href");
    set(x.link, (d.boxes.length > 1 ? b.name + " " : "") + t("portal"));
    set(x.state, t(b.runs ? "runs" : "dead"));
    set(x.button, t(b.runs ? "kill" : "start"));
    x.button.className = b.runs ? "harm" : "heal";
    x.button.disabled = busy(s, b.id);
    x.button.setAttribute("aria-label", t(b.runs ? "kill" : "start") + ": " + b.id);
  }

  function arrange(s) {
    const tree = document.getElementById("tree");
    const rows = Math.max(1, s.divisions.filter((d) => depth(s, d) === 1).length);
    let row = 0;
    s.divisions.forEach((d) => {
      const n = depth(s, d), line = s.lines.find((l) => l.id === d.code);
      if (n === 1) row++;
      const card = cardOf(s, d);
      if (line) {
        const e = lineOf(s, line);
        if (!e.parentNode) tree.append(e);
        e.style.gridColumn = String(2 * n);
        e.style.gridRow = String(row);
      }
      if (!card.parentNode) tree.append(card);
      card.style.gridColumn = String(2 * n + 1);
      card.style.gridRow = n ? String(row) : "1 / span " + rows;
    });
  }

  // captions say in words what the picture shows.
  function captions(s) {
    const out = [], now = Date.now();
    s.lines.forEach((l) => {
      const ends = {parent: named(s, l.parent), child: named(s, l.id)};
      const before = last && last.lines.find((x) => x.id === l.id);
      if (before && before.cut && !l.cut) healed.set(l.id, now);
      if (l.cut) out.push({text: t("say.cut", ends), cls: "bad"});
      else if (now - (healed.get(l.id) ?? 0) < healedFor) out.push({text: t("say.healed", ends), cls: "good"});
    });
    s.divisions.forEach((d) => {
      const dead = d.boxes.filter((b) => !b.runs);
      if (!dead.length) return;
      const kind = d.boxes.length === 1 ? "say.alone" : 2 * dead.length < d.boxes.length ? "say.box" : "say.minority";
      out.push({text: t(kind, {who: zh ? d.name : d.english, box: dead.map((b) => b.name).join(", ")}), cls: "bad"});
    });
    return out.length ? out : [{text: t("say.well"), cls: "good"}];
  }

  // why says why a lodged case waits; a reason without words here is shown as it is.
  function why(s, l) {
    const d = s.divisions.find((d) => d.full === l.where), where = d ? named(s, d.code) : l.where;
    const words = texts["why." + l.reason] ?? l.reason;
    return t("reason", {reason: where ? t("where", {words, where}) : words});
  }

  function draw(s) {
    arrange(s);
    list(document.getElementById("say"), captions(s));
    const sums = {acknowledged: s.cases.acknowledged, found: s.cases.found, lost: s.cases.lost, doubled: s.cases.doubled,
      crossed: s.lines.reduce((n, l) => n + l.while_cut, 0)};
    document.querySelectorAll("[data-sum]").forEach((e) => {
      set(e, number(sums[e.dataset.sum]));
      e.classList.toggle("bad", ["lost", "doubled", "crossed"].includes(e.dataset.sum) && sums[e.dataset.sum] > 0);
    });
    const jobs = s.jobs.map((j) => j.err ? {text: t("failed", {err: j.err}), cls: "bad"}
      : {text: t("job." + j.do, {done: j.done, total: j.total}) + (j.at ? " " + j.at : "") + (j.for >= 2 ? " · " + age(j.for) : "")});
    if (refusal) jobs.push({text: refusal, cls: "bad"});
    list(document.getElementById("jobs"), jobs);
    const lodged = (s.lodged ?? []).map((l) => ({cls: l.state, text: [l.id, t("lodged." + l.state, {age: age(l.for)}),
      l.number, l.state !== "delivered" && l.reason ? why(s, l) : ""].filter(Boolean).join(" · ")}));
    list(document.getElementById("lodged"), lodged.length ? lodged : [{text: t("lodged_none"), cls: "none"}]);
    document.querySelectorAll("[data-do]").forEach((b) => { b.disabled = s.jobs.some((j) => j.do === b.dataset.do && !j.err); });
    last = s;
  }

  async function poll() {
    try {
      const r = await fetch("state", {signal: AbortSignal.timeout(patience)});
      if (r.ok) {
        draw(await r.json());
        answered = Date.now();
      }
    } catch { /* The age below says it. */ }
    const silent = (Date.now() - answered) / 1000, gone = document.getElementById("gone");
    gone.hidden = silent < 4;
    if (!gone.hidden) set(gone, t("gone", {age: age(silent)}));
    setTimeout(poll, every);
  }

  document.querySelectorAll("[data-do]").forEach((b) => b.addEventListener("click", () => send(b.dataset.do, "", b)));
  poll();
})();

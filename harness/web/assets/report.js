// The report's page: the record behind a cell, and charts drawn when they come into view.
// Texts of records are set as text only; figures come ready-made from the page's data.
"use strict";
(() => {
  // The other half of packed.py.
  const unpacked = ({ data, texts, shapes }) => {
    const whole = (node) => {
      if (!Array.isArray(node)) return node;
      const [kind, ...values] = node;
      if (kind === 0) return values.map(whole);
      if (kind === 1) return texts[values[0]];
      return Object.fromEntries(shapes[kind - 2].map((name, k) => [name, whole(values[k])]));
    };
    return whole(data);
  };
  const read = (id) => {
    let data = null;
    return () => (data ??= unpacked(JSON.parse(document.getElementById(id).textContent)));
  };
  const records = read("records"), drawings = read("drawings");
  const scheme = matchMedia("(prefers-color-scheme: dark)");

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const plain = (value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  };
  const facts = (pairs) => {
    const list = make("dl", { class: "facts" });
    for (const [name, value] of pairs) list.append(make("dt", {}, name), make("dd", {}, plain(value)));
    return list;
  };

  // -- charts -----------------------------------------------------------------------------------------------------

  let library = null;
  function vega() {
    // The library is text until the first chart asks for it, so that it costs nothing when the page opens.
    library ??= new Promise((resolve) => {
      const script = document.createElement("script");
      script.textContent = document.getElementById("library").textContent;
      document.head.append(script);
      resolve(window.vegaEmbed);
    });
    return library;
  }

  function dressed(node, colours) {
    if (Array.isArray(node)) return node.map((one) => dressed(one, colours));
    if (node && typeof node === "object") {
      return Object.fromEntries(
        Object.entries(node).map(([name, value]) => [name, name === "values" ? value : dressed(value, colours)]));
    }
    return typeof node === "string" && Object.hasOwn(colours, node) ? colours[node] : node;
  }

  const tip = make("div", { id: "tip", role: "status", hidden: "" });
  document.body.append(tip);
  function pointed(_, event, __, value) {
    if (!value || typeof value !== "object" || !event) { tip.hidden = true; return; }
    tip.replaceChildren(facts(Object.entries(value).filter(([, text]) => text && text !== "–" && text !== "undefined")));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
    tip.style.top = `${event.clientY + box.height + 20 > innerHeight ? Math.max(4, event.clientY - box.height - 10) : event.clientY + 14}px`;
  }

  const views = new Map();
  async function draw(canvas, spec) {
    const theme = scheme.matches ? drawings().dark : drawings().light;
    const embed = await vega();
    views.get(canvas)?.finalize();
    const { view } = await embed(canvas, dressed(spec, theme.colours), {
      mode: "vega-lite", renderer: "canvas", ast: true, actions: false, defaultStyle: false, logLevel: 1,
      config: theme.config, tooltip: pointed,
    });
    views.set(canvas, view);
    canvas.classList.toggle("dark", scheme.matches);
    view.addEventListener("click", (_, item) => {
      const number = item?.datum?.open;
      if (Number.isInteger(number)) { tip.hidden = true; show(number); }
    });
    canvas.dataset.drawn = "";
  }

  const figures = [...document.querySelectorAll("figure.chart")];
  const canvas = (figure) => figure.querySelector(".canvas");
  const asked = new Set();
  function ask(figure) {
    if (asked.has(figure)) return Promise.resolve();
    asked.add(figure);
    return draw(canvas(figure), drawings().specs[Number(figure.dataset.chart)]);
  }
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); ask(entry.target); }
  }, { rootMargin: "250px" });
  for (const figure of figures) seen.observe(figure);
  addEventListener("beforeprint", () => { for (const figure of figures) if (figure.closest("details").open) ask(figure); });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
  scheme.addEventListener("change", () => {
    for (const figure of asked) draw(canvas(figure), drawings().specs[Number(figure.dataset.chart)]);
    if (dialog.open) show(current);
  });

  // -- the record of a cell ---------------------------------------------------------------------------------------

  const dialog = document.getElementById("record");
  const body = document.getElementById("record-body");
  const title = document.getElementById("record-title");
  let current = null;

  const part = (name, ...children) => make("section", {}, make("h3", {}, name), ...children);

  function samples(record) {
    const values = [];
    const rounds = record.time.trials.map((trial) => trial.round);
    const name = (p) => (rounds[p] === 0 && rounds.some((round) => round > 0) ? `${p + 1} (survey)` : `${p + 1}`);
    const { unit_s, samples } = record.time;
    samples.forEach((process, p) => process.forEach((count, n) => values.push({ n: n + 1, seconds: count * unit_s, process: name(p) })));
    const kept = records().samples_kept;
    const place = make("div", { class: "canvas" });
    const description = `${values.length} samples in the order of measurement`;
    const spec = { ...drawings().samples, description, data: { values } };
    queueMicrotask(() => { if (values.length) draw(place, spec); });
    const note = kept === null ? null : make("p", { class: "note" }, `At most ${kept} samples of a process are kept in this page, evenly spaced; the records have all.`);
    return part("Samples", make("div", { class: "drawing" }, place), note);
  }

  function trials(list) {
    const names = Object.keys(list[0]);
    const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
    const rows = list.map((one) => make("tr", {}, ...names.map((name) => make("td", { class: "nowrap" }, plain(one[name])))));
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
    return make("details", {}, make("summary", {}, `Processes (${list.length})`), make("div", { class: "scroll", tabindex: "0" }, table));
  }

  function paths(number, record) {
    const group = records().groups.find((numbers) => numbers.includes(number)) ?? [number];
    if (group.length < 2) return null;
    const list = make("ul", { class: "paths" });
    for (const other of group) {
      const one = records().records[other];
      const said = one.figures.find(([name]) => name === "time of a call");
      const button = make("button", { type: "button", "aria-current": String(other === number) }, `${one.path}: ${said ? said[1] : one.status}`);
      button.addEventListener("click", () => show(other, true));
      list.append(make("li", {}, button));
    }
    return part(`All ${group.length} paths tried here`, list);
  }

  function show(number, within = false) {
    const record = records().records[number];
    const data = records();
    current = number;
    for (const old of body.querySelectorAll(".canvas")) { views.get(old)?.finalize(); views.delete(old); }
    title.textContent = `${record.case.workload}, ${record.case.backend} on ${record.case.device}`;
    const known = (object) => Object.entries(object ?? {}).filter(([, value]) => value !== null);
    const what = facts([["case", record.name], ["outcome", record.status], ["run", record.run], ["started", record.started_at]]);
    if (record.status !== "ok") what.children[3].classList.add("bad");
    body.replaceChildren(...[
      part("Case", what),
      record.reason ? part(record.failure_class ? `Reason (${record.failure_class})` : "Reason", make("pre", {}, record.reason)) : null,
      record.explained ? part("Explained", make("p", {}, record.explained)) : null,
      record.fallback ? part("Ran instead", make("pre", {}, record.fallback)) : null,
      record.time ? samples(record) : null,
      make("div", { class: "columns" },
        record.against ? part("Against its dense twins", facts(record.against)) : null,
        record.figures.length ? part("Figures", facts(record.figures)) : null,
        record.verdict ? part("Verdict against the float64 reference", facts(known(record.verdict))) : null,
        record.energy ? part("Energy", facts(known(record.energy))) : null,
        record.memory ? part("Memory", facts(known(record.memory))) : null),
      paths(number, record),
      record.time && record.time.trials.length ? trials(record.time.trials) : null,
      make("details", {}, make("summary", {}, "Settings"), facts(Object.entries(data.settings[record.settings]))),
      make("details", {}, make("summary", {}, "Environment"), facts(Object.entries(data.environments[record.environment]))),
    ].filter(Boolean));
    if (!dialog.open) dialog.showModal();
    if (within) body.querySelector("[aria-current=true]")?.focus();
    else dialog.scrollTop = 0;
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener && !getSelection().toString()) show(Number(opener.dataset.open));
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { tip.hidden = true; });
  document.documentElement.dataset.ready = "";
})();

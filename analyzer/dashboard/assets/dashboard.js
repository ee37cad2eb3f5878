// The page's functions, called by Dash. They ask the server for what changed, and put the colours of light or dark into the charts.
(function () {
  "use strict";

  const same = () => window.dash_clientside.no_update;
  const asked = {}; // path → {query, answer}: what is awaited
  let heard = Date.now(); // when the server answered last

  // `held` is what the page has of it already, with the server's tag: only what changed is sent again. Dash leaves out the result of a
  // call that another one followed, so the second is given the same answer.
  function load(path, query, triggered, held) {
    if (document.hidden && !triggered) return same();
    if (asked[path] && asked[path].query === query) return asked[path].answer;
    const mine = { query, answer: fetched(path, query, held && held.query === query ? held.etag : null) };
    asked[path] = mine;
    mine.answer.finally(() => { if (asked[path] === mine) delete asked[path]; });
    return mine.answer;
  }

  async function fetched(path, query, etag) {
    try {
      const answer = await fetch(path + query, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
      heard = Date.now();
      if (answer.status === 304) return same();
      if (answer.status === 401) return { error: "The session has ended: reload the page to log in again." };
      if (!answer.ok) return { error: "The dashboard answered HTTP " + answer.status + "; its log says why." };
      return Object.assign(await answer.json(), { query, etag: answer.headers.get("ETag") });
    } catch (error) {
      return same(); // the clock tells that nothing comes
    }
  }

  const byChoice = () => window.dash_clientside.callback_context.triggered.some((one) => !one.prop_id.startsWith("tick."));
  const query = (range, symbol) => "?" + new URLSearchParams(symbol ? { range, symbol } : { range });

  function element(type, props) {
    return { type, namespace: "dash_html_components", props };
  }

  const text = (type, className, children, more) => element(type, Object.assign({ className, children }, more));
  const utc = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");

  function tile(one) {
    const word = { ok: "ok", warning: "warning", critical: "critical", unknown: "unknown" }[one.state];
    const parts = [
      text("Div", "title", [text("Span", "", one.title), text("Span", "state " + word, word)]),
      text("Div", "value", one.value),
      text("Div", "detail", one.detail),
    ];
    if (one.share !== null) {
      const width = Math.min(100, Math.round(one.share * 1000) / 10) + "%";
      parts.push(text("Div", "meter", text("Div", "", "", { style: { width } }), { "aria-hidden": "true" }));
    }
    return text("Div", "tile " + word, parts);
  }

  const WAITING = "What is shown below is from before. A collector that runs keeps its rows in its journal; this page recovers by itself.";
  const BANNER = 3; // alerts; the rest is below

  const severity = (one) => (one.severity === "warning" ? "warning" : "critical");

  function alertItem(one) {
    const state = one.state === "firing" ? severity(one) : "resolved";
    return text("Li", "alert " + state, [
      text("Span", "state " + state, one.state === "firing" ? "firing, " + state : "resolved"),
      text("Time", "", utc(one.at_ms) + " UTC", { dateTime: new Date(one.at_ms).toISOString() }),
      text("Span", "rule", one.rule + (one.where ? " · " + one.where : "")),
      text("Span", "message", one.message),
    ]);
  }

  // Colours in the figures are names of CSS variables.
  function coloured(value, style) {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)$/.exec(value);
      return found ? style.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((one) => coloured(one, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, style)]));
    }
    return value;
  }

  function showClock() {
    const clock = document.getElementById("clock");
    if (!clock) return;
    const late = (Date.now() - heard) / 1000;
    const gone = late > 15 && !document.hidden;
    clock.textContent = gone ? `no answer for ${Math.round(late)} s` : utc(Date.now()) + " UTC";
    clock.classList.toggle("late", gone);
  }
  setInterval(showClock, 1000);
  document.addEventListener("visibilitychange", () => { heard = Date.now(); });

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    evenkeel: {
      watchScheme() {
        const media = window.matchMedia("(prefers-color-scheme: dark)");
        const name = () => (media.matches ? "dark" : "light");
        media.addEventListener("change", () => window.dash_clientside.set_props("scheme", { data: name() }));
        return name();
      },

      loadSymbols: (n, held) => (n % 6 && held ? same() : load("/data/symbols", "", false, held)),
      loadStatus: (n, held) => load("/data/status", "", false, held),
      loadSystem: (n, range, held) => load("/data/system", query(range), byChoice(), held),
      loadMarket: (n, range, symbol, symbols, held) =>
        symbol || symbols ? load("/data/market", query(range, symbol), byChoice(), held) : same(),

      // The address holds what is shown, so that it can be shared; it wins when it changes.
      choose(search, found, symbol, range) {
        const context = window.dash_clientside.callback_context;
        const by = context.triggered.map((one) => one.prop_id);
        const told = new URLSearchParams(search);
        if (!by.some((id) => id === "symbol.value" || id === "range.value")) {
          symbol = told.get("symbol") || symbol;
          range = told.get("range") || range;
        }
        const options = (found && found.symbols ? found.symbols : []).slice();
        if (!symbol && options.length) symbol = options[0].value;
        if (symbol && !options.some((one) => one.value === symbol)) {
          const [exchange, market, ...name] = symbol.split(":");
          options.unshift({ value: symbol, label: `${name.join(":")} · ${exchange} ${market}` });
        }
        const ranges = ["15m", "1h", "6h", "24h", "7d"];
        if (!ranges.includes(range)) range = "1h";
        return [options, symbol || null, range, symbol ? query(range, symbol) : search];
      },

      showStatus(status) {
        if (!status) return [same(), same(), same()];
        const banner = [];
        if (status.error) {
          const what = status.tiles ? "QuestDB gives no answer. " : "";
          banner.push(text("P", "", [element("Strong", { children: what }), status.error]));
          if (what) banner.push(text("P", "", WAITING));
        }
        const firing = status.alerts ? status.alerts.firing : [];
        const first = firing.slice().sort((a, b) => severity(a).localeCompare(severity(b)));
        for (const one of first.slice(0, BANNER)) {
          banner.push(text("P", severity(one), [element("Strong", { children: one.rule + ": " }), one.message]));
        }
        if (first.length > BANNER) {
          const rest = first.length - BANNER;
          const link = element("A", { href: "#alerts-title", children: `${rest} more alert${rest > 1 ? "s" : ""}` });
          banner.push(text("P", "", [link, rest > 1 ? " fire" : " fires"]));
        }
        const tiles = status.tiles ? status.tiles.map(tile) : same();
        if (!status.alerts) return [tiles, banner, same()];
        const all = firing.concat(status.alerts.resolved);
        const list = all.length ? text("Ul", "alerts", all.map(alertItem)) : text("P", "quiet", status.alerts.empty);
        return [tiles, banner, list];
      },

      showHeading(symbol) {
        if (!symbol) return "Market";
        const [exchange, market, ...name] = symbol.split(":");
        return `${name.join(":")} · ${exchange} ${market}`;
      },

      draw(payload, scheme, names) {
        const style = getComputedStyle(document.documentElement);
        return names.flatMap((name) => {
          const chart = payload && payload.charts ? payload.charts[name] : null;
          if (!chart) return [same(), same(), same(), same()];
          if (!chart.figure) return [same(), "", chart.empty || "", "panel is-empty"];
          return [coloured(chart.figure, style), chart.caption || "", "", "panel"];
        });
      },
    },
  });
})();

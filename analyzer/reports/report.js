// Draws the charts when they come into sight, in the colours of light or dark.
(function () {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const drawn = new Set();

  // Colours in the figures are names of CSS variables.
  function coloured(value, style) {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)$/.exec(value);
      return found ? style.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return typeof value[value.length - 1] === "number" ? value : value.map((one) => coloured(one, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, style)]));
    }
    return value;
  }

  function draw(plot) {
    const figure = coloured(figures[plot.dataset.chart], getComputedStyle(document.documentElement));
    if (!touch) {
      figure.layout.dragmode = "zoom"; // on a phone a finger scrolls the page
      for (const [name, axis] of Object.entries(figure.layout)) if (/^[xy]axis\d?$/.test(name)) axis.fixedrange = name === "xaxis2";
    }
    if (plot.clientWidth < 480) {
      const time = figure.layout.xaxis;
      if (time.type === "date") Object.assign(time, { nticks: 4, tickangle: 0 });
    }
    drawn.add(plot);
    return Plotly.react(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true, showTips: false });
  }

  const plots = Array.from(document.querySelectorAll("[data-chart]"));
  const seen = new IntersectionObserver(
    (entries) => entries.forEach((entry) => {
      if (!entry.isIntersecting) return;
      seen.unobserve(entry.target);
      if (!drawn.has(entry.target)) draw(entry.target);
    }),
    { rootMargin: "600px" },
  );
  plots.forEach((plot) => seen.observe(plot));
  window.addEventListener("beforeprint", () => plots.filter((plot) => !drawn.has(plot)).forEach(draw));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
})();

"use strict";
// The volume viewer of a patient: unpacks niivue and the volumes from the page itself when it comes into view.
(() => {
  const { $, box, GREY, OWN, volume, signed, open, show, look, asked, stops, signed_stops, plain, tell, begin } = shared;
  const data = JSON.parse($("volumes").textContent);
  const KINDS = ["before", "modelled", "target", "moved", "changed", "growth"];
  const CLASSES = new Set(["before", "modelled", "target"]);
  const WORDS = { before: "before", modelled: "modelled", target: "target", moved: "deformation", changed: "reallocation", growth: "local volume" };
  const SHARES = {
    lm_moved: { R: [140, 200, 255], G: [0, 0, 60], B: [170, 230, 255], A: [255, 255, 255], I: [0, 90, 255] },
    lm_changed: { R: [0, 0, 60], G: [110, 170, 235], B: [30, 60, 90], A: [255, 255, 255], I: [0, 90, 255] },
  };
  const VEIL = [84, 102, 140]; // over what was not compared
  const state = { pair: 0, overlay: "moved", visit: 0, opacity: 0.8 };
  let scans, maps = {}, timer = null, busy = Promise.resolve();

  function labels() {
    const parts = { R: [], G: [], B: [], A: [], I: [], labels: [] };
    data.classes.forEach((entry, i) => {
      ["R", "G", "B"].forEach((c, k) => parts[c].push(parseInt(entry.color.slice(1 + 2 * k, 3 + 2 * k), 16)));
      parts.A.push(entry.hidden ? 0 : 255);
      parts.I.push(i);
      parts.labels.push(entry.name);
    });
    return parts;
  }

  // Every picture and map of the chosen pair; niivue itself is given the two that are shown, so that a map's
  // own transparency counts, which it does for the first overlay only.
  async function fill() {
    const pair = data.pairs[state.pair];
    const from = data.visits[pair.from], to = data.visits[pair.to];
    const share = (colormap) => ({ colormap, cal_min: 0, cal_max: pair.share_limit, ...OWN });
    scans = [await volume(pair.from, from.picture, GREY), await volume(pair.to, to.picture, GREY)];
    maps = {};
    for (const [name, text] of [["before", from.classes], ["modelled", pair.modelled], ["target", to.classes]]) {
      maps[name] = await volume(name, text, {});
      maps[name].setColormapLabel(labels());
    }
    maps.moved = await volume("moved", pair.moved, share("lm_moved"));
    maps.changed = await volume("changed", pair.changed, share("lm_changed"));
    maps.growth = await volume("growth", pair.growth, signed(pair.growth_limit));
    if (pair.unseen) {
      maps.unseen = await volume("not compared", pair.unseen, {});
      maps.unseen.setColormapLabel({ R: [0, VEIL[0]], G: [0, VEIL[1]], B: [0, VEIL[2]], A: [0, 215], I: [0, 1], labels: ["", "not compared"] });
    }
    draw();
    look(pair.focus);
  }

  // Shows what the address asks for; the viewer starts when it comes into sight, and then asks again.
  function go() {
    const wanted = asked("pair", (name) => data.pairs.findIndex((one) => one.name === name));
    if (!wanted) return;
    $("viewer-section").scrollIntoView();
    if (box.dataset.state !== "ready") return;
    $("v-pair").value = wanted.number;
    busy = busy.then(async () => {
      if (state.pair !== wanted.number) { state.pair = wanted.number; await fill(); }
      look(wanted.at);
    });
  }

  function draw() {
    const shown = CLASSES.has(state.overlay) && timer !== null ? ["before", "target"][state.visit] : state.overlay;
    const map = maps[shown];
    if (map) map.opacity = state.opacity;
    show(scans[state.visit], [map, map && maps.unseen].filter(Boolean));
    [$("v-first"), $("v-second")].forEach((button, i) => button.setAttribute("aria-pressed", String(i === state.visit)));
    $("v-flicker").setAttribute("aria-pressed", String(timer !== null));
    box.dataset.shown = `${state.overlay} ${state.visit}`;
    legend();
  }

  function legend() {
    const place = $("v-legend"), pair = data.pairs[state.pair];
    place.replaceChildren();
    const add = (tag, text) => { const e = document.createElement(tag); e.textContent = text; place.append(e); return e; };
    const patch = (text, color) => { const e = document.createElement("i"); e.style.background = color; add("span", text).prepend(e); };
    if (CLASSES.has(state.overlay)) {
      for (const entry of data.classes.filter((c) => !c.hidden)) patch(entry.name, entry.color);
    } else if (state.overlay !== "none") {
      const growth = state.overlay === "growth";
      const colours = growth ? signed_stops() : stops(SHARES[`lm_${state.overlay}`], 0, 100);
      add("span", growth ? `−${pair.growth_limit} %` : "0 %");
      const ramp = add("span", "");
      ramp.className = "ramp";
      ramp.style.background = `linear-gradient(90deg, ${colours.join(",")}), #333`;
      add("span", growth ? `+${pair.growth_limit} % of the tissue's volume` : `${pair.share_limit} % of the voxel or more`);
    }
    if (maps.unseen && state.overlay !== "none") patch("not compared", `rgb(${VEIL})`);
  }

  function where(location) {
    const voxel = [...location.vox].map(Math.round);
    const parts = KINDS.map((kind) => {
      const value = maps[kind].getValue(...voxel);
      const said = CLASSES.has(kind) ? (data.classes[Math.round(value)] || {}).name : `${plain(value, kind === "growth" ? 1 : 0)} %`;
      return `${WORDS[kind]}: ${said}`;
    });
    if (maps.unseen && maps.unseen.getValue(...voxel) > 0.5) parts.push("not compared");
    tell(location, parts);
  }

  function flicker(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => { state.visit = 1 - state.visit; draw(); }, 800) : null;
    draw();
  }

  // What was chosen before the viewer was ready, or is left from an earlier visit to the page.
  function read() {
    state.overlay = box.querySelector("#v-overlay input:checked").value;
    state.opacity = $("v-opacity").value / 100;
  }

  async function start() {
    await open(SHARES, where);
    read();
    await fill();
    $("v-pair").addEventListener("change", (event) => { state.pair = Number(event.target.value); busy = busy.then(fill); });
    $("v-overlay").addEventListener("change", (event) => { state.overlay = event.target.value; draw(); });
    $("v-opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; draw(); });
    $("v-first").addEventListener("click", () => { state.visit = 0; flicker(false); });
    $("v-second").addEventListener("click", () => { state.visit = 1; flicker(false); });
    $("v-flicker").addEventListener("click", () => flicker(timer === null));
    read();
    draw();
    box.dataset.state = "ready";
    go();
  }

  begin(start, go, "pair", "The pictures below show the same content.");
})();

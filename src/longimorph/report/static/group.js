"use strict";
// The viewer of the maps of the cohort: unpacks niivue and the volumes from the page itself when it comes into view.
(() => {
  const { $, box, GREY, volume, signed, open, show, look, asked, signed_stops, plain, tell, begin } = shared;
  const data = JSON.parse($("volumes").textContent);
  const KINDS = ["mean", "t", "sure"]; // sure: t where q < 0.05
  const state = { map: 0, overlay: "mean", opacity: 0.8 };
  let template, maps = {}, busy = Promise.resolve();

  const limit = (kind) => data.maps[state.map][kind === "mean" ? "mean_limit" : "t_limit"];

  // Every volume of the chosen map; niivue itself is given the one that is shown.
  async function fill() {
    const map = data.maps[state.map];
    maps = {};
    for (const kind of KINDS.filter((one) => map[one])) maps[kind] = await volume(kind, map[kind], signed(limit(kind)));
    draw();
  }

  function go() {
    const wanted = asked("map", (name) => data.maps.findIndex((one) => one.id === name));
    if (!wanted) return;
    $("viewer-section").scrollIntoView();
    if (box.dataset.state !== "ready") return;
    $("v-map").value = wanted.number;
    busy = busy.then(async () => {
      if (state.map !== wanted.number) { state.map = wanted.number; await fill(); }
      look(wanted.at);
    });
  }

  function draw() {
    const map = maps[state.overlay];
    if (map) map.opacity = state.opacity;
    show(template, map ? [map] : []);
    box.dataset.shown = `${data.maps[state.map].id} ${state.overlay}`;
    legend();
  }

  function legend() {
    const place = $("v-legend");
    place.replaceChildren();
    const add = (text) => { const e = document.createElement("span"); e.textContent = text; place.append(e); return e; };
    if (state.overlay === "none") return;
    if (!maps[state.overlay]) { add("no voxel of this map has q < 0.05"); return; }
    const unit = state.overlay === "mean" ? ` ${data.maps[state.map].unit}` : " (t)";
    add(`−${limit(state.overlay)}`);
    const ramp = add("");
    ramp.className = "ramp";
    ramp.style.background = `linear-gradient(90deg, ${signed_stops().join(",")}), #333`;
    add(`+${limit(state.overlay)}${unit}`);
  }

  function where(location) {
    const voxel = [...location.vox].map(Math.round);
    tell(location, Object.keys(maps).filter((kind) => kind !== "sure").map((kind) => {
      const value = plain(maps[kind].getValue(...voxel), 2);
      return kind === "mean" ? `mean: ${value} ${data.maps[state.map].unit}` : `t: ${value}`;
    }));
  }

  // What was chosen before the viewer was ready, or is left from an earlier visit to the page.
  function read() {
    state.map = Number($("v-map").value);
    state.overlay = box.querySelector("#v-overlay input:checked").value;
    state.opacity = $("v-opacity").value / 100;
  }

  async function start() {
    await open({}, where);
    template = await volume("template", data.template, GREY);
    read();
    await fill();
    look(data.focus);
    $("v-map").addEventListener("change", (event) => { state.map = Number(event.target.value); busy = busy.then(fill); });
    $("v-overlay").addEventListener("change", (event) => { state.overlay = event.target.value; draw(); });
    $("v-opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; draw(); });
    box.dataset.state = "ready";
    go();
  }

  begin(start, go, "map", "The files in the folder group contain the same maps.");
})();

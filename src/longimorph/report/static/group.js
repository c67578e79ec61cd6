"use strict";
// The viewer of the maps of the cohort: unpacks niivue and the volumes from the page itself when it comes into view.
(() => {
  const $ = (id) => document.getElementById(id);
  const box = $("viewer");
  const data = JSON.parse($("volumes").textContent);
  const WORDS = { mean: "mean", t: "t", sure: "t where q < 0.05" };
  const MAPS = {
    plain: { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255] },
    lm_grew: { R: [255, 255], G: [130, 50], B: [90, 40], A: [255, 255], I: [0, 255] },
    lm_shrank: { R: [110, 40], G: [170, 100], B: [255, 255], A: [255, 255], I: [0, 255] },
  };
  // The patient's right is on the left: right, front, up in voxels.
  const KEYS = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  const state = { map: 0, overlay: "mean", opacity: 0.8 };
  let viewer, library, template, maps = {}, busy = Promise.resolve();

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  async function load() {
    const stream = new Blob([bytes($("library").textContent.trim())]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob([await new Response(stream).blob()], { type: "text/javascript" }));
    await new Promise((done, failed) => { script.onload = done; script.onerror = () => failed(new Error("niivue did not load")); document.head.append(script); });
    return window.niivue;
  }

  async function volume(name, base64, settings) {
    const made = await library.NVImage.loadFromBase64({ name: `${name}.nii.gz`, base64, trustCalMinMax: false, ...settings });
    Object.assign(made, settings);
    return made;
  }

  const limit = (kind) => data.maps[state.map][kind === "mean" ? "mean_limit" : "t_limit"];

  // Every volume of the chosen map; niivue itself is given the one that is shown.
  async function fill() {
    const map = data.maps[state.map];
    maps = {};
    for (const kind of Object.keys(WORDS).filter((one) => map[one])) {
      const most = limit(kind);
      maps[kind] = await volume(kind, map[kind], {
        colormap: "lm_grew", colormapNegative: "lm_shrank", cal_min: 0, cal_max: most, cal_minNeg: -most, cal_maxNeg: 0,
        modulationImage: 1, modulateAlpha: 1 });
    }
    draw();
  }

  function look(place) {
    viewer.scene.crosshairPos = viewer.mm2frac(place);
    viewer.drawScene();
    viewer.createOnLocationChange();
  }

  // The map and place that the address asks for: #map=deformation:WM&at=x,y,z, in mm to the right, front and up.
  function asked() {
    const given = new URLSearchParams(window.location.hash.slice(1));
    const map = data.maps.findIndex((one) => one.id === given.get("map"));
    const at = (given.get("at") || "").split(",").map(Number);
    return map >= 0 && at.length === 3 && at.every(Number.isFinite) ? { map, at } : null;
  }

  function go() {
    const wanted = asked();
    if (!wanted) return;
    $("viewer-section").scrollIntoView();
    if (box.dataset.state !== "ready") return;
    $("v-map").value = wanted.map;
    busy = busy.then(async () => {
      if (state.map !== wanted.map) { state.map = wanted.map; await fill(); }
      look(wanted.at);
    });
  }

  function draw() {
    const map = maps[state.overlay];
    if (map) map.opacity = state.opacity;
    viewer.back = template;
    viewer.overlays = map ? [map] : [];
    viewer.volumes = [template, ...viewer.overlays];
    viewer.updateGLVolume();
    box.dataset.shown = `${data.maps[state.map].id} ${state.overlay}`;
    legend();
  }

  function legend() {
    const place = $("v-legend");
    place.replaceChildren();
    const add = (text) => { const e = document.createElement("span"); e.textContent = text; place.append(e); return e; };
    if (state.overlay === "none") return;
    if (!maps[state.overlay]) { add("no voxel of this map has q < 0.05"); return; }
    const ramp_of = (name) => MAPS[name].I.map((at, i) => {
      const share = at / 255;
      return `rgba(${MAPS[name].R[i]},${MAPS[name].G[i]},${MAPS[name].B[i]},${share}) ${name === "lm_grew" ? 50 + 50 * share : 50 - 50 * share}%`;
    });
    const unit = state.overlay === "mean" ? ` ${data.maps[state.map].unit}` : " (t)";
    add(`−${limit(state.overlay)}`);
    const ramp = add("");
    ramp.className = "ramp";
    ramp.style.background = `linear-gradient(90deg, ${[...ramp_of("lm_shrank").reverse(), ...ramp_of("lm_grew")].join(",")}), #333`;
    add(`+${limit(state.overlay)}${unit}`);
  }

  // A number with a true minus; what rounds to zero has none.
  const plain = (value, decimals) => value.toFixed(decimals).replace("-", "−").replace(/^−(0(\.0+)?)$/, "$1");

  function where(location) {
    const voxel = [...location.vox].map(Math.round);
    const parts = Object.keys(maps).filter((kind) => kind !== "sure").map((kind) => {
      const value = plain(maps[kind].getValue(...voxel), 2);
      return kind === "mean" ? `mean: ${value} ${data.maps[state.map].unit}` : `t: ${value}`;
    });
    const at = [...location.mm].slice(0, 3).map((x) => plain(x, 0)).join(", ");
    $("v-place").textContent = `${at} mm (right, front, up) · ${parts.join(" · ")}`;
  }

  // In the place of niivue's own keys, some of which change its layout or need the mouse over the picture.
  function keys(canvas) {
    canvas.addEventListener("keyup", (event) => event.stopImmediatePropagation(), true);
    canvas.addEventListener("keydown", (event) => {
      event.stopImmediatePropagation();
      if (!KEYS[event.key] || !viewer.volumes.length) return;
      event.preventDefault();
      viewer.moveCrosshairInVox(...KEYS[event.key]);
    }, true);
  }

  // What was chosen before the viewer was ready, or is left from an earlier visit to the page.
  function read() {
    state.map = Number($("v-map").value);
    state.overlay = box.querySelector("#v-overlay input:checked").value;
    state.opacity = $("v-opacity").value / 100;
  }

  async function start() {
    const canvas = $("v-canvas");
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser does not support WebGL 2");
    box.hidden = false;
    library = await load();
    viewer = new library.Niivue({
      dragAndDropEnabled: false, isRadiologicalConvention: true, isNearestInterpolation: false, backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.85, 0.2, 0.8], crosshairWidth: 0.7, crosshairWidthUnit: "mm", show3Dcrosshair: false, loadingText: "", logLevel: "error",
      multiplanarShowRender: 0, multiplanarLayout: 3, multiplanarEqualSize: true, tileMargin: 4, isOrientationTextVisible: true,
      scrollRequiresFocus: true,
    });
    Object.entries(MAPS).forEach(([name, map]) => viewer.addColormap(name, map));
    viewer.onLocationChange = where;
    keys(canvas);
    await viewer.attachToCanvas(canvas);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    template = await volume("template", data.template, { colormap: "plain", cal_min: 0, cal_max: 330, opacity: 1 });
    read();
    await fill();
    look(data.focus);
    $("v-map").addEventListener("change", (event) => { state.map = Number(event.target.value); busy = busy.then(fill); });
    $("v-overlay").addEventListener("change", (event) => { state.overlay = event.target.value; draw(); });
    $("v-opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; draw(); });
    box.dataset.state = "ready";
    go();
  }

  function give_up(error) {
    box.hidden = true;
    const place = $("v-missing");
    place.hidden = false;
    place.textContent = `The volume viewer cannot run here (${error.message}). The files in the folder group contain the same maps.`;
  }

  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    start().catch(give_up);
  }, { rootMargin: "300px" });
  watch.observe($("viewer-section"));
  window.addEventListener("hashchange", go);
  // A second click on a link changes no address.
  document.addEventListener("click", (event) => { if (event.target.closest("a[href^='#map=']")) setTimeout(go); });
  go();
})();

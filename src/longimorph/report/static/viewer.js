"use strict";
// The volume viewer: unpacks niivue and the volumes from the page itself when it comes into view.
(() => {
  const $ = (id) => document.getElementById(id);
  const box = $("viewer");
  const data = JSON.parse($("volumes").textContent);
  const KINDS = ["before", "modelled", "target", "moved", "changed", "growth"];
  const CLASSES = new Set(["before", "modelled", "target"]);
  const WORDS = { before: "before", modelled: "modelled", target: "target", moved: "deformation", changed: "reallocation", growth: "local volume" };
  const MAPS = {
    plain: { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255] },
    lm_moved: { R: [140, 200, 255], G: [0, 0, 60], B: [170, 230, 255], A: [255, 255, 255], I: [0, 90, 255] },
    lm_changed: { R: [0, 0, 60], G: [110, 170, 235], B: [30, 60, 90], A: [255, 255, 255], I: [0, 90, 255] },
    lm_grew: { R: [255, 255], G: [130, 50], B: [90, 40], A: [255, 255], I: [0, 255] },
    lm_shrank: { R: [110, 40], G: [170, 100], B: [255, 255], A: [255, 255], I: [0, 255] },
  };
  // The patient's right is on the left: right, front, up in voxels.
  const KEYS = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  const VEIL = [84, 102, 140]; // over what was not compared
  const state = { pair: 0, overlay: "moved", visit: 0, opacity: 0.8 };
  let viewer, library, scans, maps = {}, timer = null, busy = Promise.resolve();

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  async function load() {
    const stream = new Blob([bytes($("library").textContent.trim())]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob([await new Response(stream).blob()], { type: "text/javascript" }));
    await new Promise((done, failed) => { script.onload = done; script.onerror = () => failed(new Error("niivue did not load")); document.head.append(script); });
    return window.niivue;
  }

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

  async function volume(name, base64, settings) {
    const made = await library.NVImage.loadFromBase64({ name: `${name}.nii.gz`, base64, trustCalMinMax: false, ...settings });
    Object.assign(made, settings);
    return made;
  }

  // Every picture and map of the chosen pair; niivue itself is given the two that are shown, so that a map's
  // own transparency counts, which it does for the first overlay only.
  async function fill() {
    const pair = data.pairs[state.pair];
    const from = data.visits[pair.from], to = data.visits[pair.to];
    const grey = { colormap: "plain", cal_min: 0, cal_max: 330, opacity: 1 };
    // A map is the more transparent, the smaller its value: it modulates itself.
    const own = { modulationImage: 1, modulateAlpha: 1 };
    const share = (colormap) => ({ colormap, cal_min: 0, cal_max: pair.share_limit, ...own });
    scans = [await volume(pair.from, from.picture, grey), await volume(pair.to, to.picture, grey)];
    maps = {};
    for (const [name, text] of [["before", from.classes], ["modelled", pair.modelled], ["target", to.classes]]) {
      maps[name] = await volume(name, text, {});
      maps[name].setColormapLabel(labels());
    }
    maps.moved = await volume("moved", pair.moved, share("lm_moved"));
    maps.changed = await volume("changed", pair.changed, share("lm_changed"));
    maps.growth = await volume("growth", pair.growth, {
      colormap: "lm_grew", colormapNegative: "lm_shrank", cal_min: 0, cal_max: pair.growth_limit,
      cal_minNeg: -pair.growth_limit, cal_maxNeg: 0, ...own });
    if (pair.unseen) {
      maps.unseen = await volume("not compared", pair.unseen, {});
      maps.unseen.setColormapLabel({ R: [0, VEIL[0]], G: [0, VEIL[1]], B: [0, VEIL[2]], A: [0, 215], I: [0, 1], labels: ["", "not compared"] });
    }
    draw();
    look(pair.focus);
  }

  function look(place) {
    viewer.scene.crosshairPos = viewer.mm2frac(place);
    viewer.drawScene();
    viewer.createOnLocationChange();
  }

  // The pair and place that the address asks for: #pair=V1__V2&at=x,y,z, in mm to the right, front and up.
  function asked() {
    const given = new URLSearchParams(window.location.hash.slice(1));
    const pair = data.pairs.findIndex((one) => one.name === given.get("pair"));
    const at = (given.get("at") || "").split(",").map(Number);
    return pair >= 0 && at.length === 3 && at.every(Number.isFinite) ? { pair, at } : null;
  }

  // Shows what the address asks for; the viewer starts when it comes into sight, and then asks again.
  function go() {
    const wanted = asked();
    if (!wanted) return;
    $("viewer-section").scrollIntoView();
    if (box.dataset.state !== "ready") return;
    $("v-pair").value = wanted.pair;
    busy = busy.then(async () => {
      if (state.pair !== wanted.pair) { state.pair = wanted.pair; await fill(); }
      look(wanted.at);
    });
  }

  function draw() {
    const shown = CLASSES.has(state.overlay) && timer !== null ? ["before", "target"][state.visit] : state.overlay;
    const map = maps[shown];
    if (map) map.opacity = state.opacity;
    viewer.back = scans[state.visit];
    viewer.overlays = [map, map && maps.unseen].filter(Boolean);
    viewer.volumes = [viewer.back, ...viewer.overlays];
    viewer.updateGLVolume();
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
      const ramp_of = (name) => MAPS[name].I.map((at, i) => {
        const share = at / 255;
        return `rgba(${MAPS[name].R[i]},${MAPS[name].G[i]},${MAPS[name].B[i]},${share}) ${growth ? (name === "lm_grew" ? 50 + 50 * share : 50 - 50 * share) : 100 * share}%`;
      });
      const stops = growth ? [...ramp_of("lm_shrank").reverse(), ...ramp_of("lm_grew")] : ramp_of(`lm_${state.overlay}`);
      add("span", growth ? `−${pair.growth_limit} %` : "0 %");
      const ramp = add("span", "");
      ramp.className = "ramp";
      ramp.style.background = `linear-gradient(90deg, ${stops.join(",")}), #333`;
      add("span", growth ? `+${pair.growth_limit} % of the tissue's volume` : `${pair.share_limit} % of the voxel or more`);
    }
    if (maps.unseen && state.overlay !== "none") patch("not compared", `rgb(${VEIL})`);
  }

  // A number with a true minus; what rounds to zero has none.
  const plain = (value, decimals) => value.toFixed(decimals).replace("-", "−").replace(/^−(0(\.0+)?)$/, "$1");

  function where(location) {
    const voxel = [...location.vox].map(Math.round);
    const parts = KINDS.map((kind) => {
      const value = maps[kind].getValue(...voxel);
      const said = CLASSES.has(kind) ? (data.classes[Math.round(value)] || {}).name : `${plain(value, kind === "growth" ? 1 : 0)} %`;
      return `${WORDS[kind]}: ${said}`;
    });
    if (maps.unseen && maps.unseen.getValue(...voxel) > 0.5) parts.push("not compared");
    const at = [...location.mm].slice(0, 3).map((x) => plain(x, 0)).join(", ");
    $("v-place").textContent = `${at} mm (right, front, up) · ${parts.join(" · ")}`;
  }

  function flicker(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => { state.visit = 1 - state.visit; draw(); }, 800) : null;
    draw();
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

  function give_up(error) {
    box.hidden = true;
    const place = $("v-missing");
    place.hidden = false;
    place.textContent = `The volume viewer cannot run here (${error.message}). The pictures below show the same content.`;
  }

  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    start().catch(give_up);
  }, { rootMargin: "300px" });
  watch.observe($("viewer-section"));
  window.addEventListener("hashchange", go);
  // A second click on a link changes no address.
  document.addEventListener("click", (event) => { if (event.target.closest("a[href^='#pair=']")) setTimeout(go); });
  go();
})();

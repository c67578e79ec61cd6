"use strict";
// What the viewers of a patient and of the cohort have in common. Neither contacts the network: niivue and the volumes come from the page.
const shared = (() => {
  const $ = (id) => document.getElementById(id);
  const box = $("viewer");
  const MAPS = {
    plain: { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255] },
    lm_grew: { R: [255, 255], G: [130, 50], B: [90, 40], A: [255, 255], I: [0, 255] },
    lm_shrank: { R: [110, 40], G: [170, 100], B: [255, 255], A: [255, 255], I: [0, 255] },
  };
  // The patient's right is on the left: right, front, up in voxels.
  const KEYS = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  const GREY = { colormap: "plain", cal_min: 0, cal_max: 330, opacity: 1 };
  // A map is the more transparent, the smaller its value: it modulates itself.
  const OWN = { modulationImage: 1, modulateAlpha: 1 };
  let library, viewer;

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

  // A map of growth and shrinkage up to ±most.
  const signed = (most) => ({
    colormap: "lm_grew", colormapNegative: "lm_shrank", cal_min: 0, cal_max: most, cal_minNeg: -most, cal_maxNeg: 0, ...OWN });

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

  // The viewer of niivue, with these colour maps besides the shared ones; where(location) is told each new place.
  async function open(colours, where) {
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
    Object.entries({ ...MAPS, ...colours }).forEach(([name, map]) => viewer.addColormap(name, map));
    viewer.onLocationChange = where;
    keys(canvas);
    await viewer.attachToCanvas(canvas);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
  }

  function show(back, overlays) {
    viewer.back = back;
    viewer.overlays = overlays;
    viewer.volumes = [back, ...overlays];
    viewer.updateGLVolume();
  }

  function look(place) {
    viewer.scene.crosshairPos = viewer.mm2frac(place);
    viewer.drawScene();
    viewer.createOnLocationChange();
  }

  // What the address asks for: #<what>=<name>&at=x,y,z, in mm to the right, front and up; find(name) gives its number.
  function asked(what, find) {
    const given = new URLSearchParams(window.location.hash.slice(1));
    const number = find(given.get(what));
    const at = (given.get("at") || "").split(",").map(Number);
    return number >= 0 && at.length === 3 && at.every(Number.isFinite) ? { number, at } : null;
  }

  // The stops of a gradient in a map's colours, from one percentage to another.
  const stops = (map, from, to) => map.I.map((at, i) => {
    const share = at / 255;
    return `rgba(${map.R[i]},${map.G[i]},${map.B[i]},${share}) ${from + (to - from) * share}%`;
  });
  const signed_stops = () => [...stops(MAPS.lm_shrank, 50, 0).reverse(), ...stops(MAPS.lm_grew, 50, 100)];

  // A number with a true minus; what rounds to zero has none.
  const plain = (value, decimals) => value.toFixed(decimals).replace("-", "−").replace(/^−(0(\.0+)?)$/, "$1");

  function tell(location, parts) {
    const at = [...location.mm].slice(0, 3).map((x) => plain(x, 0)).join(", ");
    $("v-place").textContent = `${at} mm (right, front, up) · ${parts.join(" · ")}`;
  }

  function give_up(error, instead) {
    box.hidden = true;
    const place = $("v-missing");
    place.hidden = false;
    place.textContent = `The volume viewer cannot run here (${error.message}). ${instead}`;
  }

  // Starts when the viewer comes into sight, and goes where a link to #<what>=... points.
  function begin(start, go, what, instead) {
    const watch = new IntersectionObserver((seen) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      start().catch((error) => give_up(error, instead));
    }, { rootMargin: "300px" });
    watch.observe($("viewer-section"));
    window.addEventListener("hashchange", go);
    // A second click on a link changes no address.
    document.addEventListener("click", (event) => { if (event.target.closest(`a[href^='#${what}=']`)) setTimeout(go); });
    go();
  }

  return { $, box, GREY, OWN, volume, signed, open, show, look, asked, stops, signed_stops, plain, tell, begin };
})();

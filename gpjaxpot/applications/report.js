"use strict";
// Draws the worst atoms in their structures; nothing is loaded from elsewhere.
(() => {
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  const viewer = document.getElementById("viewer");
  const LONGEST_ARROW = 3.2; // Å
  const SHARE = 0.45; // of a covalent radius that a disc has
  let current = 0, turn = null, zoom = 1;

  function viewMatrix({ reference, predicted }) {
    // Both forces lie in the plane of the screen, the longer one to the right.
    const long = Math.hypot(...reference) < Math.hypot(...predicted) ? predicted : reference;
    const x = unit(long) || [1, 0, 0];
    const aside = Math.abs(x[2]) < 0.9 ? [0, 0, 1] : [0, 1, 0];
    const z = unit(cross(reference, predicted)) || unit(cross(x, aside));
    return times(about(0, 0.2), [x, cross(z, x), z]);
  }
  function cross(a, b) {
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  }
  function unit(v) {
    const length = Math.hypot(...v);
    return length > 1e-6 ? v.map((c) => c / length) : null;
  }
  function about(axis, angle) {
    const c = Math.cos(angle), s = Math.sin(angle);
    const [a, b] = [(axis + 1) % 3, (axis + 2) % 3];
    const m = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
    m[axis][axis] = 1; m[a][a] = c; m[b][b] = c; m[a][b] = -s; m[b][a] = s;
    return m;
  }
  function times(p, q) {
    return p.map((row) => [0, 1, 2].map((j) => row[0] * q[0][j] + row[1] * q[1][j] + row[2] * q[2][j]));
  }
  function turned(v) {
    return turn.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
  }
  function shade(colour, share) { // towards white for share > 0, towards black below
    const end = share > 0 ? 255 : 0, t = Math.abs(share);
    return `rgb(${colour.map((c) => Math.round(c + (end - c) * t)).join(",")})`;
  }

  function setUp() {
    const canvas = viewer.querySelector("canvas");
    const context = canvas.getContext("2d");
    const choices = viewer.querySelector(".choices");
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

    function draw() {
      const scene = scenes[current];
      const ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const points = scene.positions.map(turned);
      const edges = scene.edges.map((edge) => edge.map(turned));
      const far = Math.max(3, ...scene.positions.map((p) => Math.hypot(...p)));
      const scale = zoom * 0.47 * Math.min(width, height) / Math.min(far, 12);
      const place = (p) => [width / 2 + scale * p[0], height / 2 - scale * p[1]];
      const depth = (z) => Math.max(-1, Math.min(1, z / far)); // −1 far, 1 near

      context.lineWidth = 1;
      context.strokeStyle = colour("--soft");
      context.globalAlpha = 0.6;
      for (const [a, b] of edges) line(place(a), place(b));
      context.globalAlpha = 1;

      const items = [];
      scene.bonds.forEach(([i, j]) => items.push({ z: (points[i][2] + points[j][2]) / 2 - 0.01, bond: [i, j] }));
      points.forEach((p, i) => items.push({ z: p[2], atom: i }));
      items.sort((a, b) => a.z - b.z);
      for (const item of items) {
        context.globalAlpha = 0.45 + 0.55 * (depth(item.z) + 1) / 2; // what is far is faint
        if (item.bond) {
          context.lineWidth = Math.max(1, 0.12 * scale);
          context.strokeStyle = colour("--soft");
          line(place(points[item.bond[0]]), place(points[item.bond[1]]));
        } else {
          disc(scene, item.atom, place(points[item.atom]), scale);
        }
      }
      context.globalAlpha = 1;
      mark(scene, place(points[0]), scale);
      tell(scene);
      document.body.dataset.canvasDrawn = String(points.length);
    }
    function line(a, b) {
      context.beginPath(); context.moveTo(...a); context.lineTo(...b); context.stroke();
    }
    function disc(scene, i, [x, y], scale) {
      const look = scene.looks[scene.symbols[i]], r = Math.max(2.5, SHARE * look.radius * scale);
      const light = context.createRadialGradient(x - 0.35 * r, y - 0.35 * r, 0.1 * r, x, y, r);
      light.addColorStop(0, shade(look.colour, 0.6));
      light.addColorStop(0.6, shade(look.colour, 0));
      light.addColorStop(1, shade(look.colour, -0.35));
      context.beginPath(); context.arc(x, y, r, 0, 2 * Math.PI);
      context.fillStyle = light; context.fill();
      context.lineWidth = 0.7; context.strokeStyle = "#333333"; context.stroke();
      if (r >= 8) { // else letters cannot be read
        const [red, green, blue] = look.colour;
        context.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 125 ? "#111111" : "#ffffff";
        context.font = `${Math.round(Math.min(14, r))}px system-ui, sans-serif`;
        context.textAlign = "center"; context.textBaseline = "middle";
        context.fillText(scene.symbols[i], x, y);
      }
    }
    function mark(scene, [x, y], scale) {
      const r = Math.max(2.5, SHARE * scene.looks[scene.symbols[0]].radius * scale) + 4;
      context.lineWidth = 3; context.strokeStyle = colour("--ring");
      context.beginPath(); context.arc(x, y, r, 0, 2 * Math.PI); context.stroke();
      const longest = Math.max(Math.hypot(...scene.reference), Math.hypot(...scene.predicted), 1e-12);
      const end = (force) => turned(force).map((f) => f * LONGEST_ARROW / longest * scale);
      const ends = [scene.reference, scene.predicted].map(end).map((way) => [x + way[0], y - way[1]]);
      // The second is thinner, so that both are seen where they lie on each other.
      arrow([x, y], ends[0], colour("--page"), 10);
      arrow([x, y], ends[0], colour("--reference"), 7);
      arrow([x, y], ends[1], colour("--page"), 4.5);
      arrow([x, y], ends[1], colour("--predicted"), 3);
    }
    function arrow([x, y], [u, v], paint, thick) {
      const length = Math.hypot(u - x, v - y);
      if (length < 1) return; // points at the reader
      const [dx, dy] = [(u - x) / length, (v - y) / length], head = Math.min(9 + 1.5 * thick, length);
      context.strokeStyle = context.fillStyle = paint;
      context.lineWidth = thick;
      line([x, y], [u - 0.8 * head * dx, v - 0.8 * head * dy]);
      context.beginPath();
      context.moveTo(u, v);
      context.lineTo(u - head * dx + 0.5 * head * dy, v - head * dy - 0.5 * head * dx);
      context.lineTo(u - head * dx - 0.5 * head * dy, v - head * dy + 0.5 * head * dx);
      context.closePath(); context.fill();
    }
    function tell(scene) {
      const size = (force) => Math.hypot(...force).toFixed(2);
      const spread = scene.sigma === null ? "" : `, σ ${scene.sigma.toFixed(2)}`;
      const shown = scene.positions.length < scene.total ? ` The nearest ${scene.positions.length} of ${scene.total} atoms are shown.` : "";
      const text = `Atom ${scene.atom} (${scene.species}) of ${scene.source || "a structure"}: force ${size(scene.reference)} eV/Å, ` +
        `predicted ${size(scene.predicted)}, error ${scene.error.toFixed(2)}${spread}.${shown}`;
      const about = viewer.querySelector(".about");
      if (about.textContent !== text) {
        about.textContent = text;
        canvas.setAttribute("aria-label", `Structure around the worst atom. ${text}`);
      }
    }
    function rotate(dx, dy) { // pixels
      turn = times(times(about(1, dx / 120), about(0, dy / 120)), turn);
      draw();
    }
    function choose(k) {
      current = k; zoom = 1; turn = viewMatrix(scenes[current]);
      [...choices.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === k)));
      draw();
    }
    function closer(factor) {
      if (factor) zoom = Math.max(0.3, Math.min(12, zoom * factor));
      else { zoom = 1; turn = viewMatrix(scenes[current]); }
      draw();
    }

    scenes.forEach((scene, k) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${k + 1}: ${scene.species}, ${scene.error.toFixed(2)} eV/Å`;
      button.addEventListener("click", () => choose(k));
      choices.append(button);
    });
    const fingers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY];
      if (fingers.size === 1) {
        rotate(now[0] - before[0], now[1] - before[1]);
      } else {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
        closer(apart(now) / Math.max(apart(before), 1) || 1);
      }
      fingers.set(event.pointerId, now);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return; // the page scrolls on
      event.preventDefault();
      closer(Math.exp(-event.deltaY / 500));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => rotate(-15, 0), ArrowRight: () => rotate(15, 0), ArrowUp: () => rotate(0, -15),
      ArrowDown: () => rotate(0, 15), "+": () => closer(1.15), "=": () => closer(1.15), "-": () => closer(1 / 1.15),
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    viewer.querySelectorAll("[data-zoom]").forEach((button) =>
      button.addEventListener("click", () => closer(Number(button.dataset.zoom))));
    window.addEventListener("resize", draw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    choose(0);
  }

  function measure() { // for those who test the page
    const images = [...document.images], root = document.scrollingElement, data = document.body.dataset;
    data.images = String(images.length);
    data.imagesLoaded = String(images.filter((image) => image.complete && image.naturalWidth > 0).length);
    data.scrollWidth = String(root.scrollWidth);
    data.innerWidth = String(window.innerWidth);
    data.ready = "yes";
  }
  if (viewer && scenes.length) setUp();
  if (document.readyState === "complete") measure();
  else window.addEventListener("load", measure);
  window.addEventListener("resize", measure);
})();

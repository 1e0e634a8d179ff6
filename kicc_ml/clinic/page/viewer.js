// A scan with its map on a canvas. Plain ES5 and no WebGL: it must open from disk in an old hospital browser.
// Axes of a volume are z (to the feet), y (to the back), x (to the patient's left), as the encoder wrote them.
(function () {
  "use strict";
  var WINDOWS = { lung: [-1350, 150], soft: [-160, 240] };
  var COLOURS = { 2: [230, 159, 0], 3: [204, 70, 190] }; // Okabe and Ito: told apart by colour-blind readers
  var PLANES = { a: "axial", c: "coronal", s: "sagittal" }, PRESETS = { 1: "lung", 2: "soft" };
  var OUTLINE = [86, 180, 233];
  var DOTS = [255, 255, 255];

  function bytes(base64) {
    var text = atob(base64), out = new Uint8Array(text.length);
    for (var i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return out;
  }

  function labels(scan, text) {
    var runs = bytes(text), out = new Uint8Array(scan.shape[0] * scan.shape[1] * scan.shape[2]), at = 0;
    for (var i = 0; i < runs.length; i += 2) {
      var run = runs[i] | runs[i + 1] << 8, end = at + (run & 0x3fff);
      if (run >> 14) out.fill(run >> 14, at, end);
      at = end;
    }
    return out;
  }

  // Grey level of the page's JPEG to grey level on the screen, through HU and a window.
  function table(scan, span) {
    var out = new Uint8Array(256), k = 0;
    for (var level = 0; level < 256; level++) {
      while (k < scan.levels.length - 2 && level > scan.levels[k + 1]) k++;
      var share = (level - scan.levels[k]) / (scan.levels[k + 1] - scan.levels[k]);
      var hu = scan.knots[k] + share * (scan.knots[k + 1] - scan.knots[k]);
      var shown = scan.hounsfield ? 255 * (hu - span[0]) / (span[1] - span[0]) : level;
      out[level] = Math.max(0, Math.min(255, shown));
    }
    return out;
  }

  function Viewer(box, scan) {
    this.box = box;
    this.scan = scan;
    this.depth = scan.shape[0]; this.rows = scan.shape[1]; this.columns = scan.shape[2];
    this.grey = new Uint8Array(this.depth * this.rows * this.columns);
    this.label = labels(scan, scan.runs);
    this.unsure = scan.uncertain && labels(scan, scan.uncertain);
    this.state = { plane: "axial", window: "lung", opacity: 0.45, map: "on", unsure: "off", axial: 0, coronal: 0, sagittal: 0 };
    this.own = WINDOWS.lung.slice(); // the window that was dragged
    this.canvas = box.querySelector("canvas.plane");
    this.bare = box.querySelector("canvas.bare"); // of a radiograph, on paper
    this.slider = box.querySelector("input.level");
    this.state.axial = scan.involved.indexOf(Math.max.apply(null, scan.involved));
    this.state.coronal = this.worst("coronal");
    this.state.sagittal = this.worst("sagittal");
    this.load();
    this.listen();
    this.refresh();
  }

  // Level of a plane with most lesion, its middle if there is none.
  Viewer.prototype.worst = function (plane) {
    var count = new Uint32Array(this.levels(plane)), at = 0;
    for (var z = 0; z < this.depth; z++) for (var y = 0; y < this.rows; y++) for (var x = 0; x < this.columns; x++) {
      if (this.label[at++] > 1) count[plane === "coronal" ? y : x]++;
    }
    var most = Math.max.apply(null, count);
    return most > 0 ? Array.prototype.indexOf.call(count, most) : count.length >> 1;
  };

  // Slices come one by one, those around the one that is shown first.
  Viewer.prototype.load = function () {
    var self = this, sheet = document.createElement("canvas"), order = [], pending = this.depth;
    sheet.width = this.columns; sheet.height = this.rows;
    var pen = sheet.getContext("2d", { willReadFrequently: true });
    for (var z = 0; z < this.depth; z++) order.push(z);
    order.sort(function (a, b) { return Math.abs(a - self.state.axial) - Math.abs(b - self.state.axial); });
    order.forEach(function (z) {
      var image = new Image();
      image.onload = function () {
        pen.drawImage(image, 0, 0);
        var rgba = pen.getImageData(0, 0, self.columns, self.rows).data, from = z * self.rows * self.columns;
        for (var i = 0; i < self.rows * self.columns; i++) self.grey[from + i] = rgba[4 * i];
        pending -= 1;
        if (z === self.state.axial || pending === 0) self.draw();
        if (pending === 0) self.box.setAttribute("data-ready", "yes");
      };
      image.src = "data:image/jpeg;base64," + self.scan.slices[z];
    });
  };

  Viewer.prototype.listen = function () {
    var self = this, state = this.state;
    this.box.querySelectorAll("button[data-set]").forEach(function (button) {
      button.onclick = function () {
        var pair = button.getAttribute("data-set").split("=");
        state[pair[0]] = pair[1] === "on" && state[pair[0]] === "on" ? "off" : pair[1];
        self.refresh();
      };
    });
    this.slider.oninput = function () { self.go(+self.slider.value); };
    this.box.querySelector("input.opacity").oninput = function () {
      state.opacity = this.value / 100; state.map = "on"; self.refresh();
    };
    this.box.addEventListener("keydown", function (event) { self.key(event); });
    this.canvas.addEventListener("wheel", function (event) {
      event.preventDefault(); self.step(event.deltaY > 0 ? 1 : -1);
    }, { passive: false });
    this.drag();
    var profile = this.box.querySelector("canvas.profile");
    profile.onclick = function (event) {
      state.plane = "axial";
      state.axial = Math.floor(event.offsetX / profile.clientWidth * self.depth);
      self.refresh();
    };
  };

  Viewer.prototype.drag = function () {
    var self = this, start = null;
    function y(event) { return event.touches ? event.touches[0].clientY : event.clientY; }
    function down(event) {
      start = { y: y(event), x: event.clientX, level: self.level(), span: event.button === 2 && self.span() };
    }
    function move(event) {
      if (!start) return;
      event.preventDefault();
      if (start.span) return self.widen(start.span, event.clientX - start.x, event.clientY - start.y);
      var travel = (y(event) - start.y) / self.canvas.clientHeight * 1.2;
      self.go(start.level + Math.round(travel * self.levels()));
    }
    function up() { start = null; }
    this.canvas.addEventListener("mousedown", down);
    this.canvas.addEventListener("contextmenu", function (event) { event.preventDefault(); });
    window.addEventListener("mousemove", move);
    window.addEventListener("mouseup", up);
    this.canvas.addEventListener("touchstart", down, { passive: true });
    this.canvas.addEventListener("touchmove", move, { passive: false });
    this.canvas.addEventListener("touchend", up);
  };

  Viewer.prototype.key = function (event) {
    var state = this.state, key = event.key.toLowerCase(), done = true;
    if (key === "arrowdown" || key === "arrowright") this.step(1);
    else if (key === "arrowup" || key === "arrowleft") this.step(-1);
    else if (PLANES[key] && this.depth > 1) { state.plane = PLANES[key]; this.refresh(); }
    else if (PRESETS[key]) { state.window = PRESETS[key]; this.refresh(); }
    else if (key === "w") { state.window = state.window === "lung" ? "soft" : "lung"; this.refresh(); }
    else if (key === "m") { state.map = state.map === "on" ? "off" : "on"; this.refresh(); }
    else if (key === "u" && this.unsure) { state.unsure = state.unsure === "on" ? "off" : "on"; this.refresh(); }
    else done = false;
    if (done) event.preventDefault();
  };

  Viewer.prototype.levels = function (plane) {
    return { axial: this.depth, coronal: this.rows, sagittal: this.columns }[plane || this.state.plane];
  };
  Viewer.prototype.span = function () { return WINDOWS[this.state.window] || this.own; };

  // A drag with the right button: to the right wider, downwards darker.
  Viewer.prototype.widen = function (span, right, down) {
    if (!this.scan.hounsfield) return;
    var width = Math.max(20, span[1] - span[0] + 4 * right), centre = (span[0] + span[1]) / 2 + 2 * down;
    this.own = [centre - width / 2, centre + width / 2];
    this.state.window = "own";
    this.refresh();
  };

  Viewer.prototype.level = function () { return this.state[this.state.plane]; };
  Viewer.prototype.step = function (by) { this.go(this.level() + by); };
  Viewer.prototype.go = function (level) {
    this.state[this.state.plane] = Math.max(0, Math.min(this.levels() - 1, level));
    this.refresh();
  };

  Viewer.prototype.refresh = function () {
    var state = this.state;
    this.slider.max = this.levels() - 1;
    this.slider.value = this.level();
    this.box.querySelectorAll("button[data-set]").forEach(function (button) {
      var pair = button.getAttribute("data-set").split("=");
      button.setAttribute("aria-pressed", String(state[pair[0]] === pair[1]));
    });
    this.box.querySelector(".where").textContent = (this.level() + 1) + " / " + this.levels();
    this.draw();
    this.profile();
  };

  // Index of the voxel at a row and column of a plane; a sagittal plane has the front on the left.
  Viewer.prototype.index = function (plane, row, column) {
    var z = plane === "axial" ? this.state.axial : row;
    var y = plane === "axial" ? row : plane === "coronal" ? this.state.coronal : column;
    return (z * this.rows + y) * this.columns + (plane === "sagittal" ? this.state.sagittal : column);
  };

  Viewer.prototype.draw = function () {
    this.paint(this.canvas, this.state.plane, this.state.map === "on");
    if (this.bare) this.paint(this.bare, "axial", false);
  };

  Viewer.prototype.paint = function (canvas, plane, map) {
    var height = plane === "axial" ? this.rows : this.depth, width = plane === "sagittal" ? this.rows : this.columns;
    var sheet = document.createElement("canvas"), pen = sheet.getContext("2d");
    sheet.width = width; sheet.height = height;
    var image = pen.createImageData(width, height), lut = table(this.scan, this.span());
    for (var row = 0, at = 0; row < height; row++) for (var column = 0; column < width; column++, at += 4) {
      var shown = lut[this.grey[this.index(plane, row, column)]], tint = map ? this.tint(plane, row, column, height, width) : null;
      var share = tint === OUTLINE || tint === DOTS ? 1 : this.state.opacity;
      for (var c = 0; c < 3; c++) image.data[at + c] = tint ? shown * (1 - share) + tint[c] * share : shown;
      image.data[at + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    this.present(canvas, sheet, plane);
  };

  Viewer.prototype.tint = function (plane, row, column, height, width) {
    var self = this, at = this.index(plane, row, column), label = this.label[at];
    // Dots rather than a colour: they leave the lesion's own to be seen, and print.
    if (this.state.unsure === "on" && this.unsure[at] && row % 2 === 0 && column % 2 === 0) return DOTS;
    if (label > 1) return COLOURS[label];
    if (label === 0) return null;
    function lung(r, c) { return self.label[self.index(plane, r, c)] > 0; }
    var inner = row > 0 && column > 0 && row < height - 1 && column < width - 1 &&
      lung(row - 1, column) && lung(row + 1, column) && lung(row, column - 1) && lung(row, column + 1);
    return inner ? null : OUTLINE;
  };

  // Lay the plane out in true proportion, with the sides and a scale of 5 cm.
  Viewer.prototype.present = function (canvas, sheet, plane) {
    var spacing = this.scan.spacing, high = sheet.height * spacing[plane === "axial" ? 1 : 2];
    var wide = sheet.width * spacing[plane === "sagittal" ? 1 : 0], ends = plane === "sagittal" ? "AP" : "RL";
    var scale = Math.max(760 / Math.max(wide, high), sheet.width / wide); // words stay legible where a slice is high
    var width = Math.round(wide * scale), height = Math.round(high * scale), pen = canvas.getContext("2d");
    if (canvas.height !== height || canvas.width !== width) { canvas.width = width; canvas.height = height; }
    pen.imageSmoothingEnabled = true;
    pen.drawImage(sheet, 0, 0, width, height);
    if (!this.scan.sides) return;
    pen.font = "bold 26px sans-serif"; pen.lineWidth = 4; pen.strokeStyle = "#000"; pen.fillStyle = "#fff";
    function word(text, x, y) { pen.strokeText(text, x, y); pen.fillText(text, x, y); }
    word(ends[0], 10, 30);
    word(ends[1], width - 30, 30);
    if (this.depth === 1) return; // how much a radiograph enlarges is not known
    var bar = 50 / wide * width;
    pen.fillRect(width - bar - 14, height - 16, bar, 4);
    pen.font = "16px sans-serif";
    word("5 cm", width - bar / 2 - 32, height - 22);
    var span = this.span();
    if (this.scan.hounsfield) word("W " + Math.round(span[1] - span[0]) + "  L " + Math.round((span[0] + span[1]) / 2), 10, height - 12);
  };

  // Bars of involvement, head to feet; a click goes there.
  Viewer.prototype.profile = function () {
    var canvas = this.box.querySelector("canvas.profile"), pen = canvas.getContext("2d"), scan = this.scan;
    canvas.width = 760; canvas.height = 46;
    var step = canvas.width / this.depth;
    pen.fillStyle = "#222"; pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "rgb(" + COLOURS[2].join(",") + ")";
    for (var z = 0; z < this.depth; z++) {
      var bar = scan.involved[z] / 100 * canvas.height;
      pen.fillRect(z * step, canvas.height - bar, Math.max(step - 0.5, 1), bar);
    }
    if (this.state.plane !== "axial") return;
    pen.fillStyle = "#fff"; pen.fillRect((this.state.axial + 0.5) * step - 1, 0, 2, canvas.height);
  };

  var scans = JSON.parse(document.getElementById("scans").textContent);
  document.querySelectorAll(".viewer").forEach(function (box, number) { new Viewer(box, scans[number]); });
  var languages = document.querySelectorAll("button[data-language]");
  function speak(language) {
    document.documentElement.lang = language;
    languages.forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.getAttribute("data-language") === language));
    });
  }
  languages.forEach(function (button) { button.onclick = function () { speak(button.getAttribute("data-language")); }; });
  speak("en");
})();

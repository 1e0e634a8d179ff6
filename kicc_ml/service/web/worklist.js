// The rows of the worklist. Text of a study is only ever set as text, never as markup.
(function () {
  "use strict";
  var EVERY_MS = 3000, SEVERE = 0.6, MODERATE = 0.3; // shares of the highest score: only how a row is marked
  var table = document.getElementById("worklist"), body = table.tBodies[0];
  var words = JSON.parse(table.getAttribute("data-words"));
  var search = document.getElementById("search"), states = document.getElementById("states");
  var state = "", first = 0, shown = "", asked = 0, timer = null;

  function add(parent, name, text, kind) {
    var made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    if (kind) made.className = kind;
    parent.appendChild(made);
    return made;
  }

  function link(parent, text, address, kind) {
    var made = add(parent, "a", text, kind);
    made.href = address;
    return made;
  }

  function number(value, digits) { return value === null || value === undefined ? "–" : value.toFixed(digits); }

  function time(seconds) {
    var date = new Date(seconds * 1000), two = function (n) { return (n < 10 ? "0" : "") + n; };
    return date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate()) + " " +
      two(date.getHours()) + ":" + two(date.getMinutes());
  }

  function date(text) { return text.replace(/^(\d{4})(\d{2})(\d{2})$/, "$1-$2-$3"); }

  function page(study, result) { return "studies/" + study + "/" + result + "/page.html"; }

  function addPatient(cell, row) {
    var name = row.identity.Name || row.identity.ID || words.study + " " + row.study;
    if (row.results.length) link(cell, name, page(row.study, row.results[0].number), "open");
    else add(cell, "b", name);
    ["ID", "Study date"].forEach(function (label) {
      if (row.identity[label] && row.identity[label] !== name) add(cell, "span", words[label] + " " + (label === "ID" ? row.identity[label] : date(row.identity[label])), "quiet");
    });
    link(add(cell, "span", null, "quiet"), words.study + " " + row.study + " · " + words.details, "studies/" + row.study);
  }

  function addScore(cell, result) {
    if (!result || result.score === null) { cell.textContent = "–"; return; }
    add(cell, "b", result.score);
    cell.appendChild(document.createTextNode(" / " + result.most));
    add(add(cell, "span", null, "bar"), "i").style.width = 100 * result.rank + "%";
  }

  function addKind(cell, row) {
    row.results.forEach(function (result) {
      var line = add(cell, "div");
      var score = row.results.length > 1 && result.score !== null ? " " + result.score : "";
      link(line, result.modality + score, page(row.study, result.number));
      if (result.prior) {
        line.appendChild(document.createTextNode(" · "));
        link(line, words.prior + (result.prior.score === null ? "" : " " + result.prior.score), page(result.prior.study, result.prior.number));
      }
      result.flags.forEach(function (flag) { add(line, "span", words["flag_" + flag] || flag, "mark"); });
    });
  }

  function addState(cell, row) {
    add(cell, "span", words["state_" + row.state], "state " + row.state);
    if (row.undelivered) add(cell, "span", row.undelivered + " " + words.undelivered + (row.delivery_error ? ": " + row.delivery_error : ""), "reason");
    if (row.reason) add(cell, "span", row.reason, "reason");
  }

  function addRow(row) {
    var line = add(body, "tr"), worst = row.results[0], rank = worst ? worst.rank : -1;
    line.className = rank >= SEVERE ? "severe" : rank >= MODERATE ? "moderate" : "";
    line.setAttribute("data-study", row.study);
    addPatient(add(line, "td", null, "patient"), row);
    addScore(add(line, "td", null, "number score"), worst);
    var known = worst && worst.percent_involved !== null;
    add(line, "td", worst ? number(worst.percent_involved, 0) : "", "number involved" + (known ? "" : " unknown"));
    add(line, "td", worst ? number(worst.lesion_ml, 0) : "", "number lesion");
    addKind(add(line, "td", null, "kind"), row);
    addState(add(line, "td", null, "state-cell"), row);
    add(line, "td", time(row.received), "received number");
  }

  function addStates(counts) {
    var all = Object.keys(counts).reduce(function (sum, one) { return sum + counts[one]; }, 0);
    states.textContent = "";
    [["", words.all_states, all]].concat(Object.keys(counts).map(function (one) {
      return [one, words["state_" + one], counts[one]];
    })).forEach(function (one) {
      var alarm = one[2] && (one[0] === "failed" || one[0] === "refused");
      var button = add(states, "button", one[1] + " " + one[2], alarm ? "alarm" : one[2] ? "" : "none");
      button.type = "button";
      button.setAttribute("data-state", one[0]);
      button.setAttribute("aria-pressed", String(state === one[0]));
      button.onclick = function () { state = one[0]; first = 0; ask(); };
    });
  }

  function addPages(answer) {
    var note = document.getElementById("note");
    note.textContent = answer.found ? "" : words.no_rows;
    if (answer.found <= answer.most && !answer.first) return;
    add(note, "span", (answer.rows.length ? answer.first + 1 : answer.first) + "–" + (answer.first + answer.rows.length) + " / " + answer.found + " ");
    [["earlier", answer.first - answer.most, answer.first > 0],
     ["later", answer.first + answer.most, answer.first + answer.most < answer.found]].forEach(function (one) {
      var button = add(note, "button", words[one[0]], one[0]);
      button.type = "button";
      button.disabled = !one[2];
      button.onclick = function () { first = Math.max(0, one[1]); scrollTo(0, 0); ask(); };
    });
  }

  function show(answer, text) {
    document.getElementById("offline").hidden = true;
    document.getElementById("updated").textContent = words.updated + " " + new Date().toTimeString().slice(0, 8);
    if (text === shown) return; // what somebody is about to click stays where it is
    shown = text;
    var focused = document.activeElement && document.activeElement.getAttribute("data-state");
    addStates(answer.states);
    if (focused !== null) states.querySelector('[data-state="' + focused + '"]').focus();
    body.textContent = "";
    answer.rows.forEach(addRow);
    addPages(answer);
    table.setAttribute("data-ready", "yes");
  }

  function ask() {
    var mine = ++asked, query = "q=" + encodeURIComponent(search.value) + "&state=" + state + "&first=" + first;
    clearTimeout(timer);
    fetch("studies.json?" + query, { cache: "no-store", headers: { Accept: "application/json" } })
      .then(function (response) {
        if (response.status === 401) { location.href = "login"; throw new Error("logged out"); }
        if (!response.ok) throw new Error(response.status);
        return response.text();
      })
      .then(function (text) {
        if (mine !== asked) return;
        show(JSON.parse(text), query + text);
      })
      .catch(function () { if (mine === asked) document.getElementById("offline").hidden = false; })
      .then(function () { if (mine === asked) timer = setTimeout(ask, EVERY_MS); });
  }

  var typing = null;
  search.oninput = function () { clearTimeout(typing); typing = setTimeout(function () { first = 0; ask(); }, 250); };
  ask();
})();

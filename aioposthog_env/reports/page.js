"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const find = (id) => document.getElementById(id);
  const figure = (number) => number.toLocaleString("en");
  const many = (number, one) => `${figure(number)} ${one}${number === 1 ? "" : "s"}`;
  const capital = (word) => word[0].toUpperCase() + word.slice(1);

  // Text from outside becomes a text node and nothing else.
  function make(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== null) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }
  const isolated = (text) => make("bdi", null, text);
  const hidden = (text) => make("span", { class: "vh" }, text);

  const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, make("wbr")]);

  function icon(name) {
    const svg = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#i-${name}`);
    svg.append(use);
    return svg;
  }

  // An environment is [host, id, name, …], everywhere.
  function environment(one) {
    const parts = [isolated(one[2] || "(no name)"), " ", make("span", { class: "id" }, String(one[1]))];
    if (data.hosts.length > 1) parts.push(make("span", { class: "host" }, isolated(data.hosts[one[0]])));
    return parts;
  }
  const said = (one) => `${one[2]}\n${one[1]}\n${data.hosts[one[0]]}`.toLowerCase();
  const asked = (input) => input.value.trim().toLowerCase();

  function status(number) {
    const word = data.statuses[number];
    return make("td", { class: `status ${word}` }, icon(word), capital(word));
  }

  // Shows a page of items in a table's body, with buttons to go on where there are more.
  function pager(table, draw, size = 50) {
    const body = table.tBodies[0], place = hidden(""), shown = make("span");
    const back = make("button", { type: "button" }, "Previous"), on = make("button", { type: "button" }, "Next");
    const bar = make("div", { class: "pager", hidden: true }, back, shown, on, place);
    place.setAttribute("role", "status");
    table.parentElement.after(bar);
    let items = [], first = 0;
    function render() {
      body.replaceChildren(...items.slice(first, first + size).map(draw));
      bar.hidden = items.length <= size;
      shown.textContent = `${figure(first + 1)} to ${figure(Math.min(first + size, items.length))} of ${figure(items.length)}`;
      back.disabled = first === 0;
      on.disabled = first + size >= items.length;
    }
    function turn(by) {
      first += by;
      render();
      place.textContent = shown.textContent;
      table.parentElement.scrollTo({ top: 0 });
      if (table.getBoundingClientRect().top < 0) table.parentElement.scrollIntoView({ block: "start" });
    }
    back.addEventListener("click", () => turn(-size));
    on.addEventListener("click", () => turn(size));
    return (next) => { items = next; first = 0; render(); };
  }

  // A button that folds out the names of environments below its row.
  function folding(label, members, width) {
    const button = make("button", { type: "button", class: "fold", "aria-expanded": "false" }, ...label);
    let below = null;
    button.addEventListener("click", () => {
      if (below) below.remove();
      below = below ? null : make("tr", null, make("td", { colspan: width, class: "members" }, names(members)));
      if (below) button.closest("tr").after(below);
      button.setAttribute("aria-expanded", String(below !== null));
    });
    return button;
  }

  function names(members) {
    const list = make("ul"), rest = make("button", { type: "button" });
    let number = 0;
    function more() {
      list.append(...members.slice(number, number + 200).map((one) => make("li", null, ...environment(one))));
      number += 200;
      rest.hidden = number >= members.length;
      rest.textContent = `Show more (${figure(members.length - number)} left)`;
    }
    rest.addEventListener("click", more);
    more();
    return make("div", null, list, rest);
  }

  function attention() {
    data.attention.forEach((errors, number) => {
      pager(find(`attention-${number}`), ([error, rows]) => {
        const members = rows.map((row) => data.environments[row]);
        const title = members.length === 1 ? environment(members[0]) : [folding([many(members.length, "environment")], members, 2)];
        return make("tr", null, make("th", { scope: "row" }, ...title), make("td", null, isolated(error || "—")));
      }, 10)(errors);
    });
  }

  function changes() {
    const table = find("changes-table"), text = find("changes-text");
    const show = pager(table, ([setting, before, after, became, rows]) => make(
      "tr", null,
      make("th", { scope: "row" }, make("code", null, ...breakable(setting))),
      make("td", { class: "before" }, isolated(before)),
      make("td", { class: "after" }, isolated(after)),
      status(became),
      make("td", { class: "figure" }, folding([figure(rows.length), hidden(rows.length === 1 ? " environment" : " environments")], rows.map((row) => data.environments[row]), 5)),
    ));
    function update() {
      const wanted = asked(text);
      const fitting = data.changes.filter((one) => one.slice(0, 3).join("\n").toLowerCase().includes(wanted));
      find("changes-found").textContent = `${many(fitting.length, "change")}${wanted ? ` of ${figure(data.changes.length)}` : ""}`;
      show(fitting);
    }
    text.addEventListener("input", update);
    update();
  }

  function environments() {
    const text = find("environments-text"), choice = find("environments-status");
    const show = pager(find("environments-table"), (one) => make(
      "tr", null,
      make("th", { scope: "row" }, ...environment(one)),
      status(one[3]),
      make("td", null, one[4]),
      make("td", { class: "figure" }, figure(one[5])),
      make("td", { class: "figure" }, `${one[6].toFixed(1)} s`),
    ));
    function update() {
      const wanted = asked(text);
      const fitting = data.environments.filter(
        (one) => (!choice.value || data.statuses[one[3]] === choice.value) && said(one).includes(wanted));
      find("environments-found").textContent = `${figure(fitting.length)} of ${many(data.environments.length, "environment")}`;
      show(fitting);
    }
    text.addEventListener("input", update);
    choice.addEventListener("change", update);
    update();
  }

  function drift({ settings, patterns, lines }) {
    const table = find("drift-table"), who = find("drift-environment"), which = find("drift-setting"), order = find("drift-order");
    const toggles = Object.fromEntries(["all", "only", "group"].map((name) => [name, find(`drift-${name}`)]));
    const on = (name) => toggles[name].getAttribute("aria-pressed") === "true";
    const spoken = lines.map(said);
    const wanted = (line, column) => (line[4] && line[4][column] !== undefined ? line[4][column] : settings[column][2]);
    const value = (line, column) => patterns[line[3]][column];
    const differs = (line, column) => {
      const is = value(line, column), should = wanted(line, column);
      return is >= 0 && should >= 0 && is !== should;
    };
    let columns = [];

    function cell(line, column) {
      const is = value(line, column), should = wanted(line, column), text = settings[column][1][is];
      if (is < 0) return make("td", { class: "absent" }, "not shown");
      if (is === should) return make("td", { class: "same" }, make("span", { "aria-hidden": "true" }, "·"), hidden("as it should be"));
      if (should < 0) return make("td", { class: "free" }, isolated(text));
      const alone = line[4] && line[4][column] !== undefined;
      return make("td", { class: "differs" }, isolated(text), hidden(" differs"), alone ? ` (not ${settings[column][1][should]})` : "");
    }

    function head() {
      table.tHead.rows[0].replaceChildren(
        make("th", { scope: "col", class: "corner" }, "Environments"),
        ...columns.map((column) => {
          const [name, values, should, differing] = settings[column];
          const rule = should >= 0 ? isolated(values[should]) : differing ? "by environment" : "no rule";
          return make("th", { scope: "col" },
            make("span", { class: "setting" }, ...breakable(name)), make("span", { class: "wanted" }, rule),
            make("span", { class: "differing" }, differing ? `${figure(differing)} differ` : ""));
        }),
      );
    }

    const show = pager(table, (group) => {
      const title = group.length === 1 ? environment(group[0])
        : [folding([make("b", null, figure(group.length)), " environments alike"], group, columns.length + 1)];
      return make("tr", null, make("th", { scope: "row" }, ...title), ...columns.map((column) => cell(group[0], column)));
    });

    function grouped(members) {
      if (!on("group")) return members.map((line) => [line]);
      const found = new Map();
      for (const line of members) {
        const key = columns.map((column) => `${value(line, column)}/${wanted(line, column)}`).join();
        if (found.has(key)) found.get(key).push(line);
        else found.set(key, [line]);
      }
      return [...found.values()];
    }

    function sorted(groups) {
      const count = (group) => columns.filter((column) => differs(group[0], column)).length;
      if (order.value === "name") return groups.sort((one, other) => one[0][2].localeCompare(other[0][2]));
      if (order.value === "size") return groups.sort((one, other) => other.length - one.length);
      return groups.map((group) => [count(group), group]).sort((one, other) => other[0] - one[0] || other[1].length - one[1].length)
        .map(([, group]) => group);
    }

    function update() {
      const person = asked(who), setting = asked(which);
      columns = settings.map((one, column) => column)
        .filter((column) => (on("all") || setting || settings[column][3]) && settings[column][0].toLowerCase().includes(setting));
      const fitting = lines.filter((line, number) =>
        spoken[number].includes(person) && (!on("only") || columns.some((column) => differs(line, column))));
      const groups = sorted(grouped(fitting));
      head();
      show(groups);
      find("drift-paper").textContent = `Paper has room for the first 12 of these ${figure(columns.length)} settings.`;
      find("drift-paper").hidden = columns.length <= 12;
      const where = `${figure(columns.length)} of ${many(settings.length, "setting")}`;
      find("drift-found").textContent =
        `${figure(fitting.length)} of ${many(lines.length, "environment")} in ${many(groups.length, "line")}; ${where}`;
    }

    for (const button of Object.values(toggles)) {
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        update();
      });
    }
    who.addEventListener("input", update);
    which.addEventListener("input", update);
    order.addEventListener("change", update);
    update();
  }

  attention();
  if (data.changes.length) changes();
  if (data.environments.length) environments();
  if (data.drift) drift(data.drift);
  document.documentElement.classList.add("scripted");
})();

"use strict";
// The page's own arithmetic, over the posterior's draws: the law exactly; law, discrepancy and noise together from a grid.
(() => {
  const page = JSON.parse(document.getElementById("explorer-data").textContent);
  const law = LAW_SCRIPT;
  const $ = (id) => document.getElementById(id);

  const floats = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  };
  const places = floats(page.exchange); // of the draws in standard normal distributions
  const draws = floats(page.draws), count = page.count, width = law.width;
  const known = new Float64Array(count * width);
  for (let i = 0; i < count; i += 1) {
    known.set(law.prepare(...law.parameters.map((_, j) => draws[j * count + i])), i * width);
  }
  const tokens = (N, C) => C / law.compute(N, 1);
  // losses are in nats here; the reader sees and gives them in the unit of the runs
  const shown = (value) => (page.perplexity ? Math.exp(value) : value / page.natsIn);
  const inside = (value) => (page.perplexity ? Math.log(value) : value * page.natsIn);
  const inUnit = (values) => values && Object.fromEntries(Object.entries(values).map(([name, value]) => [name, shown(value)]));
  // x: error of the law in its exchange of parameters and tokens; the loss is the law's at N e^-x and D e^x.
  // A path is what a budget buys: tokens(i, N) of draw i, and between which sizes [log N] it buys any.
  const loss = (i, logN, path, x = 0) => {
    const N = Math.exp(logN);
    return law.loss(known, i * width, N * Math.exp(-x), path.tokens(i, N) * Math.exp(x));
  };

  // The size of least loss of draw i along a budget: a coarse search, then golden sections.
  const GOLDEN = (Math.sqrt(5) - 1) / 2;
  const section = (i, low, high, path, x = 0) => {
    let a = low, b = high, c = b - GOLDEN * (b - a), d = a + GOLDEN * (b - a);
    let atC = loss(i, c, path, x), atD = loss(i, d, path, x);
    while (b - a > 2e-6) {
      if (atC < atD) { b = d; d = c; atD = atC; c = b - GOLDEN * (b - a); atC = loss(i, c, path, x); }
      else { a = c; c = d; atC = atD; d = a + GOLDEN * (b - a); atD = loss(i, d, path, x); }
    }
    return (a + b) / 2;
  };
  const STEPS = 24, MOST = 92; // e-folds of N that are searched
  // the largest log N that passes a test which all smaller ones pass
  const largest = (passes) => {
    let low = 0, high = MOST;
    for (let i = 0; i < 50; i += 1) {
      const middle = (low + high) / 2;
      if (passes(Math.exp(middle))) low = middle; else high = middle;
    }
    return low;
  };
  const compute = (logC) => {
    const C = Math.exp(logC), ends = [0, largest((N) => law.compute(N, 1) <= C)];
    return { tokens: (i, N) => tokens(N, C), ends: () => ends };
  };
  const optimum = (path) => Float64Array.from({ length: count }, (_, i) => {
    if (path.menu) return path.menu(i, 0);
    const [first, last] = path.ends(i), step = (last - first) / STEPS;
    let at = 0, least = Infinity;
    for (let j = 0; j <= STEPS; j += 1) {
      const value = loss(i, first + j * step, path);
      if (value < least) { least = value; at = j; }
    }
    return section(i, first + Math.max(at - 1, 0) * step, first + Math.min(at + 1, STEPS) * step, path);
  });

  // Questions: budgets in the unit of a cost, whose names may be uncertain.
  const BAND_SD = 1.6448536269514722; // a range low..high is the central 90 % of a log-normal
  const scripts = COST_SCRIPTS;
  const questions = page.questions.map((one, k) => ({ ...one, ...scripts[k] }));
  const samples = (value, k) => {
    if (value.draws) return floats(value.draws);
    if (value.value !== undefined) return value.value;
    value.own = value.own || (value.places ? floats(value.places)
      : Float64Array.from({ length: count }, (_, i) => places[(i * 7919 + 13 * (k + 1)) % count]));
    return value.own.map((z) => Math.exp(value.mu + value.sigma * z));
  };
  const draw = (question) => {
    const found = question.values.map((value, k) => [`$${value.name}`, samples(value, k)]);
    const at = (i) => Object.fromEntries(found.map(([name, drawn]) => [name, typeof drawn === "number" ? drawn : drawn[i]]));
    question.sure = found.every(([, drawn]) => typeof drawn === "number");
    question.drawn = question.sure ? [at(0)] : Array.from({ length: count }, (_, i) => at(i));
  };
  const buys = (question, known, N, B) => {
    let D = NaN;
    if (question.perToken) D = (B - question.fixed(known, N, 1)) / question.perToken(known, N, 1);
    else if (question.spend(known, N, 1) <= B) D = Math.exp(largest((size) => question.spend(known, N, size) <= B));
    return D > 0 ? D : NaN;
  };
  const asked = (question, B) => {
    const of = (i) => question.drawn[question.sure ? 0 : i];
    const [, mostTokens] = question.tokens, [, mostRatio] = question.ratio;
    const tokensOf = (known, N) => Math.min(buys(question, known, N, B), mostTokens ?? Infinity, (mostRatio ?? Infinity) * N);
    const endsOf = (known) => {
      const low = Math.log(Math.max(question.params[0], 1)), most = question.params[1] === null ? MOST : Math.log(question.params[1]);
      const high = largest((N) => buys(question, known, N, B) >= Math.max(1, question.tokens[0], question.ratio[0] * N));
      return [low, Math.max(low, Math.min(high, most))];
    };
    const shared = question.sure && !question.menu ? endsOf(question.drawn[0]) : null;
    const path = { tokens: (i, N) => tokensOf(of(i), N), ends: (i) => shared || endsOf(of(i)) };
    if (question.menu) {
      const items = question.menu.params.map((N, k) => [N,
        Object.fromEntries(Object.entries(question.menu).map(([name, values]) => [`$${name}`, values[k]]))]);
      path.tokens = (i, N) => tokensOf({ ...of(i), ...items.reduce((a, b) => (Math.abs(Math.log(b[0] / N)) < Math.abs(Math.log(a[0] / N)) ? b : a))[1] }, N);
      path.menu = (i, x) => {
        const losses = items.map(([N]) => loss(i, Math.log(N), path, x)).map((value) => (Number.isNaN(value) ? Infinity : value));
        return Math.log(items[losses.indexOf(Math.min(...losses))][0]);
      };
    }
    return path;
  };
  const median = (values) => quantile(Float64Array.from(values).filter((value) => !Number.isNaN(value)).sort(), 0.5);

  const quantile = (sorted, share) => {
    const place = share * (sorted.length - 1), below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  };
  const SHARES = { q05: (1 - page.level) / 2, q25: 0.25, q50: 0.5, q75: 0.75, q95: (1 + page.level) / 2 };
  const band = (values) => {
    const sorted = Float64Array.from(values).sort();
    return Object.fromEntries(Object.entries(SHARES).map(([name, share]) => [name, quantile(sorted, share)]));
  };

  // What a new run shows above the law's median, between the nodes of the grid; null outside it.
  const { rows, columns, names, rank } = page.grid, table = floats(page.grid.values);
  const weights = floats(page.grid.weights), shapes = floats(page.grid.shapes);
  const place = (nodes, x) => {
    if (!(x >= nodes[0] - 1e-9 && x <= nodes[nodes.length - 1] + 1e-9)) return null;
    let i = 0;
    while (i < nodes.length - 2 && nodes[i + 1] <= x) i += 1;
    return [i, (x - nodes[i]) / (nodes[i + 1] - nodes[i])];
  };
  const beyondLaw = (log10C, log10Ratio) => {
    const row = place(rows, log10C), column = place(columns, log10Ratio);
    if (!row || !column) return null;
    const [i, s] = row, [j, t] = column, size = columns.length;
    const between = (values, k) => {
      const at = (a, b) => values[(k * rows.length + a) * size + b];
      return (1 - s) * ((1 - t) * at(i, j) + t * at(i, j + 1)) + s * ((1 - t) * at(i + 1, j) + t * at(i + 1, j + 1));
    };
    const here = Array.from({ length: rank }, (_, k) => between(shapes, k));
    const logs = Float64Array.from({ length: count }, (_, d) => {
      let sum = 0;
      for (let k = 0; k < rank; k += 1) sum += weights[d * rank + k] * here[k];
      return sum;
    });
    return { logs, ...Object.fromEntries(names.map((name, k) => [name, between(table, k)])) };
  };
  const forecast = (N, D) => {
    const C = law.compute(N, D), logN = Math.log(N);
    const path = { tokens: () => D }, lawLoss = band(Array.from({ length: count }, (_, i) => loss(i, logN, path)));
    const more = beyondLaw(Math.log10(C), Math.log10(D / N));
    const draws = more && more.logs.map((value) => lawLoss.q50 * Math.exp(value));
    return { C, lawLoss, draws, loss: draws && band(draws), more, beyond: Math.max(0, Math.log10(C) - page.last) };
  };

  // The cost of a split relative to each draw's own best, as shares of the loss and of the budget.
  const centres = floats(page.exchangeCentres), sds = floats(page.exchangeSds);
  const atPair = (values, log10Pair) => {
    const [low, high] = page.exchangePairs, steps = values.length - 1;
    const at = steps * Math.max(0, Math.min(1, (log10Pair - low) / (high - low))), j = Math.min(Math.floor(at), steps - 1);
    return values[j] + (at - j) * (values[j + 1] - values[j]);
  };
  // errors at the product of N and D of the law's own splits: the median N, and the tokens that the budget buys at it
  const exchangeErrors = (own, path) => {
    const logN = median(own), D = path.bought ? path.bought(Math.exp(logN)) : path.tokens(0, Math.exp(logN));
    const pair = (logN + Math.log(D)) / Math.LN10, middle = atPair(centres, pair), sd = atPair(sds, pair);
    return Float64Array.from({ length: count }, (_, i) => middle + sd * places[i]);
  };
  const erringOptimum = (path) => {
    const own = optimum(path), errors = exchangeErrors(own, path);
    const best = own.map((n, i) => {
      if (path.menu) return path.menu(i, errors[i]);
      const [first, last] = path.ends(i), e = errors[i];
      const low = Math.max(first, n + Math.min(e, 0) - 0.7), high = Math.min(last, n + Math.max(e, 0) + 0.7);
      return high > low ? section(i, low, high, path, e) : n;
    });
    return { best, errors };
  };
  const regret = (N, D) => {
    const logN = Math.log(N), logC = Math.log(law.compute(N, D)), path = compute(logC);
    const { best, errors } = erringOptimum(path);
    const along = (c) => ({ tokens: (i, size) => tokens(size, Math.exp(c)) });
    const lost = new Float64Array(count), wasted = new Float64Array(count);
    for (let i = 0; i < count; i += 1) {
      const x = errors[i], here = loss(i, logN, path, x);
      let c = logC, n = best[i];
      lost[i] = Math.max(Math.log(here / loss(i, n, path, x)), 0);
      for (let round = 0; round < 8; round += 1) {
        const value = loss(i, n, along(c), x), h = 1e-4;
        const slope = (Math.log(loss(i, n, along(c + h), x)) - Math.log(loss(i, n, along(c - h), x))) / (2 * h);
        const step = Math.max(-2, Math.min(2, -(Math.log(value) - Math.log(here)) / slope));
        if (!Number.isFinite(step) || Math.abs(step) < 1e-7) break;
        n = section(i, n + Math.min(step, 0) - 0.1, n + Math.max(step, 0) + 0.1, along(c + step), x);
        c = Math.min(c + step, logC);
      }
      wasted[i] = 1 - Math.exp(c - logC);
    }
    return { lost: band(lost), wasted: band(wasted) };
  };

  const size = (value) => {
    for (const [suffix, factor] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]]) {
      if (value >= factor) return `${Number((value / factor).toPrecision(4))}${suffix}`;
    }
    return String(Number(value.toPrecision(4)));
  };
  const command = (value) => Number(value.toPrecision(6)).toExponential().replace("e+", "e");
  const flop = (value) => `${value.toExponential(2).replace("e+", "e")} FLOP`;
  const inUnits = (value) => {
    const unit = current.unit || "in the unit of the cost";
    return unit === "FLOP" ? flop(value) : `${Number(value.toPrecision(3)).toLocaleString("en")} ${unit}`;
  };
  const percent = (value) => `${Number((100 * value).toPrecision(3))} %`;
  const decimals = (value) => value.toFixed(4);
  const show = (id, value, text) => {
    const at = $(id);
    at.value = Number.isFinite(value) ? String(value) : "";
    at.textContent = Number.isFinite(value) ? text(value) : "not known";
  };
  const showBand = (id, values, text) => {
    for (const q of ["q05", "q50", "q95"]) show(`${id}-${q}`, values ? values[q] : NaN, text);
    $(`${id}-range`).hidden = !values;
  };
  const say = (id, sentences) => $(id).replaceChildren(...sentences.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
  const doubts = (result) => {
    const found = [];
    if (page.doubt) found.push(`${page.doubt}: these numbers must not be acted on.`);
    if (result.beyond > page.farDecades) {
      found.push(`${result.beyond.toFixed(1)} decades of compute beyond the largest run; bands were checked up to 1.5.`);
    } else if (result.more && result.more.nearest_run > page.farFromRuns) {
      found.push(`${result.more.nearest_run.toFixed(1)} decades of N and D from the nearest run: bands were not checked there.`);
    }
    if (!result.loss) found.push("Outside the range of this page: it knows only the law alone here. Use bayescale forecast.");
    return found;
  };

  const parse = (text) => {
    const found = /^\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([kmbt]?)\s*$/i.exec(text.replaceAll(",", ""));
    const value = found ? Number(found[1]) * { "": 1, k: 1e3, m: 1e6, b: 1e9, t: 1e12 }[found[2].toLowerCase()] : NaN;
    return Number.isFinite(value) && value > 0 ? value : NaN;
  };
  const accept = (input, least, most, optional = false) => {
    const value = parse(input.value), fine = (value >= least && value <= most) || (input.value.trim() === "" && optional);
    input.setAttribute("aria-invalid", String(!fine));
    $(`${input.id}-error`).textContent = fine ? "" : `A number from ${least.toExponential(1)} to ${most.toExponential(1)}, such as ${input.dataset.example}.`;
    return fine ? value : NaN;
  };

  let chosen = { N: NaN, D: NaN }, current = questions[0], budget = page.start;
  const showBudget = (B) => {
    budget = B;
    const path = asked(current, B), log10B = Math.log10(B);
    path.bought = (N) => (current.sure ? path.tokens(0, N) : median(Float64Array.from({ length: count }, (_, i) => path.tokens(i, N))));
    const best = erringOptimum(path).best.map(Math.exp);
    const got = best.map((N, i) => path.tokens(i, N)), ratio = best.map((N, i) => got[i] / N);
    const N = Math.exp(median(best.map(Math.log)));
    chosen = { N, D: path.bought(N) };
    const result = forecast(chosen.N, chosen.D);
    const nearest = current.budgets.reduce((a, b, i) => (Math.abs(b - log10B) < Math.abs(current.budgets[a] - log10B) ? i : a), 0);
    const possible = chosen.D > 0, why = possible ? current.whyNot[nearest] : "this budget buys nothing within the limits";
    showBand("best-n", why ? null : band(best), size);
    showBand("best-d", why ? null : band(got), size);
    showBand("best-ratio", why ? null : band(ratio), (value) => String(Number(value.toPrecision(4))));
    showBand("best-loss", inUnit(result.loss), decimals);
    show("best-compute", result.C, flop);
    show("budget", B, inUnits);
    say("budget-doubts", [...(why ? [`The best split is not known: ${why}.`] : []), ...(possible ? doubts(result) : [])]);
    const unknown = why || page.doubt || result.beyond > page.farDecades;
    $("budget-said").textContent = `${inUnits(B)}: ${unknown ? "best split not known" : `${size(chosen.N)} parameters on ${size(chosen.D)} tokens`}`
      + (result.loss ? `, loss ${decimals(shown(result.loss.q50))}, ${percent(page.level)} band ${decimals(shown(result.loss.q05))} to ${decimals(shown(result.loss.q95))}` : "");
    const given = current.values.map((value) => `--given ${value.name}=${/[^\w.+-]/.test(value.text) ? `"${value.text}"` : value.text}`);
    $("budget-command").textContent = ["bayescale allocate FIT.nc", `-C ${command(B)}`, current.options, ...given].filter(Boolean).join(" ");
    mark(Math.log10(result.C), result.loss);
  };
  const showRun = () => {
    const N = accept($("run-n"), 1e3, 1e18), D = accept($("run-d"), 1e3, 1e20);
    if (!(N > 0 && D > 0)) return;
    const result = forecast(N, D), cost = regret(N, D);
    $("run-shown").textContent = `${size(N)} parameters on ${size(D)} tokens`;
    showBand("run-loss", inUnit(result.loss), decimals);
    showBand("run-law", inUnit(result.lawLoss), decimals);
    showBand("run-regret", cost.lost, percent);
    showBand("run-wasted", cost.wasted, percent);
    const target = accept($("run-target"), 1e-3, 1e3, true);
    const reached = result.draws && target > 0 ? result.draws.filter((value) => value <= inside(target)).length / count : NaN;
    show("run-reach", reached, (value) => value.toFixed(3));
    if (!(target > 0)) $("run-reach").textContent = "no target given";
    show("run-compute", result.C, flop);
    show("run-beyond", result.beyond, (value) => `${value.toFixed(2)} decades`);
    const share = result.more || {};
    for (const name of ["params", "drift", "noise"]) show(`run-share-${name}`, share[name], percent);
    say("run-doubts", doubts(result));
    $("run-said").textContent = `${size(N)} parameters on ${size(D)} tokens: `
      + (result.loss ? `loss ${decimals(shown(result.loss.q50))}, ${percent(page.level)} band ${decimals(shown(result.loss.q05))} to ${decimals(shown(result.loss.q95))}` : "outside this page");
    $("run-command").textContent = `bayescale forecast FIT.nc -N ${command(N)} -D ${command(D)}`;
  };

  // The small chart: the band along the best splits, and the budget that is chosen.
  const chart = page.chart, BOX = { left: 46, right: 372, top: 12, bottom: 150 };
  const x = (log10C) => BOX.left + (BOX.right - BOX.left) * (log10C - chart.low) / (chart.high - chart.low);
  const y = (value) => BOX.bottom - (BOX.bottom - BOX.top) * (value - chart.least) / (chart.most - chart.least);
  const mark = (log10C, values) => {
    const shown = Boolean(values);
    $("chart-mark").toggleAttribute("hidden", !shown);
    if (!shown) return;
    const clamp = (value) => Math.max(BOX.top, Math.min(BOX.bottom, y(value)));
    const line = $("chart-band"), dot = $("chart-dot");
    for (const [name, value] of [["x1", x(log10C)], ["x2", x(log10C)], ["y1", clamp(values.q05)], ["y2", clamp(values.q95)]]) line.setAttribute(name, value);
    dot.setAttribute("cx", x(log10C));
    dot.setAttribute("cy", clamp(values.q50));
  };

  const slider = $("budget-slider"), typed = $("budget-typed"), units = $("budget-unit");
  let waiting = 0;
  const later = (work) => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(work); };
  const slide = () => {
    const B = 10 ** Number(slider.value);
    slider.setAttribute("aria-valuetext", inUnits(B));
    typed.value = B.toExponential(2).replace("e+", "e");
    typed.setAttribute("aria-invalid", "false");
    $("budget-typed-error").textContent = "";
    later(() => showBudget(B));
  };
  const move = (B) => {
    slider.value = String(Math.log10(B));
    slider.setAttribute("aria-valuetext", inUnits(B));
    showBudget(B);
  };
  slider.addEventListener("input", slide);
  typed.addEventListener("change", () => {
    const B = accept(typed, 10 ** Number(slider.min), 10 ** Number(slider.max));
    if (B > 0) move(B);
  });

  // A value of a name in the cost: a number, or a range that is the central 90 % of a log-normal.
  const change = (value, input) => {
    const [first, last] = input.value.split("..").map(parse);
    const fine = first > 0 && (last === undefined || last > first);
    input.setAttribute("aria-invalid", String(!fine));
    $(`${input.id}-error`).textContent = fine ? "" : "A number above 0, or a range such as 0.35..0.5.";
    if (!fine) return;
    for (const key of ["value", "mu", "sigma", "draws"]) delete value[key];
    if (last === undefined) value.value = first;
    else Object.assign(value, { mu: Math.log(first * last) / 2, sigma: Math.log(last / first) / (2 * BAND_SD) });
    value.text = input.value.trim();
    draw(current);
    showBudget(budget);
  };
  const field = (value, k) => {
    const box = document.createElement("div"), label = document.createElement("label");
    const input = document.createElement("input"), mistake = document.createElement("p");
    input.id = `given-${k}`;
    label.htmlFor = input.id;
    label.textContent = value.name;
    Object.assign(input, { type: "text", autocomplete: "off", value: value.text });
    Object.assign(mistake, { id: `${input.id}-error`, className: "mistake" });
    mistake.setAttribute("role", "alert");
    input.setAttribute("aria-describedby", mistake.id);
    input.addEventListener("change", () => change(value, input));
    box.append(label, input, mistake);
    return box;
  };
  const ask = (k, B) => {
    current = questions[k];
    if (!current.drawn) draw(current);
    slider.min = current.first.toFixed(6);
    slider.max = current.end.toFixed(6);
    const start = Math.min(Math.max(B ?? 10 ** (current.last + 1), 10 ** current.first), 10 ** current.end);
    $("budget-cost").textContent = current.unit === "FLOP" ? `Training compute, counted as ${current.cost}` : `What a run costs: ${current.cost}`;
    $("given").replaceChildren(...current.values.map(field));
    typed.value = command(Number(start.toPrecision(3)));
    move(start);
  };
  units.addEventListener("change", () => ask(Number(units.value), page.starts[units.value]));
  for (const id of ["run-n", "run-d", "run-target"]) $(id).addEventListener("change", showRun);
  $("run-best").addEventListener("click", () => {
    $("run-n").value = size(chosen.N);
    $("run-d").value = size(chosen.D);
    showRun();
  });
  document.getElementById("explorer").hidden = false;
  ask(0, page.starts[0]);
  showRun();
})();

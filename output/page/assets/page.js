'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = id => document.getElementById(id);
  const root = document.documentElement;
  const css = name => getComputedStyle(root).getPropertyValue('--' + name).trim();
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

  // el makes an element. Text is set as text: nothing of the session is ever parsed as HTML.
  function el(tag, props = {}, ...children) {
    const node = document.createElement(tag);
    for (const [k, v] of Object.entries(props)) {
      if (k === 'class') node.className = v;
      else if (k === 'style') Object.assign(node.style, v);
      else if (k.startsWith('on')) node.addEventListener(k.slice(2), v);
      else if (k === 'title' || k.startsWith('aria-') || k.startsWith('data-') || k === 'role') node.setAttribute(k, v);
      else node[k] = v;
    }
    node.append(...children);
    return node;
  }
  function svg(tag, attributes = {}, ...children) {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    node.append(...children);
    return node;
  }

  // Words for figures.
  const trim = s => s.includes('.') ? s.replace(/\.?0+$/, '') : s;
  function number(v) {
    if (v == null || !isFinite(v)) return '–';
    const a = Math.abs(v);
    if (a !== 0 && a < 1) return trim(v.toPrecision(3));
    if (a < 1000 && a % 1 !== 0) return trim(v.toFixed(a < 100 ? 2 : 1));
    return Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, '\u2009');
  }
  function duration(ns) {
    if (ns == null || !isFinite(ns)) return '–';
    const a = Math.abs(ns);
    if (a >= 3.6e12) return trim((ns / 3.6e12).toFixed(2)) + ' h';
    if (a >= 1e9) return trim((ns / 1e9).toFixed(a < 1e11 ? 2 : 0)) + ' s';
    if (a >= 1e6) return trim((ns / 1e6).toFixed(2)) + ' ms';
    return trim((ns / 1e3).toFixed(1)) + ' µs';
  }
  const prefixes = [[1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']];
  function scaled(v, unit) {
    const [by, prefix] = prefixes.find(([by]) => Math.abs(v) >= by) || [1, ''];
    return trim((v / by).toPrecision(3)) + ' ' + prefix + unit;
  }
  const percent = v => v > 0 && v < .1 ? '< 0.1 %' : v.toFixed(1) + ' %';

  // ---- What there is of time: blocks of buckets, and of single steps.

  const modes = ['full', 'piecewise', 'eager'];
  const undelta = list => { let at = 0; return list.map(d => at += d); };

  const gridOf = t => ({ kind: 'grid', from: t.origin_ns, to: t.origin_ns + t.width_ns * t.buckets, width: t.width_ns, n: t.buckets, columns: t.columns });
  function rawOf(w) {
    return { kind: 'raw', engine: w.engine, from: w.from_ns, to: w.to_ns, step: undelta(w.step), start: undelta(w.start_ns), columns: w.columns };
  }
  const engines = new Map(data.engines.map(e => [e.engine, { ...e, grid: gridOf(e.timeline), blocks: [] }]));
  for (const w of data.windows) engines.get(w.engine)?.blocks.push(rawOf(w));

  const view = { engine: data.engines.length ? data.engines[0].engine : 0, from: 0, to: 1, measure: 'whole' };
  const engine = () => engines.get(view.engine);

  // block is the finest that holds all of the stretch.
  function block(from, to) {
    const e = engine();
    const low = Math.max(from, data.from_ns), high = Math.min(to, data.to_ns); // there is nothing beyond
    const holds = b => b.from <= low + 1 && b.to >= high - 1;
    return e.blocks.find(b => b.kind === 'raw' && holds(b)) ||
      e.blocks.filter(holds).sort((a, b) => a.width - b.width)[0] || e.grid;
  }

  // found is the first place in an ascending list whose value is at least v.
  function found(list, v) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] < v) low = middle + 1; else high = middle;
    }
    return low;
  }

  const add = (a, v) => a + v;
  const folds = { max: (a, v) => Math.max(a, v), min: (a, v) => Math.min(a, v), ast: (_, v) => v }; // of _max, _min, _last

  // A cutting is a stretch in so many pieces at most: t and w (ns) of each, and for a
  // column's name its values. Of a column that is not there all values are null.
  function cut(from, to, most) {
    const b = block(from, to);
    return b.kind === 'grid' ? cutGrid(b, from, to, most) : cutRaw(b, from, to, most);
  }

  function cutGrid(b, from, to, most) {
    const k = Math.max(1, Math.ceil((to - from) / b.width / most));
    const first = Math.max(0, Math.floor((from - b.from) / b.width / k) * k);
    const last = Math.min(b.n, Math.ceil((to - b.from) / b.width));
    const t = [];
    for (let i = first; i < last; i += k) t.push(b.from + i * b.width);
    const get = name => {
      const column = b.columns[name];
      if (!column) return t.map(() => null);
      const fold = folds[name.slice(-3)] || add;
      return t.map((_, j) => {
        let value = null;
        for (let i = first + j * k; i < Math.min(first + (j + 1) * k, last); i++) {
          const v = column[i];
          if (v != null) value = value == null ? v : fold(value, v);
        }
        return value;
      });
    };
    // The last piece ends where the buckets do, or the session.
    const w = t.map((at, j) => Math.max(1, Math.min((Math.min(first + (j + 1) * k, last) - first - j * k) * b.width, Math.max(data.to_ns, at + b.width / 8) - at)));
    return { t, w, get, raw: null };
  }

  // value is what one step has of a column of buckets.
  function value(b, i, name) {
    const c = b.columns, at = list => list ? list[i] : null;
    const [head, phase, what] = name.split('_');
    if (head === 'whole' || head === 'gpu') {
      const ns = at(head === 'whole' ? c.end : c.gpu);
      if (ns == null || !at(c.tokens) || data.phases[at(c.phase)] !== phase) return null;
      return what === 'n' ? 1 : ns;
    }
    if (head === 'kv' || head === 'running' || head === 'waiting') {
      const v = at(c[head]);
      return v == null ? null : phase === 'n' ? 1 : v;
    }
    const mode = at(c.mode);
    if (modes.includes(head)) return mode == null || !at(c.tokens) ? null : +(modes[mode] === head);
    if (head === 'padded' || head === 'padding') {
      const padded = at(c.padded);
      if (mode == null || mode === 2 || padded == null) return null;
      return head === 'padded' ? padded : padded - at(c.tokens);
    }
    return at(c[head]);
  }

  const spent = ['busy', 'idle', 'drained'];
  const spread = [...spent, 'output', 'prompt', 'recompute'];
  function cutRaw(b, from, to, most) {
    const a = Math.max(0, found(b.start, from) - 1), z = found(b.start, to);
    const single = z - a <= most;
    const width = Math.max(1, (to - from) / most);
    const t = [];
    if (single) for (let i = a; i < z; i++) t.push(b.start[i]);
    else for (let j = 0; j < most; j++) t.push(from + j * width);
    const w = t.map((at, j) => single ? Math.max(1, (j + 1 < t.length ? t[j + 1] : Math.max(b.to, at + (b.columns.end?.[a + j] || 0))) - at) : width);
    const get = name => {
      if (spent.includes(name) || ['evicted', 'preempted', 'arrived', 'finished'].includes(name)) return t.map(() => null);
      if (single) return t.map((_, j) => value(b, a + j, name));
      const fold = folds[name.slice(-3)] || add;
      const out = t.map(() => null);
      for (let i = a; i < z; i++) {
        const j = Math.floor((b.start[i] - from) / width);
        if (j < 0 || j >= most) continue;
        const v = value(b, i, name);
        if (v != null) out[j] = out[j] == null ? v : fold(out[j], v);
      }
      return out;
    };
    return { t, w, get, raw: b, first: a, last: z };
  }

  // cutSpread cuts time into pieces of equal length, over which the GPU's time and the
  // tokens of single steps are spread: these from a step's schedule to the next one, or to
  // its end where there is none soon.
  function cutSpread(from, to, most) {
    const c = cut(from, to, most);
    if (!c.raw) return c;
    const width = (to - from) / most, b = c.raw;
    const t = Array.from({ length: most }, (_, j) => from + j * width);
    const parts = Object.fromEntries(spread.map(name => [name, t.map(() => 0)]));
    const put = (name, low, high, amount) => {
      const each = amount / (high - low);
      for (let j = Math.max(0, Math.floor((low - from) / width)); j < most && t[j] < high; j++)
        parts[name][j] += Math.max(0, Math.min(high, t[j] + width) - Math.max(low, t[j])) * each;
    };
    const k = b.columns;
    for (let i = Math.max(0, c.first - 8); i < Math.min(b.start.length, c.last + 8); i++) {
      const s = b.start[i];
      const until = Math.max(s + 1, Math.min(i + 1 < b.start.length ? b.start[i + 1] : Infinity, s + (k.end?.[i] ?? k.scheduled[i])));
      for (const name of ['output', 'prompt', 'recompute']) if (k[name]?.[i]) put(name, s, until, k[name][i]);
      if (k.gpu_start?.[i] == null || !k.tokens[i]) continue;
      const at = s + k.gpu_start[i];
      if (k.gpu_end?.[i] > k.gpu_start[i]) put('busy', at, s + k.gpu_end[i], k.gpu_end[i] - k.gpu_start[i]);
      if (k.idle?.[i] > 0) put(k.drained[i] ? 'drained' : 'idle', at - k.idle[i], at, k.idle[i]);
    }
    return { t, w: t.map(() => width), get: name => parts[name], raw: b };
  }

  // ---- Charts over time.

  // How good times on the GPU are.
  const source = data.gpu_timing_source + (data.gpu_error_bound_p99_ns ? `, p99 of the error bound ${duration(data.gpu_error_bound_p99_ns)}` : '');

  const has = name => { const e = engine(); return !!e && (name in e.grid.columns); };
  const seconds = t => t.map(ns => ns / 1e9);
  const ratio = (a, b, by = 1) => a.map((v, i) => v == null || !b[i] ? null : by * v / b[i]);
  // held gives pieces without a value the last one before them.
  const held = (c, name, list) => {
    const last = c.get(name + '_last');
    let v = null;
    return list.map((x, i) => { if (last[i] != null) v = last[i]; return x ?? v; });
  };
  const level = (c, name) => [held(c, name, ratio(c.get(name + '_sum'), c.get(name + '_n'))), held(c, name, c.get(name + '_max'))];
  const rate = (list, w) => list.map((v, i) => v == null ? null : v * 1e9 / w[i]);
  const stepped = uPlot.paths.stepped({ align: 1 }), steppedBefore = uPlot.paths.stepped({ align: -1 });
  const nothing = () => null;

  const charts = [
    {
      id: 'steps', title: 'Step time', height: 190, log: true, format: duration, when: () => has('whole_decode_n') || has('whole_mixed_n') || has('whole_prefill_n') || has('whole_unknown_n'),
      unit: () => view.measure === 'whole' ? 'schedule to outputs; dots: mean, faint: longest' : `on the GPU (${source}); dots: mean, faint: longest`,
      choice: () => has('gpu_decode_n') || has('gpu_mixed_n') ? [['whole', 'whole step'], ['gpu', 'on the GPU']] : null,
      series: () => data.phases.filter(p => has(`${view.measure}_${p}_n`)).flatMap(p => [
        { label: p, color: p, dots: 4 }, { label: p + ' max', color: p, dots: 2.5, faint: true }]),
      cut, of: c => data.phases.filter(p => has(`${view.measure}_${p}_n`)).flatMap(p => {
        const name = `${view.measure}_${p}_`;
        return [ratio(c.get(name + 'sum'), c.get(name + 'n')), c.get(name + 'max').map(v => v || null)];
      }),
    },
    {
      id: 'output', title: 'Output tokens', unit: () => 'tokens/s', height: 120, format: number, when: () => has('output'),
      series: () => [{ label: 'output', color: 'output', fill: .16 }],
      cut: cutSpread, of: c => [rate(c.get('output'), c.w)],
    },
    {
      id: 'prompt', title: 'Prompt tokens', unit: () => 'tokens/s', height: 120, format: number, when: () => has('prompt'),
      series: () => [{ label: 'computed', color: 'prompt', fill: .16 }, ...(has('recompute') ? [{ label: 'computed again', color: 'recompute' }] : [])],
      cut: cutSpread, of: c => [rate(c.get('prompt'), c.w), ...(has('recompute') ? [rate(c.get('recompute'), c.w)] : [])],
    },
    {
      id: 'queues', title: 'Requests', unit: () => 'running and waiting, at each schedule call', height: 140, format: number, when: () => has('running_n'),
      series: () => [{ label: 'running', color: 'running', fill: .12, hold: true }, { label: 'running max', color: 'running', faint: true, hold: true },
        { label: 'waiting', color: 'waiting', hold: true }, { label: 'waiting max', color: 'waiting', faint: true, hold: true }],
      cut, of: c => ['running', 'waiting'].flatMap(n => level(c, n)),
    },
    {
      id: 'kv', title: 'KV cache', unit: () => `% of ${number(engine().kv_total_blocks)} blocks in use`, height: 130, format: v => number(v) + ' %', range: (_, low, high) => [0, high > 25 ? 100 : (high || 1) * 1.2], when: () => has('kv_n') && engine().kv_total_blocks > 0,
      series: () => [{ label: 'mean', color: 'kv', fill: .14, hold: true }, { label: 'most', color: 'kv', faint: true, hold: true }],
      cut, of: c => level(c, 'kv').map(list => list.map(v => v == null ? null : 100 * v / engine().kv_total_blocks)),
    },
    ...[['traffic', 'Requests arriving and ending', 'requests/s', ['arrived', 'finished']], ['evicted', 'Evictions', 'cached blocks/s', ['evicted']], ['preempted', 'Preemptions', 'requests/s', ['preempted']]].map(([id, title, unit, names]) => ({
      id, title, unit: () => unit, height: 96, format: number, when: () => names.some(has),
      series: () => names.map(name => ({ label: name, color: name, fill: names.length > 1 ? .08 : .2 })),
      cut: (from, to, most) => cutGrid(coarse(from, to), from, to, most), of: c => names.map(name => rate(c.get(name), c.w)),
    })),
    {
      id: 'gpu', title: 'GPU time', unit: () => `% of time (${source})`, height: 130, format: v => number(v) + ' %', range: [0, 100], when: () => has('busy'), stacked: true,
      series: () => [{ label: 'in steps', color: 'busy' }, { label: 'idle, requests in the batch', color: 'idle' }, { label: 'idle, no requests', color: 'drained' }],
      cut: cutSpread, of: c => spent.map(n => c.get(n).map((v, i) => 100 * Math.min(1, (v || 0) / c.w[i]))),
    },
    { id: 'lanes', title: 'Steps one by one', unit: () => '', height: 118, lanes: true, when: () => data.steps > 0, series: () => [], cut, of: () => [] },
    {
      id: 'eager', title: 'Without graphs, and padding', unit: () => '% of steps; % of tokens in graphs', height: 110, format: v => number(v) + ' %', range: [0, 100], when: () => has('full') || has('piecewise') || has('eager'),
      series: () => [{ label: 'steps without a graph', color: 'eager', dots: 3 }, { label: 'padding', color: 'padding', dots: 3 }],
      cut, of: c => {
        const of = n => c.get(n).map(v => v || 0);
        const eager = of('eager'), all = ['full', 'piecewise'].reduce((sum, n) => { const l = of(n); return sum.map((v, i) => v + l[i]); }, eager);
        return [ratio(eager, all, 100), ratio(c.get('padding'), c.get('padded'), 100)];
      },
    },
    ...deviceCharts(),
  ];

  // coarse is what has the columns that single steps have not.
  function coarse(from, to) {
    return engine().blocks.filter(b => b.kind === 'grid' && b.from <= from + 1 && b.to >= to - 1).sort((a, b) => a.width - b.width)[0] || engine().grid;
  }

  function deviceCharts() {
    const of = name => data.devices.filter(d => d.columns[name + '_mean']);
    const chart = (id, title, unit, names, format, range) => ({
      id, title, unit: () => unit, height: 110, format, range, device: true, when: () => names.some(([n]) => of(n).length > 0),
      series: () => names.flatMap(([name, word, dash]) => of(name).map(d => ({ label: [data.devices.length > 1 && `GPU ${d.gpu}`, (names.length > 1 || data.devices.length === 1) && word].filter(Boolean).join(' '), color: 'gpu' + (data.devices.indexOf(d) % 8), dash, hold: true }))),
      data: (from, to) => uPlot.join(names.flatMap(([name]) => of(name).map(d => {
        const keep = d.at.map((_, i) => i).slice(Math.max(0, found(d.at, from) - 1), found(d.at, to) + 1);
        return [seconds(keep.map(i => d.at[i])), keep.map(i => d.columns[name + '_mean'][i] == null ? null : d.columns[name + '_mean'][i] / 1000)];
      }))),
    });
    for (const d of data.devices) d.at = undelta(d.bucket).map(i => (i + 1) * d.width_ns); // samples tell of the time before them
    const limit = data.devices.map(d => d.power_limit_w).filter(Boolean)[0];
    return [
      chart('power', 'GPU power', limit ? `W; limit ${number(limit)} W` : 'W', [['power', 'power']], v => number(v) + ' W'),
      chart('clock', 'GPU clock', 'MHz, of the SMs', [['clock', 'clock']], v => number(v) + ' MHz'),
      chart('activity', 'GPU activity', '% by NVML and GPM', of('sm').length ? [['sm', 'SM'], ['dram', 'DRAM', [4, 3]]] : [['util', 'kernel running'], ['dram', 'DRAM', [4, 3]]], v => number(v) + ' %', [0, 100]),
    ];
  }

  const alpha = (color, a) => { const [r, g, b] = color.match(/\w\w/g).map(x => parseInt(x, 16)); return `rgba(${r},${g},${b},${a})`; };
  const shown = new Map(); // id → {chart, plot, body}

  function seriesOf(chart) {
    return chart.series().map(s => {
      const color = css(s.color), stroke = s.faint ? alpha(color, .42) : color;
      const out = { label: s.label, stroke, width: s.faint ? 1 : 1.4, value: (_, v) => v == null ? '–' : chart.format(v), points: { show: false } };
      if (chart.stacked) return { ...out, width: 0, fill: alpha(color, .85), paths: stepped, value: (u, v, i, k) => k == null ? '–' : chart.format(u.parts[i - 1][k]) };
      if (s.dots) return { ...out, paths: nothing, points: { show: true, size: s.dots, width: 0, fill: stroke } };
      return { ...out, paths: chart.device ? steppedBefore : stepped, dash: s.dash, fill: s.fill && alpha(color, s.fill), spanGaps: !!s.hold };
    });
  }

  // dataOf is what uPlot draws: x in seconds, then the series.
  function dataOf(chart, width) {
    const pad = (view.to - view.from) / 100;
    if (chart.data) return chart.data(view.from - pad, view.to + pad);
    const c = chart.cut(view.from, view.to, clamp(Math.floor(width / 2), 100, 800));
    const x = seconds(c.t), lists = chart.of(c);
    if (chart.lanes) return [[view.from / 1e9, view.to / 1e9], [0, 1]];
    if (c.t.length) { // the last piece has an end
      x.push((c.t[c.t.length - 1] + c.w[c.w.length - 1]) / 1e9);
      for (const list of lists) list.push(chart.stacked || !chart.log ? list[list.length - 1] : null);
    }
    chart.parts = lists;
    if (!chart.stacked) return [x, ...lists];
    const sum = x.map(() => 0);
    return [x, ...lists.map(list => list.map((v, i) => sum[i] += v || 0))];
  }

  // axisTime writes times with the digits that their distance has.
  function axisTime(u, splits, axis, space, distance) {
    let n = 0;
    while (n < 9 && Math.abs(distance * 10 ** n - Math.round(distance * 10 ** n)) > 1e-6) n++;
    return splits.map(v => v.toFixed(n) + ' s');
  }
  // digits tell times in the view apart.
  const digits = () => clamp(Math.ceil(3 - Math.log10((view.to - view.from) / 1e9)), 0, 9);

  function plotOf(chart, body) {
    const width = Math.max(200, body.clientWidth), grid = { stroke: css('grid'), width: 1 };
    const font = '11px ' + getComputedStyle(document.body).fontFamily;
    const axis = { stroke: css('faint'), grid, ticks: { show: false }, font };
    const series = [{ label: 'time', value: (_, v) => v == null ? '–' : v.toFixed(digits()) + ' s' }, ...seriesOf(chart)];
    if (chart.lanes) series.push({ label: 'steps', show: true, stroke: 'transparent', paths: nothing, points: { show: false } });
    const y = chart.lanes ? { range: [0, 1] } : chart.log ? { distr: 3, range: (_, low, high) => low > 0 && isFinite(high) ? [low / 1.6, high * 1.6] : [1e5, 1e9] }
      : { range: chart.range || ((_, low, high) => [0, (high || 1) * 1.08]) };
    const plot = new uPlot({
      width, height: chart.height, series, legend: { show: !chart.lanes, live: true }, padding: [8, 22, 0, 0],
      scales: { x: { time: false, range: () => [view.from / 1e9, view.to / 1e9] }, y },
      axes: [
        { ...axis, size: 20, gap: 4, space: 90, values: axisTime },
        { ...axis, size: 62, gap: 6, space: 26, values: (_, splits) => splits.map(v => v == null || chart.lanes ? '' : chart.format(v)), ...(chart.log ? { splits: logarithmic, filter: (_, splits) => splits } : {}), ...(chart.lanes ? { grid: { show: false } } : {}) },
      ],
      cursor: {
        y: false, sync: { key: 'time', setSeries: false, scales: ['x', null] }, points: { show: !chart.lanes && !chart.stacked, size: 6 },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        bind: { dblclick: () => () => { zoomAll(); return null; } },
      },
      hooks: {
        setSelect: [u => {
          if (u.select.width < 4) return;
          const from = u.posToVal(u.select.left, 'x') * 1e9, to = u.posToVal(u.select.left + u.select.width, 'x') * 1e9;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          zoom(from, to);
        }],
        ...(chart.lanes ? { draw: [drawLanes] } : {}),
      },
      ...(chart.stacked ? { bands: seriesOf(chart).slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) } : {}),
    }, dataOf(chart, width), body);
    plot.parts = chart.parts;
    if (chart.lanes) plot.over.addEventListener('mousemove', e => laneTip(plot, e));
    if (chart.lanes) plot.over.addEventListener('mouseleave', hideTip);
    return plot;
  }

  // logarithmic are round values on a scale, fewer where there are many decades.
  function logarithmic(u, axis, low, high) {
    const decades = Math.log10(high / low);
    const steps = decades > 2.2 ? [1] : decades > 1 ? [1, 3] : decades > .5 ? [1, 2, 3, 5, 7] : [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
    const splits = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++)
      for (const m of steps) { const v = m * 10 ** p; if (v >= low && v <= high) splits.push(v); }
    return splits;
  }

  function build() {
    const time = $('time');
    if (!time || !engine()) return;
    for (const { plot } of shown.values()) plot.destroy();
    shown.clear();
    time.replaceChildren();
    for (const chart of charts) {
      if (!chart.when()) continue;
      const body = el('div', { class: 'plot', id: 'chart-' + chart.id });
      const unit = el('span', { class: 'unit' }, chart.unit());
      const head = el('div', { class: 'head' }, el('h3', {}, chart.title, unit));
      const choice = chart.choice && chart.choice();
      if (choice) {
        const select = el('select', { 'aria-label': 'what of a step', onchange: e => { view.measure = e.target.value; build(); } }, ...choice.map(([v, text]) => el('option', { value: v, selected: v === view.measure }, text)));
        head.append(select);
      }
      time.append(el('div', { class: 'card chart' }, head, body));
      shown.set(chart.id, { chart, body, unit, plot: plotOf(chart, body) });
    }
    show();
  }

  let pending = 0;
  function draw() {
    for (const { chart, plot, body } of shown.values()) {
      plot.setData(dataOf(chart, body.clientWidth), true);
      plot.parts = chart.parts;
    }
    show();
  }

  // show says what is seen, and marks it in the strip.
  function show() {
    const span = view.to - view.from, b = engine() && block(view.from, view.to);
    const range = $('range');
    if (!range || !b) return;
    range.replaceChildren(el('b', {}, duration(span)), ` from ${duration(view.from)} to ${duration(view.to)}`,
      b.kind === 'raw' ? ' · each step' : ` · buckets of ${duration(b.width)}`);
    const lanes = shown.get('lanes');
    if (lanes) {
      const c = b.kind === 'raw' ? cut(view.from, view.to, 1) : null;
      lanes.unit.textContent = !c ? (data.served ? 'zoom in further: steps are asked for' : 'not in this file for this stretch: choose a moment above or a request below, or pmtrace report --serve')
        : c.last - c.first > mostLanes ? `zoom in: ${number(c.last - c.first)} steps are in view` : b.columns.gpu_start ? `colours: phase; GPU: ${data.gpu_timing_source}` : 'colours: phase; forward as the CPU saw it (cpu_bound)';
    }
    strip();
    rows();
  }

  // ---- Zoom.

  const whole = () => [data.from_ns, Math.max(data.to_ns, data.from_ns + 1e6)];
  function zoom(from, to) {
    const [low, high] = whole();
    const least = 20e3;
    if (to - from < least) { const middle = (from + to) / 2; from = middle - least / 2; to = middle + least / 2; }
    const span = Math.min(to - from, high - low);
    view.from = clamp(from, low, high - span);
    view.to = view.from + span;
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(draw);
    ask();
  }
  const zoomAll = () => zoom(...whole());
  const by = factor => { const middle = (view.from + view.to) / 2, half = (view.to - view.from) / 2 * factor; zoom(middle - half, middle + half); };
  const shift = share => { const d = (view.to - view.from) * share; zoom(view.from + d, view.to + d); };

  function go(m) { // to a moment or a request
    if (engines.has(m.engine) && m.engine !== view.engine) {
      view.engine = m.engine;
      if ($('engine')) $('engine').value = m.engine;
      build();
    }
    zoom(m.from_ns, m.to_ns);
    $('timelines').scrollIntoView({ behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  }

  // ---- The strip: all of the session.

  function strip() {
    const canvas = $('strip'), e = engine();
    if (!canvas || !e) return;
    const scale = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    canvas.width = w * scale;
    canvas.height = h * scale;
    const g = canvas.getContext('2d');
    g.scale(scale, scale);
    const [low, high] = whole(), at = ns => (ns - low) / (high - low) * w;
    const c = cutGrid(e.grid, low, high, Math.max(100, w));
    const heights = ['output', 'prompt'].map(n => c.get(n).map(v => v || 0));
    const most = heights.map(list => list.reduce((a, b) => Math.max(a, b), 1));
    const colors = [alpha(css('output'), .55), alpha(css('prompt'), .85)];
    c.t.forEach((t, i) => {
      const x = at(t), width = Math.max(1, at(t + c.w[i]) - x);
      for (const k of [0, 1]) { // each to its own scale
        const tall = Math.sqrt(heights[k][i] / most[k]) * (h - 5) * (k ? .45 : .8);
        g.fillStyle = colors[k];
        g.fillRect(x, h - 1 - tall, width, tall);
      }
    });
    g.fillStyle = alpha(css('bg'), .66);
    g.fillRect(0, 0, at(view.from), h);
    g.fillRect(at(view.to), 0, w, h);
    g.strokeStyle = css('accent');
    g.lineWidth = 1.5;
    g.strokeRect(at(view.from) + .75, .75, Math.max(at(view.to) - at(view.from), 3) - 1.5, h - 1.5);
  }

  function stripEvents() {
    const canvas = $('strip');
    if (!canvas) return;
    const at = e => { const [low, high] = whole(), r = canvas.getBoundingClientRect(); return low + clamp((e.clientX - r.left) / r.width, 0, 1) * (high - low); };
    let began = null, moved = false, offset = 0;
    canvas.addEventListener('pointerdown', e => {
      canvas.setPointerCapture(e.pointerId);
      began = at(e);
      moved = false;
      const [low, high] = whole();
      const inside = began > view.from && began < view.to && view.to - view.from < (high - low) * .98;
      offset = inside ? began - view.from : null;
    });
    canvas.addEventListener('pointermove', e => {
      if (began == null) return;
      const now = at(e);
      const [low, high] = whole();
      moved = moved || Math.abs(now - began) > (high - low) / 300;
      if (!moved) return;
      if (offset != null) zoom(now - offset, now - offset + view.to - view.from);
      else zoom(Math.min(began, now), Math.max(began, now));
    });
    canvas.addEventListener('pointerup', e => {
      if (began != null && !moved) { const half = (view.to - view.from) / 2; zoom(at(e) - half, at(e) + half); }
      began = null;
    });
    canvas.addEventListener('dblclick', zoomAll);
  }

  // ---- Single steps in lanes.

  const mostLanes = 4000;
  const lanes = [['scheduler', .06, .30], ['GPU', .38, .92]];
  function laneRects(u) {
    const c = cut(view.from, view.to, 1), b = c.raw;
    if (!b || c.last - c.first > mostLanes) return [];
    const rects = [], col = b.columns;
    const timed = !!col.gpu_start;
    for (let i = Math.max(0, c.first - 4); i < c.last; i++) {
      const s = b.start[i];
      rects.push({ lane: 0, from: s, to: s + col.scheduled[i], i, part: 'schedule' });
      if (col.update?.[i] != null && col.end?.[i] != null) rects.push({ lane: 0, from: s + col.update[i], to: s + col.end[i], i, part: 'update', faint: true });
      if (!col.tokens[i]) continue;
      if (timed) {
        if (col.gpu_start[i] != null && col.gpu_end?.[i] != null) rects.push({ lane: 1, from: s + col.gpu_start[i], to: s + col.gpu_end[i], i, part: 'GPU' });
      } else if (col.update?.[i] != null) rects.push({ lane: 1, from: s + col.scheduled[i], to: s + col.update[i], i, part: 'forward, as the CPU saw it' });
    }
    return rects;
  }
  function drawLanes(u) {
    const g = u.ctx, { left, top, width, height } = u.bbox, scale = devicePixelRatio || 1;
    g.save();
    g.font = `${11 * scale}px ${getComputedStyle(document.body).fontFamily}`;
    g.fillStyle = css('soft');
    g.textAlign = 'right';
    g.textBaseline = 'middle';
    const seen = engine() && block(view.from, view.to), timed = !seen || seen.kind === 'grid' || !!seen.columns.gpu_start;
    for (const [name, a, z] of lanes) g.fillText(name === 'GPU' && !timed ? 'forward' : name, left - 8 * scale, top + height * (a + z) / 2);
    g.beginPath();
    g.rect(left, top, width, height);
    g.clip();
    const b = engine() && block(view.from, view.to);
    const colors = data.phases.map(css);
    u.rects = laneRects(u);
    for (const r of u.rects) {
      const x = u.valToPos(r.from / 1e9, 'x', true), z = u.valToPos(r.to / 1e9, 'x', true);
      if (z < left || x > left + width) continue;
      const [, low, high] = lanes[r.lane];
      const color = colors[b.columns.phase[r.i]] || css('unknown');
      g.fillStyle = r.lane === 0 ? alpha(css('host'), r.faint ? .45 : .9) : color;
      g.fillRect(x, top + height * low, Math.max(z - x - (z - x > 3 * scale ? scale : 0), scale * .8), height * (high - low));
    }
    g.restore();
  }
  function laneTip(u, e) {
    const box = u.over.getBoundingClientRect();
    const x = u.posToVal(e.clientX - box.left, 'x') * 1e9, y = (e.clientY - box.top) / box.height;
    const lane = lanes.findIndex(([, a, z]) => y >= a && y <= z);
    const r = (u.rects || []).find(r => r.lane === lane && x >= r.from && x <= r.to);
    if (!r) return hideTip();
    const b = block(view.from, view.to), c = b.columns, i = r.i;
    const line = (name, v) => v == null ? '' : `\n${name} ${v}`;
    tip(e, `step ${b.step[i]}: ${data.phases[c.phase[i]]}, ${r.part} ${duration(r.to - r.from)}${r.part === 'GPU' && c.gpu_error?.[i] != null ? ` ± ${duration(c.gpu_error[i])}` : ''}` +
      `\n${number(c.requests[i])} requests, ${number(c.tokens[i])} tokens (${number(c.prompt[i])} of prompts)` +
      line('from schedule to outputs', c.end?.[i] == null ? null : duration(c.end[i])) +
      line('GPU idle before', c.idle?.[i] == null ? null : duration(c.idle[i])) +
      line('graph', c.mode?.[i] == null ? null : modes[c.mode[i]] + (c.padded?.[i] != null && c.mode[i] !== 2 ? `, ${number(c.padded[i])} tokens` : '')) +
      line('waiting', c.waiting?.[i] == null ? null : number(c.waiting[i])));
  }

  function tip(e, text) {
    const t = $('tip');
    t.textContent = text;
    t.style.display = 'block';
    const w = t.offsetWidth, h = t.offsetHeight;
    t.style.left = clamp(e.clientX + 14, 4, innerWidth - w - 4) + 'px';
    t.style.top = (e.clientY + 18 + h > innerHeight ? e.clientY - h - 10 : e.clientY + 18) + 'px';
  }
  const hideTip = () => { $('tip').style.display = 'none'; };
  const hint = (node, text) => { node.addEventListener('mousemove', e => tip(e, text)); node.addEventListener('mouseleave', hideTip); return node; };

  // ---- Served: finer data of a stretch, when it is looked at.

  let asking = 0;
  function ask() {
    if (!data.served || !engine()) return;
    clearTimeout(asking);
    asking = setTimeout(async () => {
      const { from, to } = view, e = engine(), b = block(from, to);
      if (b.kind === 'raw' || (to - from) / b.width > 600) return;
      const margin = (to - from) / 2, low = Math.floor(from - margin), high = Math.ceil(to + margin);
      const got = await fetch(`steps?engine=${e.engine}&from=${low}&to=${high}`).then(a => a.ok ? a.json() : null, () => null);
      if (!got) { $('range').append(' · what is finer could not be had'); return; }
      const asked = e.blocks.filter(b => b.asked).slice(-8); // no more than a few are kept
      e.blocks = [...e.blocks.filter(b => !b.asked), ...asked];
      if (got.window) e.blocks.push({ ...rawOf(got.window), asked: true });
      e.blocks.push({ ...gridOf(got.timeline), from: low, to: high, asked: true });
      draw();
    }, 150);
  }
  function rows() {
    const list = $('rows');
    if (!list) return;
    list.replaceChildren(`rows of this stretch as CSV:`, ...data.tables.map(name =>
      el('a', { href: `rows/${name}.csv?from=${Math.floor(view.from)}&to=${Math.ceil(view.to)}` }, name)));
  }

  // ---- Distributions.

  function histogram(d, list, title, W) {
    // Bins are finer than what one can see of a wide range.
    const lowest = Math.min(...list.map(s => s.first)), highest = Math.max(...list.map(s => s.first + s.counts.length));
    const wide = 2 ** clamp(Math.ceil(Math.log2((highest - lowest) / 48)), 0, 4), an = 16 / wide; // bins a bar; bars a doubling
    const edges = d.edges_ns.filter((_, i) => i % wide === 0);
    for (const s of list) {
      s.bars = new Map();
      s.counts.forEach((n, i) => { const k = Math.floor((s.first + i) / wide); s.bars.set(k, (s.bars.get(k) || 0) + n); });
    }
    const from = Math.max(0, Math.floor(lowest / wide) - 2), to = Math.min(edges.length - 1, Math.ceil(highest / wide) + 2);
    const H = 150, left = 38, bottom = 18, top = 10;
    const x = i => left + (i - from) / Math.max(1, to - from) * (W - left - 4);
    const place = ns => x(clamp(Math.log2(Math.max(ns, 1) / 1000) * an, from, to));
    const share = (s, i) => s.count ? 100 * (s.bars.get(i) || 0) / s.count : 0;
    let most = 1;
    for (const s of list) for (let i = from; i < to; i++) most = Math.max(most, share(s, i));
    const y = v => top + (1 - v / most) * (H - top - bottom);
    const node = svg('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': title });
    for (const v of [most, most / 2]) {
      node.append(svg('line', { x1: left, x2: W - 4, y1: y(v), y2: y(v), stroke: css('grid') }));
      const t = svg('text', { x: left - 5, y: y(v) + 4, 'text-anchor': 'end' });
      t.textContent = percent(v);
      node.append(t);
    }
    const ticks = [];
    const fine = (to - from) / an < 1.2; // doublings
    for (let p = 3; p < 13; p++) for (const m of fine ? [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9] : [1, 3]) { const ns = m * 10 ** p, i = Math.log2(ns / 1000) * an; if (i >= from && i <= to) ticks.push([ns, x(i)]); }
    const every = Math.ceil(ticks.length * 62 / (W - left));
    ticks.forEach(([ns, at], k) => {
      if (k % every) return;
      const t = svg('text', { x: clamp(at, left + 10, W - 18), y: H - 4, 'text-anchor': 'middle' });
      t.textContent = duration(ns);
      node.append(t);
    });
    for (const s of list) {
      const color = css(s.color);
      const places = [...s.bars.keys()].filter(i => s.bars.get(i)).sort((a, b) => a - b);
      if (list.length === 1) {
        for (const i of places) {
          const r = svg('rect', { x: x(i) + .5, y: y(share(s, i)), width: Math.max(.6, x(i + 1) - x(i) - 1), height: H - bottom - y(share(s, i)), fill: color, opacity: .8 });
          node.append(hint(r, `${number(s.bars.get(i))} of ${number(s.count)} (${percent(share(s, i))})\n${duration(edges[i])} to ${duration(edges[i + 1])}`));
        }
      } else {
        let path = '';
        places.forEach((i, k) => {
          if (places[k - 1] !== i - 1) path += `M${x(i)} ${y(0)}`;
          path += `L${x(i)} ${y(share(s, i))}L${x(i + 1)} ${y(share(s, i))}`;
          if (places[k + 1] !== i + 1) path += `L${x(i + 1)} ${y(0)}`;
        });
        node.append(svg('path', { d: path, fill: color, 'fill-opacity': .2, stroke: color, 'stroke-width': 1.4 }));
      }
      s.percentiles_ns.slice(0, 3).forEach((ns, k) => {
        const at = place(ns);
        if (list.length > 1 && k) return;
        node.append(svg('line', { x1: at, x2: at, y1: top, y2: H - bottom, stroke: list.length > 1 ? color : css('ink'), 'stroke-dasharray': ['', '4 3', '1.5 2.5'][k], 'stroke-width': 1 }));
      });
    }
    node.append(svg('line', { x1: left, x2: W - 4, y1: H - bottom, y2: H - bottom, stroke: css('line') }));
    return node;
  }

  function latency() {
    const d = data.latency, box = $('distributions'), pair = $('phases');
    const words = s => ['p50', 'p90', 'p99'].map((p, i) => `${p} ${duration(s.percentiles_ns[i])}`).join(' · ') + ` · max ${duration(s.percentiles_ns[3])}`;
    const later = []; // drawn when their width is known
    const drawn = (list, title) => {
      const node = el('div');
      later.push(() => node.replaceChildren(histogram(d, list, title, Math.max(220, node.clientWidth))));
      return node;
    };
    const card = (title, note, node) => el('div', { class: 'card' }, el('h3', {}, title), el('p', { class: 'note' }, note), node);
    box.replaceChildren(...[[d.first_token, 'Time to first token', 'prefill'], [d.per_token, 'Time per output token', 'decode'], [d.queue, 'Time in the queue', 'queue']].map(([s, title, color]) =>
      s.count ? card(title, `${number(s.count)} requests · ${words(s)}`, drawn([{ ...s, color }], title)) : card(title, 'not known of any request', el('span'))));
    const steps = (list, title) => {
      const legend = el('div', { class: 'legend' }, ...list.map(s => el('span', {}, el('i', { style: { background: css(s.name) } }), `${s.name}: ${number(s.count)}, p50 ${duration(s.percentiles_ns[0])}, p99 ${duration(s.percentiles_ns[2])}`)));
      return el('div', { class: 'card' }, el('h3', {}, title, el('span', { class: 'unit' }, ' % of the phase’s steps')), legend, drawn(list.map(s => ({ ...s, color: s.name })), title));
    };
    pair.replaceChildren(...(d.steps.length ? [steps(d.steps, 'Steps by phase, schedule to outputs')] : []), ...(d.steps_gpu.length ? [steps(d.steps_gpu, `Steps by phase, on the GPU (${data.gpu_timing_source})`)] : []));
    for (const f of later) f();
  }

  // ---- Bars.

  function bar(parts, most) {
    return el('div', { class: 'bar' }, ...parts.filter(p => p.value > 0).map(p => {
      const i = el('i', { class: p.class || '', style: { width: 100 * p.value / most + '%', backgroundColor: css(p.color) } });
      return p.hint ? hint(i, p.hint) : i;
    }));
  }

  let allSizes = false;
  function sizes() {
    const box = $('sizes');
    if (!box) return;
    const few = 18, names = { FULL: ['full graph', 'full'], PIECEWISE: ['piecewise', 'piecewise'], NONE: ['no graph', 'eager'] };
    const ranked = [...data.graphs].sort((a, b) => b.steps - a.steps).slice(0, allSizes ? 1e6 : few);
    const list = data.graphs.filter(g => ranked.includes(g));
    const most = Math.max(...list.map(g => g.padded));
    const legend = el('div', { class: 'legend' }, ...Object.values(names).map(([text, color]) => el('span', {}, el('i', { style: { background: css(color) } }), text)), el('span', {}, el('i', { class: 'hatch', style: { background: css('padding') } }), 'padding'));
    const grid = el('div', { class: 'bars' }, ...['size', 'tokens computed', 'steps', 'padding'].map((h, i) => el('div', { class: i > 1 ? 'h r' : 'h' }, h)));
    for (const g of list) {
      const [text, color] = names[g.mode] || [g.mode, 'unknown'], padding = g.padded - g.tokens;
      grid.append(el('div', {}, `${text} ${g.mode === 'NONE' ? '≤ ' : ''}${number(g.size)}`),
        bar([{ value: g.tokens, color, hint: `${number(g.tokens)} tokens scheduled in ${number(g.steps)} steps` }, { value: padding, color: 'padding', class: 'hatch', hint: `${number(padding)} tokens of padding` }], most),
        el('div', { class: 'r' }, number(g.steps)), el('div', { class: 'r' }, g.mode === 'NONE' ? '' : percent(100 * padding / g.padded)));
    }
    box.replaceChildren(legend, grid);
    if (data.graphs.length > few) box.append(el('button', { type: 'button', style: { marginTop: '10px' }, onclick: () => { allSizes = !allSizes; sizes(); } }, allSizes ? `the ${few} that most steps had` : `all ${data.graphs.length} sizes`));
  }

  const classColors = { attention: 'gpu0', 'ffn/gemm': 'gpu1', moe: 'gpu3', 'norm/activation': 'gpu2', sampling: 'gpu5', collective: 'gpu4', copy: 'gpu6', other: 'gpu7' };
  function kernels() {
    const box = $('classes'), k = data.kernels;
    if (!box || !k) return;
    const all = k.classes.reduce((sum, c) => sum + c.sum_ns, 0);
    const table = (list, colour) => {
      const most = Math.max(1, ...list.map(c => c.sum_ns));
      const moved = k.classes.some(c => c.bandwidth !== null);
      const memory = c => moved ? [hint(el('div', { class: 'r' }, typeof c.bandwidth === 'number' ? `${c.estimated ? '≈ ' : ''}${number(c.bandwidth / 1e9)} GB/s` : ''), typeof c.share === 'number' ? `${percent(100 * c.share)} of the memory’s peak${c.estimated ? ', estimated' : ''}` : 'not known')] : [];
      return el('div', { class: 'bars', style: moved ? { gridTemplateColumns: 'max-content minmax(60px, 1fr) max-content max-content max-content' } : {} }, ...['', 'time', '', 'calls', ...moved ? ['memory'] : []].map((h, i) => el('div', { class: i > 1 ? 'h r' : 'h' }, h)), ...list.flatMap(c => [
        hint(el('div', { class: 'cut', style: { maxWidth: '210px' } }, c.name), `${c.name}\n${c.class}`), bar([{ value: c.sum_ns, color: colour(c), hint: `${duration(c.sum_ns)}: ${number(100 * c.sum_ns / all)} % of the kernels’ time\n${duration(c.sum_ns / c.count)} a call` }], most),
        el('div', { class: 'r' }, percent(100 * c.sum_ns / all)), el('div', { class: 'r' }, number(c.count)), ...memory(c)]));
    };
    const colour = c => classColors[c.class] || 'unknown';
    box.replaceChildren(el('p', { class: 'note' }, `${duration(all)} in kernels and copies, in ${number(k.windows)} windows of ${duration(k.open_ns)} in all`), table(k.classes, colour),
      el('details', { style: { marginTop: '10px' } }, el('summary', {}, 'the costliest kernels'), table(k.other.count ? [...k.names, k.other] : k.names, colour)));
  }

  function roofline() {
    const box = $('roofline'), r = data.roofline;
    if (!box || !r) return;
    const at = v => v / r.cells_a_decade; // log10 of a cell's edge
    const peakX = r.bandwidth_bytes_per_s && r.arithmetic_flops ? Math.log10(r.arithmetic_flops / r.bandwidth_bytes_per_s) : null;
    const xs = r.x.map(at), ys = r.y.map(at);
    const low = Math.floor(Math.min(...xs) - .2), high = Math.ceil(Math.max(...xs, peakX ?? 0) + .3);
    const ground = Math.floor(Math.min(...ys) - .2), sky = Math.ceil(Math.max(...ys, r.arithmetic_flops ? Math.log10(r.arithmetic_flops) : 0) + .1);
    const W = Math.max(260, box.clientWidth), H = 280, left = 78, bottom = 34, top = 8;
    const x = v => left + (v - low) / (high - low) * (W - left - 8), y = v => top + (1 - (v - ground) / (sky - ground)) * (H - top - bottom);
    const node = svg('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': 'operations a second against operations a byte' });
    const text = (at, content, more) => { const t = svg('text', { ...at, ...more }); t.textContent = content; node.append(t); };
    for (let v = low; v <= high; v++) {
      node.append(svg('line', { x1: x(v), x2: x(v), y1: top, y2: H - bottom, stroke: css('grid') }));
      text({ x: x(v), y: H - bottom + 14 }, number(10 ** v), { 'text-anchor': 'middle' });
    }
    for (let v = ground; v <= sky; v++) {
      node.append(svg('line', { x1: left, x2: W - 8, y1: y(v), y2: y(v), stroke: css('grid') }));
      text({ x: left - 6, y: y(v) + 4 }, scaled(10 ** v, 'FLOP/s'), { 'text-anchor': 'end' });
    }
    text({ x: (left + W) / 2, y: H - 3 }, 'operations a byte that the model needs', { 'text-anchor': 'middle' });
    const most = Math.max(...r.count);
    r.count.map((n, i) => i).sort((a, b) => r.count[b] - r.count[a]).forEach(i => {
      const c = svg('circle', { cx: x(xs[i] + .5 / r.cells_a_decade), cy: y(ys[i] + .5 / r.cells_a_decade), r: 2 + 7 * Math.sqrt(r.count[i] / most), fill: css(data.phases[r.phase[i]]), 'fill-opacity': .7 });
      node.append(hint(c, `${number(r.count[i])} ${data.phases[r.phase[i]]} steps\nabout ${scaled(10 ** (ys[i] + .5 / r.cells_a_decade), 'FLOP/s')} at ${number(10 ** (xs[i] + .5 / r.cells_a_decade))} FLOP a byte`));
    });
    const roof = { fill: 'none', stroke: css('ink'), 'stroke-width': 1.3 };
    if (r.bandwidth_bytes_per_s) {
      const end = peakX ?? high, b = Math.log10(r.bandwidth_bytes_per_s), start = Math.max(low, ground - b);
      node.append(svg('line', { x1: x(start), y1: y(start + b), x2: x(end), y2: y(end + b), ...roof }));
      text({ x: x(start) + 8, y: Math.max(top + 10, y(start + b) - 16) }, scaled(r.bandwidth_bytes_per_s, 'B/s'), { class: 'strong' });
    }
    if (r.arithmetic_flops) {
      const a = Math.log10(r.arithmetic_flops);
      node.append(svg('line', { x1: x(peakX ?? low), x2: W - 8, y1: y(a), y2: y(a), ...roof }));
      text({ x: W - 10, y: y(a) - 5 }, scaled(r.arithmetic_flops, 'FLOP/s'), { class: 'strong', 'text-anchor': 'end' });
    }
    const used = [...new Set(r.phase)].map(p => data.phases[p]);
    box.replaceChildren(el('p', { class: 'note' }, `${number(r.steps)} steps against the GPU’s peaks${r.estimated ? '; what the model needs is estimated for some' : ''}${r.peaks_differ ? '; peaks are of the first: they differ between steps' : ''}`),
      el('div', { class: 'legend' }, ...used.map(p => el('span', {}, el('i', { style: { background: css(p) } }), p)), el('span', {}, 'area: steps')), node);
  }

  // ---- Experts.

  function heat() {
    const box = $('heat'), x = data.experts;
    if (!box || !x) return;
    const rows = x.layers.length, cols = x.experts;
    const means = x.counts.map(c => c.reduce((a, b) => a + b, 0) / cols);
    const canvas = el('canvas', { role: 'img', 'aria-label': 'experts by layer', width: cols, height: rows });
    const g = canvas.getContext('2d'), image = g.createImageData(cols, rows);
    const rgb = name => { const c = css(name); return [1, 3, 5].map(i => parseInt(c.slice(i, i + 2), 16)); };
    const cold = rgb('cold'), even = rgb('even'), hot = rgb('hot'), none = rgb('none');
    const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
    const shade = times => times <= 0 ? none : times < 1 ? mix(cold, even, times) : mix(even, hot, Math.min(1, Math.log2(times) / 2));
    let colds = 0, worst = [0, 0, 0];
    x.counts.forEach((counts, r) => counts.forEach((n, c) => {
      const times = means[r] ? n / means[r] : 0;
      if (!n) colds++;
      if (times > worst[0]) worst = [times, r, c];
      image.data.set([...shade(times), 255], 4 * (r * cols + c));
    }));
    g.putImageData(image, 0, 0);
    canvas.style.height = clamp(rows * 9, 90, 520) + 'px';
    canvas.addEventListener('mousemove', e => {
      const b = canvas.getBoundingClientRect();
      const c = clamp(Math.floor((e.clientX - b.left) / b.width * cols), 0, cols - 1), r = clamp(Math.floor((e.clientY - b.top) / b.height * rows), 0, rows - 1);
      tip(e, `layer ${x.layers[r]}, expert ${c}\nchosen ${number(x.counts[r][c])} times, ${number(means[r] ? x.counts[r][c] / means[r] : 0)} times the mean`);
    });
    canvas.addEventListener('mouseleave', hideTip);
    const scale = [[0, 'never'], [.5, '½'], [1, 'mean'], [2, '2 ×'], [4, '4 × and more']];
    box.replaceChildren(el('div', { class: 'legend' }, ...scale.map(([v, text]) => el('span', {}, el('i', { style: { background: `rgb(${shade(v).map(Math.round).join(',')})` } }), text)),
      el('span', {}, `most chosen: expert ${worst[2]} of layer ${x.layers[worst[1]]}, ${number(worst[0])} times the mean; ${number(colds)} never chosen${x.left_out ? `; ${x.left_out} layers left out` : ''}`)),
      canvas, el('div', { class: 'axis' }, el('span', { style: { left: '0' } }, 'expert 0'), el('span', { class: 'end', style: { left: '100%' } }, `expert ${cols - 1}`)),
      el('p', { class: 'note' }, `${rows} layers from above: ${x.layers[0]} to ${x.layers[rows - 1]}`));
  }

  // ---- Requests.

  const groups = [
    ['frontend', 'on the way in', ['frontend', 'next_schedule']],
    ['queue', 'queue', ['queue_max_num_seqs', 'queue_token_budget', 'queue_kv_blocks', 'queue_other']],
    ['prefill', 'own prefill', ['own_prefill']],
    ['decode', 'decode', ['decode']],
    ['others', 'prefill of others *', ['others_prefill']],
    ['outside', 'steps without it', ['other_steps']],
    ['host', 'host', ['host_schedule', 'host_prepare', 'host_launch', 'host_output_wait', 'host_update', 'host_other']],
    ['thrown', 'preempted', ['preempted']],
    ['recompute', 'computed again', ['recompute']],
    ['lost', 'unknown', ['unknown']],
  ];
  let order = 'total', relative = false;
  function falls() {
    const box = $('falls'), q = data.requests;
    if (!box || !q) return;
    const index = new Map(q.parts.map((p, i) => [p.key, i]));
    const list = q.orders[order].map(i => q.list[i]);
    const most = Math.max(1, ...list.map(r => r.to_ns - r.from_ns));
    const segments = (parts, when, r) => groups.map(([color, text, keys]) => {
      const value = keys.reduce((sum, k) => sum + parts[index.get(k)], 0);
      const detail = keys.filter(k => parts[index.get(k)] > 0).map(k => `${q.parts[index.get(k)].text}: ${duration(parts[index.get(k)])}`).join('\n');
      return { value, color, hint: `${when}\n${detail}` };
    });
    const pick = el('select', { 'aria-label': 'order', onchange: e => { order = e.target.value; falls(); } }, ...[['total', 'in all'], ['ttft', 'to the first token'], ['tpot', 'per output token'], ['queue', 'in the queue']].map(([v, text]) => el('option', { value: v, selected: v === order }, text)));
    const mode = el('button', { type: 'button', 'aria-pressed': String(relative), onclick: () => { relative = !relative; falls(); } }, 'as shares');
    const legend = el('div', { class: 'legend' }, ...groups.map(([color, text]) => el('span', {}, el('i', { style: { background: css(color) } }), text)));
    const grid = el('div', { class: 'falls' }, el('div', { class: 'h' }, 'request'), axis(most), ...[['first token', ' wide'], ['per token', ' wide'], ['total', '']].map(([h, c]) => el('div', { class: 'h r' + c }, h)));
    for (const r of list) {
      const first = segments(r.first, r.ttft_ns == null ? 'all of it' : 'until the first token', r).filter(p => p.value > 0), after = segments(r.after, 'after the first token', r).filter(p => p.value > 0);
      if (r.ttft_ns != null && first.length) first[first.length - 1].class = 'first';
      const words = [r.prompt_tokens != null && `${number(r.prompt_tokens)} prompt tokens${r.cached_tokens ? `, ${number(r.cached_tokens)} cached` : ''}`, r.output_tokens != null && `${number(r.output_tokens)} output tokens`, r.preemptions && `${r.preemptions} preemptions`, r.finish_reason && `ended: ${r.finish_reason}`].filter(Boolean).join('\n');
      grid.append(hint(el('button', { type: 'button', class: 'id cut', onclick: () => { hideTip(); const pad = Math.max((r.to_ns - r.from_ns) * .04, 2e5); go({ engine: r.engine, from_ns: r.from_ns - pad, to_ns: r.to_ns + pad }); } }, r.id || String(r.uid)), `${r.id} (uid ${r.uid})\n${words}`),
        bar([...first, ...after], relative ? r.to_ns - r.from_ns : most), ...[[r.ttft_ns, ' wide'], [r.tpot_ns, ' wide'], [r.to_ns - r.from_ns, '']].map(([ns, c]) => el('div', { class: 'r' + c }, duration(ns))));
    }
    box.replaceChildren(el('div', { class: 'tools', style: { position: 'static', background: 'none', padding: '0 0 6px' } }, el('div', { class: 'row' }, el('span', { class: 'range' }, `${list.length} of ${number(q.all)}, slowest`), pick, mode)), legend, grid);
  }
  function axis(most) {
    if (relative) return el('div', { class: 'axis' }, ...[0, 50, 100].map(v => el('span', { class: v === 100 ? 'end' : '', style: { left: v + '%' } }, v + ' %')));
    const raw = most / 4, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
    const marks = [];
    for (let v = 0; v <= most * .93; v += step) marks.push(v);
    return el('div', { class: 'axis' }, ...marks.map(v => el('span', { style: { left: 100 * v / most + '%' } }, v ? duration(v) : '0')));
  }

  // ---- The page.

  function everything() { build(); latency(); sizes(); kernels(); roofline(); heat(); falls(); }

  let theme = 0;
  $('theme').addEventListener('click', () => {
    theme = (theme + 1) % 3;
    const name = ['auto', 'light', 'dark'][theme];
    if (theme) root.dataset.theme = name; else delete root.dataset.theme;
    $('theme').textContent = name;
    everything();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', everything);

  for (const [id, act] of [['all', zoomAll], ['in', () => by(.5)], ['out', () => by(2)], ['back', () => shift(-.5)], ['forth', () => shift(.5)]]) $(id)?.addEventListener('click', act);
  addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) || !engine()) return;
    const act = { '+': () => by(.5), '=': () => by(.5), '-': () => by(2), ArrowLeft: () => shift(-.25), ArrowRight: () => shift(.25), 0: zoomAll }[e.key];
    if (act) { act(); e.preventDefault(); }
  });
  const picker = $('engine');
  if (picker && data.engines.length > 1) {
    picker.hidden = false;
    picker.append(...data.engines.map(e => el('option', { value: e.engine }, 'engine ' + e.engine)));
    picker.addEventListener('change', () => { view.engine = +picker.value; build(); });
  }
  $('moments')?.append(...data.moments.map(m => el('button', { type: 'button', onclick: () => go(m) }, m.title)));
  for (const b of document.querySelectorAll('[data-moment]')) b.addEventListener('click', () => go(data.moments.find(m => m.key === b.dataset.moment)));

  [view.from, view.to] = whole();
  everything();
  stripEvents();
  let width = innerWidth;
  addEventListener('resize', () => {
    if (innerWidth === width) return; // a phone's address bar
    width = innerWidth;
    for (const { chart, plot, body } of shown.values()) plot.setSize({ width: Math.max(200, body.clientWidth), height: chart.height });
    draw();
    latency();
    roofline();
    falls();
  });

  // For scripts, and for tests: what is shown, and a way to move it.
  window.pmtrace = {
    data, zoom, zoomAll,
    view: () => ({ ...view }),
    plots: () => [...shown].map(([id, { plot }]) => ({ id, from: plot.scales.x.min * 1e9, to: plot.scales.x.max * 1e9, points: plot.data[0].length, ticks: plot.axes[0]._splits.map((v, i) => [v, plot.axes[0]._values[i]]), values: plot.data.slice(1).map(s => s.filter(v => v != null).length) })),
    columns: (from, to, most, names) => { const c = cut(from, to, most); return { t: c.t, w: c.w, raw: !!c.raw, of: Object.fromEntries(names.map(n => [n, c.get(n)])) }; },
    spent: (from, to, most) => { const c = cutSpread(from, to, most); return Object.fromEntries(spread.map(n => [n, c.get(n)])); },
  };
})();

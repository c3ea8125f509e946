"""browser.py BROWSER URL DEVICES [DIRECTORY]: opens a page in a headless browser as the
devices ("desktop dark,phone light"), moves it about, and prints as JSON what is seen.
DIRECTORY: for screenshots."""

import json
import os
import sys
import time

from playwright.sync_api import sync_playwright

SEEN = """() => {
  const colored = (canvas, box) => { // pixels that no grid or text has
    const g = canvas.getContext('2d');
    const d = g.getImageData(box ? box.left : 0, box ? box.top : 0, box ? box.width : canvas.width, box ? box.height : canvas.height).data;
    let n = 0;
    for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 0 && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 12) n++;
    return n;
  };
  const count = s => document.querySelectorAll(s).length;
  const charts = {};
  for (const box of document.querySelectorAll('.plot')) {
    const canvas = box.querySelector('canvas');
    charts[box.id.replace('chart-', '')] = colored(canvas);
  }
  return {
    charts, strip: colored(document.getElementById('strip')), heat: document.querySelector('#heat canvas') ? colored(document.querySelector('#heat canvas')) : -1,
    drawn: { distributions: count('#distributions svg rect'), phases: count('#phases svg path'), sizes: count('#sizes .bar i'), classes: count('#classes .bar i'), roofline: count('#roofline svg circle'), falls: count('#falls .bar i'), findings: count('.finding'), tiles: count('.tile') },
    overflow: document.documentElement.scrollWidth - innerWidth, title: document.title, images: count('img'), scripts: count('script'),
    background: getComputedStyle(document.body).backgroundColor, heading: document.querySelector('h1').textContent,
    absent: [...document.querySelectorAll('.absent')].map(n => n.textContent),
  };
}"""

# What the page makes of its data for a chart keeps the sums and extremes, however it is cut.
KEPT = """() => {
  const p = window.pmtrace, e = p.data.engines[0], columns = e.timeline.columns, out = [];
  const sum = list => list.reduce((a, v) => a + (v || 0), 0);
  const low = p.data.from_ns, high = e.timeline.origin_ns + e.timeline.width_ns * e.timeline.buckets;
  for (const most of [7, 60, 333, 800]) {
    const c = p.columns(low, high, most, ['output', 'prompt', 'whole_decode_n', 'whole_decode_sum', 'whole_decode_max', 'kv_max', 'running_sum', 'eager', 'padding']);
    for (const [name, list] of Object.entries(c.of)) {
      const whole = columns[name] || [];
      const fold = name.endsWith('_max') ? l => Math.max(...l.map(v => v || 0)) : sum;
      out.push([name + ' in ' + most, fold(list), fold(whole)]);
    }
    const s = p.spent(low, high, most);
    for (const name of ['busy', 'idle', 'drained', 'output', 'prompt']) out.push([name + ' spread in ' + most, sum(s[name]), sum(columns[name] || [])]);
  }
  return out;
}"""


def ranges(page):
    return page.evaluate("window.pmtrace.plots().map(p => [p.id, p.from, p.to, p.ticks])")


def looked_at(page, shot):
    page.wait_for_timeout(150)
    out = {"whole": page.evaluate(SEEN), "kept": page.evaluate(KEPT), "ranges": {"whole": ranges(page)}}
    shot("whole", True)
    over = page.locator("#chart-queues .u-over")
    over.scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, -160)")
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.40, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.50, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    page.wait_for_timeout(250)
    out["ranges"]["dragged"] = ranges(page)
    page.keyboard.press("+")
    page.wait_for_timeout(100)
    out["ranges"]["closer"] = ranges(page)
    over.dblclick(position={"x": box["width"] / 2, "y": box["height"] / 2})
    page.wait_for_timeout(250)
    out["ranges"]["back"] = ranges(page)
    page.locator("[data-moment]").first.click()
    page.wait_for_timeout(700)
    out["ranges"]["finding"] = ranges(page)
    out["moment"] = page.evaluate(SEEN)
    shot("moment", False)
    lane = page.locator("#chart-lanes .u-over")
    lane.scroll_into_view_if_needed()
    box = lane.bounding_box()
    for i in range(40):  # until a step is met
        page.mouse.move(box["x"] + box["width"] * (0.3 + i / 100), box["y"] + box["height"] * 0.65)
        out["tip"] = page.locator("#tip").text_content()
        if out["tip"].startswith("step "):
            break
    page.mouse.move(2, 2)
    page.locator("#falls button.id").first.click()
    page.wait_for_timeout(700)
    out["ranges"]["request"] = ranges(page)
    page.locator("#falls select").select_option("ttft")
    out["ttft"] = page.evaluate("[...document.querySelectorAll('#falls button.id')].map(b => b.textContent)")
    out["want_ttft"] = page.evaluate("window.pmtrace.data.requests.orders.ttft.map(i => window.pmtrace.data.requests.list[i].id)")
    if page.locator("#engine").is_visible():
        page.locator("#engine").select_option("1")
        page.wait_for_timeout(100)
        out["engine"] = page.evaluate("window.pmtrace.view().engine")
    before = page.evaluate(SEEN)["background"]
    for _ in range(2):
        page.locator("#theme").click()
        page.wait_for_timeout(100)
        after = page.evaluate(SEEN)
        out["toggled"] = out.get("toggled", False) or after["background"] != before
    return out


def main():
    browser_path, url, devices = sys.argv[1:4]
    directory = sys.argv[4] if len(sys.argv) > 4 else None
    result = {}
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        for device in devices.split(","):
            name, scheme = device.split()
            phone = name == "phone"
            context = browser.new_context(viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}, color_scheme=scheme,
                                          device_scale_factor=2 if phone else 1, has_touch=phone, is_mobile=phone)
            page = context.new_page()
            said, asked = [], []
            # What looking at the charts' pixels makes the browser say is not the page's doing.
            page.on("console", lambda m: "getImageData" in m.text or said.append(f"{m.type}: {m.text}"))
            page.on("pageerror", lambda e: said.append(f"error: {e}"))
            page.on("dialog", lambda d: (said.append("dialog: " + d.message), d.dismiss()))
            page.on("request", lambda r: asked.append(r.url))
            began = time.monotonic()
            page.goto(url)
            page.wait_for_function("window.pmtrace !== undefined")
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            opened = time.monotonic() - began

            def shot(what, whole):
                if directory:
                    page.screenshot(path=os.path.join(directory, f"{name}-{scheme}-{what}.png"), full_page=whole)

            out = looked_at(page, shot)
            out.update(opened_s=opened, said=said, asked=[a for a in asked if not a.startswith("data:")])
            result[device] = out
            context.close()
        browser.close()
    print(json.dumps(result))


main()

"""plots.py SESSIONS INTO: the plots of the documentation, of the recorded sessions in the directory
SESSIONS (made by pmtrace decode). The same sessions give the same bytes. `make docs` runs it, and a
test compares."""
import os
import sys

import duckdb
import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({
    "svg.hashsalt": "pmtrace", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "figure.facecolor": "white", "savefig.facecolor": "white", "lines.linewidth": 1.2,
})
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#999999"  # told apart by all eyes


def ask(session, sql):
    """Column by column, of the session's tables."""
    tables = os.path.join(SESSIONS, session, "parquet")
    db = duckdb.connect()
    for table in os.listdir(tables):
        db.execute(f"create view {table} as from read_parquet('{tables}/{table}/*.parquet')")
    return db.execute(sql).fetchnumpy()


def save(figure, name):
    figure.savefig(os.path.join(INTO, name + ".svg"), metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plt.close(figure)


def kv_pressure():
    by = ask("h200-pressure", """
        select start_ns // 100000000 / 10.0 as s, max(100.0 * kv_used_blocks / kv_total_blocks) as used,
               avg(running) as running, avg(waiting) as waiting, sum(preempted) as preempted
        from steps group by 1 order by 1""")
    figure, (cache, requests, out) = plt.subplots(3, 1, figsize=(7, 4.2), sharex=True, height_ratios=[2, 2, 1])
    cache.fill_between(by["s"], by["used"], color=BLUE, alpha=0.35, step="post", linewidth=0)
    cache.set_ylabel("KV cache\nused, %")
    requests.plot(by["s"], by["waiting"], color=ORANGE, label="waiting", drawstyle="steps-post")
    requests.plot(by["s"], by["running"], color=BLUE, label="running", drawstyle="steps-post")
    requests.set_ylabel("requests")
    requests.legend(frameon=False, loc="upper right")
    out.bar(by["s"], by["preempted"], width=0.1, align="edge", color=ORANGE)
    out.set_ylabel("preempted\nin 0.1 s")
    out.set_xlabel("seconds of the session")
    save(figure, "kv-pressure")


def timing_bounds():
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8))
    for axis, session, title in ((axes[0], "h200-llama8b", "llama 8B: the host waits for the GPU"),
                                 (axes[1], "h200-llama1b", "llama 1B: the GPU waits for the host")):
        rows = ask(session, """
            select requests, median(step_gpu_ns) / 1e6 as ms, median(gpu_error_bound_ns) / 1e6 as bound
            from steps where phase = 'decode' and gpu_error_bound_ns is not null
            group by 1 having count(*) >= 10 order by 1""")
        axis.vlines(rows["requests"], (rows["ms"] - rows["bound"]).clip(0), rows["ms"] + rows["bound"], color=GREY, linewidth=6, alpha=0.5, label="its bound")
        axis.plot(rows["requests"], rows["ms"], "o", color=BLUE, markersize=4, label="event_bound")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("requests in a decode step")
        axis.set_ylim(0)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:.0f}")
    axes[0].set_ylabel("time on the GPU, ms")
    axes[0].legend(frameon=False, loc="upper left")
    save(figure, "timing-bounds")


def graph_padding():
    rows = ask("h100-qwen3moe-v2", """
        select padded_tokens as size, sum(tokens) as tokens, sum(padded_tokens - tokens) as padding
        from steps where cudagraph_mode = 'FULL' group by 1 order by 1""")
    figure, axis = plt.subplots(figsize=(7, 2.6))
    at = [str(size) for size in rows["size"]]
    tokens, padding = rows["tokens"].astype(float), rows["padding"].astype(float)
    axis.bar(at, tokens, color=BLUE, label="tokens")
    axis.bar(at, padding, bottom=tokens, color=ORANGE, label="padding")
    axis.set_xlabel("size of the graph, tokens")
    axis.set_ylabel("computed")
    axis.tick_params(axis="x", labelsize=7)
    axis.legend(frameon=False)
    save(figure, "graph-padding")


def step_times():
    rows = ask("h200-llama8b", """
        select phase, tokens, step_gpu_ns / 1e6 as ms from steps where tokens > 0 and step_gpu_ns is not null""")
    figure, axis = plt.subplots(figsize=(7, 3))
    for phase, colour in (("decode", BLUE), ("mixed", ORANGE), ("prefill", GREEN)):
        these = rows["phase"] == phase
        axis.scatter(rows["tokens"][these], rows["ms"][these], s=8, color=colour, label=phase, alpha=0.6, linewidths=0)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("tokens in the step")
    axis.set_ylabel("time on the GPU, ms")
    axis.legend(frameon=False)
    save(figure, "step-times")


def experts():
    rows = ask("h100-qwen3moe-v2", """
        select layer_idx as layer, expert_id as expert, sum(activations) * 64.0 / sum(sum(activations)) over (partition by layer_idx) as share
        from moe_activations group by 1, 2 order by 1, 2""")
    grid = [[0.0] * 64 for _ in range(8)]
    for layer, expert, share in zip(rows["layer"], rows["expert"], rows["share"]):
        grid[layer][expert] = share
    figure, axis = plt.subplots(figsize=(7, 1.9))
    image = axis.pcolormesh(grid, cmap="RdBu_r", vmin=0.8, vmax=1.2)
    axis.grid(False)
    axis.set_xlabel("expert")
    axis.set_ylabel("layer")
    figure.colorbar(image, label="of the mean", pad=0.02)
    save(figure, "experts")


SESSIONS, INTO = sys.argv[1:]
for plot in (kv_pressure, timing_bounds, graph_padding, step_times, experts):
    plot()

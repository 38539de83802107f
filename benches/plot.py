#!/usr/bin/env python3
"""Puts the results of the benchmarks into docs/benchmarks.md and draws their plots. Needs nothing but Python 3.

    cargo bench --bench load
    cargo bench --bench micro
    python3 benches/plot.py target/tmp/load.json

The results are copied to docs/benchmarks/, so that the page can be drawn again without measuring again; of a full run,
what it came to beside its bounds stays in docs/benchmarks/runs/, so that the page shows what differs from run to run:

    python3 benches/plot.py
"""

import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "benchmarks"
RUNS = OUT / "runs"
PAGE = ROOT / "docs" / "benchmarks.md"
CRITERION = ROOT / "target" / "criterion"

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#f0e442", "#8c564b"]


def amount(value):
    """A number as people write it: three digits that count, thousands parted."""
    if value is None:
        return ""
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows):
    """A Markdown table; columns of numbers are set to the right."""
    right = [all(re.fullmatch(r"[-+0-9.,]*", str(row[i])) for row in rows) for i in range(len(head))]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---:" if r else "---" for r in right) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def ratio(value):
    return "" if value is None else f"{value[0]:.2f}"


def limit_and_value(bound):
    """What must be reached, and what was."""
    sign = "≥" if bound["at_least"] else "≤"
    unit = "" if bound["unit"] == "x" else " " + bound["unit"]
    return f"{sign} {bound['limit']:g}{unit}", f"{bound['value']:.2f}{unit}"


def bounds_table(load):
    rows = []
    for bound in load["bounds"]:
        limit, value = limit_and_value(bound)
        spread = "" if bound["range"] is None else f"{bound['range'][0]:.2f} to {bound['range'][1]:.2f}"
        verdict = "reached" if bound["reached"] else "**missed**"
        rows.append([bound["what"], limit, value, spread, verdict])
    return table(["what", "bound", "measured", "rounds", ""], rows)


def short_commit(run):
    """Seven letters, and whether the tree was another than the commit's."""
    commit = run["commit"]
    if not commit:
        return "not-committed"
    return commit[:7] + ("-dirty" if commit.endswith("-dirty") else "")


def keep_run(load):
    """Keeps of a full run of the whole benchmark what the table of runs shows."""
    kept = {key: load[key] for key in ("plan", "date", "commit", "machine", "bounds")}
    RUNS.mkdir(exist_ok=True)
    name = f"{load['date'][:16].replace(':', '-')}-{short_commit(load)}.json"
    (RUNS / name).write_text(json.dumps(kept, indent=1) + "\n")


def runs_table(runs):
    """One column for each run, the oldest first, and one row for each bound."""
    head = ["what", "bound"]
    for run in runs:
        day, time = run["date"][:10], run["date"][11:16]
        head.append(f"{short_commit(run)}, {day} {time}, {run['machine']['processor']}")
    rows = {}
    for at, run in enumerate(runs):
        for bound in run["bounds"]:
            limit, value = limit_and_value(bound)
            row = rows.setdefault(bound["what"], [bound["what"], limit] + [""] * len(runs))
            row[2 + at] = value if bound["reached"] else f"**{value}**"
    return table(head, list(rows.values()))


def comparisons_table(load):
    rows = [[it["what"], f"{it['median']:.2f}", f"{it['low']:.2f} to {it['high']:.2f}"] for it in load["comparisons"]]
    return table(["what", "measured", "rounds"], rows)


def rows_table(load, wanted):
    rows = [
        [
            row["what"],
            f"{row['amount']:,}",
            row["concurrency"],
            amount(row["per_second"]),
            amount(row["p50_us"]),
            amount(row["p99_us"]),
            amount(row["cpu_us"]),
            amount(row["peak_mib"]),
            ratio(row["of_bare_route"]),
            ratio(row["of_plain_sqlite"]),
        ]
        for row in load["rows"]
        if row["unit"] == wanted
    ]
    head = ["what", wanted, "clients", "requests/s", "p50 µs", "p99 µs", "CPU µs", "peak MiB", "of warp", "of SQLite"]
    return table(head, rows)


def facts_table(load):
    return table(["what", "", ""], [[fact["what"], amount(fact["value"]), fact["unit"]] for fact in load["facts"]])


def machine_table(load):
    machine = load["machine"]
    rows = [["date", load["date"]], ["commit", load["commit"] or "not committed"], ["plan", load["plan"]]]
    rows += [[key.replace("_", " "), value] for key, value in machine.items()]
    return table(["", ""], rows)


def micro_results():
    """What criterion left in target/, one entry for each benchmark."""
    found = []
    for estimates in sorted(CRITERION.glob("**/new/estimates.json")):
        benchmark = json.loads((estimates.parent / "benchmark.json").read_text())
        median = json.loads(estimates.read_text())["median"]
        found.append(
            {
                "group": benchmark["group_id"],
                "what": benchmark["function_id"] or benchmark["value_str"],
                "size": benchmark["value_str"] if benchmark["function_id"] else None,
                "bytes": (benchmark["throughput"] or {}).get("Bytes"),
                "median_ns": median["point_estimate"],
                "low_ns": median["confidence_interval"]["lower_bound"],
                "high_ns": median["confidence_interval"]["upper_bound"],
            }
        )
    return found


def micro_table(micro):
    ordered = sorted(micro, key=lambda it: (it["group"], it["what"].startswith("hostile"), it["what"], it["bytes"] or 0))
    rows = [
        [
            it["group"],
            it["what"] + (f", {it['size']}" if it["size"] else ""),
            f"{it['bytes']:,}" if it["bytes"] else "",
            amount(it["median_ns"] / 1e3),
            amount(it["median_ns"] / it["bytes"]) if it["bytes"] else "",
        ]
        for it in ordered
    ]
    return table(["part", "input", "bytes", "µs", "ns a byte"], rows)


def ticks(low, high):
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def short(value):
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g} {letter}"
    return f"{value:g}"


def plot(file, title, x_label, y_label, series):
    """Lines over two logarithmic axes. `series`: name to points."""
    series = {name: sorted(points) for name, points in series.items() if points}
    if not series:
        return
    # Room on the right for the longest name, at some 7 units a letter.
    right = max(250, 60 + 7 * max(len(name) for name in series))
    width, height, left, top, bottom = 570 + right, 400, 70, 40, 50
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_low, x_high = min(xs), max(max(xs), min(xs) * 1.01)
    y_low, y_high = y_ticks[0], y_ticks[-1] if y_ticks[-1] > y_ticks[0] else y_ticks[0] * 10

    def at(x, y):
        across = math.log10(x / x_low) / math.log10(x_high / x_low)
        up = math.log10(y / y_low) / math.log10(y_high / y_low)
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="22" font-size="15">{title}</text>',
    ]
    for tick in y_ticks:
        _, y = at(x_low, tick)
        svg.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        svg.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x_ticks:
        if x_low <= tick <= x_high:
            x, _ = at(tick, y_low)
            svg.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}" stroke="#dddddd"/>')
            svg.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{short(tick)}</text>')
    middle = (top + height - bottom) / 2
    svg.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">{x_label}</text>')
    svg.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{y_label}</text>')
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        placed = [at(x, y) for x, y in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        svg.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        svg += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        y = top + 12 + index * 18
        svg.append(f'<rect x="{width - right + 20}" y="{y - 9}" width="12" height="12" fill="{colour}"/>')
        svg.append(f'<text x="{width - right + 38}" y="{y + 1}">{name}</text>')
    svg.append("</svg>")
    (OUT / file).write_text("\n".join(svg) + "\n")


def load_plots(load):
    def points(what, unit, concurrency):
        return [
            (row["amount"], row["p50_us"])
            for row in load["rows"]
            if row["what"] == what and row["unit"] == unit and row["concurrency"] == concurrency
        ]

    fewest = min(row["concurrency"] for row in load["rows"] if row["unit"] == "users")
    at_once = "one client" if fewest == 1 else f"{fewest} clients at once"
    operations = [
        "GET user by id", "look-up by userName", "look-up by externalId", "page of 100", "page of a full walk",
        "PATCH active", "PUT user", "create user",
    ]
    plot(
        "users.svg",
        f"Median time of a request by size of the tenant, {at_once}",
        "users",
        "µs",
        {name: points(name, "users", fewest) or points(name, "users", 1) for name in operations},
    )
    changes = {row["concurrency"] for row in load["rows"] if row["what"] == "member added or removed"}
    series = {
        f"member added or removed, {clients} at once": points("member added or removed", "members", clients)
        for clients in sorted(changes)
    }
    series["GET group"] = points("GET group", "members", 1)
    plot("groups.svg", "Median time of a request by size of the group", "members", "µs", series)


def micro_plots(micro):
    for group in sorted({it["group"] for it in micro}):
        series = {}
        for it in micro:
            if it["group"] == group and it["size"] and it["bytes"]:
                series.setdefault(it["what"], []).append((it["bytes"], it["median_ns"] / it["bytes"]))
        grown = {name: points for name, points in series.items() if len(points) > 1}
        plot(f"micro-{group}.svg", f"{group}: time a byte by size of the input", "bytes", "ns a byte", grown)


def put(page, name, text):
    """Replaces what stands between the marks of that name."""
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    assert re.search(pattern, page, re.S), f"{PAGE} has no marks for {name}"
    return re.sub(pattern, lambda _: f"{marks[0]}\n{text}\n{marks[1]}", page, flags=re.S)


def main():
    OUT.mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        results = pathlib.Path(sys.argv[1]).read_text()
        (OUT / "load.json").write_text(results)
        load = json.loads(results)
        if load["plan"] == "full" and not load.get("only"):
            keep_run(load)
        if micro := micro_results():
            (OUT / "micro.json").write_text(json.dumps(micro, indent=1) + "\n")
    page = PAGE.read_text()
    if (OUT / "load.json").exists():
        load = json.loads((OUT / "load.json").read_text())
        load_plots(load)
        page = put(page, "machine", machine_table(load))
        page = put(page, "bounds", bounds_table(load))
        # Results from before have none.
        if "comparisons" in load:
            page = put(page, "own loop", comparisons_table(load))
        for unit in ("users", "members", "tenants"):
            page = put(page, unit, rows_table(load, unit))
        page = put(page, "facts", facts_table(load))
    if runs := [json.loads(file.read_text()) for file in sorted(RUNS.glob("*.json"))]:
        page = put(page, "runs", runs_table(runs))
    if (OUT / "micro.json").exists():
        micro = json.loads((OUT / "micro.json").read_text())
        micro_plots(micro)
        page = put(page, "micro", micro_table(micro))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

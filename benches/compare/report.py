"""How are the figures shown? As a table, as CSV, and as a picture."""

import csv
import pathlib
import statistics
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

NOISY = 0.10  # a spread of the ratio beyond this share of it is pointed out


@dataclass
class Figure:
    """One measured quantity of one row, per server, in the order of the rounds."""
    row: str
    quantity: str
    unit: str
    must: float | None = None      # the most; a ratio, or bytes (`absolute`)
    absolute: bool = False
    less_is_better: bool = True
    samples: dict[str, list[float]] = field(default_factory=dict)

    def group(self) -> str:
        """The table that the figure belongs to."""
        if self.unit == "B/item":
            return "memory, resident bytes per item"
        return f"{self.quantity}, {self.unit}" if self.unit else self.row

    def label(self) -> str:
        """Its line in that table."""
        return self.quantity if self.unit in ("", "B/item") else self.row

    def add(self, server: str, value: float) -> None:
        self.samples.setdefault(server, []).append(value)

    def median(self, server: str) -> float:
        return statistics.median(self.samples[server])

    def ratios(self, server: str, reference: str) -> list[float]:
        """Round by round, so that a drift of the machine drops out."""
        pairs = zip(self.samples[server], self.samples.get(reference, []))
        return [ours / theirs for ours, theirs in pairs if theirs]

    def ratio(self, server: str, reference: str) -> float | None:
        ratios = self.ratios(server, reference)
        return statistics.median(ratios) if ratios else None

    def noisy(self, server: str, reference: str) -> bool:
        ratios = self.ratios(server, reference)
        return len(ratios) > 1 and max(ratios) - min(ratios) > NOISY * statistics.median(ratios)

    def comparable(self) -> bool:
        """Is a ratio worth printing? One of percentages is not."""
        return not self.quantity.endswith("%")

    def verdict(self, server: str, reference: str) -> str:
        """Has the server reached the target of this figure?"""
        if self.must is None or server not in self.samples:
            return ""
        got = self.median(server) if self.absolute else self.ratio(server, reference)
        if got is None:
            return ""
        bound = f"{self.must:g}{'' if self.absolute else 'x'}"
        return f"reached (<= {bound})" if got <= self.must else f"MISSED (<= {bound})"


def number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def text_tables(figures: list[Figure], servers: list[str], reference: str, ours: str | None) -> str:
    """One table for each quantity that several rows share; one line a row, one column a server."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.group(), []).append(figure)
    lines = []
    for title, group in groups.items():
        lines += ["", title, f"  {'':<34}" + "".join(f"{server:<40}" for server in servers)]
        for figure in group:
            cells = "".join(f"{cell(figure, server, reference):<40}" for server in servers)
            verdict = figure.verdict(ours, reference) if ours else ""
            lines.append(f"  {figure.label():<34}{cells}{verdict}".rstrip())
    return "\n".join(lines)


def cell(figure: Figure, server: str, reference: str) -> str:
    """Median [least..greatest] ratio (its least..greatest), with ~ where it is noisy."""
    samples = figure.samples.get(server)
    if not samples:
        return ""
    said = number(figure.median(server))
    if len(samples) > 1:
        said += f" [{number(min(samples))}..{number(max(samples))}]"
    ratios = figure.ratios(server, reference)
    if server != reference and ratios and figure.comparable():
        said += f" {figure.ratio(server, reference):.2f}x"
        if len(ratios) > 1:
            said += f" ({min(ratios):.2f}..{max(ratios):.2f})"
        said += "~" if figure.noisy(server, reference) else ""
    return said


def write_csv(path: pathlib.Path, figures: list[Figure], servers: list[str], reference: str) -> None:
    with path.open("w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["row", "quantity", "unit", "server", "median", "min", "max", "rounds",
                      "ratio", "ratio_min", "ratio_max", "must"])
        for figure in figures:
            for server in servers:
                if samples := figure.samples.get(server):
                    ratios = figure.ratios(server, reference)
                    spread = [round(v, 4) for v in (figure.ratio(server, reference), min(ratios), max(ratios))] \
                        if ratios else ["", "", ""]
                    out.writerow([figure.row, figure.quantity, figure.unit, server,
                                  *(round(v, 4) for v in (figure.median(server), min(samples), max(samples))),
                                  len(samples), *spread, figure.must or ""])


# The picture: one band per row, one bar per server, the reference at 1.0.

LEFT, BAR, GAP, WIDTH, HEAD = 170, 11, 9, 620, 64
OURS = "#0b6e4f"
COLOURS = ["#b8b8b8", "#8da9c4", "#c9ada7", "#e0b973"]


def colours(servers: list[str]) -> dict[str, str]:
    others = [s for s in servers if s != "peregrine"]
    return {"peregrine": OURS} | {s: COLOURS[i % len(COLOURS)] for i, s in enumerate(others)}


def write_svg(path: pathlib.Path, title: str, subtitle: str, figures: list[Figure], servers: list[str],
              reference: str) -> None:
    """Bars of the ratio to the reference; whiskers from the least to the greatest."""
    shown = [f for f in figures if any(f.ratios(s, reference) for s in servers)]
    if not shown:
        return
    most = max(max(f.ratios(s, reference)) for f in shown for s in servers if f.ratios(s, reference))
    scale = WIDTH / min(max(most, 1.1), 3.0)
    parts, y = [], HEAD
    for figure in shown:
        drawn = [s for s in servers if figure.ratios(s, reference)]
        height = BAR * len(drawn)
        parts.append(f'<text x="{LEFT - 8}" y="{y + height / 2 + 4}" text-anchor="end">{escape(figure.row)}</text>')
        for server in drawn:
            parts += bar(figure, server, reference, colours(servers)[server], y, scale)
            y += BAR
        if figure.must and not figure.absolute:
            x = LEFT + figure.must * scale
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - height - 2}" y2="{y + 2}" stroke="#c1121f" '
                         f'stroke-width="1.5"><title>target {figure.must}x</title></line>')
        y += GAP
    one = LEFT + scale
    frame = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 60} {y + 12}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="16" y="20" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="16" y="37" fill="#555">{escape(subtitle)}</text>',
        *legend(servers),
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{HEAD - 6}" y2="{y}" stroke="#333" stroke-dasharray="3 3"/>',
    ]
    path.write_text("\n".join([*frame, *parts, "</svg>", ""]))


def bar(figure: Figure, server: str, reference: str, colour: str, y: float, scale: float) -> list[str]:
    ratios, ratio = figure.ratios(server, reference), figure.ratio(server, reference)
    end = min(LEFT + ratio * scale, LEFT + WIDTH)
    low, high = (min(LEFT + r * scale, LEFT + WIDTH) for r in (min(ratios), max(ratios)))
    middle = y + BAR / 2 - 0.5
    return [
        f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 1}" fill="{colour}">'
        f'<title>{escape(server)}: {number(figure.median(server))} {escape(figure.unit)}</title></rect>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#222"/>',
        f'<text x="{max(end, high) + 5:.1f}" y="{y + BAR - 2}" font-size="10">{ratio:.2f}</text>',
    ]


def legend(servers: list[str]) -> list[str]:
    parts, x = [], 16
    for server in servers:
        colour = colours(servers)[server]
        parts.append(f'<rect x="{x}" y="45" width="10" height="10" fill="{colour}"/>'
                     f'<text x="{x + 14}" y="54" font-size="11">{escape(server)}</text>')
        x += 30 + 7 * len(server)
    return parts

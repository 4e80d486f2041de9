"""Draw the docs' three drawings: `python tools/drawings.py` writes them into docs/pictures."""

from pathlib import Path

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #222 } .small { font-size: 11px; fill: #555 }
  .head { font-weight: 600 } .event { font: 11px monospace; fill: #00796b }
  .arrow { stroke: #444; fill: none; stroke-width: 1.4; marker-end: url(#tip) }
  .box { fill: #f3f8f7; stroke: #009688; rx: 6 } .file { fill: #fff8e6; stroke: #c58a00; rx: 6 }
  .area { fill: none; stroke: #999; stroke-dasharray: 4 3; rx: 8 } #tip path { fill: #444 }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
"""


def svg(name: str, width: int, height: int, title: str, body: str) -> None:
    """Write a drawing."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n<title>{title}</title>'
    (PICTURES / name).write_text(f"{head}\n{STYLE}{body}</svg>\n", encoding="utf-8")


def text(x: float, y: float, words: str, kind: str = "small", anchor: str = "start") -> str:
    """Write words."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{words}</text>\n'


def box(x: float, y: float, width: float, height: float, lines: list[str], kind: str = "box") -> str:
    """Draw a box with a line of words, or with a heading and lines below it."""
    drawn = f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"/>\n'
    first = y + height / 2 - (len(lines) - 1) * 8 + 4
    for number, line in enumerate(lines):
        style = "small" if number else "head" if len(lines) > 1 else ""
        drawn += text(x + width / 2, first + number * 16, line, style, "middle")
    return drawn


def arrow(*points: tuple[float, float]) -> str:
    """Draw an arrow along points."""
    return '<path class="arrow" d="M' + " L".join(f"{x} {y}" for x, y in points) + '"/>\n'


def area(x: float, y: float, width: float, height: float, words: str) -> str:
    """Draw a dashed area with a heading."""
    drawn = f'<rect class="area" x="{x}" y="{y}" width="{width}" height="{height}"/>\n'
    return drawn + text(x + 10, y + 18, words, "head")


def event(x: float, y: float, name: str) -> str:
    """Write the name of an event."""
    return text(x, y, name, "event")


def architecture() -> None:
    """Draw the processes, and the journal between them."""
    drawn = area(10, 10, 230, 230, "the training process")
    drawn += box(30, 42, 190, 44, ["Trainer, adapter or loop"])
    drawn += arrow((125, 86), (125, 108))
    drawn += text(132, 102, "events")
    drawn += box(30, 110, 190, 40, ["callbacks"])
    drawn += arrow((125, 150), (125, 172))
    drawn += text(132, 166, "Run.log")
    drawn += box(30, 174, 190, 48, ["encode, redact", "one write"])
    drawn += area(270, 10, 190, 140, "the courier (one child)")
    drawn += box(290, 42, 150, 92, ["keeps deliveries", "starts, restarts, paces", "sees how training ends"])
    drawn += arrow((240, 70), (290, 70))
    drawn += text(246, 62, "alive")
    drawn += area(490, 10, 240, 230, "a process per tracker")
    drawn += box(510, 42, 200, 48, ["delivery to W&amp;B", "imports one SDK"])
    drawn += box(510, 100, 200, 48, ["delivery to MLflow", "remembers its position"])
    drawn += box(510, 158, 200, 48, ["delivery to …"])
    drawn += arrow((440, 66), (510, 66))
    drawn += arrow((440, 88), (475, 88), (475, 124), (510, 124))
    drawn += arrow((440, 110), (465, 110), (465, 182), (510, 182))
    drawn += box(270, 262, 190, 44, ["journal.jsonl", "every record, in order"], "file")
    drawn += arrow((125, 222), (125, 284), (270, 284))
    drawn += arrow((460, 284), (600, 284), (600, 206))
    drawn += text(480, 278, "follows it")
    drawn += box(760, 42, 110, 48, ["W&amp;B"])
    drawn += box(760, 100, 110, 48, ["MLflow"])
    drawn += box(760, 158, 110, 48, ["…"])
    for y in (66, 124, 182):
        drawn += arrow((710, y), (760, y))
    svg(
        "architecture.svg",
        890,
        320,
        "The training process appends to the journal; a delivery process per tracker follows it",
        drawn,
    )


def record() -> None:
    """Draw the life of a record."""
    drawn = ""
    steps = [
        ("run.log(…)", ["values and step"]),
        ("convert", ["numbers, media, names"]),
        ("redact", ["secrets"]),
        ("append", ["one write; log returns"]),
    ]
    x = 10
    for i, (t, s) in enumerate(steps):
        drawn += box(x, 34, 150, 52, [t, *s])
        if i < 3:
            drawn += arrow((x + 150, 60), (x + 180, 60))
        x += 180
    drawn += text(10, 22, "in the training process: microseconds", "head")
    drawn += box(550, 116, 150, 44, ["journal.jsonl", "safe from here on"], "file")
    drawn += arrow((625, 86), (625, 116))
    drawn += text(10, 188, "in the delivery of each tracker: when there is time", "head")
    low = [
        ("read a batch", ["from the cursor"]),
        ("note its end", ["in the state file"]),
        ("send", ["through the SDK"]),
        ("advance", ["the cursor"]),
    ]
    x = 550
    for i, (t, s) in enumerate(low):
        drawn += box(x, 202, 150, 52, [t, *s])
        if i < 3:
            drawn += arrow((x, 228), (x - 30, 228))
        x -= 180
    drawn += arrow((625, 160), (625, 202))
    drawn += box(190, 296, 330, 52, ["killed between these two?", "read the tracker back, and send only what it lacks"])
    drawn += arrow((265, 254), (265, 296))
    drawn += arrow((445, 296), (445, 254))
    drawn += box(10, 296, 150, 52, ["runcast verify", "reads it back, too"])
    drawn += arrow((85, 254), (85, 296))
    svg(
        "record.svg",
        720,
        362,
        "The life of a record: from run.log to the journal, and from there to each tracker exactly once",
        drawn,
    )


def loop() -> None:
    """Draw the training loop with its events."""
    drawn = area(150, 70, 610, 330, "each epoch")
    drawn += area(180, 104, 570, 196, "each optimizer step")
    drawn += area(210, 138, 180, 110, "each batch")
    drawn += box(150, 14, 120, 36, ["train()"])
    drawn += event(284, 36, "on_init_end · on_checkpoint_load · on_train_begin")
    drawn += arrow((210, 50), (210, 70))
    drawn += event(260, 88, "on_epoch_begin")
    drawn += event(356, 122, "on_step_begin")
    drawn += box(225, 166, 150, 30, ["forward, backward"])
    drawn += event(225, 214, "on_substep_end")
    drawn += text(225, 234, "(if accumulating)")
    drawn += box(410, 150, 165, 34, ["clip gradients"])
    drawn += box(410, 196, 165, 34, ["optimizer.step()"])
    drawn += box(410, 242, 165, 34, ["schedule, zero_grad"])
    drawn += arrow((390, 167), (410, 167))
    drawn += arrow((492, 184), (492, 196))
    drawn += arrow((492, 230), (492, 242))
    drawn += event(596, 171, "on_pre_optimizer_step")
    drawn += event(596, 217, "on_optimizer_step")
    drawn += event(596, 264, "on_step_end")
    drawn += text(180, 324, "after a step or an epoch, if due:")
    drawn += box(180, 334, 90, 34, ["log"])
    drawn += box(290, 334, 110, 34, ["evaluate"])
    drawn += box(420, 334, 100, 34, ["save"])
    drawn += event(180, 386, "on_log")
    drawn += event(290, 386, "on_evaluate")
    drawn += event(420, 386, "on_save")
    drawn += event(524, 392, "on_epoch_end")
    drawn += arrow((210, 400), (210, 420))
    drawn += box(150, 422, 120, 36, ["the end"])
    drawn += event(284, 444, "on_train_end · teardown, also after on_exception")
    svg("loop.svg", 770, 472, "The training loop with its events", drawn)


if __name__ == "__main__":
    architecture()
    record()
    loop()

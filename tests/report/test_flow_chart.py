"""The flow chart shows which cases were kept and which were set aside."""

from kicc_ml.report.flow_chart import draw_flow_chart, make_flow_steps

FLOW = {
    "rows": 20,
    "unit": "images of the table",
    "cases": 15,
    "excluded": {"outcome not known": 5, "nobody": 0},
    "counts": {"cases with CT": 15, "series refused by the index": 3, "values of crp not used: late": 0},
}


def test_what_leaves_between_two_boxes_is_their_difference() -> None:
    table, cases, task, held_out = make_flow_steps(FLOW, 1, {"seoul": 8, "busan": 4})
    assert table.lines == ["20 images of the table"]
    assert table.aside == ["5 excluded", "   5 outcome not known"]
    assert (cases.lines, cases.aside, cases.cases_stay) == (
        ["15 cases", "15 cases with CT"],
        ["3 series refused by the index"],
        True,
    )
    assert [line.split()[0] for line in task.aside] == ["1", "2"]  # 15 cases less 1 set aside less 12 predicted
    assert held_out.lines[0].startswith("12 cases predicted, held out by 2 folds")


def test_nothing_left_out_leaves_no_box_beside() -> None:
    steps = make_flow_steps({"rows": 3, "cases": 3, "counts": {}}, 0, {"a": 3})
    assert [step.aside for step in steps] == [[], [], []]


def test_every_line_is_drawn_within_the_figure() -> None:
    figure = draw_flow_chart(make_flow_steps(FLOW, 1, {f"hospital_{number:02}": 9 for number in range(17)}))
    figure.draw_without_rendering()
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height

"""The line that shows how an evaluation gets on."""

from pytest_llmeval.report.terminal import ProgressLine


def test_last_line_is_shown_once_however_often_the_end_is_told():
    written = []
    show = ProgressLine(written.append, is_terminal=False)
    for done in (0, 3, 3):
        show(done, 3, 1)
    assert [text.partition(",")[0] for text in written] == ["\n", "  3 of 3 rows"]
    assert written[-1].endswith(" rows/s, 1 in error\n")


def test_next_evaluation_begins_anew():
    written = []
    show = ProgressLine(written.append, is_terminal=False)
    for done, total in ((0, 3), (3, 3), (0, 5), (5, 5)):
        show(done, total, 0)
    starts = [text.partition(",")[0] for text in written]
    assert starts == ["\n", "  3 of 3 rows", "\n", "  5 of 5 rows"]

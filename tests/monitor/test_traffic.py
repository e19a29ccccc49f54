"""The sample of a day, from real files."""

import datetime
import hashlib
import random

import pytest

from pytest_llmeval.errors import DataError
from pytest_llmeval.monitor.traffic import join_labels
from pytest_llmeval.monitor.traffic import read_traffic
from pytest_llmeval.records.traffic import TrafficRef


def record(day, number, **more):
    at = f"{day}T{number % 24:02}:30:00Z"
    return {"id": f"c{number}", "time": at, "input": "q", "output": "a", **more}


def sampled(source, days, hook, settings, sample=20):
    ref = TrafficRef(source=source, days=days, sample=sample)
    return read_traffic(ref, hook, settings)


def independent_sample(ids, day, most):
    def place(row_id):
        text = f"{day.toordinal()} {row_id}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")

    return sorted(sorted(ids, key=place)[:most])


def test_a_sample_is_that_of_the_smallest_hashes_in_any_order(
    write_log, hook, settings, day
):
    records = [record(day, number) for number in range(300)]
    expected = independent_sample([one["id"] for one in records], day, 20)
    for seed in range(3):
        random.Random(seed).shuffle(records)
        found = sampled(write_log(records), [day], hook, settings)
        assert [call.id for call in found.days[day]] == expected


def test_each_day_has_another_sample_of_the_same_ids(write_log, hook, settings, day):
    next_day = day + datetime.timedelta(days=1)
    records = [record(d, n) for d in (day, next_day) for n in range(300)]
    found = sampled(write_log(records), [day, next_day], hook, settings).days
    assert {c.id for c in found[day]} != {c.id for c in found[next_day]}


def test_other_days_are_left_out_and_days_without_calls_too(
    write_log, hook, settings, day
):
    days = [day, day + datetime.timedelta(days=1)]
    before = day - datetime.timedelta(days=1)
    records = [record(day, 1), record(before, 2)]
    assert list(sampled(write_log(records), days, hook, settings).days) == [day]


def test_the_first_of_several_records_with_one_id_counts(
    write_log, hook, settings, day
):
    records = [record(day, 1, output="first"), record(day, 1, output="second")]
    (call,) = sampled(write_log(records), [day], hook, settings).days[day]
    assert call.output == "first"


def test_broken_lines_are_counted_and_the_rest_is_read(
    write_log, hook, settings, day, tmp_path
):
    name = write_log([record(day, 1), {"id": "no time"}, ["a list"]])
    with (tmp_path / name).open("ab") as file:
        file.write(b'\xff\xfe\n\n{"torn')
    found = sampled(name, [day], hook, settings)
    assert (len(found.days[day]), found.unreadable) == (1, 4)


def test_a_pattern_names_several_files(write_log, hook, settings, day):
    write_log([record(day, 1)], "logs/a.jsonl")
    write_log([record(day, 2)], "logs/b.jsonl")
    found = sampled("logs/*.jsonl", [day], hook, settings)
    assert [call.id for call in found.days[day]] == ["c1", "c2"]


def test_a_csv_file_is_read_as_a_dataset_is(tmp_path, hook, settings, day):
    text = f"id,time,input,output\n1,{day}T01:00:00Z,q,a\n"
    (tmp_path / "t.csv").write_text(text)
    assert len(sampled("t.csv", [day], hook, settings).days[day]) == 1


def test_a_file_that_is_not_there_is_named(hook, settings, day):
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file; traffic is"):
        sampled("nothing.jsonl", [day], hook, settings)


def test_labels_that_come_later_are_joined_by_id(write_log, hook, settings, day):
    source = write_log([record(day, number) for number in range(3)])
    traffic = sampled(source, [day], hook, settings)
    labels = write_log(
        [{"id": "c1", "reference": "b"}, {"id": "c9", "reference": "x"}], "labels.jsonl"
    )
    joined = join_labels(traffic, labels, hook, settings)
    assert [call.reference for call in joined.days[day]] == [None, "b", None]


def test_labels_without_ids_are_refused(write_log, hook, settings, day):
    traffic = sampled(write_log([record(day, 1)]), [day], hook, settings)
    labels = write_log([{"reference": "b"}], "labels.jsonl")
    with pytest.raises(DataError, match="line 1: no id; labels need the columns id or"):
        join_labels(traffic, labels, hook, settings)

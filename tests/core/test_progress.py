"""Numbers and durations as text."""

from ablatent.core.progress import counted, seconds


def test_one_job_two_jobs() -> None:
    assert [counted(n, "job") for n in (0, 1, 2, 1000)] == ["0 jobs", "1 job", "2 jobs", "1,000 jobs"]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_durations() -> None:
    assert [seconds(t) for t in (1.44, 42.0, 130.0, 3780.0)] == ["1.4s", "42s", "2m10s", "1h03m"]

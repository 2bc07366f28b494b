import threading

from ecgscale.runs import resume


def test_what_was_begun_keeps_its_time_until_it_is_removed(tmp_path):
    folder = tmp_path / ".ecgscale/work/abc"
    with resume.alone(folder):
        first = resume.started(folder)
        assert resume.started(folder) == first
        (folder / "kept").touch()
        resume.remove(folder)
    assert list(folder.parent.iterdir()) == []
    with resume.alone(folder):
        assert list(folder.iterdir()) == []


def test_a_second_one_waits_for_the_first(tmp_path, caplog):
    folder = tmp_path / ".ecgscale/work/abc"
    order = []

    def second():
        with resume.alone(folder):
            order.append("second")

    with resume.alone(folder):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting for it to end" not in caplog.text:
            assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]

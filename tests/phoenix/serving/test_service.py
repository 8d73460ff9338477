"""Wiring: what is wrong must be visible where an operator and a load balancer look."""

import asyncio
import random
import subprocess
import sys

import pytest

from phoenix.serving.service import PREDICTION, RETRIEVAL, PhoenixService
from phoenix.settings import PhoenixSettings
from service_kit.embedded_log import EmbeddedLogSource
from service_kit.event_log import TOPIC_POSTS
from service_kit.readiness import Readiness
from service_kit.settings import SettingsError


class BrokenSource(EmbeddedLogSource):
    """A log whose directory cannot be read."""

    async def end_offsets(self):
        raise OSError("the disk is gone")


@pytest.fixture
def service_of(tmp_path, metrics, clock):
    def make(source_class):
        settings = PhoenixSettings.load(data_dir=tmp_path)
        readiness = Readiness()

        async def open_posts():
            return source_class(settings.log_dir, [TOPIC_POSTS], start="earliest")

        rng = random.Random(1)
        service = PhoenixService(settings, open_posts, readiness, metrics, clock, rng)
        return service, readiness

    return make


async def test_without_models_nothing_serves_and_the_reason_names_the_directory(service_of):
    service, readiness = service_of(EmbeddedLogSource)
    await service.start()
    assert "no ranker in" in readiness.state(PREDICTION).reason
    assert "checkpoints/retrieval" in readiness.state(RETRIEVAL).reason
    assert not readiness.serving()
    await service.stop()


async def reason_with(readiness, words):
    """Waits until what holds the process back holds `words`."""
    said = asyncio.Event()
    readiness.listen(lambda *_: said.set() if words in readiness.state().reason else None)
    await asyncio.wait_for(said.wait(), 60)


async def test_a_log_that_cannot_be_read_shows_in_the_readiness(service_of):
    service, readiness = service_of(BrokenSource)
    await service.start()
    await reason_with(readiness, "the disk is gone")
    assert not readiness.serving(RETRIEVAL)
    await service.stop()


async def test_a_follower_of_posts_that_dies_is_replaced_by_another(service_of, metrics):
    """The original's consumer died in silence: its index went stale while it said ready."""
    service, readiness = service_of(EmbeddedLogSource)
    good, service._open_posts = service._open_posts, open_nothing
    await service.start()
    await reason_with(readiness, "nobody expected this")
    service._open_posts = good
    await no_longer(readiness, "nobody expected this")
    assert metrics.value("part_restarts_total", part="corpus") >= 1
    await service.stop()


async def open_nothing():
    raise RuntimeError("nobody expected this")


async def no_longer(readiness, words):
    gone = asyncio.Event()
    readiness.listen(lambda *_: None if words in readiness.state().reason else gone.set())
    await asyncio.wait_for(gone.wait(), 60)


async def test_a_task_that_dies_takes_the_service_out_of_traffic(service_of, caplog):
    async def die():
        raise RuntimeError("a bug")

    service, readiness = service_of(EmbeddedLogSource)
    service._batcher.run = die
    await service.start()
    await reason_with(readiness, "batcher died: a bug")
    assert "task died" in [record.message for record in caplog.records]
    await service.stop()


def test_directories_follow_the_data_directory_unless_they_are_named(tmp_path):
    settings = PhoenixSettings.load(data_dir=tmp_path, retrieval_checkpoints=tmp_path / "mine")
    assert settings.ranker_dir == tmp_path / "checkpoints" / "ranker"
    assert settings.retrieval_dir == tmp_path / "mine"


def test_buckets_that_do_not_ascend_are_refused_by_name():
    with pytest.raises(SettingsError, match=r"candidate_buckets.*expected distinct ascending"):
        PhoenixSettings.load(candidate_buckets=(512, 64))


def test_every_setting_says_what_it_is():
    assert all(field.description for field in PhoenixSettings.model_fields.values())


def test_reading_the_settings_does_not_load_jax():
    """The command's --help shows the settings; loading JAX would make it wait for seconds."""
    code = "import phoenix.settings, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Floats that are copied as bytes arrive as if they had been appended one by one."""

import numpy as np
import pytest

from phoenix.serving.wire import merge_floats, varint
from protos import phoenix_pb2 as pb


@pytest.mark.parametrize("count", [0, 1, 31, 32, 5_000])
def test_a_client_reads_the_same_message(count: int) -> None:
    """A wrong length or field number would garble every score of a request of some size."""
    values = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    by_bytes = pb.PredictNextActionsResponse(model_version="v")
    merge_floats(by_bytes, "log_probs", values)
    merge_floats(by_bytes, "dwell_seconds", values[:, 1])  # not contiguous
    by_list = pb.PredictNextActionsResponse(
        model_version="v", log_probs=values.ravel().tolist(), dwell_seconds=values[:, 1].tolist()
    )
    assert by_bytes == by_list
    assert by_bytes.SerializeToString() == by_list.SerializeToString()


def test_float64_is_narrowed_and_an_unknown_field_refused() -> None:
    """The wire has no float64; a misspelt field must not vanish among the unknown ones."""
    message = pb.PredictNextActionsResponse()
    merge_floats(message, "log_probs", np.array([0.1]))
    assert list(message.log_probs) == [np.float32(0.1)]
    with pytest.raises(KeyError, match="log_prob"):
        merge_floats(message, "log_prob", np.array([0.1]))


@pytest.mark.parametrize(("value", "encoded"), [(0, b"\0"), (127, b"\x7f"), (300, b"\xac\x02")])
def test_varints_are_protobufs(value: int, encoded: bytes) -> None:
    """300 is the example of protobuf's own documentation."""
    assert varint(value) == encoded

"""Every limit of the service, in one place. Past one of them the answer is INVALID_ARGUMENT."""

from service_kit.snowflake import timestamp_ms

CANDIDATES_MAX = 2_800  # of one PredictNextActions; the original's largest request
SEQUENCE_ACTIONS_MAX = 16_384  # read before the newest are kept; bounds the work of a bad client
RETRIEVE_RESULTS_DEFAULT = 1_000  # max_results = 0
RETRIEVE_RESULTS_MAX = 10_000  # ten times the default: room for later filters, bounded memory
EXCLUDED_POSTS_MAX = 100_000  # a heavy viewer's seen posts over the retention window
EXCLUDED_AUTHORS_MAX = 100_000  # blocked and muted accounts
ID_MAX = (1 << 63) - 1  # ids fit int64 columns
TIME_MS_MAX = timestamp_ms(ID_MAX)  # in 2080: what snowflakes can say; rounding up stays in int64

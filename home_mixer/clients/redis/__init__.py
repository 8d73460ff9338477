"""The feature stores on Redis or Redis Cluster; `docs/redis.md` has the schema of the keys."""

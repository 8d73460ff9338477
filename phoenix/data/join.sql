-- Events to impressions, in the SQL that DuckDB and Spark share; the rules are those of
-- phoenix/data/join.py, whose docstring states them. A pure function of the set of events:
-- duplicates, late and out-of-order events change nothing.
--
-- Reads    served, actions, posts: the files of `foryou export` (docs/training_data.md)
--          settings: one row (attribution_window_ms, until_ms, after_ms)
--            until_ms  events at or after it do not exist
--            after_ms  -1: everything; else only what closed after it, so that the pieces
--                      (0, t1], (t1, t2], … concatenated are the whole
-- Returns  the rows of phoenix/data/parquet.py, in their order
-- 300000 ms is the aggregation window of histories (service_kit.action_windows): a window frame
-- takes a literal only.
WITH RECURSIVE

-- Each impression once, by its earliest time. One without request id is known by its time.
served_copies AS (
  SELECT s.viewer_id, s.post_id, s.author_id, s.served_at_ms, s.product_surface, s.request_id,
    ROW_NUMBER() OVER (
      PARTITION BY s.viewer_id, s.post_id, s.request_id,
        CASE WHEN s.request_id = '' THEN s.served_at_ms ELSE 0 END
      ORDER BY s.served_at_ms, s.author_id, s.product_surface
    ) AS copy
  FROM served s CROSS JOIN settings c
  WHERE s.served_at_ms < c.until_ms
),
shown AS (
  SELECT viewer_id, post_id, author_id, served_at_ms, product_surface, request_id,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY viewer_id, post_id ORDER BY served_at_ms, request_id
    ) AS BIGINT) AS showing
  FROM served_copies
  WHERE copy = 1
),

-- Each action of a moment once, with its greatest seconds.
action_copies AS (
  SELECT a.user_id, a.post_id, a.author_id, a.action, a.acted_at_ms, a.product_surface,
    a.seconds, a.request_id,
    ROW_NUMBER() OVER (
      PARTITION BY a.user_id, a.post_id, a.acted_at_ms, a.action
      ORDER BY a.seconds DESC, a.request_id DESC, a.author_id, a.product_surface
    ) AS copy
  FROM actions a CROSS JOIN settings c
  WHERE a.acted_at_ms < c.until_ms
),
acted AS (
  SELECT user_id, post_id, author_id, action, acted_at_ms, product_surface, seconds, request_id,
    ROW_NUMBER() OVER (
      PARTITION BY user_id, post_id, acted_at_ms ORDER BY action
    ) AS at_once
  FROM action_copies
  WHERE copy = 1
),

-- How many showings of the post had begun by an action: the number of the newest of them.
timeline AS (
  SELECT viewer_id, post_id, served_at_ms AS at_ms, 0 AS action,
    CAST(0 AS FLOAT) AS seconds, '' AS request_id, 1 AS is_showing
  FROM shown
  UNION ALL
  SELECT user_id, post_id, acted_at_ms, action, seconds, request_id, 0
  FROM acted
),
counted AS (
  SELECT viewer_id, post_id, at_ms, action, seconds, request_id, is_showing,
    CAST(SUM(is_showing) OVER (
      PARTITION BY viewer_id, post_id ORDER BY at_ms, is_showing DESC, action
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS BIGINT) AS newest
  FROM timeline
),
-- The showing of the request that the action names, where it had begun; else the newest.
attributed AS (
  SELECT t.viewer_id, t.post_id, t.at_ms, t.action, t.seconds,
    COALESCE(r.showing, t.newest) AS showing
  FROM counted t
  LEFT JOIN shown r
    ON r.viewer_id = t.viewer_id AND r.post_id = t.post_id AND r.request_id = t.request_id
    AND t.request_id <> '' AND r.served_at_ms <= t.at_ms
  WHERE t.is_showing = 0
),
reposts AS (
  SELECT post_id, MAX(reposted_post_id) AS reposted_post_id,
    MAX(reposted_user_id) AS reposted_user_id
  FROM posts
  WHERE kind = 'create' AND reposted_post_id <> 0
  GROUP BY post_id
),

-- Histories: a user's first action on a post opens a window, the next one outside opens the next.
-- A pause as long as a window always opens one, so only the chains between pauses are walked.
pauses AS (
  SELECT user_id, post_id, acted_at_ms,
    CASE WHEN acted_at_ms - LAG(acted_at_ms) OVER (
      PARTITION BY user_id, post_id ORDER BY acted_at_ms
    ) < 300000 THEN 0 ELSE 1 END AS begins
  FROM acted
  WHERE at_once = 1
),
chains AS (
  SELECT user_id, post_id, acted_at_ms, begins,
    SUM(begins) OVER (
      PARTITION BY user_id, post_id ORDER BY acted_at_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS chain
  FROM pauses
),
following AS (
  SELECT user_id, post_id, acted_at_ms,
    MIN(acted_at_ms) OVER (
      PARTITION BY user_id, post_id, chain ORDER BY acted_at_ms
      RANGE BETWEEN 300000 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS following_ms
  FROM chains
),
opened (user_id, post_id, first_at_ms) AS (
  SELECT user_id, post_id, acted_at_ms AS first_at_ms
  FROM pauses
  WHERE begins = 1
  UNION ALL
  SELECT f.user_id, f.post_id, f.following_ms
  FROM opened o
  JOIN following f
    ON f.user_id = o.user_id AND f.post_id = o.post_id AND f.acted_at_ms = o.first_at_ms
  WHERE f.following_ms IS NOT NULL
),

-- One row for each action of a training row or history event; a row without any has one null.
evidence AS (
  SELECT s.viewer_id, COALESCE(p.reposted_post_id, s.post_id) AS post_id,
    CASE WHEN p.reposted_user_id <> 0 THEN p.reposted_user_id ELSE s.author_id END AS author_id,
    s.served_at_ms AS at_ms, s.product_surface, FALSE AS in_history,
    s.post_id AS shown_post_id, s.request_id,
    a.action, a.seconds, s.served_at_ms + c.attribution_window_ms AS known_at_ms
  FROM shown s
  CROSS JOIN settings c
  LEFT JOIN attributed a
    ON a.viewer_id = s.viewer_id AND a.post_id = s.post_id AND a.showing = s.showing
    AND a.at_ms - s.served_at_ms < c.attribution_window_ms
  LEFT JOIN reposts p ON p.post_id = s.post_id
  WHERE s.served_at_ms + c.attribution_window_ms <= c.until_ms
    AND (c.after_ms < 0 OR s.served_at_ms + c.attribution_window_ms > c.after_ms)
  UNION ALL
  SELECT o.user_id, o.post_id, f.author_id, o.first_at_ms, f.product_surface, TRUE,
    o.post_id, '', a.action, a.seconds, a.acted_at_ms
  FROM opened o
  CROSS JOIN settings c
  JOIN acted f
    ON f.user_id = o.user_id AND f.post_id = o.post_id AND f.acted_at_ms = o.first_at_ms
    AND f.at_once = 1
  JOIN acted a
    ON a.user_id = o.user_id AND a.post_id = o.post_id
    AND a.acted_at_ms >= o.first_at_ms AND a.acted_at_ms < o.first_at_ms + 300000
  WHERE c.after_ms < 0
    OR (o.first_at_ms + 300000 > c.after_ms AND o.first_at_ms + 300000 <= c.until_ms)
),
impressions AS (
  SELECT viewer_id AS viewer_ids, post_id AS post_ids, author_id AS author_ids,
    at_ms AS impressed_at_ms, product_surface, shown_post_id, request_id,
    COALESCE(
      MAX(CASE WHEN action IN (11, 19) AND seconds > 0 THEN seconds END), CAST('NaN' AS FLOAT)
    ) AS dwell_seconds,
    CAST(CASE WHEN in_history THEN 0 ELSE 1 END AS FLOAT) AS weight,
    in_history,
    MAX(known_at_ms) AS known_at_ms,
    MAX(CASE WHEN action = 1 THEN 1 ELSE 0 END) = 1 AS label_favorite,
    MAX(CASE WHEN action = 2 THEN 1 ELSE 0 END) = 1 AS label_reply,
    MAX(CASE WHEN action = 3 THEN 1 ELSE 0 END) = 1 AS label_repost,
    MAX(CASE WHEN action = 4 THEN 1 ELSE 0 END) = 1 AS label_photo_expand,
    MAX(CASE WHEN action = 5 THEN 1 ELSE 0 END) = 1 AS label_click,
    MAX(CASE WHEN action = 6 THEN 1 ELSE 0 END) = 1 AS label_profile_click,
    MAX(CASE WHEN action = 7 THEN 1 ELSE 0 END) = 1 AS label_video_quality_view,
    MAX(CASE WHEN action = 8 THEN 1 ELSE 0 END) = 1 AS label_share,
    MAX(CASE WHEN action = 9 THEN 1 ELSE 0 END) = 1 AS label_share_via_dm,
    MAX(CASE WHEN action = 10 THEN 1 ELSE 0 END) = 1 AS label_share_via_copy_link,
    MAX(CASE WHEN action = 11 THEN 1 ELSE 0 END) = 1 AS label_dwell,
    MAX(CASE WHEN action = 12 THEN 1 ELSE 0 END) = 1 AS label_quote,
    MAX(CASE WHEN action = 13 THEN 1 ELSE 0 END) = 1 AS label_quoted_click,
    MAX(CASE WHEN action = 14 THEN 1 ELSE 0 END) = 1 AS label_follow_author,
    MAX(CASE WHEN action = 15 THEN 1 ELSE 0 END) = 1 AS label_not_interested,
    MAX(CASE WHEN action = 16 THEN 1 ELSE 0 END) = 1 AS label_block_author,
    MAX(CASE WHEN action = 17 THEN 1 ELSE 0 END) = 1 AS label_mute_author,
    MAX(CASE WHEN action = 18 THEN 1 ELSE 0 END) = 1 AS label_report
  FROM evidence
  GROUP BY viewer_id, post_id, author_id, at_ms, product_surface, in_history, shown_post_id,
    request_id
)
SELECT viewer_ids, post_ids, author_ids, impressed_at_ms, product_surface, dwell_seconds, weight,
  in_history, known_at_ms, label_favorite, label_reply, label_repost, label_photo_expand,
  label_click, label_profile_click, label_video_quality_view, label_share, label_share_via_dm,
  label_share_via_copy_link, label_dwell, label_quote, label_quoted_click, label_follow_author,
  label_not_interested, label_block_author, label_mute_author, label_report
FROM impressions
ORDER BY viewer_ids, impressed_at_ms, in_history, shown_post_id, request_id

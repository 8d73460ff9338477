/* The store's floor: the same answer as thunder's query, in C, with all that the machine offers.
 *
 * Rows of 64 bytes on cache lines; an author's entries newest last with id and time inline; one byte
 * a post says whether it lives; what a reply or repost refers to is decided when the store is built
 * (posts are given once, oldest first, and never trimmed: what the product must not assume). A
 * query learns from the ages of some authors' entries where its last result will lie, asks for what
 * it will read two slices of authors before it judges them, skips what is older, and sorts what is
 * left by radix. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef struct { u64 id, author, ms, reply_to, reply_user, source, source_user, conversation; } row_t;
typedef struct { u64 id; u32 ms, row; } entry_t;
typedef struct { u64 id; u32 first[2], length[2]; u64 unused; } author_t;
typedef struct { u64 key; u32 row; } found_t;

enum { REPLY = 2, REPOST = 4 };
enum { NEVER, PLAIN, IF_ALIVE, IF_FOLLOWED, UNLESS_DEAD };  /* what a post's reference asks */
enum { ORIGINALS_MAX = 50, SECONDARY_MAX = 30, SCAN_MAX = 500, INPUT_MAX = 10000 };
enum { SET = 1 << 15, FILTER = 1 << 17, SLICE = 32, BUFFER = 32768 };
enum { NEAR_PER_SEGMENT = 32, SECONDARY_NEAR = SECONDARY_MAX, NEAR = 2 * SLICE * NEAR_PER_SEGMENT };
enum { GLANCE_AUTHORS = 256, REPLIES_PER_POST = 4, MARGIN = 32, AGES = 1 << 12 };

typedef struct {
  row_t *rows; unsigned char *flags, *alive, *class; u32 *reference; long posts;
  entry_t *entries; author_t *authors; u32 *author_table, *post_table; u64 author_mask, post_mask;
  u64 base; long author_count;
  u64 *followed, *excluded, followed_mask, excluded_mask; unsigned char *filter;
  u32 slots[INPUT_MAX], ages[AGES]; entry_t near[3][NEAR]; found_t *found, *other; long count;
} store_t;

static u64 mix(u64 key) { u64 m = key * 0x9E3779B97F4A7C15ull; return m ^ (m >> 32); }

static void *pages(size_t bytes) {
  bytes = (bytes + (2 << 20)) & ~(size_t)((2 << 20) - 1);
  void *at = aligned_alloc(2 << 20, bytes);
  madvise(at, bytes, MADV_HUGEPAGE);
  memset(at, 0, bytes);
  return at;
}

static u64 power(u64 above) { u64 p = 64; while (p < above) p *= 2; return p; }

static long post_row(store_t *s, u64 id) {
  for (u64 at = mix(id) & s->post_mask; s->post_table[at]; at = (at + 1) & s->post_mask)
    if (s->rows[s->post_table[at] - 1].id == id) return s->post_table[at] - 1;
  return -1;
}

static u32 author_slot(store_t *s, u64 id, int make) {
  u64 at = mix(id) & s->author_mask;
  for (; s->author_table[at]; at = (at + 1) & s->author_mask)
    if (s->authors[s->author_table[at] - 1].id == id) return s->author_table[at];
  if (!make) return 0;
  s->authors[s->author_count].id = id;
  return s->author_table[at] = ++s->author_count;
}

static void classify(store_t *s, long i) {
  row_t *row = &s->rows[i];
  long to = s->flags[i] & REPOST ? post_row(s, row->source)
          : s->flags[i] & REPLY ? post_row(s, row->reply_to) : -1;
  s->reference[i] = to < 0 ? 0 : to;
  if (s->flags[i] & REPOST) { s->class[i] = to < 0 ? PLAIN : UNLESS_DEAD; return; }
  if (!(s->flags[i] & REPLY)) { s->class[i] = PLAIN; return; }
  if (to < 0) { s->class[i] = NEVER; return; }
  if (!(s->flags[to] & (REPLY | REPOST))) { s->class[i] = IF_ALIVE; return; }
  int in_thread = row->conversation && s->rows[to].reply_to == row->conversation;
  s->class[i] = in_thread ? IF_FOLLOWED : NEVER;
}

store_t *store_new(const row_t *rows, const unsigned char *flags, long posts, long authors) {
  store_t *s = calloc(1, sizeof *s);
  s->posts = posts;
  s->post_mask = power(2 * posts) - 1; s->author_mask = power(2 * authors) - 1;
  s->rows = pages(posts * sizeof(row_t)); memcpy(s->rows, rows, posts * sizeof(row_t));
  s->flags = pages(posts); memcpy(s->flags, flags, posts);
  s->alive = pages(posts); memset(s->alive, 1, posts);
  s->class = pages(posts); s->reference = pages(4 * posts);
  s->entries = pages(posts * sizeof(entry_t)); s->authors = pages(authors * sizeof(author_t));
  s->author_table = pages(4 * (s->author_mask + 1)); s->post_table = pages(4 * (s->post_mask + 1));
  s->followed = pages(8 * SET); s->excluded = pages(8 * SET); s->filter = pages(FILTER / 8);
  s->found = pages(BUFFER * sizeof(found_t)); s->other = pages(BUFFER * sizeof(found_t));
  s->base = posts ? rows[0].ms : 0;
  for (long i = 0; i < posts; i++) {
    u64 at = mix(rows[i].id) & s->post_mask;
    while (s->post_table[at]) at = (at + 1) & s->post_mask;
    s->post_table[at] = i + 1;
    s->authors[author_slot(s, rows[i].author, 1) - 1].length[(flags[i] & (REPLY | REPOST)) != 0]++;
    classify(s, i);
  }
  u32 used = 0;
  for (long a = 0; a < s->author_count; a++)
    for (int k = 0; k < 2; k++) {
      s->authors[a].first[k] = used; used += s->authors[a].length[k]; s->authors[a].length[k] = 0;
    }
  for (long i = 0; i < posts; i++) {
    author_t *a = &s->authors[author_slot(s, rows[i].author, 0) - 1];
    int k = (flags[i] & (REPLY | REPOST)) != 0;
    entry_t e = { rows[i].id, (u32)(rows[i].ms - s->base), (u32)i };
    s->entries[a->first[k] + a->length[k]++] = e;
  }
  return s;
}

void store_delete(store_t *s, const u64 *ids, long count) {
  for (long i = 0; i < count; i++) s->alive[post_row(s, ids[i])] = 0;
}

void store_free(store_t *s) {
  void *all[] = { s->rows, s->flags, s->alive, s->class, s->reference, s->entries, s->authors,
    s->author_table, s->post_table, s->followed, s->excluded, s->filter, s->found, s->other };
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free(s);
}

static int put(u64 *set, u64 mask, u64 key) {
  u64 at = mix(key) & mask;
  for (; set[at]; at = (at + 1) & mask) if (set[at] == key) return 0;
  set[at] = key;
  return 1;
}

static int has(const u64 *set, u64 mask, u64 key) {
  for (u64 at = mix(key) & mask; set[at]; at = (at + 1) & mask) if (set[at] == key) return 1;
  return 0;
}

/* Newest first by (ms, id); the key's lower 32 bits are unused by the sort. */
static void sort_newest(store_t *s, u32 floor) {
  static u32 counts[2048];
  u32 span = 0;
  for (long i = 0; i < s->count; i++)
    if (s->found[i].key - floor > span) span = s->found[i].key - floor;
  for (int shift = 0; shift < 32 && span >> shift; shift += 11) {
    memset(counts, 0, sizeof counts);
    for (long i = 0; i < s->count; i++)
      counts[2047 - (((s->found[i].key - floor) >> shift) & 2047)]++;
    u32 sum = 0;
    for (int d = 0; d < 2048; d++) { u32 c = counts[d]; counts[d] = sum; sum += c; }
    for (long i = 0; i < s->count; i++)
      s->other[counts[2047 - (((s->found[i].key - floor) >> shift) & 2047)]++] = s->found[i];
    found_t *swap = s->found; s->found = s->other; s->other = swap;
  }
  for (long i = 1; i < s->count; i++) {
    found_t f = s->found[i];
    long at = i;
    for (; at && s->found[at - 1].key == f.key && s->rows[s->found[at - 1].row].id
           < s->rows[f.row].id; at--) s->found[at] = s->found[at - 1];
    s->found[at] = f;
  }
}

static u32 cut(store_t *s, u32 floor, long keep) {
  sort_newest(s, floor);
  if (s->count < keep) return floor;
  s->count = keep;
  return s->found[keep - 1].key;
}

static u32 walk(store_t *s, u32 slot, int kind, u64 viewer, u32 floor, long keep) {
  author_t *a = &s->authors[slot];
  long at = (long)a->first[kind] + a->length[kind] - 1;
  int scanned = 0, taken = 0, most = kind ? SECONDARY_MAX : ORIGINALS_MAX;
  for (; at >= a->first[kind] && taken < most; at--) {
    entry_t e = s->entries[at];
    if (e.ms < floor) break;
    if (!s->alive[e.row]) continue;
    u64 bit = mix(e.id) & (FILTER - 1);
    if (s->filter[bit >> 3] >> (bit & 7) & 1 && has(s->excluded, s->excluded_mask, e.id)) continue;
    int class = kind ? s->class[e.row] : PLAIN;
    if (class == UNLESS_DEAD && !s->alive[s->reference[e.row]]) continue;
    if (scanned++ == SCAN_MAX) break;
    row_t *row = &s->rows[e.row];
    if (kind && s->flags[e.row] & REPOST && row->source_user == viewer) continue;
    if (class == NEVER) continue;
    if (class >= IF_ALIVE && class <= IF_FOLLOWED && !s->alive[s->reference[e.row]]) continue;
    if (class == IF_FOLLOWED && !has(s->followed, s->followed_mask, row->reply_user)) continue;
    taken++;
    s->found[s->count++] = (found_t){ e.ms, e.row };
  }
  return s->count >= 2 * keep ? cut(s, floor, keep) : floor;
}

static int perhaps_excluded(store_t *s, u64 id) {
  u64 bit = mix(id) & (FILTER - 1);
  return s->filter[bit >> 3] >> (bit & 7) & 1;
}

/* What entries show to pass is found, the rest of what is young enough is near: what its rules read
 * is asked for. A segment of which caps may let only a part through is walked post by post. */
static entry_t *collect(store_t *s, u32 slot, int kind, u64 viewer, u32 *floor, long keep,
                        entry_t *near) {
  author_t *a = &s->authors[slot];
  long first = a->first[kind], at = first + a->length[kind] - 1, count = s->count;
  int left = kind ? SECONDARY_NEAR : NEAR_PER_SEGMENT;
  entry_t *end = near;
  for (; at >= first; at--) {
    entry_t e = s->entries[at];
    if (e.ms < *floor) break;
    if (!kind && !s->alive[e.row]) continue;
    if (!left--) { *floor = walk(s, slot, kind, viewer, *floor, keep); return near; }
    if (!kind && !perhaps_excluded(s, e.id)) {
      s->found[count++] = (found_t){ e.ms, e.row };
      continue;
    }
    if (kind) {
      __builtin_prefetch(&s->rows[e.row]); __builtin_prefetch(&s->alive[e.row]);
      __builtin_prefetch(&s->class[e.row]); __builtin_prefetch(&s->flags[e.row]);
      __builtin_prefetch(&s->reference[e.row]);
    }
    *end++ = e;
  }
  s->count = count;
  return end;
}

static void judge(store_t *s, const entry_t *near, long count, u64 viewer, u32 floor) {
  for (long i = 0; i < count; i++) {
    entry_t e = near[i];
    if (e.ms < floor || !s->alive[e.row]) continue;
    if (perhaps_excluded(s, e.id) && has(s->excluded, s->excluded_mask, e.id)) continue;
    int class = s->class[e.row];
    if (class == NEVER) continue;
    if (class != PLAIN && !s->alive[s->reference[e.row]]) continue;
    row_t *row = &s->rows[e.row];
    if (s->flags[e.row] & REPOST && row->source_user == viewer) continue;
    if (class == IF_FOLLOWED && !has(s->followed, s->followed_mask, row->reply_user)) continue;
    s->found[s->count++] = (found_t){ e.ms, e.row };
  }
}

static u32 scan(store_t *s, long authors, u64 viewer, u32 floor, long keep) {
  long slices = (authors + SLICE - 1) / SLICE, collected = 0, asked = 0;
  for (long number = 0; number < slices + 2; number++) {
    long first = number * SLICE, last = first + SLICE < authors ? first + SLICE : authors;
    entry_t *near = s->near[number % 3], *end = near, *before = s->near[(number + 2) % 3];
    for (long i = first; i < last; i++)
      for (int kind = 0; kind < 2; kind++)
        end = collect(s, s->slots[i], kind, viewer, &floor, keep, end);
    for (long i = 0; i < collected; i++) __builtin_prefetch(&s->alive[s->reference[before[i].row]]);
    judge(s, s->near[(number + 1) % 3], asked, viewer, floor);
    if (s->count >= 2 * keep) floor = cut(s, floor, keep);
    asked = collected; collected = end - near;
  }
  return floor;
}

/* Counts by age what may pass of an author, as if rules that read more than a byte all held. */
static long glance_at(store_t *s, u32 slot, u32 newest, int shift, u32 floor, u32 *replies) {
  long seen = 0;
  author_t *a = &s->authors[slot];
  for (int k = 0; k < 2; k++) {
    int left = k ? SECONDARY_MAX : ORIGINALS_MAX;
    for (long at = (long)a->first[k] + a->length[k] - 1; at >= a->first[k] && left; at--) {
      entry_t e = s->entries[at];
      if (e.ms < floor) break;
      if (perhaps_excluded(s, e.id)) continue;
      if (k && s->class[e.row] == NEVER) continue;
      if (k && s->class[e.row] == IF_FOLLOWED && ++*replies % REPLIES_PER_POST) continue;
      left--; seen++;
      s->ages[(newest - e.ms) >> shift]++;
    }
  }
  return seen;
}

/* About how old the last result will be, from what entries (and a byte a secondary post) say. */
static u32 glance(store_t *s, long authors, long keep) {
  long step = (authors + GLANCE_AUTHORS - 1) / GLANCE_AUTHORS, seen = 0;
  if (!step) return 0;
  long share = keep / step + (step == 1 ? MARGIN : MARGIN + keep / (8 * step));
  u32 newest = s->rows[s->posts - 1].ms - s->base, floor = 0, replies = 0;
  int shift = 0;
  while (newest >> shift >= AGES) shift++;
  memset(s->ages, 0, sizeof s->ages);
  for (long i = 0; i < authors; i += step) {
    seen += glance_at(s, s->slots[i], newest, shift, floor, &replies);
    int slice_ends = i / step % SLICE == SLICE - 1 || i + step >= authors;
    if (seen < share || !slice_ends) continue;
    long younger = s->ages[0], age = 0;
    while (younger < share) younger += s->ages[++age];
    u64 oldest = ((u64)age + 1) << shift;
    floor = oldest > newest ? 0 : newest - oldest + 1;
  }
  return floor;
}

static void ask_for_newest(store_t *s, u32 slot) {
  author_t *a = &s->authors[slot];
  for (int k = 0; k < 2; k++) {
    entry_t *newest = &s->entries[a->first[k]] + a->length[k] - 1;
    __builtin_prefetch(newest); __builtin_prefetch(newest - 2);
  }
}

static long find_authors(store_t *s, const u64 *following, long n) {
  long authors = 0;
  for (long ahead = 0; ahead < n + 2 * SLICE; ahead += SLICE) {
    for (long i = ahead; i < n && i < ahead + SLICE; i++)
      __builtin_prefetch(&s->author_table[mix(following[i]) & s->author_mask]);
    for (long i = ahead < SLICE ? 0 : ahead - SLICE; i < n && i < ahead; i++) {
      u32 slot = s->author_table[mix(following[i]) & s->author_mask];
      if (slot) __builtin_prefetch(&s->authors[slot - 1]);
    }
    for (long i = ahead < 2 * SLICE ? 0 : ahead - 2 * SLICE; i < n && i < ahead - SLICE; i++) {
      if (!put(s->followed, s->followed_mask, following[i])) continue;
      u32 slot = author_slot(s, following[i], 0);
      if (!slot) continue;
      s->slots[authors++] = slot - 1;
      ask_for_newest(s, slot - 1);
    }
  }
  return authors;
}

static long prepare(store_t *s, const u64 *following, long n, const u64 *excluded, long x) {
  s->followed_mask = power(2 * n) - 1; s->excluded_mask = power(2 * x) - 1;
  memset(s->followed, 0, 8 * (s->followed_mask + 1));
  memset(s->excluded, 0, 8 * (s->excluded_mask + 1)); memset(s->filter, 0, FILTER / 8);
  for (long i = 0; i < x; i++) {
    put(s->excluded, s->excluded_mask, excluded[i]);
    u64 bit = mix(excluded[i]) & (FILTER - 1);
    s->filter[bit >> 3] |= 1 << (bit & 7);
  }
  return find_authors(s, following, n);
}

long store_query(store_t *s, u64 viewer, const u64 *following, long n, const u64 *excluded, long x,
                 long keep, u64 *ids, row_t *rows) {
  long authors = prepare(s, following, n, excluded, x);
  u32 floor = glance(s, authors, keep);
  s->count = 0;
  u32 reached = scan(s, authors, viewer, floor, keep);
  u32 newest = s->rows[s->posts - 1].ms - s->base, age = newest - floor;
  for (u32 again = 0; floor && s->count < keep; again++) {
    floor = again || 2ull * age > newest ? 0 : newest - 2 * age;
    s->count = 0;
    reached = scan(s, authors, viewer, floor, keep);
  }
  cut(s, reached, keep);
  for (long i = 0; i < s->count; i++) {
    if (i + 16 < s->count) __builtin_prefetch(&s->rows[s->found[i + 16].row]);
    rows[i] = s->rows[s->found[i].row];
    ids[i] = rows[i].id;
  }
  return s->count;
}

// A store shaped as the original's, in std-only Rust: posts in a sharded map of locks, a deque of
// (id, time) an author and kind, a set of deleted ids; a query walks each author's deques newest
// first, looks every post up and copies it, sorts all by time and cuts. Rules and caps as
// thunder's. A reconstruction from the published structure, not the original's program.

use std::collections::hash_map::{DefaultHasher, HashMap};
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::slice::from_raw_parts;
use std::sync::RwLock;

const SHARDS: usize = 64;
const ORIGINALS_MAX: usize = 50;
const SECONDARY_MAX: usize = 30;
const SCAN_MAX: usize = 500;
const REPLY: u8 = 2;
const REPOST: u8 = 4;

#[derive(Clone)]
struct LightPost {
    post_id: u64,
    created_at_ms: u64,
    in_reply_to_post_id: Option<u64>,
    in_reply_to_user_id: Option<u64>,
    is_repost: bool,
    is_reply: bool,
    source_post_id: Option<u64>,
    source_user_id: Option<u64>,
    conversation_id: Option<u64>,
    #[allow(dead_code)]
    author_id: u64,
    #[allow(dead_code)]
    has_video: bool,
}

#[derive(Clone, Copy)]
struct TinyPost {
    post_id: u64,
    #[allow(dead_code)]
    created_at_ms: u64,
}

struct Sharded<V> {
    shards: Vec<RwLock<HashMap<u64, V>>>,
}

impl<V> Sharded<V> {
    fn new() -> Self {
        Sharded { shards: (0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect() }
    }

    fn shard(&self, key: u64) -> &RwLock<HashMap<u64, V>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.shards[(hasher.finish() >> 58) as usize % SHARDS]
    }

    fn has(&self, key: u64) -> bool {
        self.shard(key).read().unwrap().contains_key(&key)
    }
}

pub struct PostStore {
    posts: Sharded<LightPost>,
    originals: Sharded<VecDeque<TinyPost>>,
    secondary: Sharded<VecDeque<TinyPost>>,
    videos: Sharded<VecDeque<TinyPost>>,
    deleted: Sharded<bool>,
}

fn some(id: u64) -> Option<u64> {
    if id == 0 { None } else { Some(id) }
}

impl PostStore {
    fn insert(&self, row: &[u64], flags: u8) {
        let post = LightPost {
            post_id: row[0],
            author_id: row[1],
            created_at_ms: row[2],
            in_reply_to_post_id: some(row[3]),
            in_reply_to_user_id: some(row[4]),
            source_post_id: some(row[5]),
            source_user_id: some(row[6]),
            conversation_id: some(row[7]),
            is_reply: flags & REPLY != 0,
            is_repost: flags & REPOST != 0,
            has_video: flags & 8 != 0,
        };
        let tiny = TinyPost { post_id: post.post_id, created_at_ms: post.created_at_ms };
        let secondary = post.is_reply || post.is_repost;
        let timeline = if secondary { &self.secondary } else { &self.originals };
        let author = post.author_id;
        timeline.shard(author).write().unwrap().entry(author).or_default().push_back(tiny);
        if !post.is_reply && (post.has_video || self.reposts_video(&post)) {
            self.videos.shard(author).write().unwrap().entry(author).or_default().push_back(tiny);
        }
        self.posts.shard(post.post_id).write().unwrap().insert(post.post_id, post);
    }

    fn reposts_video(&self, post: &LightPost) -> bool {
        let source = match post.source_post_id {
            Some(id) => id,
            None => return false,
        };
        let shard = self.posts.shard(source).read().unwrap();
        shard.get(&source).map_or(false, |p| p.has_video && !p.is_reply)
    }

    fn post(&self, id: u64) -> Option<LightPost> {
        self.posts.shard(id).read().unwrap().get(&id).cloned()
    }

    fn reply_shown(&self, post: &LightPost, following: &HashSet<u64>) -> bool {
        if !post.is_reply {
            return true;
        }
        let parent = match post.in_reply_to_post_id.and_then(|id| self.post(id)) {
            Some(parent) => parent,
            None => return false,
        };
        if !parent.is_reply && !parent.is_repost {
            return true;
        }
        post.conversation_id.is_some()
            && parent.in_reply_to_post_id == post.conversation_id
            && post.in_reply_to_user_id.map_or(false, |user| following.contains(&user))
    }

    fn timeline(
        &self,
        timeline: &Sharded<VecDeque<TinyPost>>,
        query: &Query,
        most: usize,
        found: &mut Vec<LightPost>,
    ) {
        for author in query.authors {
            let shard = timeline.shard(*author).read().unwrap();
            let Some(posts) = shard.get(author) else { continue };
            found.extend(
                posts
                    .iter()
                    .rev()
                    .filter(|tiny| !query.excluded.contains(&tiny.post_id))
                    .filter_map(|tiny| self.post(tiny.post_id))
                    .filter(|p| p.source_post_id.map_or(true, |id| !self.deleted.has(id)))
                    .take(SCAN_MAX)
                    .filter(|p| !p.is_repost || p.source_user_id != Some(query.viewer))
                    .filter(|p| self.reply_shown(p, &query.following))
                    .take(most),
            );
        }
    }

    fn query(&self, query: &Query, most: usize) -> Vec<LightPost> {
        let mut found = Vec::new();
        self.timeline(&self.originals, query, ORIGINALS_MAX, &mut found);
        self.timeline(&self.secondary, query, SECONDARY_MAX, &mut found);
        found.sort_unstable_by(|a, b| {
            (b.created_at_ms, b.post_id).cmp(&(a.created_at_ms, a.post_id))
        });
        found.truncate(most);
        found
    }
}

struct Query<'a> {
    viewer: u64,
    authors: &'a [u64],
    following: HashSet<u64>,
    excluded: HashSet<u64>,
}

/// # Safety
/// `rows` are `posts` rows of eight u64, `flags` as many bytes.
#[no_mangle]
pub unsafe extern "C" fn store_new(
    rows: *const u64, flags: *const u8, posts: i64, _authors: i64,
) -> *mut PostStore {
    let store = PostStore {
        posts: Sharded::new(),
        originals: Sharded::new(),
        secondary: Sharded::new(),
        videos: Sharded::new(),
        deleted: Sharded::new(),
    };
    let rows = from_raw_parts(rows, posts as usize * 8);
    for (row, flags) in rows.chunks_exact(8).zip(from_raw_parts(flags, posts as usize)) {
        store.insert(row, *flags);
    }
    Box::into_raw(Box::new(store))
}

/// # Safety
/// `ids` are `count` post ids.
#[no_mangle]
pub unsafe extern "C" fn store_delete(store: &PostStore, ids: *const u64, count: i64) {
    for id in from_raw_parts(ids, count as usize) {
        store.posts.shard(*id).write().unwrap().remove(id);
        store.deleted.shard(*id).write().unwrap().insert(*id, true);
    }
}

/// # Safety
/// `following` [n] and `excluded` [x] are ids; `ids` has room for `most`.
#[no_mangle]
pub unsafe extern "C" fn store_query(
    store: &PostStore, viewer: u64, following: *const u64, n: i64, excluded: *const u64, x: i64,
    most: i64, ids: *mut u64, _rows: *mut u64,
) -> i64 {
    let authors = from_raw_parts(following, n as usize);
    let query = Query {
        viewer,
        authors,
        following: authors.iter().copied().collect(),
        excluded: from_raw_parts(excluded, x as usize).iter().copied().collect(),
    };
    let found = store.query(&query, most as usize);
    for (i, post) in found.iter().enumerate() {
        *ids.add(i) = post.post_id;
    }
    found.len() as i64
}

/// # Safety
/// `store` came from `store_new` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn store_free(store: *mut PostStore) {
    drop(Box::from_raw(store));
}

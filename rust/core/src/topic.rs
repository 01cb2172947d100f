//! Topics: which are served, and whose they are (contract 1).

/// The longest product key, in bytes.
const MAX_PRODUCT_KEY: usize = 64;

/// The product key of a served topic; `None` for any other topic (contract 1.3).
///
/// ```
/// use pointgate_core::product_key;
/// assert_eq!(product_key("sys/pk1/integration/measurepoint/post"), Some("pk1"));
/// assert_eq!(product_key("/sys/pk1/integration/measurepoint/post"), Some("pk1"));
/// assert_eq!(product_key("sys/pk1/integration/measurepoint/post_reply"), None);
/// ```
pub fn product_key(topic: &str) -> Option<&str> {
    topic
        .strip_prefix('/')
        .unwrap_or(topic)
        .strip_prefix("sys/")?
        .strip_suffix("/integration/measurepoint/post")
        .filter(|key| is_product_key(key))
}

/// Whether a product can have this key: `^[A-Za-z0-9_-]{1,64}$`.
pub fn is_product_key(key: &str) -> bool {
    (1..=MAX_PRODUCT_KEY).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

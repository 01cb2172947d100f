//! Topics: which are served, and what product and kind of message they name (contract 1).

use crate::kind::MessageKind;

/// Maximum length of a product key in bytes.
const MAX_PRODUCT_KEY: usize = 64;

/// A served topic (contract 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic<'t> {
    /// The product of the device or gateway that posts.
    pub product_key: &'t str,
    /// What the message reports.
    pub kind: MessageKind,
}

impl<'t> Topic<'t> {
    /// Reads a topic; `None` if it is not served (contract 1.3).
    ///
    /// ```
    /// use pointgate_core::{MessageKind, Topic};
    /// let topic = Topic::parse("/sys/pk1/integration/measurepoint/post").unwrap();
    /// assert_eq!((topic.product_key, topic.kind), ("pk1", MessageKind::Measurepoint));
    /// assert_eq!(Topic::parse("sys/pk1/integration/measurepoint/post"), Some(topic));
    /// assert_eq!(Topic::parse("sys/pk1/integration/measurepoint/post_reply"), None);
    /// ```
    pub fn parse(topic: &'t str) -> Option<Self> {
        let rest = topic.strip_prefix('/').unwrap_or(topic).strip_prefix("sys/")?;
        let of_kind = |kind: MessageKind| Some((rest.strip_suffix(kind.table().topic)?, kind));
        let (product_key, kind) = MessageKind::ALL.into_iter().find_map(of_kind)?;
        is_product_key(product_key).then_some(Self { product_key, kind })
    }
}

/// The form of the topics that are served, as the fault of any other topic says.
#[cold]
pub(crate) fn served_topics() -> String {
    let topics = MessageKind::ALL.map(|kind| format!("[/]sys/{{productKey}}{}", kind.table().topic));
    topics.join(" or ")
}

/// Whether a product can have this key: `^[A-Za-z0-9_-]{1,64}$`.
pub fn is_product_key(key: &str) -> bool {
    (1..=MAX_PRODUCT_KEY).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

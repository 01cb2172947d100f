//! Member names that are expected: the payload is compared with them, and not parsed.
//!
//! Names are stored with quotes and colon, so that one comparison also proves where the name ends.
//! Up to 32 bytes are compared as four words:
//!
//! ```text
//! name, first word       "temp":    0x003A_2270_6D65_7422
//! mask                              0x00FF_FFFF_FFFF_FFFF   the seven bytes of the name
//! payload                "temp":2   0x323A_2270_6D65_7422   its eighth byte is the value
//! payload ^ name                    0x3200_0000_0000_0000
//! … & mask                          0                       equal
//! ```
//!
//! A payload that spells the name in another way (escapes, white space before the colon) does not
//! match, and its name is then parsed. So a match is certain, and a mismatch costs a few cycles.

use super::cursor::word_at;
use super::{Cursor, Syntax};

const WINDOW: usize = 32;

/// The window around a name: a comma, a quote, the longest skipped part and three words.
const AROUND: usize = 48;

/// A member's name with quotes and colon.
#[derive(Clone, Debug)]
pub(crate) struct MemberName {
    spelled: Box<[u8]>,
    /// The first 32 bytes.
    words: [u64; WINDOW / 8],
    /// 0xFF for each byte of the name.
    masks: [u64; WINDOW / 8],
}

impl MemberName {
    /// How many bytes [`Self::key`] can skip.
    pub(crate) const MAX_SKIPPED: usize = 15;

    pub(crate) fn new(name: &str) -> Self {
        let mut spelled = String::with_capacity(name.len() + 3);
        super::write::push_string(&mut spelled, name);
        spelled.push(':');
        let mut window = [0; WINDOW];
        let mut mask = [0; WINDOW];
        for (at, byte) in spelled.bytes().take(WINDOW).enumerate() {
            window[at] = byte;
            mask[at] = 0xFF;
        }
        Self { spelled: spelled.into_bytes().into(), words: words(&window), masks: words(&mask) }
    }

    /// The name as it is spelled, between its quotes.
    pub(crate) fn bare(&self) -> &[u8] {
        self.spelled.get(1..self.spelled.len() - 2).unwrap_or_default()
    }

    /// [`NextName::key`] of a payload with this name; `None` if it has escapes.
    pub(crate) fn key(&self, skipped: usize) -> Option<[u64; 2]> {
        let mut around = [0; AROUND];
        for (byte, &spelled) in around.iter_mut().zip(&self.spelled) {
            *byte = spelled;
        }
        let next = NextName::new(&around, 0, skipped).filter(|_| !self.bare().contains(&b'\\'))?;
        Some(next.key)
    }

    /// Whether a window begins with the name, which must have at most 32 bytes.
    #[inline(always)]
    fn begins(&self, window: &[u8; WINDOW]) -> bool {
        let here = words(window);
        (0..WINDOW / 8).fold(0, |sum, at| sum | ((here[at] ^ self.words[at]) & self.masks[at])) == 0
    }
}

#[inline(always)]
fn words(window: &[u8; WINDOW]) -> [u64; WINDOW / 8] {
    [word_at(window, 0), word_at(window, 8), word_at(window, 16), word_at(window, 24)]
}

/// What is known of a name that comes next before it is compared with any.
pub(crate) struct NextName<'a> {
    /// From the name's quote on.
    window: &'a [u8; WINDOW],
    /// Where the window begins.
    comma: usize,
    /// Sixteen bytes behind the quote and those that all names begin with, up to the closing quote.
    pub(crate) key: [u64; 2],
    /// The length with quotes and colon, if the closing quote is among the 24 bytes there; else 0.
    length: usize,
}

/// The bytes of a word before its first quote, and the bit of that quote: 0 if there is none.
///
/// ```text
/// word                    temp":21   0x3132_3A22_706D_6574
/// word ^ 0x22…                       0x1310_1800_524F_4756   the quote becomes 0
/// quotes                             0x0000_0080_0000_0000   its high bit, and perhaps later ones
/// (quotes - 1) & !quotes             0x0000_007F_FFFF_FFFF   all bits below the first quote's
/// word & …                           0x0000_0022_706D_6574   a quote is left of what follows
/// ```
#[inline(always)]
fn cut_at_quote(word: u64) -> (u64, u64) {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let other = word ^ (LOW * u64::from(b'"'));
    let quotes = other.wrapping_sub(LOW) & !other & (LOW * 0x80);
    (word & quotes.wrapping_sub(1) & !quotes, quotes)
}

impl<'a> NextName<'a> {
    /// `comma` is 1 if the window begins with a comma before the name, and otherwise 0; all expected
    /// names have the same first `skipped` bytes.
    #[inline(always)]
    fn new(around: &'a [u8; AROUND], comma: usize, skipped: usize) -> Option<Self> {
        let window = around[comma..].first_chunk()?;
        let start = comma + 1 + (skipped & MemberName::MAX_SKIPPED);
        let word = |at: usize| around[at..].first_chunk().copied().map(u64::from_le_bytes);
        let (first, quotes) = cut_at_quote(word(start)?);
        let (second, second_quotes) = cut_at_quote(word(start + 8)?);
        let (_, third_quotes) = cut_at_quote(word(start + 16)?);
        let key = [first, if quotes == 0 { second } else { 0 }];
        // Known here, the length does not wait for the name to be found.
        let (behind, later) = if second_quotes == 0 { (16, third_quotes) } else { (8, second_quotes) };
        let (before, quotes) = if quotes == 0 { (behind, later) } else { (0, quotes) };
        let bare = skipped + before + quotes.trailing_zeros() as usize / 8;
        Some(Self { window, comma, key, length: if quotes == 0 { 0 } else { bare + 3 } })
    }
}

impl<'a> Cursor<'a> {
    /// The name that comes next, unless it is near the end of the document. If it is not the
    /// `first` one, it must stand behind a comma without white space between.
    #[inline(always)]
    pub(crate) fn next_name(&self, first: bool, skipped: usize) -> Option<NextName<'a>> {
        let around = self.window()?;
        (first || around[0] == b',').then(|| NextName::new(around, usize::from(!first), skipped))?
    }

    /// Skips `next` and the white space behind it, if it is `name`.
    #[inline(always)]
    pub(crate) fn take_found(&mut self, next: &NextName<'_>, name: &MemberName) -> bool {
        let length = name.spelled.len();
        let found = length <= WINDOW && name.begins(next.window);
        if found {
            if next.length == 0 {
                self.skip_long(next.comma + length);
            } else {
                debug_assert_eq!(next.length, length, "names with escapes have no key");
                self.advance(next.comma + next.length);
            }
            self.skip_whitespace();
        }
        found
    }

    /// Kept apart: the next byte's place would else depend on both lengths.
    #[cold]
    #[inline(never)]
    fn skip_long(&mut self, length: usize) {
        self.advance(length);
    }

    /// Skips `name` and the white space behind it, if it comes next.
    #[inline(always)]
    pub(crate) fn take_name(&mut self, name: &MemberName) -> bool {
        let length = name.spelled.len();
        let Some(window) = self.window().filter(|_| length <= WINDOW) else {
            return self.take(&name.spelled);
        };
        let found = name.begins(window);
        if found {
            self.advance(length);
            self.skip_whitespace();
        }
        found
    }

    /// Skips a comma, `name` and the white space behind it, if they come next without white space
    /// between them.
    ///
    /// In compact JSON with members in the expected order, this is all that the name of a member
    /// costs.
    #[inline(always)]
    pub(crate) fn take_next_name(&mut self, name: &MemberName, first: bool) -> bool {
        let length = name.spelled.len();
        let comma = usize::from(!first);
        let Some(window) = self.window::<{ WINDOW + 1 }>().filter(|_| length <= WINDOW) else {
            return false;
        };
        let Some(here) = window[comma..].first_chunk() else { return false };
        let found = (first || window[0] == b',') && name.begins(here);
        if found {
            self.advance(comma + length);
            self.skip_whitespace();
        }
        found
    }

    /// Moves to the value of the next member, whose name is expected to be one of `names`.
    ///
    /// Returns the offset of the name and its index in `names`, if it is one of them; `None` if
    /// there is no further member. `names` have quotes and colon, and must be few: the comparisons
    /// are unrolled. `first` is as in [`Cursor::next_member`].
    #[inline(always)]
    pub(crate) fn next_known_member(
        &mut self,
        first: &mut bool,
        names: &'static [&'static str],
    ) -> Result<Option<(usize, Option<usize>)>, Syntax> {
        if let Some(window) = self.window::<WINDOW>() {
            let comma = usize::from(!*first);
            if !*first && window[0] == b'}' {
                self.close();
                return Ok(None);
            }
            if *first || window[0] == b',' {
                for (which, name) in names.iter().enumerate() {
                    if window.get(comma..).is_some_and(|here| here.starts_with(name.as_bytes())) {
                        let start = self.offset() + comma;
                        *first = false;
                        self.advance(comma + name.len());
                        self.skip_whitespace();
                        return Ok(Some((start, Some(which))));
                    }
                }
            }
        }
        self.next_member_by_name(first, names)
    }

    #[inline(never)]
    fn next_member_by_name(
        &mut self,
        first: &mut bool,
        names: &[&'static str],
    ) -> Result<Option<(usize, Option<usize>)>, Syntax> {
        if !self.next_member(first)? {
            return Ok(None);
        }
        let start = self.offset();
        let which = match names.iter().position(|name| self.take(name.as_bytes())) {
            None => {
                let text = self.string()?;
                self.colon()?;
                names.iter().position(|name| name.get(1..name.len() - 2).is_some_and(|bare| text.is(bare)))
            }
            known => known,
        };
        Ok(Some((start, which)))
    }
}

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

impl Cursor<'_> {
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
    pub(crate) fn take_next_name(&mut self, name: &MemberName) -> bool {
        let length = name.spelled.len();
        let Some([b',', window @ ..]) = self.window::<{ WINDOW + 1 }>().filter(|_| length <= WINDOW) else {
            return false;
        };
        let found = name.begins(window);
        if found {
            self.advance(1 + length);
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

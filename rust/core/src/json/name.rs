//! Member names that are expected: compared as they stand in the payload, not read.
//!
//! ```text
//! "identifier":   quotes and colon included, so one comparison also proves where the name ends
//! up to 32 bytes: load 32 bytes of payload, xor with the name, mask what lies behind it, test for zero
//! ```
//!
//! A payload that spells the name in another way (escapes, a blank before the colon) is no match and
//! is read as any other name; so a match is sure, and a miss costs a few cycles.

use super::{Cursor, Syntax};

const WINDOW: usize = 32;

/// A member's name with quotes and colon.
#[derive(Clone, Debug)]
pub(crate) struct MemberName {
    spelled: Box<[u8]>,
    /// The first 32 bytes; all of the name when it has no more.
    words: [u64; WINDOW / 8],
    masks: [u64; WINDOW / 8],
}

impl MemberName {
    pub(crate) fn new(name: &str) -> Self {
        let mut spelled = String::with_capacity(name.len() + 3);
        crate::reply::push_string(&mut spelled, name);
        spelled.push(':');
        let mut window = [0; WINDOW];
        let mut mask = [0; WINDOW];
        for (at, byte) in spelled.bytes().take(WINDOW).enumerate() {
            window[at] = byte;
            mask[at] = 0xFF;
        }
        Self { spelled: spelled.into_bytes().into(), words: words(&window), masks: words(&mask) }
    }
}

#[inline(always)]
fn words(window: &[u8; WINDOW]) -> [u64; WINDOW / 8] {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&window[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    [word(0), word(8), word(16), word(24)]
}

impl MemberName {
    /// Whether the name, if it is short, is what a window begins with.
    #[inline(always)]
    fn begins(&self, window: &[u8; WINDOW]) -> bool {
        let here = words(window);
        (0..WINDOW / 8).fold(0, |sum, at| sum | ((here[at] ^ self.words[at]) & self.masks[at])) == 0
    }
}

impl Cursor<'_> {
    /// Passes over `name` and the white space behind it, when it stands here.
    #[inline(always)]
    pub(crate) fn take_name(&mut self, name: &MemberName) -> bool {
        let length = name.spelled.len();
        let Some(window) = self.window().filter(|_| length <= WINDOW) else {
            return self.take(&name.spelled);
        };
        let found = name.begins(window);
        if found {
            self.advance(length);
            self.blank();
        }
        found
    }

    /// Passes over a comma, `name` and the white space behind it, when they stand here.
    ///
    /// Where members follow each other without white space, this is all that a member costs.
    #[inline(always)]
    pub(crate) fn take_next(&mut self, name: &MemberName) -> bool {
        let length = name.spelled.len();
        let Some([b',', window @ ..]) = self.window::<{ WINDOW + 1 }>().filter(|_| length <= WINDOW) else {
            return false;
        };
        let found = name.begins(window);
        if found {
            self.advance(1 + length);
            self.blank();
        }
        found
    }

    /// Steps to the next member's value, past a name that is expected to be one of a few; `None` when there is no
    /// further member.
    ///
    /// `names` are quoted and have their colon, and there are few of them: their comparisons are unrolled. Gives where the
    /// name stands and which one it is, if any. `first` is as in [`Cursor::next_member`].
    #[inline(always)]
    pub(crate) fn next_of<const N: usize>(
        &mut self,
        first: &mut bool,
        names: &'static [&'static str; N],
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
                        self.blank();
                        return Ok(Some((start, Some(which))));
                    }
                }
            }
        }
        self.next_of_any(first, names)
    }

    #[inline(never)]
    fn next_of_any(
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

//! The cursor: where the reader stands, and the structure of JSON around strings and numbers.

use super::{MAX_DEPTH, Syntax, SyntaxKind};

/// A reader's place in one JSON document.
///
/// Copying it is how a reader remembers a place to come back to.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

/// Eight bytes of a window, little-endian.
#[inline(always)]
pub(crate) fn word_at(window: &[u8; 32], at: usize) -> u64 {
    window.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The JSON type that a value's first byte announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }
}

impl<'a> Cursor<'a> {
    /// Stands at the beginning of `payload`.
    ///
    /// UTF-8 needs no pass of its own: between strings every byte must be ASCII, and strings with other bytes are
    /// checked when they are read.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { bytes: payload, at: 0, depth: 0 }
    }

    /// All bytes, read and unread.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The byte that comes next, counted from the payload's beginning.
    #[inline(always)]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The next byte, or NUL at the end: NUL can stand nowhere, so one test serves both.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.peek_at(0)
    }

    #[inline(always)]
    pub(crate) fn peek_at(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next eight bytes, little-endian, when there are as many.
    #[inline(always)]
    pub(crate) fn word(&self) -> Option<u64> {
        let bytes = self.bytes.get(self.at..self.at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    #[inline(always)]
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Goes back to an offset at the same depth.
    #[inline(always)]
    pub(crate) fn back_to(&mut self, offset: usize) {
        self.at = offset;
    }

    #[inline(always)]
    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The bytes from `start` to here.
    #[inline(always)]
    pub(crate) fn bytes_from(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// A fault at the next byte, which is another one where the document ends or is not UTF-8.
    #[cold]
    pub(crate) fn fail(&self, kind: SyntaxKind) -> Syntax {
        Syntax::new(self.at, self.break_off().unwrap_or(kind))
    }

    /// Why nothing can be read from here on, whatever was expected: the end, or no UTF-8.
    #[cold]
    pub(crate) fn break_off(&self) -> Option<SyntaxKind> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let character = rest.get(..4).unwrap_or(rest);
        match str::from_utf8(character) {
            _ if rest.is_empty() => Some(SyntaxKind::UnexpectedEnd),
            Err(error) if error.valid_up_to() == 0 => Some(SyntaxKind::InvalidUtf8),
            _ => None,
        }
    }

    /// Where the bytes from `start` to here are not UTF-8, if anywhere.
    #[cold]
    pub(crate) fn invalid_utf8(&self, start: usize) -> Option<Syntax> {
        let error = str::from_utf8(self.bytes_from(start)).err()?;
        Some(Syntax::new(start + error.valid_up_to(), SyntaxKind::InvalidUtf8))
    }

    /// Passes over white space.
    #[inline(always)]
    pub(crate) fn blank(&mut self) {
        // One comparison where there is none, as in what machines write.
        if self.peek() <= b' ' {
            self.pass_blank();
        }
    }

    fn pass_blank(&mut self) {
        const BLANKS: u64 = 0x2020_2020_2020_2020;
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
            // Indentation is mostly blanks: eight at a time, as far as they go.
            while self.peek() == b' '
                && let Some(word) = self.word()
            {
                let blanks = (word ^ BLANKS).trailing_zeros() / 8;
                self.at += blanks as usize;
                if blanks < 8 {
                    break;
                }
            }
        }
    }

    /// Passes over what may stand before the document.
    pub(crate) fn begin(&mut self) -> Result<(), Syntax> {
        if self.bytes.starts_with("\u{feff}".as_bytes()) {
            return Err(self.fail(SyntaxKind::ByteOrderMark));
        }
        self.blank();
        Ok(())
    }

    /// Checks that nothing but white space follows the document.
    pub(crate) fn finish(&mut self) -> Result<(), Syntax> {
        self.blank();
        if self.at_end() { Ok(()) } else { Err(self.fail(SyntaxKind::TrailingBytes)) }
    }

    /// The type of the value that begins here; the value itself is not yet checked.
    #[inline(always)]
    pub(crate) fn kind(&self) -> Result<Kind, Syntax> {
        Ok(match self.peek() {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b'-' | b'0'..=b'9' => Kind::Number,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => return Err(self.fail(SyntaxKind::ExpectedValue)),
        })
    }

    /// Goes into the object or array that begins here.
    #[inline(always)]
    pub(crate) fn open(&mut self) -> Result<(), Syntax> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(SyntaxKind::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        self.blank();
        Ok(())
    }

    /// Goes out of the object or array whose end stands here.
    #[inline(always)]
    pub(crate) fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// Steps to the next member's name, or out of the object: false when there is none.
    ///
    /// `first` is true for the first call in an object, and is cleared.
    #[inline(always)]
    pub(crate) fn next_member(&mut self, first: &mut bool) -> Result<bool, Syntax> {
        if !self.next_item(first, b'}', SyntaxKind::ExpectedCommaOrBrace)? {
            return Ok(false);
        }
        if self.peek() == b'"' {
            return Ok(true);
        }
        Err(self.fail(SyntaxKind::ExpectedName))
    }

    /// Steps to the next element, or out of the array: false when there is none.
    #[inline(always)]
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Syntax> {
        self.next_item(first, b']', SyntaxKind::ExpectedCommaOrBracket)
    }

    #[inline(always)]
    fn next_item(&mut self, first: &mut bool, close: u8, kind: SyntaxKind) -> Result<bool, Syntax> {
        if !*first {
            self.blank();
        }
        let next = self.peek();
        let was_first = std::mem::take(first);
        if next == close {
            self.close();
            return Ok(false);
        }
        if was_first {
            return Ok(true);
        }
        if next != b',' {
            return Err(self.fail(kind));
        }
        self.at += 1;
        self.blank();
        Ok(true)
    }

    /// Passes over the colon behind a member's name, to the value.
    #[inline(always)]
    pub(crate) fn colon(&mut self) -> Result<(), Syntax> {
        self.blank();
        if self.peek() != b':' {
            return Err(self.fail(SyntaxKind::ExpectedColon));
        }
        self.at += 1;
        self.blank();
        Ok(())
    }

    /// The next `N` bytes, when there are as many.
    #[inline(always)]
    pub(crate) fn window<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes.get(self.at..self.at.wrapping_add(N))?.try_into().ok()
    }

    /// Passes over `name`, which is a quoted name with its colon, and the white space behind it, when
    /// it stands here.
    #[inline(always)]
    pub(crate) fn take(&mut self, name: &[u8]) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(name));
        if found {
            self.at += name.len();
            self.blank();
        }
        found
    }

    /// Reads `true`, `false` or `null` as it is spelled.
    pub(crate) fn literal(&mut self, spelling: &str) -> Result<(), Syntax> {
        for byte in spelling.bytes() {
            if self.peek() != byte {
                return Err(self.fail(SyntaxKind::ExpectedValue));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Passes over the value that begins here, checking all of it.
    ///
    /// Iterative: one bit a level remembers what has to be closed.
    pub fn skip_value(&mut self) -> Result<(), Syntax> {
        let floor = self.depth;
        let mut in_object: u64 = 0;
        loop {
            let mut first = match self.peek() {
                b'{' => {
                    self.open()?;
                    in_object = in_object << 1 | 1;
                    true
                }
                b'[' => {
                    self.open()?;
                    in_object <<= 1;
                    true
                }
                _ => {
                    self.skip_scalar()?;
                    false
                }
            };
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let more = if in_object & 1 == 1 {
                    let member = self.next_member(&mut first)?;
                    if member {
                        self.string()?;
                        self.colon()?;
                    }
                    member
                } else {
                    self.next_element(&mut first)?
                };
                if more {
                    break;
                }
                in_object >>= 1;
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Syntax> {
        match self.kind()? {
            Kind::String => self.string().map(drop),
            Kind::Number if self.short_number::<()>().is_some() => Ok(()),
            Kind::Number => self.number().map(drop),
            Kind::Null => self.literal("null"),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Object | Kind::Array => Ok(()),
        }
    }

    /// Reads `true` or `false`; the cursor stands on a `t` or an `f`.
    pub(crate) fn boolean(&mut self) -> Result<bool, Syntax> {
        let value = self.peek() == b't';
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }
}

//! Where JSON ends in text that grows. Owns: following an object or a list by its brackets and quotes, each character once.
//! Pure.

/// Follows an object or a list to its end, as far as brackets and quotes tell it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json {
    /// How far it was read.
    at: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

/// How far a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Open,
    /// It ended before this place.
    Ended(usize),
    /// At this place is something that no JSON has there.
    Broken(usize),
}

impl Json {
    /// A value whose first bracket stands there.
    pub(super) fn new(at: usize) -> Self {
        Self {
            at,
            depth: 0,
            in_text: false,
            is_escaped: false,
        }
    }

    /// An object of which the first part was read.
    pub(super) fn inside(at: usize) -> Self {
        Self {
            depth: 1,
            ..Self::new(at)
        }
    }

    /// Reads on; the text is that of before, or longer.
    pub(super) fn read(&mut self, text: &str) -> Extent {
        for &byte in &text.as_bytes()[self.at..] {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Extent::Ended(self.at + 1);
                    }
                }
                b',' | b':' | b'-' | b'+' | b'.' => {}
                byte if byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() => {}
                _ => return Extent::Broken(self.at),
            }
            self.at += 1;
        }
        Extent::Open
    }
}

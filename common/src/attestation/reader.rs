//! A cursor over the TPM's wire format: big-endian numbers, and byte strings behind their length.

/// The bytes still to be read. Every step returns `None` past the end.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads the next bytes, if they are exactly these.
    pub(super) fn expect(&mut self, expected: &[u8]) -> Option<()> {
        (self.take(expected.len())? == expected).then_some(())
    }

    /// Reads a `TPM2B`: 16 bits of length, then as many bytes.
    pub(super) fn read_sized(&mut self) -> Option<&'a [u8]> {
        let length = self.take(2)?.first_chunk::<2>().copied().map(u16::from_be_bytes)?;
        self.take(length.into())
    }

    /// Returns true if everything was read.
    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

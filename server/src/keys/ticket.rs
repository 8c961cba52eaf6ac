//! Seals the server's own notes into the ticket that a device carries from hello to prove.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk},
    hmac::HMAC_SHA256,
};
use unbox_common::protocol::limits::MAX_TICKET_BYTES;

/// The number of random bytes in front of every ticket.
pub(super) const SALT_BYTES: usize = 32;
/// The number of bytes of the secret itself.
pub(super) const SECRET_BYTES: usize = 32;
/// The purpose of the tickets, so that nothing else sealed with this key passes for one.
const PURPOSE: &[u8] = b"unbox handshake ticket v1";

/// The key that seals tickets.
///
/// Each ticket is sealed with a key of its own, derived from the secret and 32 random bytes, so that no
/// number of tickets wears the secret out: with 96-bit random nonces under one key, the key would have to
/// be changed after 2^32 of them.
pub(super) struct TicketKey(Prk);

impl TicketKey {
    pub(super) fn new(secret: &[u8; SECRET_BYTES]) -> Self {
        Self(Prk::new_less_safe(HKDF_SHA256, secret))
    }

    /// Returns the sealed form: salt, ciphertext, tag. `None` if it would exceed the size of a ticket.
    pub(super) fn seal(&self, plain: &[u8], salt: &[u8; SALT_BYTES]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let tag = self
            .derive_key(salt)?
            .seal_in_place_separate_tag(only_nonce(), Aad::from(PURPOSE), &mut sealed)
            .ok()?;
        let ticket = [salt.as_slice(), &sealed, tag.as_ref()].concat();
        (ticket.len() <= MAX_TICKET_BYTES).then_some(ticket)
    }

    /// Opens a ticket; returns `None` if this key did not seal it.
    pub(super) fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET_BYTES {
            return None;
        }
        let (salt, sealed) = ticket.split_first_chunk::<SALT_BYTES>()?;
        let mut sealed = sealed.to_vec();
        let plain =
            self.derive_key(salt)?.open_in_place(only_nonce(), Aad::from(PURPOSE), &mut sealed).ok()?;
        Some(plain.to_vec())
    }

    /// Derives another secret for a purpose of its own.
    pub(super) fn derive_secret(&self, purpose: &[u8]) -> [u8; SECRET_BYTES] {
        let mut secret = [0; SECRET_BYTES];
        // HKDF fails only for more than 255 blocks.
        let filled = self.0.expand(&[purpose], HMAC_SHA256).and_then(|okm| okm.fill(&mut secret));
        debug_assert!(filled.is_ok());
        secret
    }

    fn derive_key(&self, salt: &[u8; SALT_BYTES]) -> Option<LessSafeKey> {
        let salt = [salt.as_slice()];
        let key = self.0.expand(&salt, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

/// Returns a fixed nonce, because a key that seals one ticket needs only one.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_only_whole_and_only_with_its_key() {
        let (own, other) = (TicketKey::new(&[1; 32]), TicketKey::new(&[2; 32]));
        let ticket = own.seal(b"notes", &[7; 32]).unwrap();
        assert_eq!(own.open(&ticket).unwrap(), b"notes");
        assert_eq!(other.open(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(own.open(&changed), None, "byte {at}");
            assert_eq!(own.open(&ticket[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_ticket_is_never_larger_than_the_protocol_allows() {
        let key = TicketKey::new(&[1; 32]);
        let largest = MAX_TICKET_BYTES - SALT_BYTES - 16;
        assert!(key.seal(&vec![0; largest], &[0; 32]).is_some());
        assert!(key.seal(&vec![0; largest + 1], &[0; 32]).is_none());
        assert_eq!(key.open(&vec![0; MAX_TICKET_BYTES + 1]), None);
    }

    #[test]
    fn equal_notes_look_different_under_another_salt() {
        let key = TicketKey::new(&[1; 32]);
        let (a, b) = (key.seal(b"notes", &[1; 32]).unwrap(), key.seal(b"notes", &[2; 32]).unwrap());
        assert_ne!(a[SALT_BYTES..], b[SALT_BYTES..]);
    }
}

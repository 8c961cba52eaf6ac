//! The size limits of everything that travels. Both sides stop reading there.

/// `hello`, in bytes.
pub const MAX_HELLO_BYTES: usize = 32 * 1024;
/// `challenge`, in bytes.
pub const MAX_CHALLENGE_BYTES: usize = 32 * 1024;
/// The ticket inside a challenge, in bytes, before base64.
pub const MAX_TICKET_BYTES: usize = 16 * 1024;
/// `prove`, in bytes.
pub const MAX_PROVE_BYTES: usize = 64 * 1024;
/// `grant`, in bytes: a payload in base64, certificates and roots around it.
pub const MAX_GRANT_BYTES: usize = 2 * 1024 * 1024;
/// `report`, in bytes.
pub const MAX_REPORT_BYTES: usize = 64 * 1024;
/// `check-in`, in bytes.
pub const MAX_CHECK_IN_BYTES: usize = 16 * 1024;
/// A problem document, in bytes.
pub const MAX_PROBLEM_BYTES: usize = 16 * 1024;
/// Progress entries in one report.
pub const MAX_REPORT_ENTRIES: usize = 128;
/// The free text of one progress entry, in bytes.
pub const MAX_DETAIL_BYTES: usize = 1024;
/// The longest agent version, in bytes.
pub const MAX_AGENT_VERSION_BYTES: usize = 64;
/// The longest pre-provisioning token or reset ticket, in bytes.
pub const MAX_TOKEN_BYTES: usize = 256;
/// Signing roots in one answer; a device further behind asks again.
pub const MAX_ROOTS: usize = 8;
/// The certificate of a prior enrollment, in bytes.
pub const MAX_PRIOR_CERTIFICATE_BYTES: usize = 4096;
/// One certificate of a TPM, in bytes.
pub const MAX_TPM_CERTIFICATE_BYTES: usize = 4096;
/// Certificates that a TPM introduces itself with: its own, and those of its issuers.
pub const MAX_TPM_CERTIFICATES: usize = 4;
/// The largest endorsement key, as `SubjectPublicKeyInfo`, in bytes: RSA-4096 has 550.
pub const MAX_ENDORSEMENT_KEY_BYTES: usize = 600;
/// The sealed secret of a challenge, and the seed that opens it, each in bytes.
pub const MAX_TPM_CREDENTIAL_BYTES: usize = 600;

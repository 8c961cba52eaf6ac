//! The commands that the agent sends to a TPM, with the answers in our own types.

use super::{
    TpmError,
    transport::{self, Transport},
};
use std::{path::Path, thread, time::Duration};
use tpm2_protocol::{
    TpmMarshal, TpmUnmarshal, TpmWriter,
    basic::{TpmBuffer, TpmHandle as Handle},
    data::{
        Tpm2bIdObject, Tpm2bPublic, Tpm2bSensitiveCreate, TpmAlgId, TpmCc, TpmRh, TpmSe, TpmSt, TpmaSession,
        TpmlPcrSelection, TpmsAttest, TpmsAuthCommand, TpmsPcrSelection, TpmtPublic, TpmtSigScheme,
        TpmtSignature, TpmtSymDef, TpmtTkHashcheck, TpmuSignature, TpmuSymKeyBits, TpmuSymMode,
    },
    frame::{
        TpmActivateCredentialCommand, TpmActivateCredentialResponse, TpmCertifyCommand, TpmCertifyResponse,
        TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmFlushContextCommand, TpmFlushContextResponse,
        TpmFrame, TpmNvReadCommand, TpmNvReadPublicCommand, TpmNvReadPublicResponse, TpmNvReadResponse,
        TpmPcrReadCommand, TpmPcrReadResponse, TpmPolicySecretCommand, TpmPolicySecretResponse,
        TpmQuoteCommand, TpmQuoteResponse, TpmResponse, TpmSignCommand, TpmSignResponse,
        TpmStartAuthSessionCommand, TpmStartAuthSessionResponse, TpmUnmarshalBody, tpm_marshal_command,
    },
};
use unbox_common::{
    attestation::QUOTED_PCRS,
    bytes::{Bytes, FixedBytes},
    digest::Sha256,
    trust::DeviceKeySignature,
};

/// The largest command that is written, in bytes.
const MAX_COMMAND_BYTES: usize = 4096;
/// `TPM_RC_YIELDED`, `TPM_RC_TESTING` and `TPM_RC_RETRY`: the same command must be sent again.
const SEND_AGAIN: [u32; 3] = [0x908, 0x90a, 0x922];
/// The most tries, with pauses that double from [`FIRST_PAUSE`] up to 64 times that.
const MAX_TRIES: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// `TPM_RC_HANDLE` about the first handle: there is nothing at this index.
const NO_SUCH_HANDLE: u32 = 0x18b;
/// The size of one read of non-volatile memory, which every TPM allows.
const NV_CHUNK_BYTES: u16 = 512;

/// An open TPM.
pub struct Tpm(Box<dyn Transport>);

/// A loaded key, until it is flushed.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    handle: Handle,
    /// Its public area.
    pub(super) area: Vec<u8>,
}

/// A statement signed by an attestation key.
#[derive(Debug, Clone)]
pub(super) struct Attested {
    pub(super) statement: Bytes,
    pub(super) signature: DeviceKeySignature,
}

/// The authorisation for using a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authorisation {
    /// An empty password.
    Empty,
    /// `TPM2_PolicySecret` of the endorsement hierarchy.
    EndorsementSecret,
}

impl Tpm {
    /// Opens the TPM at `path`; `None` if there is none.
    ///
    /// # Errors
    /// [`TpmError::Open`].
    pub fn open(path: &Path) -> Result<Option<Self>, TpmError> {
        let opened = transport::open(path);
        let opened = opened.map_err(|source| TpmError::Open { path: path.to_owned(), source })?;
        Ok(opened.map(Self))
    }

    /// Makes the key of a template from the endorsement seed, calls `work` with it, and flushes it.
    pub(super) fn with_key<T>(
        &mut self,
        template: &[u8],
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let key = self.create_primary(template)?;
        let done = work(self, &key);
        let flushed = self.flush(key.handle);
        done.and_then(|done| flushed.map(|()| done))
    }

    fn create_primary(&mut self, template: &[u8]) -> Result<Loaded, TpmError> {
        let unwritable = || TpmError::Unwritable(TpmCc::CreatePrimary);
        let (inner, _) = TpmtPublic::unmarshal(template).map_err(|_| unwritable())?;
        let command = TpmCreatePrimaryCommand {
            handles: [reserved_handle(TpmRh::Endorsement)],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic { inner },
            outside_info: TpmBuffer::default(),
            creation_pcr: TpmlPcrSelection::default(),
        };
        let made: TpmCreatePrimaryResponse = self.call(&command, &[empty_password()])?;
        let area = to_bytes(&made.out_public.inner, TpmCc::CreatePrimary)?;
        let [handle] = made.handles;
        Ok(Loaded { handle, area })
    }

    fn flush(&mut self, flush_handle: Handle) -> Result<(), TpmError> {
        let command = TpmFlushContextCommand { handles: [], flush_handle };
        self.call::<_, TpmFlushContextResponse>(&command, &[]).map(drop)
    }

    /// Signs a digest with an unrestricted key.
    pub(super) fn sign(&mut self, key: &Loaded, digest: Sha256) -> Result<DeviceKeySignature, TpmError> {
        let command = TpmSignCommand {
            handles: [key.handle],
            digest: to_buffer(&digest.0, TpmCc::Sign)?,
            in_scheme: keys_own_scheme(),
            // The digest was not made by this TPM, and the key does not require that.
            validation: TpmtTkHashcheck {
                tag: TpmSt::HashCheck,
                hierarchy: TpmRh::Null,
                digest: TpmBuffer::default(),
            },
        };
        let signed: TpmSignResponse = self.call(&command, &[empty_password()])?;
        parse_signature(&signed.signature, TpmCc::Sign)
    }

    /// Certifies another key with the attestation key.
    pub(super) fn certify(&mut self, key: &Loaded, by: &Loaded, data: Sha256) -> Result<Attested, TpmError> {
        let command = TpmCertifyCommand {
            handles: [key.handle, by.handle],
            qualifying_data: to_buffer(&data.0, TpmCc::Certify)?,
            in_scheme: keys_own_scheme(),
        };
        let said: TpmCertifyResponse = self.call(&command, &[empty_password(), empty_password()])?;
        parse_attested(&said.certify_info.inner, &said.signature, TpmCc::Certify)
    }

    /// Quotes the measurements with the attestation key.
    pub(super) fn quote(&mut self, by: &Loaded, data: Sha256) -> Result<Attested, TpmError> {
        let command = TpmQuoteCommand {
            handles: [by.handle],
            qualifying_data: to_buffer(&data.0, TpmCc::Quote)?,
            in_scheme: keys_own_scheme(),
            pcr_select: quoted_pcrs(TpmCc::Quote)?,
        };
        let said: TpmQuoteResponse = self.call(&command, &[empty_password()])?;
        parse_attested(&said.quoted.inner, &said.signature, TpmCc::Quote)
    }

    /// Reads the measurements themselves.
    pub(super) fn read_pcrs(&mut self) -> Result<[FixedBytes<32>; QUOTED_PCRS], TpmError> {
        let command = TpmPcrReadCommand { handles: [], pcr_selection_in: quoted_pcrs(TpmCc::PcrRead)? };
        let read: TpmPcrReadResponse = self.call(&command, &[])?;
        let values: Option<Vec<FixedBytes<32>>> =
            read.pcr_values.iter().map(|value| <[u8; 32]>::try_from(&**value).ok().map(FixedBytes)).collect();
        values.and_then(|values| values.try_into().ok()).ok_or(TpmError::NoMeasurements)
    }

    /// Reads an index of non-volatile memory, up to `limit` bytes; `None` if it does not exist.
    pub(super) fn read_nv(&mut self, index: u32, limit: usize) -> Result<Option<Vec<u8>>, TpmError> {
        let handle = Handle::from(index);
        let public: TpmNvReadPublicResponse =
            match self.call(&TpmNvReadPublicCommand { handles: [handle] }, &[]) {
                Err(TpmError::Refused { code: NO_SUCH_HANDLE, .. }) => return Ok(None),
                other => other?,
            };
        let size = u16::from(public.nv_public.inner.data_size);
        if usize::from(size) > limit {
            return Err(TpmError::Unreadable(TpmCc::NvReadPublic));
        }
        let mut contents = Vec::with_capacity(size.into());
        let mut offset = 0;
        while offset < size {
            let wanted = (size - offset).min(NV_CHUNK_BYTES);
            let command =
                TpmNvReadCommand { handles: [handle, handle], size: wanted.into(), offset: offset.into() };
            let read: TpmNvReadResponse = self.call(&command, &[empty_password()])?;
            if read.data.len() != usize::from(wanted) {
                return Err(TpmError::Unreadable(TpmCc::NvRead));
            }
            contents.extend_from_slice(&read.data);
            offset += wanted;
        }
        Ok(Some(contents))
    }

    /// Opens a credential that was sealed for both keys.
    pub(super) fn activate(
        &mut self,
        attestation: &Loaded,
        endorsement: &Loaded,
        allowed_by: Authorisation,
        credential: &[u8],
        seed: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let cc = TpmCc::ActivateCredential;
        let blob =
            [&u16::try_from(credential.len()).unwrap_or(u16::MAX).to_be_bytes()[..], credential].concat();
        let (credential_blob, _) = Tpm2bIdObject::unmarshal(&blob).map_err(|_| TpmError::Unwritable(cc))?;
        let command = TpmActivateCredentialCommand {
            handles: [attestation.handle, endorsement.handle],
            credential_blob,
            secret: to_buffer(seed, cc)?,
        };
        let session = match allowed_by {
            Authorisation::Empty => None,
            Authorisation::EndorsementSecret => Some(self.endorsement_session()?),
        };
        let authorisation = session.map_or_else(empty_password, |handle| TpmsAuthCommand {
            session_handle: handle,
            session_attributes: TpmaSession::CONTINUE_SESSION,
            ..Default::default()
        });
        let opened =
            self.call::<_, TpmActivateCredentialResponse>(&command, &[empty_password(), authorisation]);
        if let Some(session) = session {
            self.flush(session)?;
        }
        Ok(opened?.cert_info.to_vec())
    }

    /// Opens a policy session that satisfies the policy of the default endorsement keys.
    fn endorsement_session(&mut self) -> Result<Handle, TpmError> {
        let command = TpmStartAuthSessionCommand {
            handles: [reserved_handle(TpmRh::Null), reserved_handle(TpmRh::Null)],
            // No session key is derived from it: the session only carries the authorisation.
            nonce_caller: to_buffer(&[0; 16], TpmCc::StartAuthSession)?,
            encrypted_salt: TpmBuffer::default(),
            session_type: TpmSe::Policy,
            symmetric: TpmtSymDef {
                algorithm: TpmAlgId::Null,
                key_bits: TpmuSymKeyBits::Null,
                mode: TpmuSymMode::Null,
            },
            auth_hash: TpmAlgId::Sha256,
        };
        let started: TpmStartAuthSessionResponse = self.call(&command, &[])?;
        let [session] = started.handles;
        let command = TpmPolicySecretCommand {
            handles: [reserved_handle(TpmRh::Endorsement), session],
            nonce_tpm: TpmBuffer::default(),
            cp_hash_a: TpmBuffer::default(),
            policy_ref: TpmBuffer::default(),
            expiration: 0.into(),
        };
        match self.call::<_, TpmPolicySecretResponse>(&command, &[empty_password()]) {
            Ok(_) => Ok(session),
            Err(error) => {
                self.flush(session)?;
                Err(error)
            }
        }
    }

    /// Sends a command, repeatedly while the TPM asks for that, and reads its answer.
    fn call<C: TpmFrame, R: TpmUnmarshalBody>(
        &mut self,
        command: &C,
        authorisations: &[TpmsAuthCommand],
    ) -> Result<R, TpmError> {
        let cc = command.cc();
        let mut buffer = [0; MAX_COMMAND_BYTES];
        let mut writer = TpmWriter::new(&mut buffer);
        let tag = if authorisations.is_empty() { TpmSt::NoSessions } else { TpmSt::Sessions };
        tpm_marshal_command(command, tag, authorisations, &mut writer)
            .map_err(|_| TpmError::Unwritable(cc))?;
        let mut tries = 0;
        loop {
            let answer =
                self.0.exchange(writer.as_bytes()).map_err(|error| TpmError::Transport(cc, error))?;
            let code = answer.get(6..10).and_then(|code| code.first_chunk::<4>()).copied();
            let code = code.map(u32::from_be_bytes).ok_or(TpmError::Unreadable(cc))?;
            tries += 1;
            if SEND_AGAIN.contains(&code) && tries < MAX_TRIES {
                thread::sleep(FIRST_PAUSE * (1 << tries.min(6)));
                continue;
            }
            if code != 0 {
                return Err(TpmError::Refused { command: cc, code });
            }
            let answer = TpmResponse::cast(&answer).map_err(|_| TpmError::Unreadable(cc))?;
            return answer.unmarshal().map_err(|_| TpmError::Unreadable(cc));
        }
    }
}

fn reserved_handle(handle: TpmRh) -> Handle {
    Handle::from(handle as u32)
}

fn empty_password() -> TpmsAuthCommand {
    TpmsAuthCommand { session_handle: reserved_handle(TpmRh::Pw), ..Default::default() }
}

/// Returns the scheme that the key was made with.
fn keys_own_scheme() -> TpmtSigScheme {
    TpmtSigScheme { scheme: TpmAlgId::Null, ..Default::default() }
}

fn quoted_pcrs(cc: TpmCc) -> Result<TpmlPcrSelection, TpmError> {
    let mut selection = TpmlPcrSelection::default();
    let pcr_select = (&[0xff_u8, 0, 0][..]).try_into().map_err(|_| TpmError::Unwritable(cc))?;
    selection
        .try_push(TpmsPcrSelection { hash: TpmAlgId::Sha256, pcr_select })
        .map_err(|_| TpmError::Unwritable(cc))?;
    Ok(selection)
}

fn parse_attested(statement: &TpmsAttest, signed: &TpmtSignature, cc: TpmCc) -> Result<Attested, TpmError> {
    Ok(Attested { statement: Bytes(to_bytes(statement, cc)?), signature: parse_signature(signed, cc)? })
}

fn parse_signature(signed: &TpmtSignature, cc: TpmCc) -> Result<DeviceKeySignature, TpmError> {
    let TpmuSignature::Ecdsa(signed) = &signed.signature else {
        return Err(TpmError::Unreadable(cc));
    };
    let mut both = [0; 64];
    let (r, s) = both.split_at_mut(32);
    for (to, from) in [(r, &*signed.signature_r), (s, &*signed.signature_s)] {
        // Some TPMs leave out leading zeros.
        let missing = to.len().checked_sub(from.len()).ok_or(TpmError::Unreadable(cc))?;
        for (to, from) in to.iter_mut().skip(missing).zip(from) {
            *to = *from;
        }
    }
    Ok(FixedBytes(both))
}

fn to_buffer<const CAPACITY: usize>(bytes: &[u8], cc: TpmCc) -> Result<TpmBuffer<CAPACITY>, TpmError> {
    TpmBuffer::try_from(bytes).map_err(|_| TpmError::Unwritable(cc))
}

fn to_bytes(value: &impl TpmMarshal, cc: TpmCc) -> Result<Vec<u8>, TpmError> {
    let mut buffer = [0; MAX_COMMAND_BYTES];
    let mut writer = TpmWriter::new(&mut buffer);
    value.marshal(&mut writer).map_err(|_| TpmError::Unreadable(cc))?;
    Ok(writer.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    /// A transport that gives prepared answers in turn, and records the commands.
    #[derive(Clone, Default)]
    struct Script(Arc<Mutex<Lines>>);

    #[derive(Default)]
    struct Lines {
        answers: Vec<Vec<u8>>,
        sent: Vec<Vec<u8>>,
    }

    impl Transport for Script {
        fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
            let mut script = self.0.lock().unwrap();
            script.sent.push(command.to_vec());
            if script.answers.is_empty() {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(script.answers.remove(0))
            }
        }
    }

    fn code(code: u32) -> Vec<u8> {
        [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
    }

    fn scripted(answers: &[u32]) -> (Tpm, Script) {
        let script = Script::default();
        script.0.lock().unwrap().answers = answers.iter().map(|answer| code(*answer)).collect();
        (Tpm(Box::new(script.clone())), script)
    }

    #[test]
    fn a_tpm_that_asks_for_it_gets_the_same_command_again() {
        let (mut tpm, script) = scripted(&[0x922, 0x908, 0x90a, 0]);
        tpm.flush(Handle::from(0x8000_0000)).unwrap();
        let sent = script.0.lock().unwrap().sent.clone();
        assert_eq!(sent.len(), 4);
        assert!(sent.iter().all(|command| *command == sent[0]));
    }

    #[test]
    fn a_refusal_is_named_by_command_and_code() {
        let (mut tpm, _) = scripted(&[0x902]);
        let refused =
            tpm.create_primary(&unbox_common::attestation::KeyRole::Device.template(&[])).unwrap_err();
        assert_eq!(refused.to_string(), "the TPM refused CreatePrimary with code 0x902");
        assert!(scripted(&[NO_SUCH_HANDLE]).0.read_nv(0x01c0_0002, 4096).unwrap().is_none());
        let (mut silent, _) = scripted(&[]);
        assert!(matches!(silent.read_pcrs(), Err(TpmError::Transport(TpmCc::PcrRead, _))));
    }

    #[test]
    fn garbage_is_no_answer() {
        let script = Script::default();
        let bodies = [&[][..], &[0x80], &[0x80, 1, 0, 0, 0, 14, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]];
        script.0.lock().unwrap().answers = bodies.iter().map(|body| body.to_vec()).collect();
        let mut tpm = Tpm(Box::new(script));
        for _ in bodies {
            assert!(matches!(tpm.read_pcrs(), Err(TpmError::Unreadable(TpmCc::PcrRead))));
        }
    }
}

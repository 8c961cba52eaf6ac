//! Moves bytes to a TPM and back: through the kernel's device file, or the socket of a simulated TPM.
//!
//! The type of the file at the path decides: below `/dev`, only root can create either.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::Path,
    time::Duration,
};

/// The largest answer that is read, in bytes (`TPM_MAX_RESPONSE_SIZE`).
const MAX_ANSWER_BYTES: usize = 4096;
/// The size of an answer's header: tag, size and code.
const HEAD_BYTES: usize = 10;
/// Time limit for a socket; the slowest command, making an RSA key, takes a discrete TPM tens of seconds.
const SOCKET_TIMEOUT: Duration = Duration::from_mins(2);

/// Sends one command and returns its whole answer.
pub trait Transport: Send {
    /// # Errors
    /// An error of the device or the socket; `InvalidData` for a malformed answer.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// Opens the TPM at `path`; `None` if the path does not exist.
///
/// # Errors
/// The operating system's error.
pub(super) fn open(path: &Path) -> io::Result<Option<Box<dyn Transport>>> {
    let kind = match path.metadata() {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if kind.is_socket() {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        socket.set_write_timeout(Some(SOCKET_TIMEOUT))?;
        Ok(Some(Box::new(Socket(socket))))
    } else if kind.is_char_device() {
        let device = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Some(Box::new(Device(device))))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a TPM's device file nor a socket"))
    }
}

/// The kernel's resource manager: one write is one command, one read its answer.
struct Device(File);

impl Transport for Device {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        read_answer(&mut self.0)
    }
}

/// A byte stream, in which an answer may arrive in pieces.
struct Socket(UnixStream);

impl Transport for Socket {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        read_answer(&mut self.0)
    }
}

/// Reads as many bytes as the answer's header says, up to the largest answer.
fn read_answer(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; MAX_ANSWER_BYTES];
    let mut filled = 0;
    loop {
        let rest = buffer.get_mut(filled..).unwrap_or_default();
        match from.read(rest)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        let Some(said) = size(buffer.get(..filled).unwrap_or_default()) else { continue };
        if !(HEAD_BYTES..=MAX_ANSWER_BYTES).contains(&said) || filled > said {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer's size is not what it says"));
        }
        if filled == said {
            buffer.truncate(said);
            return Ok(buffer);
        }
    }
}

/// Returns the size in an answer's header, once it has arrived.
fn size(head: &[u8]) -> Option<usize> {
    let size = head.get(2..6)?.first_chunk::<4>().copied().map(u32::from_be_bytes)?;
    usize::try_from(size).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_size_in_however_many_pieces() {
        struct Pieces(Vec<Vec<u8>>);
        impl Read for Pieces {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let Some(next) = (!self.0.is_empty()).then(|| self.0.remove(0)) else { return Ok(0) };
                buffer[..next.len()].copy_from_slice(&next);
                Ok(next.len())
            }
        }
        let whole = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 7];
        for cut in 1..whole.len() {
            let pieces = Pieces(vec![whole[..cut].to_vec(), whole[cut..].to_vec()]);
            assert_eq!(read_answer(&mut { pieces }).unwrap(), whole);
        }
        for bad in [
            &[][..],
            &whole[..11],
            &[0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0],
            &[0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            &[&whole[..], &[7]].concat(),
        ] {
            assert!(read_answer(&mut Pieces(vec![bad.to_vec()])).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn what_is_neither_device_nor_socket_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tpmrm0");
        assert!(open(&path).unwrap().is_none());
        File::create_new(&path).unwrap();
        assert!(open(&path).is_err());
    }
}

//! One large file to the Hub's storage: in one piece, or in parts that are then completed, and verified.

use super::package::Packed;
use super::reach::reachable;
use super::wire::{self, Actions};
use crate::address::Address;
use crate::client::{Client, Subject, text};
use crate::error::HubError;
use crate::send::{JSON, LFS, Post, Reply};
use std::io::{self, Read};

/// A file and where it is sent.
pub(super) struct Object<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) subject: Subject<'a>,
    pub(super) file: &'a Packed,
    /// The address that named the others, for messages.
    pub(super) named_by: &'a Address,
    /// Called with the number of bytes of the file that are sent.
    pub(super) watch: &'a dyn Fn(u64),
}

impl Object<'_> {
    /// Sends the file. A part whose connection breaks is sent again, up to the limit of retries.
    pub(super) fn send(&self, actions: &Actions) -> Result<(), HubError> {
        let address = self.reachable(&actions.address)?;
        // All addresses are looked at before the first byte is sent.
        let verify = actions.verify.as_deref().map(|named| self.reachable(named));
        let verify = verify.transpose()?;
        match &actions.parts {
            None => self.put(&address, 0, self.file.size).map(|_| ())?,
            Some((parts, size)) => self.in_parts(&address, parts, *size)?,
        }
        self.file.check_unchanged()?;
        match verify {
            Some(address) => self.verify(&address),
            None => Ok(()),
        }
    }

    fn reachable(&self, named: &str) -> Result<Address, HubError> {
        let home = &self.client.hub.endpoint.address;
        reachable(home, named).map_err(|what| {
            // Of an address that is signed, nothing is shown.
            let message = format!("the Hub names an address for the file that {what}");
            self.subject.malformed(self.named_by, message)
        })
    }

    fn in_parts(&self, completion: &Address, parts: &[String], size: u64) -> Result<(), HubError> {
        let addresses = parts.iter().map(|part| self.reachable(part));
        let addresses: Vec<Address> = addresses.collect::<Result<_, _>>()?;
        let mut etags = Vec::with_capacity(parts.len());
        let mut from = 0;
        for address in &addresses {
            let length = size.min(self.file.size - from);
            let reply = self.put(address, from, length)?;
            let etag = text(&reply.headers, "etag").filter(|etag| (1..=256).contains(&etag.len()));
            let Some(etag) = etag else {
                return Err(self
                    .subject
                    .malformed(address, "a part is taken without an `ETag`"));
            };
            etags.push(etag.to_owned());
            from += length;
        }
        self.file.check_unchanged()?;
        let body = wire::completion(&self.file.sha256, &etags).to_string();
        self.post(completion, LFS, &body, true)
    }

    /// Puts `length` bytes from byte `from` on.
    fn put(&self, address: &Address, from: u64, length: u64) -> Result<Reply, HubError> {
        let reply = self.client.repeated(self.subject, || {
            let mut slice = Slice {
                from: self.file.reader(from)?,
                left: length,
                at: from,
                is_short: false,
                watch: self.watch,
            };
            let sent = self.client.put_once(self.subject, address, &mut slice, length);
            if slice.is_short {
                let path = self.file.path();
                return Err(HubError::Changed { path });
            }
            sent
        })?;
        if reply.is_good() {
            Ok(reply)
        } else {
            Err(reply.refused(self.subject))
        }
    }

    fn verify(&self, address: &Address) -> Result<(), HubError> {
        let body = serde_json::json!({ "oid": self.file.sha256, "size": self.file.size });
        self.post(address, JSON, &body.to_string(), false)
    }

    fn post(
        &self,
        address: &Address,
        kind: &'static str,
        body: &str,
        is_signed: bool,
    ) -> Result<(), HubError> {
        let body = body.as_bytes();
        let post = Post {
            address,
            kind,
            body,
            is_signed,
        };
        let reply = self.client.post(self.subject, &post)?;
        if reply.is_good() {
            Ok(())
        } else {
            Err(reply.refused(self.subject))
        }
    }
}

/// A part of a file. A file that ends before the part does is an error.
struct Slice<'a> {
    from: Box<dyn Read + 'a>,
    left: u64,
    at: u64,
    is_short: bool,
    watch: &'a dyn Fn(u64),
}

impl Read for Slice<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(piece.len(), |left| left.min(piece.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut piece[..most]);
        if matches!(count, Ok(0)) {
            self.is_short = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = count?;
        self.left -= count as u64;
        self.at += count as u64;
        (self.watch)(self.at);
        Ok(count)
    }
}

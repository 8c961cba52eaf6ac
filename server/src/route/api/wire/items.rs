//! Reads a request that is one long list, item by item: never more than one item is in memory.

use super::{
    body::{decode_error, from_json, too_large},
    form::{Form, Read as ReadForm},
    message::{KnownField, Message},
    status::{Code, Status},
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{
    cell::Cell,
    fmt,
    io::{self, BufReader, ErrorKind, Read},
    marker::PhantomData,
};

/// The limits of a request with a long list.
#[derive(Debug, Clone, Copy)]
pub struct ItemLimits {
    /// The most bytes of the whole.
    pub bytes: usize,
    /// The most items.
    pub items: usize,
    /// The most bytes of one item, with the blanks before it.
    pub item_bytes: usize,
}

/// Reads the message `T`, whose only field is a list of `I`, and passes each item on as soon as it
/// is read. The rest of the body may still turn out to be wrong.
///
/// # Errors
/// The error of [`decode`](super::body::decode) for such a body, or the first error of `each`.
pub fn read_items<T: Message, I: Form>(
    body: impl Read,
    limits: ItemLimits,
    each: impl FnMut(I) -> Result<(), Status>,
) -> Result<(), Status> {
    let meter = Meter { limits, ..Meter::default() };
    let metered = Metered { bytes: BufReader::new(body), meter: &meter };
    let name = T::FIELDS.first().map_or("", |field| field.json);
    let mut list = List { name, meter: &meter, each, read: 0, inside: false, stopped: None, of: PhantomData };
    let mut json = serde_json::Deserializer::from_reader(metered);
    let object = Object::<T, _, _> { list: &mut list, of: PhantomData };
    let outcome = json.deserialize_map(object).and_then(|()| json.end());
    match (outcome, list.stopped.take()) {
        (_, Some(status)) => Err(status),
        (Err(error), None) if error.is_eof() && meter.is_blank.get() => check_required::<T>(),
        (Err(error), None) if error.is_io() => Err(meter.cut_off_error(name, list.read, &error)),
        (Err(error), None) => Err(decode_error(if list.inside { name } else { "" }, &error)),
        (Ok(()), None) if list.read == 0 => check_required::<T>(),
        (Ok(()), None) => Ok(()),
    }
}

/// Treats a list without items like a missing one.
fn check_required<T: Message>() -> Result<(), Status> {
    T::default().check().map_err(Status::invalid)
}

/// The object around the list.
struct Object<'l, 'm, T, I, F> {
    list: &'l mut List<'m, I, F>,
    of: PhantomData<T>,
}

impl<'de, T: Message, I: Form, F: FnMut(I) -> Result<(), Status>> Visitor<'de> for Object<'_, '_, T, I, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_there = false;
        while let Some(name) = map.next_key_seed(KnownField(T::FIELDS))? {
            if name != self.list.name {
                return Err(A::Error::unknown_field(name, &[]));
            }
            if is_there {
                return Err(A::Error::duplicate_field(self.list.name));
            }
            is_there = true;
            self.list.inside = true;
            map.next_value_seed(&mut *self.list)?;
            self.list.inside = false;
        }
        Ok(())
    }
}

struct List<'a, I, F> {
    name: &'static str,
    meter: &'a Meter,
    each: F,
    read: usize,
    inside: bool,
    /// The error of `each`, which no error of the parser can carry.
    stopped: Option<Status>,
    of: PhantomData<I>,
}

impl<I: Form, F: FnMut(I) -> Result<(), Status>> List<'_, I, F> {
    fn take(&mut self, item: &RawValue) -> Result<(), Status> {
        let Self { name, meter, read, .. } = self;
        if *read >= meter.limits.items {
            let rule = format!("Expected at most {} devices in one request.", meter.limits.items);
            return Err(Status::invalid_field(*name, rule));
        }
        let ReadForm(item) = from_json(item.get(), &format!("{name}[{read}]"))?;
        *read += 1;
        meter.of_item.set(0);
        (self.each)(item)
    }
}

impl<'de, I: Form, F: FnMut(I) -> Result<(), Status>> DeserializeSeed<'de> for &mut List<'_, I, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, I: Form, F: FnMut(I) -> Result<(), Status>> Visitor<'de> for &mut List<'_, I, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.meter.of_item.set(0);
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            if let Err(status) = self.take(&item) {
                self.stopped = Some(status);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The number of bytes read so far, and their limits.
struct Meter {
    limits: ItemLimits,
    of_all: Cell<usize>,
    of_item: Cell<usize>,
    is_blank: Cell<bool>,
}

impl Default for Meter {
    fn default() -> Self {
        let limits = ItemLimits { bytes: 0, items: 0, item_bytes: 0 };
        Self { limits, of_all: Cell::new(0), of_item: Cell::new(0), is_blank: Cell::new(true) }
    }
}

impl Meter {
    fn count(&self, bytes: &[u8]) -> io::Result<()> {
        self.of_all.set(self.of_all.get() + bytes.len());
        self.of_item.set(self.of_item.get() + bytes.len());
        self.is_blank.set(self.is_blank.get() && bytes.iter().all(u8::is_ascii_whitespace));
        let is_over = self.of_all.get() > self.limits.bytes || self.of_item.get() > self.limits.item_bytes;
        if is_over { Err(ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    }

    /// Makes the refusal for a body that was cut off, in the item after `read` others.
    fn cut_off_error(&self, name: &str, read: usize, error: &serde_json::Error) -> Status {
        if self.of_all.get() > self.limits.bytes {
            return too_large(self.limits.bytes);
        }
        if self.of_item.get() > self.limits.item_bytes {
            let rule = format!("Expected at most {} bytes.", self.limits.item_bytes);
            return Status::invalid_field(format!("{name}[{read}]"), rule);
        }
        match error.io_error_kind() {
            Some(ErrorKind::TimedOut) => {
                Status::new(Code::DeadlineExceeded, "The request took too long to arrive.")
            }
            _ => Status::new(Code::InvalidArgument, "The request ended before its announced length."),
        }
    }
}

struct Metered<'a, R> {
    bytes: BufReader<R>,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(to)?;
        self.meter.count(to.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{body::decode, message::message};
    use super::*;

    message! {
        /// One of many.
        struct One {
            /// A number.
            number: i64 = "number";
        }
    }

    message! {
        /// Many.
        struct Many {
            /// A list.
            ones: Vec<One> = "ones", REQUIRED, ITEMWISE;
        }
    }

    const LIMITS: ItemLimits = ItemLimits { bytes: 120, items: 3, item_bytes: 60 };

    fn read(json: &str) -> Result<Vec<One>, Status> {
        let mut items = Vec::new();
        read_items::<Many, One>(json.as_bytes(), LIMITS, |one| {
            items.push(one);
            Ok(())
        })?;
        Ok(items)
    }

    #[test]
    fn items_are_read_as_the_whole_would_be() {
        for json in [
            r#"{"ones":[{"number":"7"},{"number":8},{}]}"#,
            " {\"ones\" : [ {\"number\":1} , {} ] } \n",
            "",
            "  \n",
            "{}",
            r#"{"ones":null}"#,
            r#"{"ones":[]}"#,
            r#"{"ones":{}}"#,
            r#"{"ones":[null]}"#,
            r#"{"ones":[{},5]}"#,
            r#"{"ones":[{},{"number":"x"}]}"#,
            r#"{"ones":[{"nmber":1}]}"#,
            r#"{"ones":[],"ones":[]}"#,
            r#"{"twos":[]}"#,
            r#"{"ones":[{}]} x"#,
            r#"{"ones":[{}"#,
            r#"{"ones":[{},]}"#,
            "[]",
            "5",
            "null",
        ] {
            let whole = decode::<Many>(json.as_bytes(), 200).map(|many| many.ones);
            assert_eq!(read(json), whole, "{json}");
        }
    }

    #[test]
    fn a_list_is_bounded_in_all_ways() {
        let refused = |json: &str| {
            read(json).map(|items| items.len()).map_err(|status| (status.http(), status.message().to_owned()))
        };
        assert_eq!(
            refused(r#"{"ones":[{},{},{},{}]}"#),
            Err((400, "ones: Expected at most 3 devices in one request.".to_owned()))
        );
        let long = format!(r#"{{"ones":[{{}},{{"number":"{}"}}]}}"#, "1".repeat(60));
        assert_eq!(refused(&long), Err((400, "ones[1]: Expected at most 60 bytes.".to_owned())));
        let whole =
            format!(r#"{{"ones":[{{"number":"{0}"}},{{"number":"{0}"}},{{"number":"{0}"}}"#, "1".repeat(19));
        let (whole, status) = (format!("{whole}{}", " ".repeat(20)), 413);
        assert_eq!(refused(&whole).map_err(|(http, _)| http), Err(status));
    }

    #[test]
    fn a_refusal_of_an_item_ends_the_list() {
        let mut items = 0;
        let outcome = read_items::<Many, One>(&br#"{"ones":[{},{},{}]}"#[..], LIMITS, |_| {
            items += 1;
            if items == 2 { Err(Status::busy()) } else { Ok(()) }
        });
        assert_eq!((outcome, items), (Err(Status::busy()), 2));
    }
}

//! A value out of a device tree, a VPD key, a label or a cell: held against the rules of its kind.
//! The first byte chooses the kind, or the property.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_common::identity::{Identifier, IdentifierKind};
use unbox_fuzz::device_tree::{PROPERTIES, value};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let choice = usize::from(*choice);
    let (kind, text) = match IdentifierKind::ALL.get(choice) {
        Some(kind) => (*kind, String::from_utf8_lossy(rest).into_owned()),
        None => {
            let Some(said) = value(PROPERTIES[choice % PROPERTIES.len()], rest) else { return };
            said
        }
    };
    if let Ok(once) = Identifier::parse(kind, &text) {
        assert_eq!(Identifier::parse(kind, once.value()), Ok(once.clone()), "its form is its own form");
        assert!(once.same_as(&once));
    }
});

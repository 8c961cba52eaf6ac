//! A table of models, as an operator adds one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_common::models::Models;

fuzz_target!(|bytes: &[u8]| {
    match Models::parse(bytes) {
        Ok(models) => {
            for model in models.iter() {
                assert!(
                    model.names().all(|name| models.find(&name).is_some()),
                    "{model:?} is found by its names"
                );
            }
        }
        Err(invalid) => assert!(invalid.to_string().len() < 1000, "the reason is short"),
    }
});

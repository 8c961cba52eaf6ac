//! Device policy controllers that a configuration can name.

use crate::route::api::wire::message::message;

message! {
    /// A device policy controller.
    pub struct Dpc {
        /// Its name: `customers/{customer}/dpcs/{dpc}`. The last part is the same for every customer.
        name: String = "name", OUTPUT;
        /// The name that people use.
        dpc_name: String = "dpcName", OUTPUT;
        /// The name of its package.
        package_name: String = "packageName", OUTPUT;
    }
}

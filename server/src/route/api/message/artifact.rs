//! Artifacts of customers: files that devices download. Unbox's own.

use crate::route::api::wire::message::message;
use unbox_common::timestamp::Timestamp;

message! {
    /// Bytes that configurations may name.
    pub struct Artifact {
        /// Its name: `customers/{customer}/artifacts/{sha256}`.
        name: String = "name", OUTPUT;
        /// The name that people use, usually that of a file.
        artifact_name: String = "artifactName";
        /// SHA-256 of the bytes, 64 hexadecimal digits. In an upload: the one that is expected.
        sha256: String = "sha256";
        /// The number of its bytes.
        size_bytes: i64 = "sizeBytes", OUTPUT;
        /// True if it is the operator's, for all customers.
        shared: bool = "shared", OUTPUT;
        /// The time of its registration.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
    }
}

message! {
    /// The artifacts that a customer's configurations may name.
    pub struct ListArtifactsResponse {
        /// The artifacts.
        artifacts: Vec<Artifact> = "artifacts";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

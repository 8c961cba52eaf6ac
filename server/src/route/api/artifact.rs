//! Artifacts of customers: `/v1/customers/{customer}/artifacts`, and their upload in the way of Google's
//! client libraries: whole (`uploadType=media`), or in parts (`uploadType=resumable`) that continue after
//! an interruption.

use super::{
    call::{Answer, Call, no_such},
    message::{
        artifact::{Artifact as Message, ListArtifactsResponse},
        common::Empty,
    },
    wire::{
        answer::CONTENT_TYPE, body::decode, content_range::ContentRange, form::Written, name::ArtifactName,
        status::Status,
    },
};
use crate::{
    domain::catalogue::artifact::Artifact,
    route::budget::Reservation,
    service::{ArtifactUpload, ArtifactsOf, NewUpload, PageRequest, UploadPart, UploadProgress},
};
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header, uri::Authority},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use std::io::{self, Read};
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, UploadId},
    payload::MAX_ARTIFACT_BYTES,
};

/// The largest message that starts an upload, in bytes.
const MAX_START_BYTES: usize = 64 * 1024;

/// `customers.artifacts.list`
pub(super) async fn list(mut call: Call) -> Answer {
    let size = call.page_size().await?;
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    let customer = call.company()?;
    let list = ("artifacts", customer);
    let after = call.page_after(&list, &token)?;
    let request = PageRequest { size: Some(size), after };
    let page = call
        .services()
        .catalogue
        .list_artifacts(&call.actor, ArtifactsOf::Customer(customer), request)
        .await?;
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    let artifacts = page.items.iter().map(|one| message(one, customer)).collect();
    call.answer(&Written(&ListArtifactsResponse { artifacts, next_page_token }))
}

/// `customers.artifacts.get`
pub(super) async fn get(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let (customer, sha256) = (call.company()?, call.id::<Sha256>(1, "artifact")?);
    let found = call.services().catalogue.artifact(&call.actor, Some(customer), sha256).await?;
    call.answer(&Written(&message(&found, customer)))
}

/// `customers.artifacts.delete`
pub(super) async fn delete(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let (customer, sha256) = (call.company()?, call.id::<Sha256>(1, "artifact")?);
    call.services().catalogue.delete_artifact(&call.actor, Some(customer), sha256).await?;
    call.answer(&Written(&Empty {}))
}

/// `customers.artifacts.upload`
pub(super) async fn upload(mut call: Call, body: Body) -> Result<Response, Status> {
    let name = call.own.text("name")?;
    let expected = call.own.text("sha256")?;
    call.no_more_parameters()?;
    match call.upload_type() {
        Some("media") => {
            upload_at_once(call, name.unwrap_or_default(), digest(expected.as_deref())?, body).await
        }
        Some("resumable") => start_upload(&call, name, expected, body).await,
        _ => Err(Status::invalid_field("uploadType", "Expected media or resumable.")),
    }
}

async fn upload_at_once(
    mut call: Call,
    name: String,
    expected: Option<Sha256>,
    body: Body,
) -> Result<Response, Status> {
    let customer = call.company()?;
    if content_length(&call.headers).is_some_and(|length| length > MAX_ARTIFACT_BYTES) {
        return Err(crate::service::ServiceError::TooLarge(MAX_ARTIFACT_BYTES).into());
    }
    let bytes = call.reader(body)?;
    let bytes = Placed { _place: call.place.take(), bytes };
    let upload = ArtifactUpload { customer: Some(customer), name, expected, bytes };
    let added = call.services().catalogue.add_artifact(&call.actor, upload).await?;
    answer_with_artifact(&call, &added, customer)
}

/// Starts an upload in parts. Values that are not among the parameters may be in a message.
async fn start_upload(
    call: &Call,
    name: Option<String>,
    expected: Option<String>,
    body: Body,
) -> Result<Response, Status> {
    let customer = call.company()?;
    let read = call.read_whole(body, MAX_START_BYTES).await?;
    let said: Message = if read.is_empty() { Message::default() } else { decode(&read, MAX_START_BYTES)? };
    let expected = expected.or_else(|| Some(said.sha256.clone()).filter(|text| !text.is_empty()));
    let size = match call.headers.get("x-upload-content-length") {
        None => None,
        Some(value) => {
            let size = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(size.ok_or_else(|| {
                Status::invalid_field("X-Upload-Content-Length", "Expected a number of bytes.")
            })?)
        }
    };
    let new = NewUpload {
        customer,
        name: name.unwrap_or(said.artifact_name),
        size,
        expected: digest(expected.as_deref())?,
    };
    let place = address(call)?;
    let started = call.services().catalogue.start_upload(&call.actor, new).await?;
    let location = format!(
        "{place}/upload/v1/customers/{customer}/artifacts?uploadType=resumable&upload_id={}",
        started.id
    );
    Ok((StatusCode::OK, [(header::LOCATION, location)]).into_response())
}

/// `customers.artifacts.continueUpload`
pub(super) async fn continue_upload(mut call: Call, body: Body) -> Result<Response, Status> {
    let (customer, id) = take_upload(&mut call)?;
    let range = call.headers.get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap_or_default());
    let range = range.map(ContentRange::parse).transpose()?;
    if let (Some(ContentRange::Bytes { length, .. }), Some(sent)) = (range, content_length(&call.headers))
        && length != sent
    {
        return Err(Status::invalid_field("Content-Range", "Expected as many bytes as Content-Length says."));
    }
    let turn = call.services().catalogue.upload_turn(&call.actor, customer, id).await?;
    let part = match range {
        None => UploadPart { from: 0, length: None, total: None },
        Some(ContentRange::Bytes { first, length, total }) => {
            UploadPart { from: first, length: Some(length), total }
        }
        Some(ContentRange::Question { total }) => {
            UploadPart { from: turn.received_bytes(), length: Some(0), total }
        }
    };
    let body = Body::from_stream(body.into_data_stream().take_until(turn.wait_for_takeover()));
    let bytes = call.reader(body)?;
    let bytes = Placed { _place: call.place.take(), bytes };
    match call.services().catalogue.continue_upload(&call.actor, turn, part, bytes).await? {
        UploadProgress::Done(artifact) => answer_with_artifact(&call, &artifact, customer),
        UploadProgress::Open(received) => {
            let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
            // Without the header, nothing has arrived.
            if let Some(Ok(range)) = received.checked_sub(1).map(|last| format!("bytes=0-{last}").try_into())
            {
                response.headers_mut().insert(header::RANGE, range);
            }
            Ok(response)
        }
    }
}

/// `customers.artifacts.cancelUpload`
pub(super) async fn cancel_upload(mut call: Call, _: Body) -> Result<Response, Status> {
    let (customer, id) = take_upload(&mut call)?;
    let turn = call.services().catalogue.upload_turn(&call.actor, customer, id).await?;
    call.services().catalogue.cancel_upload(turn).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn take_upload(call: &mut Call) -> Result<(CompanyId, UploadId), Status> {
    let id = call.own.text("uploadId")?.unwrap_or_default();
    call.no_more_parameters()?;
    Ok((call.company()?, id.parse().map_err(|_| no_such("upload"))?))
}

/// Returns the address at which the client reached this server, for the next parts of the upload. A proxy
/// with TLS says so.
fn address(call: &Call) -> Result<String, Status> {
    let text = |name| call.headers.get(name).and_then(|value| value.to_str().ok());
    let host: Option<Authority> = text(header::HOST).and_then(|host| host.parse().ok());
    let host = host.ok_or_else(|| Status::invalid_field("Host", "Expected the name of this server."))?;
    let by_proxy = text(header::HeaderName::from_static("x-forwarded-proto")) == Some("https");
    let scheme = if by_proxy || !call.plain { "https" } else { "http" };
    Ok(format!("{scheme}://{host}"))
}

fn digest(text: Option<&str>) -> Result<Option<Sha256>, Status> {
    let parsed = text.map(|text| text.to_ascii_lowercase().parse()).transpose();
    parsed.map_err(|_| Status::invalid_field("sha256", "Expected 64 hexadecimal digits."))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn answer_with_artifact(call: &Call, artifact: &Artifact, customer: CompanyId) -> Result<Response, Status> {
    let reply = call.answer(&Written(&message(artifact, customer)))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], reply.into_body(&call.app, call.holders)).into_response())
}

fn message(of: &Artifact, customer: CompanyId) -> Message {
    Message {
        name: ArtifactName { customer, artifact: of.sha256 }.to_string(),
        artifact_name: of.name.to_string(),
        sha256: of.sha256.to_string(),
        size_bytes: i64::try_from(of.size).unwrap_or(i64::MAX),
        shared: of.customer.is_none(),
        create_time: Some(of.created_at),
    }
}

/// Bytes that keep their place among the streams until they have passed.
struct Placed<R> {
    bytes: R,
    _place: Option<Reservation>,
}

impl<R: Read> Read for Placed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(to)
    }
}
